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
