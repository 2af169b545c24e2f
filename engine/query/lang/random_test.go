package lang

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// The generators make every Query that Parse can return, as a tree: what the
// parser does is not used to make what it is tested with.
type gen struct{ *rapid.T }

func (g gen) intn(n int, label string) int { return rapid.IntRange(0, n-1).Draw(g.T, label) }
func (g gen) yes(label string) bool        { return rapid.Bool().Draw(g.T, label) }

func (g gen) name() string {
	return rapid.OneOf(
		rapid.SampledFrom([]string{"a", "b", "any", "or", "of", "within", "from", "user", "userId", "in", "not", "2026-05-01", "p95", "é", "x y", `q"\`, "\n", "$_9", "a.b"}),
		rapid.StringN(1, 8, 32),
	).Draw(g.T, "name")
}

func (g gen) field() Field {
	scope := Scope(g.intn(len(scopeNames), "scope"))
	if !scope.HasKeys() {
		return NewField(scope)
	}
	keys := []string{g.name()}
	for g.intn(3, "deeper") == 0 && len(keys) < 4 {
		keys = append(keys, g.name())
	}
	return NewField(scope, keys...)
}

func (g gen) numeric() Field {
	return NewField(Scope(g.intn(int(ScopeUser)+1, "scope")), g.name())
}

func (g gen) number() Literal {
	text := rapid.OneOf(
		rapid.StringMatching(`-?[0-9]{1,25}(\.[0-9]{1,20})?([eE][+-]?[0-9]{1,2})?`),
		rapid.Map(rapid.Float64(), func(f float64) string { return fmt.Sprint(f) }),
		rapid.Map(rapid.Int64(), func(n int64) string { return fmt.Sprint(n) }),
	).Draw(g.T, "number")
	v, ok := numberLiteral(text)
	if !ok {
		v, _ = numberLiteral("1")
	}
	return v
}

func (g gen) time() Time {
	micros := rapid.Int64Range(-2208988800e6, 7258118399e6).Draw(g.T, "micros")
	if g.yes("whole day") {
		micros -= micros % Day
	}
	return Time{Local: g.yes("local"), Micros: micros}
}

func (g gen) literal(f *Field, ordered bool) Literal {
	switch {
	case f.Scope.IsTime():
		return Literal{Kind: LitTime, Time: g.time()}
	case !f.Scope.HasKeys():
		return Literal{Kind: LitString, Text: rapid.String().Draw(g.T, "text")}
	}
	kinds := 4
	if ordered {
		kinds = 2
	}
	switch g.intn(kinds, "literal") {
	case 0:
		return Literal{Kind: LitString, Text: rapid.String().Draw(g.T, "text")}
	case 1:
		return g.number()
	case 2:
		return Literal{Kind: LitBool, Bool: g.yes("bool")}
	}
	return Literal{Kind: LitNull}
}

func (g gen) expr(depth int) Expr {
	n := 7
	if depth == 0 {
		n = 4
	}
	f := g.field()
	switch g.intn(n, "expr") {
	case 0:
		op := CompareOp(g.intn(len(compareNames), "op"))
		return &Compare{Field: f, Op: op, Value: g.literal(&f, op > NotEqual)}
	case 1:
		e := &In{Field: f, Negated: g.yes("negated")}
		for range 1 + g.intn(3, "values") {
			e.Values = append(e.Values, g.literal(&f, false))
		}
		return e
	case 2:
		if g.yes("cohort") {
			return &InCohort{Name: g.name(), Negated: g.yes("negated")}
		}
		return &Exists{Field: f, Missing: g.yes("missing")}
	case 3:
		e := &Match{Field: g.numeric(), Op: MatchOp(g.intn(len(matchNames), "match")), Text: rapid.String().Draw(g.T, "text")}
		if e.Op == Matches {
			e.Text = regexp.QuoteMeta(e.Text)
			e.Regexp = regexp.MustCompile(e.Text)
		}
		return e
	case 4:
		return &Not{Term: g.expr(depth - 1)}
	case 5:
		return &And{Terms: g.terms(depth, andTerms)}
	}
	return &Or{Terms: g.terms(depth, orTerms)}
}

func (g gen) terms(depth int, inner func(Expr) []Expr) []Expr {
	var terms []Expr
	for range 2 + g.intn(2, "terms") {
		terms = append(terms, g.expr(depth-1))
	}
	return flatten(terms, inner)
}

func (g gen) predicate(label string) Expr {
	if g.yes(label) {
		return nil
	}
	return g.expr(3)
}

func (g gen) sel() EventSel {
	var s EventSel
	for range 1 + g.intn(3, "alternatives") {
		m := EventMatch{Any: g.intn(4, "any") == 0}
		if !m.Any {
			m.Name = g.name()
		}
		m.Where = g.predicate("no bracket")
		s.Alternatives = append(s.Alternatives, m)
	}
	if len(s.Alternatives) > 1 {
		s.Where = g.predicate("no common bracket")
	}
	return s
}

func (g gen) duration() int64 {
	return rapid.Int64Range(1, MaxDuration/Millisecond).Draw(g.T, "ms") * Millisecond
}

func (g gen) interval() Interval {
	i := Interval{Unit: Unit(1 + g.intn(int(UnitDuration), "unit"))}
	if i.Unit == UnitDuration {
		i.Length = g.duration()
	}
	return i
}

func (g gen) measure() Measure {
	m := Measure{Agg: Agg(g.intn(len(aggNames), "agg")), Of: g.sel()}
	switch {
	case m.Agg == AggDistinct:
		m.Field = g.field()
	case m.Agg.HasField():
		m.Field = g.numeric()
	}
	if m.Agg == AggPercentile {
		m.Percentile = float64(g.intn(100_001, "percentile")) / 1000
	}
	return m
}

func (g gen) query() *Query {
	q := &Query{Kind: Kind(1 + g.intn(int(KindStickiness), "kind")), TZ: DefaultTZ, Range: Range{Last: DefaultLast}}
	q.Limit = q.Kind.defaultLimit()
	g.head(q)
	has := func(word string) bool { return findClause(word).kinds.has(q.Kind) && g.yes(word) }
	if has("where") {
		q.Where = g.expr(3)
	}
	if has("user") {
		q.User = g.name()
	}
	if has("every") {
		q.Every = g.interval()
	} else if kinds(KindRetention, KindLifecycle, KindStickiness).has(q.Kind) {
		q.Every = Interval{Unit: UnitDay}
	}
	if has("by") || q.Kind == KindAttribution {
		for range 1 + g.intn(3, "fields") {
			f := ByField{Field: g.field()}
			if q.Kind == KindFunnel {
				f.Step = 1 + g.intn(len(q.Funnel.Steps), "step")
				if g.yes("at last") {
					f.Step = AtLast
				}
			}
			q.By = append(q.By, f)
		}
	}
	if g.yes("last") {
		q.Range = Range{Last: rapid.Int64Range(1, MaxLast/Millisecond).Draw(g.T, "ms") * Millisecond}
	} else {
		from, to := g.time(), g.time()
		if from.Micros > to.Micros {
			from, to = to, from
		}
		// Further apart than any two zones are.
		if from.Micros+3*Day < to.Micros {
			q.Range = Range{From: from, To: to}
		}
	}
	q.TZ = rapid.SampledFrom(strings.Fields(zoneNames)).Draw(g.T, "zone")
	if has("limit") {
		q.Limit = 1 + g.intn(MaxLimit, "limit")
	}
	q.Newest = has("newest")
	if has("after") {
		q.After = g.name()
	}
	return q
}

func (g gen) head(q *Query) {
	switch q.Kind {
	case KindFunnel:
		q.Funnel = g.funnel()
	case KindTrend:
		q.Trend = &Trend{}
		for range 1 + g.intn(3, "series") {
			s := Series{Value: g.measure()}
			if g.yes("ratio") {
				m := g.measure()
				s.Per = &m
			}
			q.Trend.Series = append(q.Trend.Series, s)
		}
		if n := len(q.Trend.Series); n > 1 && g.yes("shared") {
			q.Trend.Series[n-2].last().Of = q.Trend.Series[n-1].Value.Of
		}
	case KindRetention:
		q.Retention = &Retention{Start: g.sel(), Return: g.sel(), Periods: 1 + g.intn(MaxPeriods, "periods"), First: g.yes("first"), Rolling: g.yes("rolling"), Times: 1 + int64(g.intn(3, "times"))}
	case KindSessions:
		q.Sessions = &Sessions{Gap: g.duration()}
		if g.yes("max") {
			q.Sessions.Max = g.duration()
		}
	case KindPaths:
		q.Paths = &Paths{Depth: 1 + g.intn(MaxDepth, "depth"), Collapse: g.yes("collapse"), Gap: g.duration()}
		s := g.sel()
		switch g.intn(3, "anchor") {
		case 0:
			q.Paths.From = &s
		case 1:
			q.Paths.To = &s
		}
	case KindAttribution:
		a := &Attribution{Conversion: g.sel(), Touch: g.sel(), Model: Model(g.intn(len(modelNames), "model")), Lookback: g.duration()}
		if a.Model == ModelTimeDecay {
			a.HalfLife = g.duration()
		}
		if g.yes("value") {
			f := g.numeric()
			a.Value = &f
		}
		q.Attribution = a
	case KindExperiment:
		q.Experiment = &Experiment{Variant: g.numeric(), Goal: g.sel(), Exposure: g.sel()}
		if g.yes("control") {
			v := g.literal(&q.Experiment.Variant, true)
			q.Experiment.Control = &v
		}
		if g.yes("within") {
			q.Experiment.Within = g.duration()
		}
	case KindTop:
		q.Top = &Top{Field: g.field(), Of: g.sel()}
	case KindEvents:
		q.Events = &Events{Of: g.sel()}
	case KindUsers:
		q.Users = &Users{Of: g.sel(), Bound: Bound(g.intn(3, "bound")), Times: int64(1 + g.intn(100, "times"))}
	case KindLifecycle:
		q.Lifecycle = &Lifecycle{Of: g.sel()}
	case KindStickiness:
		q.Stickiness = &Stickiness{Of: g.sel()}
	}
}

func (g gen) funnel() *Funnel {
	f := &Funnel{Within: g.duration(), Order: Order(g.intn(3, "order")), Per: Per{Kind: PerKind(g.intn(3, "per"))}}
	n := 1 + g.intn(4, "steps")
	for i := range n {
		f.Steps = append(f.Steps, Step{EventSel: g.sel(), Optional: i > 0 && i < n-1 && g.yes("optional")})
	}
	switch f.Per.Kind {
	case PerSession:
		f.Per.Gap = g.duration()
	case PerField:
		f.Per.Field = g.field()
	}
	for n > 1 && g.intn(3, "excluding") == 0 && len(f.Excluding) < 3 {
		from := 1 + g.intn(n-1, "from")
		f.Excluding = append(f.Excluding, Excluding{EventSel: g.sel(), From: from, To: from + 1 + g.intn(n-from, "to")})
	}
	for g.intn(3, "never") == 0 && len(f.Never) < 3 {
		f.Never = append(f.Never, Never{g.sel()})
	}
	for g.intn(3, "holding") == 0 && len(f.Holding) < 3 {
		f.Holding = append(f.Holding, g.field())
	}
	return f
}

func TestTheCanonicalTextOfAnyQueryParsesToAnEqualQuery(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		q := gen{rt}.query()
		again, err := parse(q.String())
		if err != nil {
			rt.Fatalf("%v\n%s", err, q)
		}
		requireSameQuery(rt, q, again)
		if again.String() != q.String() {
			rt.Fatalf("canonical text is no fixed point:\n%s\n%s", q, again)
		}
	})
}

func FuzzParseNeverPanicsAndItsCanonicalTextIsAFixedPoint(f *testing.F) {
	for _, block := range fenced(Grammar(), "spoor") {
		for _, text := range strings.Split(strings.TrimSpace(block), "\n") {
			f.Add(text)
		}
	}
	for _, text := range []string{"", "\"", "\\u", "funnel \xff", "events where x = \"\\ud800\"", "# c", "trend p9.9(x) of a", "paths from (\"2026-01-01\")"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		Complete(text, len(text)/2, nil)
		Complete(text, len(text), nil)
		q, err := Parse(text)
		if err != nil {
			if e, ok := err.(*Error); !ok || e.Line < 1 || e.Column < 1 || e.Message == "" || e.Code == "" {
				t.Fatalf("error without a place: %#v", err)
			}
			return
		}
		again, err := parse(q.String())
		if err != nil {
			t.Fatalf("%v\n%q\n%s", err, text, q)
		}
		requireSameQuery(t, q, again)
		if again.String() != q.String() {
			t.Fatalf("canonical text is no fixed point:\n%s\n%s", q, again)
		}
		formatted, err := Format(text)
		if err != nil {
			t.Fatal(err)
		}
		if len(formatted) > MaxTextBytes {
			return
		}
		twice, err := Format(formatted)
		if err != nil || twice != formatted {
			t.Fatalf("formatting is no fixed point: %v\n%s\n---\n%s", err, formatted, twice)
		}
	})
}
