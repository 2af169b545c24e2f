package lang

import (
	"strconv"
	"strings"
)

// printer writes the parts of canonical text.
type printer struct{ b strings.Builder }

func (p *printer) text() string   { return p.b.String() }
func (p *printer) raw(s string)   { p.b.WriteString(s) }
func (p *printer) quote(s string) { p.b.WriteString(quote(s)) }

// quote is a string of the language.
func quote(s string) string {
	const hex = "0123456789abcdef"
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\t':
			b.WriteString(`\t`)
		case r == '\r':
			b.WriteString(`\r`)
		case r < 0x20:
			b.WriteString(`\u00`)
			b.WriteByte(hex[r>>4])
			b.WriteByte(hex[r&15])
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}

// bareEvent tells whether an event's name stands without quotes: words that
// mean something are quoted, so that a reader does not stumble.
func bareEvent(name string) bool {
	return isWord(name) && name != "any" && name != "or" && name != "of" && findClause(name) == nil
}

func (p *printer) sel(s *EventSel) {
	if len(s.Alternatives) == 1 {
		p.alternative(&s.Alternatives[0])
		return
	}
	p.raw("(")
	for i := range s.Alternatives {
		if i > 0 {
			p.raw(" or ")
		}
		p.alternative(&s.Alternatives[i])
	}
	p.raw(")")
	p.bracket(s.Where)
}

func (p *printer) alternative(m *EventMatch) {
	switch {
	case m.Any:
		p.raw("any")
	case bareEvent(m.Name):
		p.raw(m.Name)
	default:
		p.quote(m.Name)
	}
	p.bracket(m.Where)
}

func (p *printer) bracket(e Expr) {
	if e != nil {
		p.raw("[")
		p.expr(e, bindOr)
		p.raw("]")
	}
}

// series writes the measures of a trend, `of` once for neighbours that share it.
func (p *printer) series(series []Series) {
	var flat []*Measure
	for i := range series {
		flat = append(flat, &series[i].Value)
		if series[i].Per != nil {
			flat = append(flat, series[i].Per)
		}
	}
	texts := make([]string, len(flat))
	for i, m := range flat {
		texts[i] = selText(&m.Of)
	}
	i := 0
	one := func(m *Measure) {
		p.measure(m)
		if i+1 == len(flat) || texts[i] != texts[i+1] {
			p.raw(" of " + texts[i])
		}
		i++
	}
	for k := range series {
		p.raw([]string{", ", " "}[boolIndex(k == 0)])
		one(&series[k].Value)
		if series[k].Per != nil {
			p.raw(" / ")
			one(series[k].Per)
		}
	}
}

// measure writes a measure without its events.
func (p *printer) measure(m *Measure) {
	p.raw(aggNames[m.Agg])
	if m.Agg == AggPercentile {
		p.raw(strconv.FormatFloat(m.Percentile, 'f', -1, 64))
	}
	if m.Agg.HasField() {
		p.raw("(")
		p.field(&m.Field)
		p.raw(")")
	}
}

func (p *printer) field(f *Field) {
	p.raw(f.Scope.String())
	for _, key := range f.Keys {
		p.raw(".")
		if isWord(key) {
			p.raw(key)
		} else {
			p.quote(key)
		}
	}
}

// expr writes a predicate, in parentheses if it binds less tightly than least.
func (p *printer) expr(e Expr, least int) {
	switch e := e.(type) {
	case *And:
		p.terms(e.Terms, " and ", bindAnd, least)
	case *Or:
		p.terms(e.Terms, " or ", bindOr, least)
	case *Not:
		p.raw("not ")
		p.expr(e.Term, bindAnd+1)
	case *Compare:
		p.field(&e.Field)
		p.raw(" " + e.Op.String() + " ")
		p.literal(&e.Value)
	case *In:
		p.field(&e.Field)
		p.raw([]string{" in (", " not in ("}[boolIndex(e.Negated)])
		for i := range e.Values {
			if i > 0 {
				p.raw(", ")
			}
			p.literal(&e.Values[i])
		}
		p.raw(")")
	case *Match:
		p.field(&e.Field)
		p.raw(" " + e.Op.String() + " ")
		p.quote(e.Text)
	case *Exists:
		p.field(&e.Field)
		p.raw([]string{" exists", " missing"}[boolIndex(e.Missing)])
	case *InCohort:
		p.raw([]string{"user in cohort ", "user not in cohort "}[boolIndex(e.Negated)])
		p.quote(e.Name)
	}
}

func (p *printer) terms(terms []Expr, word string, binds, least int) {
	if binds < least {
		p.raw("(")
		defer p.raw(")")
	}
	for i, t := range terms {
		if i > 0 {
			p.raw(word)
		}
		p.expr(t, binds+1)
	}
}

func (p *printer) literal(v *Literal) {
	switch v.Kind {
	case LitString:
		p.quote(v.Text)
	case LitNumber:
		p.raw(v.Text)
	case LitBool:
		p.raw(strconv.FormatBool(v.Bool))
	case LitNull:
		p.raw("null")
	case LitTime:
		p.quote(v.Time.String())
	}
}

func selText(s *EventSel) string {
	var p printer
	p.sel(s)
	return p.text()
}

func selInParens(s *EventSel) string {
	a := s.Alternatives[0]
	where := a.Where
	a.Where = nil
	var p printer
	p.raw("(")
	p.alternative(&a)
	p.raw(")")
	p.bracket(where)
	return p.text()
}
