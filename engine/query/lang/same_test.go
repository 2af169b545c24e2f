package lang

import (
	"reflect"
	"regexp"

	"github.com/google/go-cmp/cmp"
)

// requireSameQuery compares two queries but for the places of their parts.
func requireSameQuery(t interface {
	Helper()
	Fatalf(string, ...any)
}, want, got *Query,
) {
	t.Helper()
	diff := cmp.Diff(want, got,
		cmp.FilterPath(func(p cmp.Path) bool {
			f, ok := p.Last().(cmp.StructField)
			return ok && (f.Name() == "clauses" || f.Name() == "loc")
		}, cmp.Ignore()),
		cmp.Comparer(func(Pos, Pos) bool { return true }),
		cmp.Comparer(func(a, b *regexp.Regexp) bool { return a == b || a != nil && b != nil && a.String() == b.String() }),
		cmp.Exporter(func(reflect.Type) bool { return true }))
	if diff != "" {
		t.Fatalf("queries differ:\n%s\nwant %s\ngot  %s", diff, want, got)
	}
}
