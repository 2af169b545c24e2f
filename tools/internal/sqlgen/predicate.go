package sqlgen

import (
	"fmt"
	"strings"

	"spoor/engine/query/lang"
	"spoor/server/rawtier/parquetfile"
)

// typed are the columns of a field, one for each type; "" where it has none.
type typed struct{ str, num, boolean string }

// column is a typed column of a path, which the query then reads.
func (w *writer) column(path, typ string) string {
	name := parquetfile.ColumnName(path, typ)
	w.columns[name] = true
	return w.d.name(name)
}

func (w *writer) field(f *lang.Field) (typed, error) {
	switch f.Scope {
	case lang.ScopeProperty, lang.ScopeContext:
		return typed{w.column(f.Path, "str"), w.column(f.Path, "num"), w.column(f.Path, "bool")}, nil
	case lang.ScopeUserID, lang.ScopeAnonymousID, lang.ScopeEventName:
		return typed{str: f.Scope.String()}, nil
	case lang.ScopeSource:
		return typed{str: "sourceName"}, nil
	}
	return typed{}, w.refuse("the field %s", f)
}

// timeOf is a field that is a time, in microseconds.
func timeOf(f *lang.Field) (column string, ok bool) {
	switch f.Scope {
	case lang.ScopeTimestamp:
		return "t", true
	case lang.ScopeReceivedAt:
		return "received", true
	}
	return "", false
}

// predicate is a condition of SQL that is never null; "true" of none.
func (w *writer) predicate(e lang.Expr) (string, error) {
	switch e := e.(type) {
	case nil:
		return "true", nil
	case *lang.And:
		return w.joined(e.Terms, " AND ")
	case *lang.Or:
		return w.joined(e.Terms, " OR ")
	case *lang.Not:
		p, err := w.predicate(e.Term)
		return "(NOT " + p + ")", err
	case *lang.Compare:
		return w.compare(&e.Field, e.Op, &e.Value)
	case *lang.In:
		var any []string
		for i := range e.Values {
			p, err := w.compare(&e.Field, lang.Equal, &e.Values[i])
			if err != nil {
				return "", err
			}
			any = append(any, p)
		}
		p := "(" + strings.Join(any, " OR ") + ")"
		if e.Negated {
			p = "(NOT " + p + ")"
		}
		return p, nil
	case *lang.Match:
		return w.match(e)
	case *lang.Exists:
		return w.exists(e)
	}
	return "", w.refuse("a condition on cohorts")
}

func (w *writer) joined(terms []lang.Expr, by string) (string, error) {
	var out []string
	for _, t := range terms {
		p, err := w.predicate(t)
		if err != nil {
			return "", err
		}
		out = append(out, p)
	}
	return "(" + strings.Join(out, by) + ")", nil
}

var operators = map[lang.CompareOp]string{
	lang.Equal: "=", lang.NotEqual: "=", lang.Less: "<", lang.LessEqual: "<=", lang.Greater: ">", lang.GreaterEqual: ">=",
}

func (w *writer) compare(f *lang.Field, op lang.CompareOp, v *lang.Literal) (string, error) {
	left, right := "", ""
	if column, ok := timeOf(f); ok {
		left, right = column, fmt.Sprint(v.Time.Resolve(w.q.Location()))
	} else {
		t, err := w.field(f)
		if err != nil {
			return "", err
		}
		switch v.Kind {
		case lang.LitString:
			left, right = t.str, w.d.text(v.Text)
		case lang.LitNumber:
			if v.Form != lang.NumFloat {
				return "", w.refuse("the number %s, which a double does not hold", v.Text)
			}
			left, right = t.num, w.d.number(v.Num)
		case lang.LitBool:
			left, right = t.boolean, fmt.Sprint(v.Bool)
		default:
			return "", w.refuse("a comparison with null")
		}
	}
	p := "false"
	if left != "" {
		p = fmt.Sprintf("coalesce(%s %s %s, false)", left, operators[op], right)
	}
	if op == lang.NotEqual {
		p = "(NOT " + p + ")"
	}
	return p, nil
}

func (w *writer) match(e *lang.Match) (string, error) {
	t, err := w.field(&e.Field)
	if err != nil {
		return "", err
	}
	function := map[lang.MatchOp]string{
		lang.Contains:   w.d.pick("contains(%s, %s)", "position(%s, %s) > 0"),
		lang.StartsWith: w.d.pick("starts_with(%s, %s)", "startsWith(%s, %s)"),
		lang.EndsWith:   w.d.pick("ends_with(%s, %s)", "endsWith(%s, %s)"),
		lang.Matches:    w.d.pick("regexp_matches(%s, %s)", "match(%s, %s)"),
	}[e.Op]
	return "coalesce(" + fmt.Sprintf(function, t.str, w.d.text(e.Text)) + ", false)", nil
}

// exists is about values that have a column: an array and a null have none.
func (w *writer) exists(e *lang.Exists) (string, error) {
	if e.Field.Scope.HasKeys() {
		return "", w.refuse("exists and missing of %s, for arrays and nulls have no column", &e.Field)
	}
	p := "true"
	if _, ok := timeOf(&e.Field); !ok {
		t, err := w.field(&e.Field)
		if err != nil {
			return "", err
		}
		p = "(" + t.str + " IS NOT NULL)"
	}
	if e.Missing {
		p = "(NOT " + p + ")"
	}
	return p, nil
}

// selection is the condition that an event is one of a selection.
func (w *writer) selection(s *lang.EventSel) (string, error) {
	var any []string
	for i := range s.Alternatives {
		p, err := w.predicate(s.Predicate(i))
		if err != nil {
			return "", err
		}
		if !s.Alternatives[i].Any {
			p = "(eventName = " + w.d.text(s.Alternatives[i].Name) + " AND " + p + ")"
		}
		any = append(any, p)
	}
	return "(" + strings.Join(any, " OR ") + ")", nil
}
