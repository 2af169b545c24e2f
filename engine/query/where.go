package query

import (
	"encoding/json"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"

	"spoor/engine/query/lang"
	"spoor/engine/query/predicate"
	"spoor/engine/query/scan"
	"spoor/engine/traits"
	"spoor/index"
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
	c := predicate.Compiler{Location: x.loc, Where: x.where, Cohort: func(name string) (*scan.Filter, error) {
		set, err := x.cohort(name)
		if err != nil {
			return nil, err
		}
		return scan.OfPerson(func(p uint32) bool { return set.Has(x.view.Identity.Person(p)) }), nil
	}}
	return c.Filter(e)
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
	if f.Scope == lang.ScopeUser {
		return scan.Field{Kind: scan.FieldTrait, Trait: x.trait(f)}
	}
	if f.Scope == lang.ScopeProperty || f.Scope == lang.ScopeContext {
		x.known(f)
	}
	return predicate.Column(f)
}

// known warns of a field that no event has.
func (x *exec) known(f *lang.Field) {
	if slices.ContainsFunc(x.view.Segments, func(r *segment.Reader) bool { return x.view.HasPath(r, f.Path) }) {
		return
	}
	scope, name, _ := strings.Cut(f.Path, ".")
	known := map[string]bool{} // in the same scope, without it
	for _, r := range x.view.Segments {
		for _, p := range r.Paths() {
			if !x.view.HasPath(r, p) {
				continue // an erased field is not named
			}
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

// maxCohortDepth bounds cohorts that are defined by other cohorts.
const maxCohortDepth = 8

// QueryDocument is the kind of document that holds a saved query, as JSON of Saved.
const QueryDocument = "query"

// Saved is a query that was committed under a name.
type Saved struct {
	Kind  string `json:"kind"`
	Query string `json:"query"`
}

// cohort are the persons of a saved users query.
func (x *exec) cohort(name string) (index.Bits, error) {
	doc, ok := x.e.store.Document(QueryDocument, name)
	if !ok {
		return nil, failf("unknown_cohort", "no saved query is named %q; save a users query under that name", name)
	}
	var saved Saved
	if err := json.Unmarshal(doc.Value, &saved); err != nil {
		return nil, failf("bad_cohort", "the saved query %q cannot be read; save it again", name)
	}
	q, err := lang.Parse(saved.Query)
	if err != nil {
		return nil, failf("bad_cohort", "the saved query %q does not parse: %v", name, err)
	}
	if q.Kind != lang.KindUsers {
		return nil, failf("bad_cohort", "the saved query %q is a %s; a cohort is a users query", name, q.Kind)
	}
	if x.cohorts >= maxCohortDepth {
		return nil, failf("bad_cohort", "cohorts are nested more than %d deep", maxCohortDepth)
	}
	inner, err := x.e.newExec(x.ctx, q, x.view)
	if err != nil {
		return nil, err
	}
	inner.now, inner.cohorts = x.now, x.cohorts+1
	inner.from, inner.to = q.Range.Resolve(x.now, inner.loc)
	_, set, err := inner.matching()
	return set, err
}
