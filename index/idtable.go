package index

import (
	"fmt"
	"hash/maphash"
)

// idTableLoad is the largest share of slots that are used: beyond it a miss
// looks at too many of them.
const idTableLoad = 0.6

// MaxLoc is the largest location that IDTable keeps.
const MaxLoc = maxTagValue

// IDTable finds the rows of the memtable whose eventId has a given hash: 8 bytes
// a slot, no pointers. It compares 32 bits of the hash, so its answers are
// candidates: one in some thousand look-ups names a row of another id, and a hash that
// was inserted twice names both. The order of candidates means nothing.
//
// One goroutine inserts; readers need the memtable's lock.
type IDTable struct {
	table tagTable
	seed  uint64
}

// NewIDTable makes a table that takes n ids before it grows.
func NewIDTable(n int) *IDTable {
	// The seed keeps a client that chooses its ids from filling one place of the
	// table. It decides nothing but the order of candidates.
	return newIDTable(n, maphash.Bytes(maphash.MakeSeed(), nil))
}

func newIDTable(n int, seed uint64) *IDTable {
	return &IDTable{table: newTagTable(n, idTableLoad), seed: seed}
}

func (t *IDTable) tag(hash uint64) uint32 {
	h := hash ^ t.seed
	h ^= h >> 32
	h *= 0xd6e8feb86659fd93
	h ^= h >> 29
	h *= 0x9e3779b97f4a7c15
	return uint32(h >> 32)
}

// Insert adds a row. loc is at most MaxLoc.
func (t *IDTable) Insert(hash uint64, loc uint32) {
	if loc > MaxLoc {
		panic(fmt.Sprintf("index: location %d of a table that keeps up to %d", loc, uint32(MaxLoc)))
	}
	t.table.insert(t.tag(hash), loc)
}

// Find returns the candidates of a hash:
//
//	for it := t.Find(hash); it.Next(); {
//		row := it.Loc()
//	}
//
// Insert and Reset end the validity of an iterator.
func (t *IDTable) Find(hash uint64) Candidates {
	tag := t.tag(hash)
	return Candidates{slots: t.table.slots, tag: tag, at: t.table.home(tag)}
}

// Candidates iterates over the rows that may have a hash.
type Candidates struct {
	slots []uint64
	at    int
	tag   uint32
	loc   uint32
}

// Next moves to the next candidate; false when there is none.
func (c *Candidates) Next() bool {
	for {
		s := c.slots[c.at]
		if s == 0 {
			return false
		}
		if c.at++; c.at == len(c.slots) {
			c.at = 0
		}
		if uint32(s>>32) == c.tag {
			c.loc = uint32(s) - 1
			return true
		}
	}
}

// Loc is the candidate's row.
func (c *Candidates) Loc() uint32 { return c.loc }

// Len is the number of rows.
func (t *IDTable) Len() int { return t.table.used }

// Bytes is the memory of the table.
func (t *IDTable) Bytes() int { return 8 * len(t.table.slots) }

// Reset forgets all rows and keeps the memory.
func (t *IDTable) Reset() { t.table.reset() }
