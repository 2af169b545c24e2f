package kernel

import (
	"slices"

	"spoor/index"
)

// PersonSet collects persons: a list while they are few, a bit map when not. The
// zero value with N set is ready.
type PersonSet struct {
	N    int // persons that there are
	list []uint32
	bits index.Bits
}

// Add puts a person into the set.
func (s *PersonSet) Add(person uint32) {
	if s.bits != nil {
		s.bits.Set(person)
		return
	}
	if n := len(s.list); n > 0 && s.list[n-1] == person {
		return
	}
	s.list = append(s.list, person)
	if len(s.list) > 64 && len(s.list) > s.N/32 {
		s.toBits()
	}
}

func (s *PersonSet) toBits() {
	s.bits = index.NewBits(s.N)
	for _, p := range s.list {
		s.bits.Set(p)
	}
	s.list = nil
}

// Merge adds the persons of o, whose N is the same.
func (s *PersonSet) Merge(o *PersonSet) {
	s.N = max(s.N, o.N)
	if o.bits != nil {
		if s.bits == nil {
			s.toBits()
		}
		s.bits.Or(o.bits)
		return
	}
	for _, p := range o.list {
		s.Add(p)
	}
}

// Count is the number of distinct persons.
func (s *PersonSet) Count() int {
	if s.bits != nil {
		return s.bits.Count()
	}
	slices.Sort(s.list)
	s.list = slices.Compact(s.list)
	return len(s.list)
}

// NamePage holds, of names that come in any order, those that a page shows: the first Limit
// behind After in the order of bytes, and whether more follow.
type NamePage struct {
	Limit int
	After string // "": from the first on
	names []string
	bound string // of a full page: names behind it are not in it
	full  bool
}

// Add takes a name, which is no other's.
func (p *NamePage) Add(name string) {
	if p.After != "" && name <= p.After || p.full && name > p.bound {
		return
	}
	if p.names = append(p.names, name); len(p.names) > 2*p.Limit+1 {
		p.cut()
	}
}

// Merge takes the names of another page of the same limits.
func (p *NamePage) Merge(o *NamePage) {
	for _, name := range o.names {
		p.Add(name)
	}
}

// cut leaves one name more than the page shows, from which follows that there are more.
func (p *NamePage) cut() {
	slices.Sort(p.names)
	if len(p.names) > p.Limit {
		p.names = p.names[:p.Limit+1]
		p.bound, p.full = p.names[p.Limit], true
	}
}

// Names are those of the page, in their order, and whether more follow.
func (p *NamePage) Names() (names []string, more bool) {
	p.cut()
	if len(p.names) > p.Limit {
		return p.names[:p.Limit], true
	}
	return append([]string{}, p.names...), false
}
