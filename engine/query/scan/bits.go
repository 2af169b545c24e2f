package scan

import "math/bits"

// Bits is a set of rows, one bit each.
type Bits []uint64

func (b Bits) resize(n int) Bits {
	words := (n + 63) / 64
	if cap(b) < words {
		return make(Bits, words, words+words/4)
	}
	b = b[:words]
	clear(b)
	return b
}

// fill sets the first n bits.
func (b Bits) fill(n int) {
	for i := range b {
		b[i] = ^uint64(0)
	}
	if n%64 != 0 && len(b) > 0 {
		b[len(b)-1] = 1<<(n%64) - 1
	}
}

// Has tells whether row i is in the set.
func (b Bits) Has(i int) bool { return b[i>>6]>>(i&63)&1 != 0 }

// Set puts row i into the set.
func (b Bits) Set(i int) { b[i>>6] |= 1 << (i & 63) }

// Clear takes row i out of the set.
func (b Bits) Clear(i int) { b[i>>6] &^= 1 << (i & 63) }

// Count is the number of rows in the set.
func (b Bits) Count() int {
	n := 0
	for _, w := range b {
		n += bits.OnesCount64(w)
	}
	return n
}

func (b Bits) not(n int) {
	for i := range b {
		b[i] = ^b[i]
	}
	if n%64 != 0 && len(b) > 0 {
		b[len(b)-1] &= 1<<(n%64) - 1
	}
}
