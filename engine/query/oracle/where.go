package oracle

import (
	"cmp"
	"fmt"
	"math/big"
	"strings"

	"spoor/engine/query/lang"
)

// selects tells whether an event is one of a selection.
func (r *run) selects(s *lang.EventSel, p *person, e *Event) bool {
	for i := range s.Alternatives {
		a := &s.Alternatives[i]
		if (a.Any || a.Name == e.Name) && r.holds(s.Predicate(i), p, e) {
			return true
		}
	}
	return false
}

// holds evaluates a predicate; nil holds always.
func (r *run) holds(x lang.Expr, p *person, e *Event) bool {
	switch x := x.(type) {
	case nil:
		return true
	case *lang.And:
		for _, t := range x.Terms {
			if !r.holds(t, p, e) {
				return false
			}
		}
		return true
	case *lang.Or:
		for _, t := range x.Terms {
			if r.holds(t, p, e) {
				return true
			}
		}
		return false
	case *lang.Not:
		return !r.holds(x.Term, p, e)
	case *lang.Compare:
		return r.compare(read(p, e, &x.Field), x.Op, &x.Value)
	case *lang.In:
		v := read(p, e, &x.Field)
		for i := range x.Values {
			if r.compare(v, lang.Equal, &x.Values[i]) {
				return !x.Negated
			}
		}
		return x.Negated
	case *lang.Match:
		v := read(p, e, &x.Field)
		return v.kind == text && matches(x, v.text)
	case *lang.Exists:
		return (read(p, e, &x.Field).kind == missing) == x.Missing
	case *lang.InCohort:
		return r.cohort(x.Name)[p.personID] != x.Negated
	}
	panic(fmt.Sprintf("oracle: unknown predicate %T", x))
}

func matches(x *lang.Match, s string) bool {
	switch x.Op {
	case lang.Contains:
		return strings.Contains(s, x.Text)
	case lang.StartsWith:
		return strings.HasPrefix(s, x.Text)
	case lang.EndsWith:
		return strings.HasSuffix(s, x.Text)
	}
	return x.Regexp.MatchString(s)
}

// compare is false for values of different types, whatever the operator but !=.
func (r *run) compare(v value, op lang.CompareOp, l *lang.Literal) bool {
	order, ok := 0, false
	switch {
	case l.Kind == lang.LitString && v.kind == text:
		order, ok = strings.Compare(v.text, l.Text), true
	case l.Kind == lang.LitNumber && v.kind == number:
		n, valid := new(big.Rat).SetString(l.Text)
		if !valid {
			panic("oracle: the literal is no number: " + l.Text)
		}
		order, ok = v.num.Cmp(n), true
	case l.Kind == lang.LitTime && v.kind == moment:
		order, ok = cmp.Compare(v.time, l.Time.Resolve(r.loc)), true
	case l.Kind == lang.LitBool && v.kind == boolean && v.bool == l.Bool,
		l.Kind == lang.LitNull && v.kind == null:
		ok = true
	}
	switch op {
	case lang.Equal:
		return ok && order == 0
	case lang.NotEqual:
		return !ok || order != 0
	case lang.Less:
		return ok && order < 0
	case lang.LessEqual:
		return ok && order <= 0
	case lang.Greater:
		return ok && order > 0
	}
	return ok && order >= 0
}
