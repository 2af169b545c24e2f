package index

import "math"

// tagTable maps 32-bit tags to 32-bit values by open addressing with linear
// probing. A slot is tag<<32 | value+1, 0 is free. Where a tag belongs is its share of the
// table's length, so that slots stand in the order of tags, growing reads and
// writes from front to back, and no key is hashed again. Tags may repeat; whoever
// asks compares what a value stands for.
type tagTable struct {
	slots []uint64
	used  int
	limit int // used slots at which the table grows
	load  float64
}

// maxTagValue is the largest value of a slot.
const maxTagValue = math.MaxUint32 - 1

// newTagTable makes a table that takes n values before it grows.
func newTagTable(n int, load float64) tagTable {
	t := tagTable{load: load}
	t.resize(int(float64(n)/load) + 2)
	return t
}

func (t *tagTable) resize(slots int) {
	if uint64(slots) > 1<<32 {
		panic("index: a table of more than 2^32 slots")
	}
	old := t.slots
	t.slots = make([]uint64, slots)
	t.limit = min(int(float64(slots)*t.load), slots-1) // one stays free: it ends every search
	for _, s := range old {
		if s != 0 {
			t.place(s)
		}
	}
}

// home is the slot at which the search for a tag begins.
func (t *tagTable) home(tag uint32) int {
	return int(uint64(tag) * uint64(len(t.slots)) >> 32)
}

func (t *tagTable) place(slot uint64) {
	i := t.home(uint32(slot >> 32))
	for t.slots[i] != 0 {
		if i++; i == len(t.slots) {
			i = 0
		}
	}
	t.slots[i] = slot
}

func (t *tagTable) insert(tag, value uint32) {
	if t.used >= t.limit {
		t.resize(len(t.slots) + len(t.slots)/2 + 8)
	}
	t.used++
	t.place(uint64(tag)<<32 | uint64(value) + 1)
}

func (t *tagTable) reset() {
	clear(t.slots)
	t.used = 0
}
