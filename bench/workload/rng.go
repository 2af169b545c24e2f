package workload

import "math/bits"

// rng is splitmix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number
// Generators, 2014): eight bytes of state, so that every session has its own.
type rng struct{ state uint64 }

const goldenGamma = 0x9e3779b97f4a7c15

func (r *rng) next() uint64 {
	r.state += goldenGamma
	return scramble(r.state)
}

// below returns a number in [0, n).
func (r *rng) below(n uint32) uint32 {
	return uint32((r.next() >> 32) * uint64(n) >> 32)
}

// chance is true in perMille of 1000 cases.
func (r *rng) chance(perMille uint32) bool { return r.below(1000) < perMille }

// scramble is the output function of splitmix64: a bijection of uint64.
func scramble(x uint64) uint64 {
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// trait gives the fixed random number of a thing: the same for every call, so
// that what is true of a person need not be remembered.
func trait(seed, thing, kind uint64) uint64 {
	return scramble(scramble(seed+thing*goldenGamma) + kind*goldenGamma)
}

// scale maps a random number to [0, n).
func scale(random uint64, n uint32) uint32 {
	hi, _ := bits.Mul64(random, uint64(n))
	return uint32(hi)
}

// lottery draws an index with the odds of its weights: one slot per unit of weight.
type lottery struct{ slots []uint8 }

func newLottery(weights ...int) lottery {
	var l lottery
	for i, w := range weights {
		for range w {
			l.slots = append(l.slots, uint8(i))
		}
	}
	return l
}

func (l lottery) draw(random uint64) int {
	return int(l.slots[scale(random, uint32(len(l.slots)))])
}

// scaleWide maps a random number to [0, n).
func scaleWide(random, n uint64) uint64 {
	hi, _ := bits.Mul64(random, n)
	return hi
}
