package lang

import (
	"strconv"
	"strings"
	"time"
)

// String is the canonical text of the query: one line, clauses in a fixed
// order, fields with their scope, defaults left out. Parsing it gives an equal
// Query, and queries that differ in spelling alone have the same text.
func (q *Query) String() string {
	return oneLine(q.lines(printMode{}))
}

// Resolved is the text of the query with every default that was taken written
// out, and its range as absolute times of the query's zone.
func (q *Query) Resolved(now time.Time) string {
	return oneLine(q.lines(printMode{defaults: true, now: now}))
}

func oneLine(lines []line) string {
	texts := make([]string, len(lines))
	for i := range lines {
		texts[i] = lines[i].text
	}
	return strings.Join(texts, " ")
}

// printMode says what is printed beside what differs from the defaults.
type printMode struct {
	defaults bool      // every default, and the range in absolute times
	now      time.Time // of defaults
	written  bool      // the defaults that the text had
}

// line is a part of the text that can stand on its own line.
type line struct {
	at   Pos // where its beginning stood; zero: it is a default
	text string
	head bool // the first one
}

// linePrinter makes the lines of a query.
type linePrinter struct {
	q     *Query
	mode  printMode
	lines []line
}

func (q *Query) lines(mode printMode) []line {
	w := linePrinter{q: q, mode: mode}
	w.head()
	w.common()
	return w.lines
}

// add adds a line; print writes its text.
func (w *linePrinter) add(at Pos, print func(p *printer)) {
	var p printer
	print(&p)
	w.lines = append(w.lines, line{at: at, text: p.text(), head: len(w.lines) == 0})
}

// clause adds a clause that has a default, if it is to be seen.
func (w *linePrinter) clause(key string, isDefault bool, texts ...string) {
	at, written := w.q.clauses[key]
	if isDefault && !w.mode.defaults && !(written && w.mode.written) {
		return
	}
	w.add(at, func(p *printer) { p.raw(strings.Join(texts, " ")) })
}

// duration adds a clause with a duration; absent is the value that cannot be written.
func (w *linePrinter) duration(key string, value, standard int64) {
	if value != 0 {
		w.clause(key, value == standard, key, FormatDuration(value))
	}
}

func (w *linePrinter) selection(key string, s *EventSel, isDefault bool) {
	w.clause(key, isDefault, key, selText(s))
}

func (w *linePrinter) head() {
	q := w.q
	kind := q.Kind.String()
	start := func(print func(p *printer)) {
		w.add(q.At, func(p *printer) {
			p.raw(kind)
			print(p)
		})
	}
	of := func(s *EventSel, short bool) {
		start(func(p *printer) {
			if !short || !s.IsAny() || w.mode.defaults {
				p.raw(" of ")
				p.sel(s)
			}
		})
	}
	one := func(s *EventSel) {
		start(func(p *printer) { p.raw(" "); p.sel(s) })
	}
	switch q.Kind {
	case KindFunnel:
		w.funnel()
	case KindTrend:
		start(func(p *printer) { p.series(q.Trend.Series) })
	case KindRetention:
		start(func(p *printer) { p.raw(" "); p.sel(&q.Retention.Start); p.raw(" -> "); p.sel(&q.Retention.Return) })
		w.clause("for", q.Retention.Periods == DefaultPeriods, "for", strconv.Itoa(q.Retention.Periods))
		if q.Retention.First {
			w.clause("first", false, "first")
		} else {
			w.clause("first", true, "recurring")
		}
		if q.Retention.Rolling {
			w.clause("rolling", false, "rolling")
		}
		w.clause("times", q.Retention.Times == 1, AtLeast.String(), strconv.FormatInt(q.Retention.Times, 10))
	case KindSessions:
		start(func(*printer) {})
		w.duration("gap", q.Sessions.Gap, DefaultGap)
		w.duration("max", q.Sessions.Max, 0)
	case KindPaths:
		start(func(*printer) {})
		w.paths()
	case KindAttribution:
		one(&q.Attribution.Conversion)
		w.attribution()
	case KindExperiment:
		start(func(p *printer) { p.raw(" "); p.field(&q.Experiment.Variant) })
		w.experiment()
	case KindTop:
		start(func(p *printer) { p.raw(" "); p.field(&q.Top.Field); p.raw(" of "); p.sel(&q.Top.Of) })
	case KindEvents:
		of(&q.Events.Of, true)
	case KindUsers:
		of(&q.Users.Of, true)
		u := q.Users
		w.clause("times", u.Bound == AtLeast && u.Times == 1, u.Bound.String(), strconv.FormatInt(u.Times, 10))
	case KindLifecycle:
		one(&q.Lifecycle.Of)
	case KindStickiness:
		one(&q.Stickiness.Of)
	}
}

func (w *linePrinter) funnel() {
	f := w.q.Funnel
	for i := range f.Steps {
		s := &f.Steps[i]
		at := s.At
		if i == 0 {
			at = w.q.At
		}
		w.add(at, func(p *printer) {
			p.raw([]string{"-> ", "funnel "}[boolIndex(i == 0)])
			p.sel(&s.EventSel)
			if s.Optional {
				p.raw("?")
			}
		})
	}
	w.duration("within", f.Within, DefaultWithin)
	w.clause("order", f.Order == OrderOrdered, "order", f.Order.String())
	switch f.Per.Kind {
	case PerUser:
		w.clause("per", true, "per user")
	case PerSession:
		text := "per session"
		if f.Per.Gap != DefaultGap || w.mode.defaults {
			text += " gap " + FormatDuration(f.Per.Gap)
		}
		w.clause("per", false, text)
	case PerField:
		w.clause("per", false, "per", f.Per.Field.String())
	}
	for i := range f.Excluding {
		x := &f.Excluding[i]
		w.add(x.At, func(p *printer) {
			p.raw("excluding ")
			p.sel(&x.EventSel)
			if x.From != 1 || x.To != len(f.Steps) || w.mode.defaults {
				p.raw(" between " + strconv.Itoa(x.From) + " and " + strconv.Itoa(x.To))
			}
		})
	}
	for i := range f.Never {
		n := &f.Never[i]
		w.add(n.At, func(p *printer) { p.raw("never "); p.sel(&n.EventSel) })
	}
	if len(f.Holding) > 0 {
		names := make([]string, len(f.Holding))
		for i := range f.Holding {
			names[i] = f.Holding[i].String()
		}
		w.clause("holding", false, "holding", strings.Join(names, ", "))
	}
}

func boolIndex(b bool) int {
	if b {
		return 1
	}
	return 0
}

func (w *linePrinter) paths() {
	s := w.q.Paths
	if s.From != nil {
		text := selText(s.From)
		// A quoted name that looks like a time would be read as the range.
		if _, isTime := parseTime(s.From.Alternatives[0].Name); isTime && text[0] == '"' {
			text = selInParens(s.From)
		}
		w.clause("anchor", false, "from", text)
	}
	if s.To != nil {
		w.clause("anchor", false, "to", selText(s.To))
	}
	w.clause("depth", s.Depth == DefaultDepth, "depth", strconv.Itoa(s.Depth))
	if s.Collapse {
		w.clause("collapse", false, "collapse")
	}
	w.duration("gap", s.Gap, DefaultGap)
}

func (w *linePrinter) attribution() {
	a := w.q.Attribution
	w.selection("touch", &a.Touch, a.Touch.IsAny())
	w.clause("model", a.Model == ModelLastTouch, "model", a.Model.String())
	w.duration("lookback", a.Lookback, DefaultLookback)
	w.duration("half_life", a.HalfLife, DefaultHalfLife)
	if a.Value != nil {
		w.clause("value", false, "value", a.Value.String())
	}
}

func (w *linePrinter) experiment() {
	x := w.q.Experiment
	w.selection("goal", &x.Goal, false)
	w.selection("exposure", &x.Exposure, false)
	if x.Control != nil {
		var p printer
		p.literal(x.Control)
		w.clause("control", false, "control", p.text())
	}
	w.duration("within", x.Within, 0)
}

// common adds the clauses that several kinds have.
func (w *linePrinter) common() {
	q := w.q
	if q.Where != nil {
		var p printer
		p.expr(q.Where, bindOr)
		w.clause("where", false, "where", p.text())
	}
	if q.User != "" {
		w.clause("user", false, "user", quote(q.User))
	}
	if len(q.By) > 0 {
		w.add(q.clauses["by"], w.by)
	}
	if !q.Every.IsZero() {
		day := q.Every.Unit == UnitDay && kinds(KindRetention, KindLifecycle, KindStickiness).has(q.Kind)
		w.clause("every", day, "every", q.Every.String())
	}
	w.timeRange()
	w.clause("tz", q.TZ == DefaultTZ, "tz", quote(q.TZ))
	if findClause("limit").kinds.has(q.Kind) {
		_, written := q.clauses["limit"]
		if standard := q.Limit == q.Kind.defaultLimit(); written || !standard || !grouped.has(q.Kind) || len(q.By) > 0 {
			w.clause("limit", standard, "limit", strconv.Itoa(q.Limit))
		}
	}
	if q.Newest {
		w.clause("newest", false, "newest")
	}
	if q.After != "" {
		w.clause("after", false, "after", quote(q.After))
	}
}

func (w *linePrinter) by(p *printer) {
	p.raw("by ")
	for i := range w.q.By {
		f := &w.q.By[i]
		if i > 0 {
			p.raw(", ")
		}
		p.field(&f.Field)
		switch {
		case f.Step == AtLast:
			p.raw(" at last")
		case f.Step > 1 || f.Step == 1 && w.mode.defaults:
			p.raw(" at step " + strconv.Itoa(f.Step))
		}
	}
}

func (w *linePrinter) timeRange() {
	r := w.q.Range
	switch {
	case w.mode.defaults:
		loc := w.q.Location()
		from, to := r.Resolve(w.mode.now, loc)
		text := func(micros int64) string {
			at := time.UnixMicro(micros).In(loc)
			if _, offset := at.Zone(); offset%60 != 0 {
				at = at.UTC() // local mean time, which RFC 3339 cannot write
			}
			return at.Format("2006-01-02T15:04:05.999999Z07:00")
		}
		w.clause("range", false, "from", text(from), "to", text(to))
	case r.Last != 0:
		w.clause("range", r.Last == DefaultLast, "last", FormatDuration(r.Last))
	default:
		w.clause("range", false, "from", r.From.String(), "to", r.To.String())
	}
}
