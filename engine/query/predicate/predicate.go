// Package predicate makes filters over rows of the conditions of the query
// language. Queries do so for their clauses, and the engine for what is to be
// erased: it stands between the language (lang) and the reading of columns (scan).
package predicate

import (
	"bytes"
	"fmt"
	"time"

	"spoor/engine/query/lang"
	"spoor/engine/query/scan"
)

// Compiler makes filters. Location is the time zone of times without one; Where
// makes a filter of a test of a field, Cohort one of the persons of a saved query.
type Compiler struct {
	Location *time.Location
	Where    func(f *lang.Field, t scan.Test) *scan.Filter
	Cohort   func(name string) (*scan.Filter, error)
}

// Column says where a field of an event is stored; a trait of a person is none.
func Column(f *lang.Field) scan.Field {
	switch f.Scope {
	case lang.ScopeUserID:
		return scan.Field{Kind: scan.FieldUser}
	case lang.ScopeAnonymousID:
		return scan.Field{Kind: scan.FieldAnonymous}
	case lang.ScopeEventName:
		return scan.Field{Kind: scan.FieldEvent}
	case lang.ScopeSource:
		return scan.Field{Kind: scan.FieldSource}
	case lang.ScopeTimestamp:
		return scan.Field{Kind: scan.FieldTime}
	case lang.ScopeReceivedAt:
		return scan.Field{Kind: scan.FieldReceived}
	}
	return scan.Field{Kind: scan.FieldColumn, Path: f.Path}
}

// Filter makes a filter of a predicate; nil of nil.
func (c *Compiler) Filter(e lang.Expr) (*scan.Filter, error) {
	switch e := e.(type) {
	case nil:
		return nil, nil
	case *lang.And:
		kids, err := c.filters(e.Terms)
		return scan.And(kids...), err
	case *lang.Or:
		kids, err := c.filters(e.Terms)
		return scan.Or(kids...), err
	case *lang.Not:
		f, err := c.Filter(e.Term)
		if err != nil {
			return nil, err
		}
		return scan.Not(f), nil
	case *lang.Compare:
		f := c.Where(&e.Field, c.compare(e.Op, &e.Value))
		if e.Op == lang.NotEqual {
			return scan.Not(f), nil
		}
		return f, nil
	case *lang.In:
		f := c.Where(&e.Field, c.oneOf(e.Values))
		if e.Negated {
			return scan.Not(f), nil
		}
		return f, nil
	case *lang.Match:
		return c.Where(&e.Field, scan.Test{Text: matcher(e)}), nil
	case *lang.Exists:
		f := c.Where(&e.Field, scan.Test{
			Text:   func([]byte) bool { return true },
			Number: func(float64) bool { return true },
			Int:    func(int64) bool { return true },
			Bool:   func(bool) bool { return true },
			JSON:   func([]byte) bool { return true },
			Null:   true,
		})
		if e.Missing {
			return scan.Not(f), nil
		}
		return f, nil
	case *lang.InCohort:
		f, err := c.Cohort(e.Name)
		if err != nil {
			return nil, err
		}
		if e.Negated {
			return scan.Not(f), nil
		}
		return f, nil
	}
	return nil, fmt.Errorf("this condition cannot be answered: %T", e)
}

func (c *Compiler) filters(terms []lang.Expr) ([]*scan.Filter, error) {
	kids := make([]*scan.Filter, len(terms))
	for i, t := range terms {
		var err error
		if kids[i], err = c.Filter(t); err != nil {
			return nil, err
		}
	}
	return kids, nil
}

// compare is the test of a comparison; of != it is that of =, to be negated.
func (c *Compiler) compare(op lang.CompareOp, v *lang.Literal) scan.Test {
	holds := func(order int) bool {
		switch op {
		case lang.Less:
			return order < 0
		case lang.LessEqual:
			return order <= 0
		case lang.Greater:
			return order > 0
		case lang.GreaterEqual:
			return order >= 0
		}
		return order == 0
	}
	switch v.Kind {
	case lang.LitString:
		want := []byte(v.Text)
		return scan.Test{Text: func(t []byte) bool { return holds(bytes.Compare(t, want)) }}
	case lang.LitBool:
		return scan.Test{Bool: func(b bool) bool { return b == v.Bool }}
	case lang.LitNull:
		return scan.Test{Null: true}
	case lang.LitTime:
		at := v.Time.Resolve(c.Location)
		return scan.Test{Int: func(t int64) bool { return holds(compareNumbers(t, at)) }}
	}
	return scan.Test{
		Number: func(n float64) bool { return holds(compareFloat(n, v)) },
		Int:    func(n int64) bool { return holds(compareInt(n, v)) },
	}
}

func compareNumbers[T int64 | float64](a, b T) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// compareFloat compares a number that a float64 holds with a literal that may
// be an integer beyond 2^53: floats near it never equal it, their order is that
// of the nearest float64 with the rest deciding.
func compareFloat(n float64, v *lang.Literal) int {
	c := compareNumbers(n, v.Num)
	if c == 0 && v.Form == lang.NumInt {
		if n >= 1<<63 {
			return 1
		}
		return compareNumbers(int64(n), v.Int)
	}
	return c
}

func compareInt(n int64, v *lang.Literal) int {
	if v.Form == lang.NumInt {
		return compareNumbers(n, v.Int)
	}
	switch {
	case v.Num >= 1<<63:
		return -1
	case v.Num < -1<<63:
		return 1
	}
	if c := compareNumbers(n, int64(v.Num)); c != 0 || v.Num == float64(int64(v.Num)) {
		return c
	}
	return compareNumbers(0, v.Num-float64(int64(v.Num)))
}

// oneOf is the test of `in`.
func (c *Compiler) oneOf(values []lang.Literal) scan.Test {
	texts, times := map[string]bool{}, map[int64]bool{}
	nums, ints := map[float64]bool{}, map[int64]bool{}
	var bools [2]bool
	t := scan.Test{}
	for i := range values {
		switch v := &values[i]; v.Kind {
		case lang.LitString:
			texts[v.Text] = true
		case lang.LitBool:
			if v.Bool {
				bools[1] = true
			} else {
				bools[0] = true
			}
		case lang.LitNull:
			t.Null = true
		case lang.LitTime:
			times[v.Time.Resolve(c.Location)] = true
		case lang.LitNumber:
			if v.Form == lang.NumInt {
				ints[v.Int] = true
			} else {
				nums[v.Num] = true
			}
		}
	}
	if len(texts) > 0 {
		t.Text = func(b []byte) bool { return texts[string(b)] }
	}
	if bools[0] || bools[1] {
		t.Bool = func(b bool) bool { return b && bools[1] || !b && bools[0] }
	}
	if len(nums) > 0 {
		t.Number = func(n float64) bool { return nums[n] }
	}
	if len(ints) > 0 || len(times) > 0 {
		t.Int = func(n int64) bool { return ints[n] || times[n] }
	}
	return t
}

func matcher(e *lang.Match) func([]byte) bool {
	want := []byte(e.Text)
	switch e.Op {
	case lang.Contains:
		return func(t []byte) bool { return bytes.Contains(t, want) }
	case lang.StartsWith:
		return func(t []byte) bool { return bytes.HasPrefix(t, want) }
	case lang.EndsWith:
		return func(t []byte) bool { return bytes.HasSuffix(t, want) }
	}
	return e.Regexp.Match
}
