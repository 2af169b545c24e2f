package traits

import (
	"slices"
	"strings"

	"spoor/engine/event"
)

// Person returns a person's traits, ascending by path. Their texts are shared
// and must not be changed.
func (s *Store) Person(person uint32) []event.Leaf {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if !s.has(person) {
		return nil
	}
	var out []event.Leaf
	for _, c := range s.columns {
		if x := c.get(person); x.value != 0 {
			l, _ := leafOf(c.path, s.values.Text(x.value-1))
			out = append(out, l)
		}
	}
	slices.SortFunc(out, func(a, b event.Leaf) int { return strings.Compare(a.Path, b.Path) })
	return out
}

// Column is what persons have at one path, as of one moment.
type Column struct {
	Codes  []uint32     // per person: 1 + the number of its value, 0 for none
	Values []event.Leaf // by number; texts are shared and must not be changed
}

// Column reads a path for the persons that canon maps: person p of the column is
// person canon[p] of the store, p itself beyond canon.
func (s *Store) Column(path string, persons int, canon []uint32) *Column {
	s.mu.RLock()
	defer s.mu.RUnlock()
	out := &Column{Codes: make([]uint32, persons)}
	c := s.byPath[path]
	if c == nil || c.live == 0 {
		return out
	}
	codes := make([]uint32, s.values.Len()+1)
	for p := range out.Codes {
		now := uint32(p)
		if p < len(canon) {
			now = canon[p]
		}
		x := c.get(now)
		if x.value == 0 {
			continue
		}
		if codes[x.value] == 0 {
			l, _ := leafOf(path, s.values.Text(x.value-1))
			out.Values = append(out.Values, l)
			codes[x.value] = uint32(len(out.Values))
		}
		out.Codes[p] = codes[x.value]
	}
	return out
}

// Paths lists the paths that somebody has, in their order.
func (s *Store) Paths() []string {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var out []string
	for _, c := range s.columns {
		if c.live > 0 {
			out = append(out, c.path)
		}
	}
	slices.Sort(out)
	return out
}

// Each calls f for every value of everybody; f must not call the store.
func (s *Store) Each(f func(person uint32, path string, value []byte, time int64, seq uint64)) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, c := range s.columns {
		c.each(func(person uint32, x cell) {
			st := s.stamps[x.stamp]
			f(person, c.path, s.values.Text(x.value-1), st.time, st.seq)
		})
	}
}

// Consent is the name of the trait that holds what a person agreed to, a boolean
// per purpose. It is set by its own calls alone: their place in the log decides
// which is the latest, not their time, and no bound leaves one out.
const Consent = "$consent"

// Value is what a person has at a path. Its text is shared and must not be changed.
func (s *Store) Value(person uint32, path string) (l event.Leaf, ok bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	c := s.byPath[path]
	if c == nil {
		return l, false
	}
	x := c.get(person)
	if x.value == 0 {
		return l, false
	}
	return leafOf(path, s.values.Text(x.value-1))
}
