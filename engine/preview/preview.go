// Package preview says what an erasure or a retention would take away, before anybody
// asks for it: it counts in a view of the store and changes nothing.
package preview

import (
	"cmp"
	"context"
	"math"
	"slices"

	"spoor/engine"
	"spoor/engine/erasure"
	"spoor/engine/query/scan"
	"spoor/index"
	"spoor/segment"
)

// Erasure is what a request would take.
type Erasure struct {
	// Known is false where nobody is known by the user's id.
	Known bool `json:"known"`
	// Events would go, or would lose fields.
	Events int64 `json:"events"`
	// IDs of the user would go.
	IDs int `json:"ids,omitzero"`
}

// Of counts what a request, which Check found to be valid, would take.
func Of(ctx context.Context, v *engine.View, r *erasure.Request) (Erasure, error) {
	rec := erasure.NewRecord(r, math.MaxUint64, false, 0, nil)
	out := Erasure{Known: r.User == ""}
	var gone *index.Persons
	if r.User != "" {
		person, ok := v.Identity.Find(r.User)
		if out.Known = ok; !ok {
			return out, nil
		}
		user, anons := v.Identity.IDs(person, math.MaxInt)
		if out.IDs = len(anons); user != nil {
			out.IDs++
		}
		gone = index.NewPersons(v.Identity.Ordinals(person))
		if r.Kind == erasure.Allow {
			return out, nil
		}
	}
	set, err := erasure.NewPreview(rec, gone)
	if err != nil {
		return out, err
	}
	w := scan.NewWorker(scan.Persons{}, v.Identity)
	for _, reader := range v.Segments {
		if err := ctx.Err(); err != nil {
			return out, err
		}
		sections := reader.Sections()
		for i := range sections {
			n, err := count(v, set, &sections[i], w)
			if err != nil {
				return out, err
			}
			out.Events += n
		}
	}
	return out, nil
}

// count is how many rows of a section, of those that are left, a set would take or wipe.
func count(v *engine.View, set *erasure.Set, s *segment.Section, w *scan.Worker) (int64, error) {
	left, n, err := v.Left(s)
	if err != nil || n == 0 {
		return 0, err
	}
	left = slices.Clone(left)
	taken, err := set.Takes(s, w)
	if err != nil || taken == nil {
		return 0, err
	}
	if left != nil {
		for i := range taken {
			taken[i] &= left[i]
		}
	}
	return int64(taken.Count()), nil
}

// Expiring is what a retention would take of one event name.
type Expiring struct {
	Event  string `json:"event"`
	Days   int    `json:"days"` // that go as a whole
	Events int64  `json:"events"`
	// Bytes of files, in proportion to the rows.
	Bytes int64 `json:"bytes"`
}

// Retention says what cutoffs would take, most events first.
func Retention(v *engine.View, c *erasure.Cutoffs) []Expiring {
	by := map[string]*Expiring{}
	for _, r := range v.Segments {
		perRow := float64(r.Size()) / float64(max(r.Rows(), 1))
		sections := r.Sections()
		for i := range sections {
			s := &sections[i]
			if v.Gone(s) || s.Day() >= c.Of(s.Event()) {
				continue
			}
			e := by[s.Event()]
			if e == nil {
				e = &Expiring{Event: s.Event()}
				by[e.Event] = e
			}
			e.Days++
			e.Events += int64(s.Rows())
			e.Bytes += int64(perRow * float64(s.Rows()))
		}
	}
	out := make([]Expiring, 0, len(by))
	for _, e := range by {
		out = append(out, *e)
	}
	slices.SortFunc(out, func(a, b Expiring) int {
		return cmp.Or(cmp.Compare(b.Events, a.Events), cmp.Compare(a.Event, b.Event))
	})
	return out
}
