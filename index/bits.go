package index

import (
	"fmt"
	"math/bits"

	"github.com/RoaringBitmap/roaring/v2"
)

// Bits is a set of person ordinals for kernels that touch most persons: bit
// p%64 of word p/64. It may be changed and is not safe for concurrent changes.
// Sets that are combined have one length.
type Bits []uint64

// NewBits makes an empty set that can hold the ordinals below n.
func NewBits(n int) Bits { return make(Bits, (n+63)/64) }

// Has tells whether the set holds a person, which must be within its length.
func (b Bits) Has(person uint32) bool { return b[person>>6]>>(person&63)&1 != 0 }

// Set adds a person, which must be within its length.
func (b Bits) Set(person uint32) { b[person>>6] |= 1 << (person & 63) }

// Clear empties the set.
func (b Bits) Clear() { clear(b) }

// Count is the number of persons.
func (b Bits) Count() int {
	n := 0
	for _, w := range b {
		n += bits.OnesCount64(w)
	}
	return n
}

// And keeps what is also in c.
func (b Bits) And(c Bits) {
	c = c[:len(b)]
	for i := range b {
		b[i] &= c[i]
	}
}

// Or adds what is in c.
func (b Bits) Or(c Bits) {
	c = c[:len(b)]
	for i := range b {
		b[i] |= c[i]
	}
}

// AndNot removes what is in c.
func (b Bits) AndNot(c Bits) {
	c = c[:len(b)]
	for i := range b {
		b[i] &^= c[i]
	}
}

// AndCount is the size of the intersection.
func (b Bits) AndCount(c Bits) int {
	c = c[:len(b)]
	n := 0
	for i := range b {
		n += bits.OnesCount64(b[i] & c[i])
	}
	return n
}

// AppendOrdinals appends the persons in ascending order to dst.
func (b Bits) AppendOrdinals(dst []uint32) []uint32 {
	for i, w := range b {
		for ; w != 0; w &= w - 1 {
			dst = append(dst, uint32(i*64+bits.TrailingZeros64(w)))
		}
	}
	return dst
}

// Persons copies the set.
func (b Bits) Persons() *Persons {
	r := roaring.FromDense(b, true)
	r.RunOptimize()
	return wrapPersons(r)
}

// Put writes the persons of p into an empty set that is long enough for them.
func (b Bits) Put(p *Persons) {
	if last, ok := p.Max(); ok && int(last>>6) >= len(b) {
		panic(fmt.Sprintf("index: person %d in a set of %d", last, 64*len(b)))
	}
	p.b.WriteDenseTo(b) // it copies whole containers, cut off at the end of b
}

// OrPersons adds the persons of p. spare is working memory as long as b; what it
// held is lost.
func (b Bits) OrPersons(p *Persons, spare Bits) {
	spare.Clear()
	spare.Put(p)
	b.Or(spare)
}
