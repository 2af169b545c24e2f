// Package stats holds the statistics of answers: Quantiles, and the tests of experiments.
package stats

import (
	"math/bits"
	"slices"
	"sort"
)

// Quantiles returns values at the given shares of the order of vals, ascending
// shares in 0..1, interpolated linearly between the two nearest. It does not
// sort: histograms find the few values that must be ordered. There must be a value.
func Quantiles(vals []int64, shares ...float64) []float64 {
	return QuantilesOf([][]int64{vals}, shares...)
}

// QuantilesOf does the same for values in pieces, none of which is empty.
func QuantilesOf(pieces [][]int64, shares ...float64) []float64 {
	n := 0
	for _, vals := range pieces {
		n += len(vals)
	}
	h := newHistogram(pieces)
	var vals []int64 // of bin
	bin := -1
	at := func(rank int) float64 {
		if b := h.bin(rank); b != bin {
			bin, vals = b, h.values(pieces, b, vals[:0])
		}
		return float64(nth(slices.Clone(vals), rank-h.before[bin]))
	}
	out := make([]float64, len(shares))
	for i, p := range shares {
		place := p * float64(n-1)
		rank := int(place)
		out[i] = at(rank)
		if part := place - float64(rank); part > 0 {
			out[i] += part * (at(rank+1) - out[i])
		}
	}
	return out
}

// histogram counts values in bins of equal width, a power of 2: to divide by any
// number takes ten times as long as a shift.
type histogram struct {
	lo     int64
	shift  int
	before [maxBins + 1]int // by bin: values of lower bins
}

const maxBins = 2048

func newHistogram(pieces [][]int64) *histogram {
	lo, hi := pieces[0][0], pieces[0][0]
	for _, vals := range pieces {
		for _, v := range vals {
			lo, hi = min(lo, v), max(hi, v)
		}
	}
	h := &histogram{lo: lo, shift: max(0, bits.Len64(uint64(hi-lo))-bits.Len(maxBins-1))}
	for _, vals := range pieces {
		for _, v := range vals {
			h.before[uint64(v-lo)>>h.shift+1]++
		}
	}
	for b := 1; b <= maxBins; b++ {
		h.before[b] += h.before[b-1]
	}
	return h
}

// bin is where the value at rank lies.
func (h *histogram) bin(rank int) int {
	return sort.Search(len(h.before), func(b int) bool { return h.before[b] > rank }) - 1
}

// values appends the values of a bin to dst.
func (h *histogram) values(pieces [][]int64, bin int, dst []int64) []int64 {
	for _, vals := range pieces {
		for _, v := range vals {
			if int(uint64(v-h.lo)>>h.shift) == bin {
				dst = append(dst, v)
			}
		}
	}
	return dst
}

// fewValues are sorted rather than counted once more.
const fewValues = 512

// nth is the value at rank of the order of vals, which it uses as memory.
func nth(vals []int64, rank int) int64 {
	for len(vals) > fewValues {
		h := newHistogram([][]int64{vals})
		bin := h.bin(rank)
		if h.shift == 0 {
			return h.lo + int64(bin)
		}
		rank -= h.before[bin]
		vals = h.values([][]int64{vals}, bin, vals[:0])
	}
	slices.Sort(vals)
	return vals[rank]
}
