package query

import (
	"bytes"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"

	"spoor/engine/query/lang"
	"spoor/engine/query/scan"
	"spoor/engine/traits"
	"spoor/segment"
)

// commonFilter is the query's where and user clauses.
func (x *exec) commonFilter() (*scan.Filter, error) {
	f, err := x.filter(x.q.Where)
	if err != nil || x.q.User == "" {
		return f, err
	}
	person, ok := x.view.Identity.Find(x.q.User)
	if !ok {
		x.warn("no person is known as %q", x.q.User)
		return scan.And(f, nothing), nil
	}
	return scan.And(f, scan.OfPerson(func(p uint32) bool { return x.view.Identity.Person(p) == person })), nil
}

// nothing holds for no row.
var nothing = scan.Where(scan.Field{Kind: scan.FieldEvent}, scan.Test{})

// filter makes a filter of a predicate; nil of nil.
func (x *exec) filter(e lang.Expr) (*scan.Filter, error) {
	switch e := e.(type) {
	case nil:
		return nil, nil
	case *lang.And:
		kids, err := x.filters(e.Terms)
		return scan.And(kids...), err
	case *lang.Or:
		kids, err := x.filters(e.Terms)
		return scan.Or(kids...), err
	case *lang.Not:
		f, err := x.filter(e.Term)
		if err != nil {
			return nil, err
		}
		return scan.Not(f), nil
	case *lang.Compare:
		f := x.where(&e.Field, x.compare(e.Op, &e.Value))
		if e.Op == lang.NotEqual {
			return scan.Not(f), nil
		}
		return f, nil
	case *lang.In:
		f := x.where(&e.Field, x.oneOf(e.Values))
		if e.Negated {
			return scan.Not(f), nil
		}
		return f, nil
	case *lang.Match:
		return x.where(&e.Field, scan.Test{Text: matcher(e)}), nil
	case *lang.Exists:
		f := x.where(&e.Field, scan.Test{
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
		set, err := x.cohort(e.Name)
		if err != nil {
			return nil, err
		}
		f := scan.OfPerson(func(p uint32) bool { return set.Has(x.view.Identity.Person(p)) })
		if e.Negated {
			return scan.Not(f), nil
		}
		return f, nil
	}
	return nil, failf("unsupported", "this condition cannot be answered: %T", e)
}

func (x *exec) filters(terms []lang.Expr) ([]*scan.Filter, error) {
	kids := make([]*scan.Filter, len(terms))
	for i, t := range terms {
		var err error
		if kids[i], err = x.filter(t); err != nil {
			return nil, err
		}
	}
	return kids, nil
}

// where makes a filter of a test of a field.
func (x *exec) where(f *lang.Field, t scan.Test) *scan.Filter {
	if f.Scope == lang.ScopeUser {
		trait := x.trait(f)
		if trait.Empty() {
			path := traits.Path(f.Path)
			x.warn("nobody has the trait %q%s", path, nearest(path, slices.Values(x.view.Identity.TraitPaths())))
		}
		return trait.Where(t)
	}
	return scan.Where(x.field(f), t)
}

// trait reads a trait of everybody, once per query.
func (x *exec) trait(f *lang.Field) *scan.Trait {
	x.traits.Lock()
	defer x.traits.Unlock()
	t := x.traits.byPath[f.Path]
	if t == nil {
		if x.traits.byPath == nil {
			x.traits.byPath = map[string]*scan.Trait{}
		}
		t = scan.NewTrait(x.view.Identity.Trait(traits.Path(f.Path)))
		x.traits.byPath[f.Path] = t
	}
	return t
}

// field says where a field of the language is stored.
func (x *exec) field(f *lang.Field) scan.Field {
	switch f.Scope {
	case lang.ScopeUser:
		return scan.Field{Kind: scan.FieldTrait, Trait: x.trait(f)}
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
	x.known(f)
	return scan.Field{Kind: scan.FieldColumn, Path: f.Path}
}

// known warns of a field that no event has.
func (x *exec) known(f *lang.Field) {
	if slices.ContainsFunc(x.view.Segments, func(r *segment.Reader) bool { return r.HasPath(f.Path) }) {
		return
	}
	scope, name, _ := strings.Cut(f.Path, ".")
	known := map[string]bool{} // in the same scope, without it
	for _, r := range x.view.Segments {
		for _, p := range r.Paths() {
			if strings.HasPrefix(p, f.Path+".") {
				return // it is an object
			}
			if rest, ok := strings.CutPrefix(p, scope+"."); ok {
				known[rest] = true
			}
		}
	}
	hint := ""
	if best := nearestOf(name, maps.Keys(known)); best != "" {
		hint = fmt.Sprintf("; did you mean %q?", scope+"."+best)
	}
	x.warn("no event has the field %s%s", f, hint)
}

// compare is the test of a comparison; of != it is that of =, to be negated.
func (x *exec) compare(op lang.CompareOp, v *lang.Literal) scan.Test {
	holds := func(c int) bool {
		switch op {
		case lang.Less:
			return c < 0
		case lang.LessEqual:
			return c <= 0
		case lang.Greater:
			return c > 0
		case lang.GreaterEqual:
			return c >= 0
		}
		return c == 0
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
		at := v.Time.Resolve(x.loc)
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
func (x *exec) oneOf(values []lang.Literal) scan.Test {
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
			times[v.Time.Resolve(x.loc)] = true
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

// nearest suggests a known name for one that is not.
func nearest(name string, names iter.Seq[string]) string {
	if best := nearestOf(name, names); best != "" {
		return "; did you mean \"" + best + "\"?"
	}
	return ""
}

// nearestOf is the name that differs least, "" when all differ in more than a third.
func nearestOf(name string, names iter.Seq[string]) string {
	best, bestDistance := "", 1+len(name)/3
	for known := range names {
		if d := distance(strings.ToLower(known), strings.ToLower(name), bestDistance); d < bestDistance || d == bestDistance && known < best {
			best, bestDistance = known, d
		}
	}
	return best
}

// distance is the edit distance of two texts, or limit+1 when it is greater.
func distance(a, b string, limit int) int {
	if len(a)-len(b) > limit || len(b)-len(a) > limit {
		return limit + 1
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		diagonal := row[0]
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := diagonal
			if a[i-1] != b[j-1] {
				cost++
			}
			diagonal = row[j]
			row[j] = min(cost, row[j]+1, row[j-1]+1)
		}
	}
	return row[len(b)]
}
