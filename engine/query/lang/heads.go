package lang

import (
	"slices"
	"strconv"
	"strings"
)

// head reads what stands between the kind and the first clause.
func (p *parser) head() {
	q := p.q
	switch q.Kind {
	case KindFunnel:
		p.funnel()
	case KindTrend:
		p.trend()
	case KindRetention:
		q.Retention = &Retention{Periods: DefaultPeriods, Times: 1, Start: p.selection()}
		p.needSymbol("->")
		q.Retention.Return = p.selection()
	case KindSessions:
		q.Sessions = &Sessions{Gap: DefaultGap}
	case KindPaths:
		q.Paths = &Paths{Depth: DefaultDepth, Gap: DefaultGap}
	case KindAttribution:
		q.Attribution = &Attribution{Lookback: DefaultLookback, Conversion: p.selection()}
	case KindExperiment:
		q.Experiment = &Experiment{Variant: p.field()}
	case KindTop:
		q.Top = &Top{Field: p.field()}
		q.Top.Of = p.of()
	case KindEvents:
		q.Events = &Events{Of: p.ofOrAny()}
	case KindUsers:
		q.Users = &Users{Of: p.ofOrAny(), Times: 1}
	case KindLifecycle:
		q.Lifecycle = &Lifecycle{Of: p.selection()}
	case KindStickiness:
		q.Stickiness = &Stickiness{Of: p.selection()}
	}
}

// headClause reads a clause that belongs to the kind's head.
func (p *parser) headClause(word string, at Pos) {
	q := p.q
	switch q.Kind {
	case KindFunnel:
		p.funnelClause(word, at)
	case KindRetention:
		p.retentionClause(word)
	case KindSessions:
		if word == "gap" {
			q.Sessions.Gap = p.duration("gap", MaxDuration)
		} else {
			q.Sessions.Max = p.duration("max", MaxDuration)
		}
	case KindPaths:
		switch word {
		case "depth":
			q.Paths.Depth = int(p.integer("depth", 1, MaxDepth))
		case "gap":
			q.Paths.Gap = p.duration("gap", MaxDuration)
		case "collapse":
			q.Paths.Collapse = true
		}
	case KindAttribution:
		p.attributionClause(word)
	case KindExperiment:
		p.experimentClause(word)
	case KindUsers:
		p.usersClause(word)
	}
}

// finishHead checks a head when all clauses are known.
func (p *parser) finishHead() {
	q := p.q
	switch q.Kind {
	case KindRetention, KindLifecycle, KindStickiness:
		if q.Every.IsZero() {
			q.Every.Unit = UnitDay
		}
	case KindFunnel:
		f := q.Funnel
		optional := slices.ContainsFunc(f.Steps, func(s Step) bool { return s.Optional })
		if f.Order == OrderAny && (optional || len(f.Excluding) > 0) && len(f.Steps) > MaxAnySteps {
			p.fail(q.PosOf("order"), CodeLimit, "", "expected at most %d steps in any order with optional steps or exclusions, found %d", MaxAnySteps, len(f.Steps))
		}
		if n := len(f.Excluding) + len(f.Never); n > MaxVoids {
			p.fail(q.At, CodeLimit, "put events together: never (a or b)", "expected at most %d `excluding` and `never` together, found %d", MaxVoids, n)
		}
	case KindAttribution:
		if len(q.By) == 0 {
			p.missing("by", "the field that names the channel, such as by context.campaign")
		}
		a := q.Attribution
		if len(a.Touch.Alternatives) == 0 {
			a.Touch = anySelection()
		}
		if a.HalfLife != 0 && a.Model != ModelTimeDecay {
			p.fail(q.PosOf("half_life"), CodeClause, "write `model time_decay`", "expected `half_life` only with the model time_decay, found the model %s", a.Model)
		}
		if a.HalfLife == 0 && a.Model == ModelTimeDecay {
			a.HalfLife = DefaultHalfLife
		}
	case KindExperiment:
		if len(q.Experiment.Goal.Alternatives) == 0 {
			p.missing("goal", "the event that the variants should lead to, such as goal purchase")
		}
		if len(q.Experiment.Exposure.Alternatives) == 0 {
			p.missing("exposure", "the event that carries the variant, such as exposure experiment_viewed")
		}
	}
}

func (p *parser) missing(clause, hint string) {
	p.fail(p.cur().at, CodeMissing, "it is "+hint, "expected the clause `%s` in this %s, found none", clause, p.q.Kind)
}

func anySelection() EventSel {
	return EventSel{Alternatives: []EventMatch{{Any: true}}}
}

// of reads `of` and a selection.
func (p *parser) of() EventSel {
	if !p.take("of") {
		p.unexpectedHint("name the event: of page_viewed; or every event: of any")
	}
	return p.selection()
}

// ofOrAny is of, or any where it is left out.
func (p *parser) ofOrAny() EventSel {
	if p.take("of") {
		return p.selection()
	}
	return anySelection()
}

// selection reads an EventSel.
func (p *parser) selection() EventSel {
	s := EventSel{At: p.cur().at}
	if !p.cur().isSymbol("(") {
		s.Alternatives = []EventMatch{p.alternative(&s)}
		return s
	}
	p.next()
	p.enter(s.At)
	for {
		if len(s.Alternatives) == MaxEventNames {
			p.fail(p.cur().at, CodeLimit, "", "expected at most %d events in one selection, found more", MaxEventNames)
		}
		s.Alternatives = append(s.Alternatives, p.alternative(&s))
		if p.takeSymbol(")") {
			break
		}
		p.need("or")
	}
	p.depth--
	s.Where = p.bracket(&s)
	if len(s.Alternatives) == 1 {
		s.Alternatives[0].Where = conjoin(s.Alternatives[0].Where, s.Where)
		s.Where = nil
	}
	return s
}

// alternative reads one event and its predicate.
func (p *parser) alternative(s *EventSel) EventMatch {
	t := p.cur()
	m := EventMatch{At: t.at, Name: t.value}
	switch {
	case t.isWord("any"):
		m.Any, m.Name = true, ""
	case t.kind == tokenString && t.value == "":
		p.fail(t.at, CodeValue, "write any for every event", "expected the name of an event, found an empty string")
	case t.kind != tokenWord && t.kind != tokenString:
		p.expect(wantEvent, "an event")
		p.unexpectedHint("an event is a name, a name in double quotes, any, or (a or b)")
	}
	p.name()
	scope := EventSel{At: s.At, Alternatives: []EventMatch{m}}
	m.Where = p.bracket(&scope)
	return m
}

// bracket reads a predicate in brackets if there is one.
func (p *parser) bracket(s *EventSel) Expr {
	at := p.cur().at
	if !p.takeSymbol("[") {
		return nil
	}
	p.enter(at)
	p.sel = s
	e := p.predicate()
	p.sel = nil
	p.needSymbol("]")
	p.depth--
	return e
}

func (p *parser) funnel() {
	f := &Funnel{Within: DefaultWithin}
	p.q.Funnel = f
	for {
		if len(f.Steps) == MaxSteps {
			p.fail(p.cur().at, CodeLimit, "", "expected at most %d steps in a funnel, found more", MaxSteps)
		}
		s := Step{EventSel: p.selection()}
		mark := p.cur().at
		s.Optional = p.takeSymbol("?")
		if s.Optional && len(f.Steps) == 0 {
			p.fail(mark, CodeSyntax, "leave the mark out", "expected a first step that is not optional, found `?`")
		}
		f.Steps = append(f.Steps, s)
		if !p.takeSymbol("->") {
			if s.Optional {
				p.fail(mark, CodeSyntax, "leave the mark out", "expected a last step that is not optional, found `?`")
			}
			return
		}
	}
}

func (p *parser) funnelClause(word string, at Pos) {
	f := p.q.Funnel
	switch word {
	case "within":
		f.Within = p.duration("within", MaxDuration)
	case "order":
		f.Order = Order(p.oneOf(orderNames[:]))
	case "per":
		f.Per = p.per()
	case "excluding":
		p.bounded(len(f.Excluding), word, at)
		x := Excluding{EventSel: p.selection(), From: 1, To: len(f.Steps)}
		if len(f.Steps) == 1 {
			p.fail(at, CodeValue, "`never` leaves out persons who did an event at all", "expected a funnel of several steps for `excluding`, found one step")
		}
		if p.take("between") {
			x.From = p.stepNumber("between")
			p.need("and")
			to := p.cur().at
			x.To = p.stepNumber("and")
			if x.To <= x.From {
				p.fail(to, CodeValue, "", "expected a later step than %d after `and`, found %d", x.From, x.To)
			}
		}
		f.Excluding = append(f.Excluding, x)
	case "never":
		p.bounded(len(f.Never), word, at)
		f.Never = append(f.Never, Never{p.selection()})
	case "holding":
		for {
			p.bounded(len(f.Holding), word, at)
			f.Holding = append(f.Holding, p.field())
			if !p.takeSymbol(",") {
				return
			}
		}
	}
}

// bounded fails if a list of n elements cannot take one more.
func (p *parser) bounded(n int, what string, at Pos) {
	if n == MaxClauses {
		p.fail(at, CodeLimit, "", "expected at most %d of `%s`, found more", MaxClauses, what)
	}
}

// stepNumber reads the number of a step of the funnel.
func (p *parser) stepNumber(word string) int {
	return int(p.integer(word, 1, int64(len(p.q.Funnel.Steps))))
}

func (p *parser) per() Per {
	at := p.cur().at
	member := p.peek(1).isSymbol(".") // user.plan is a field
	switch {
	case !member && p.take("user"):
		return Per{At: at}
	case !member && p.take("session"):
		per := Per{At: at, Kind: PerSession, Gap: DefaultGap}
		if p.take("gap") {
			per.Gap = p.duration("gap", MaxDuration)
		}
		return per
	}
	return Per{At: at, Kind: PerField, Field: p.field()}
}

func (p *parser) trend() {
	t := &Trend{}
	p.q.Trend = t
	open := 0 // the first series that still waits for its `of`
	for {
		if len(t.Series) == MaxSeries {
			p.fail(p.cur().at, CodeLimit, "", "expected at most %d measures, found more", MaxSeries)
		}
		s := Series{At: p.cur().at, Value: p.measure()}
		if p.takeSymbol("/") {
			per := p.measure()
			s.Per = &per
		}
		t.Series = append(t.Series, s)
		if of := &t.Series[len(t.Series)-1].last().Of; len(of.Alternatives) > 0 {
			share(t.Series[open:], of)
			open = len(t.Series)
		}
		if !p.takeSymbol(",") {
			break
		}
	}
	if open < len(t.Series) {
		p.expect(wantWord, "of")
		p.unexpectedHint("name the event: of page_viewed; or every event: of any")
	}
}

// last is the measure of a series that is written last.
func (s *Series) last() *Measure {
	if s.Per != nil {
		return s.Per
	}
	return &s.Value
}

// share gives the measures without an `of` that of the next one that has it.
// The last one of the series has it.
func share(series []Series, of *EventSel) {
	for i := len(series) - 1; i >= 0; i-- {
		s := &series[i]
		for _, m := range [2]*Measure{s.Per, &s.Value} {
			if m == nil {
				continue
			}
			if len(m.Of.Alternatives) == 0 {
				m.Of = *of
			} else {
				of = &m.Of
			}
		}
	}
}

// measure reads an aggregation and its `of`, if it is there.
func (p *parser) measure() Measure {
	t := p.cur()
	m := Measure{At: t.at}
	m.Agg = AggPercentile
	if !p.percentile(&m) {
		for i, name := range aggNames {
			if Agg(i) != AggPercentile && p.cur().isWord(name) {
				m.Agg = Agg(i)
			} else if Agg(i) != AggPercentile {
				p.expect(wantWord, name)
			}
		}
		if m.Agg == AggPercentile {
			p.expect(wantOther, "a percentile such as p95")
			p.unexpected()
		}
		p.next()
	}
	if m.Agg.HasField() {
		p.needSymbol("(")
		m.Field = p.field()
		if m.Agg != AggDistinct {
			p.numeric(&m.Field, t.value)
		}
		p.needSymbol(")")
	}
	if p.take("of") {
		m.Of = p.selection()
	}
	return m
}

// percentile reads p95 or p99.9, which is three tokens, if it is there.
func (p *parser) percentile(m *Measure) bool {
	t := p.cur()
	if t.kind != tokenWord || t.value[0] != 'p' || len(t.value) == 1 || digits(t.value[1:]) != len(t.value)-1 {
		return false
	}
	p.next()
	text := t.value[1:]
	if dot, frac := p.cur(), p.peek(1); dot.isSymbol(".") && dot.at.Offset == t.end && frac.kind == tokenNumber && frac.at.Offset == dot.end {
		p.next()
		text += "." + p.next().value
	}
	v, err := strconv.ParseFloat(text, 64)
	if err != nil || v > 100 || len(text) > len("100.000") || strings.ContainsAny(text, "eE-") || strings.Count(text, ".") > 1 {
		p.fail(t.at, CodeValue, "", "expected a percentile from p0 to p100 with at most three decimals, found `p%s`", text)
	}
	if dot := strings.IndexByte(text, '.'); dot >= 0 && len(text)-dot-1 > 3 {
		p.fail(t.at, CodeValue, "", "expected a percentile from p0 to p100 with at most three decimals, found `p%s`", text)
	}
	m.Percentile = v
	return true
}

// numeric sees to it that a field can hold numbers.
func (p *parser) numeric(f *Field, what string) {
	if !f.Scope.HasKeys() {
		p.fail(f.At, CodeType, "`distinct` counts different values", "expected a property, context field or trait for `%s`, found `%s`, which is no number", what, f.Path)
	}
}

// atAnchor tells whether `from` of a paths query names an event, not a time.
func (p *parser) atAnchor() bool {
	if p.q.Kind != KindPaths {
		return false
	}
	t := p.peek(1)
	if t.kind == tokenString {
		_, ok := parseTime(t.value)
		return !ok
	}
	return t.kind == tokenWord || t.kind == tokenCursor || t.isSymbol("(")
}

// anchor reads the event that paths begin or end with.
func (p *parser) anchor(word string) {
	s := p.selection()
	if word == "from" {
		p.q.Paths.From = &s
	} else {
		p.q.Paths.To = &s
	}
}

func (p *parser) attributionClause(word string) {
	a := p.q.Attribution
	switch word {
	case "touch":
		a.Touch = p.selection()
	case "model":
		a.Model = Model(p.oneOf(modelNames[:]))
	case "lookback":
		a.Lookback = p.duration("lookback", MaxDuration)
	case "half_life":
		a.HalfLife = p.duration("half_life", MaxDuration)
	case "value":
		f := p.field()
		p.numeric(&f, "value")
		a.Value = &f
	}
}

func (p *parser) experimentClause(word string) {
	x := p.q.Experiment
	switch word {
	case "goal":
		x.Goal = p.selection()
	case "exposure":
		x.Exposure = p.selection()
	case "within":
		x.Within = p.duration("within", MaxDuration)
	case "control":
		v := p.literal(&x.Variant)
		if v.Kind == LitNull || v.Kind == LitTime {
			p.fail(v.At, CodeType, "", "expected a string, number or boolean as the control's variant, found %s", litNames[v.Kind])
		}
		x.Control = &v
	}
}
