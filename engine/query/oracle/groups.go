package oracle

import (
	"cmp"
	"math"
	"slices"

	"spoor/engine/query/lang"
)

// key is the values of a breakdown, a missing one for each field that is not there.
type key []value

func (k key) identity() (s string) {
	for _, v := range k {
		id := v.identity()
		s += id + "\x00\x00" // no valid text has two
	}
	return s
}

func compareKeys(a, b key) int {
	for i := range a {
		if c := compareValues(a[i], b[i]); c != 0 {
			return c
		}
	}
	return 0
}

// json is the key as answers have it.
func (r *run) json(k key) []any {
	out := make([]any, len(k))
	for i := range k {
		out[i] = k[i].json(r.loc)
	}
	return out
}

// keyOf is the breakdown's values of one event.
func (r *run) keyOf(p *person, e *Event) key {
	k := make(key, len(r.q.By))
	for i := range r.q.By {
		k[i] = read(p, e, &r.q.By[i].Field)
	}
	return k
}

// readAll are the values of fields; whole tells whether all are present.
func readAll(p *person, e *Event, fields []lang.Field) (k key, whole bool) {
	whole = true
	for i := range fields {
		v := read(p, e, &fields[i])
		k = append(k, v)
		whole = whole && v.present()
	}
	return k, whole
}

// group is what fell to one key.
type group[T any] struct {
	key   key
	size  float64 // decides the order, to six decimals: largest first, then by key
	other bool
	items []T
}

// groups sorts items by key. Its zero value is empty.
type groups[T any] struct {
	byID map[string]*group[T]
	list []*group[T]
}

// at is the group of a key, made when it is new.
func (g *groups[T]) at(k key) *group[T] {
	if g.byID == nil {
		g.byID = map[string]*group[T]{}
	}
	id := k.identity()
	if g.byID[id] == nil {
		g.byID[id] = &group[T]{key: k}
		g.list = append(g.list, g.byID[id])
	}
	return g.byID[id]
}

// add adds an item of size 1.
func (g *groups[T]) add(k key, item T) {
	x := g.at(k)
	x.size++
	x.items = append(x.items, item)
}

// limited are the largest groups, and one with the items of all others if there are more.
func (g *groups[T]) limited(limit int) []*group[T] {
	list := slices.Clone(g.list)
	slices.SortFunc(list, func(a, b *group[T]) int {
		return cmp.Or(cmp.Compare(math.Round(b.size*1e6), math.Round(a.size*1e6)), compareKeys(a.key, b.key))
	})
	if len(list) <= limit {
		return list
	}
	rest := &group[T]{key: make(key, len(list[0].key)), other: true}
	for _, x := range list[limit:] {
		rest.size += x.size
		rest.items = append(rest.items, x.items...)
	}
	return append(list[:limit:limit], rest)
}
