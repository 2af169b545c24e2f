// Package stats holds the statistics of answers: Quantiles, and the tests of experiments.
package stats

import (
	"math/bits"
	"slices"
	"sort"
)

// Quantiles returns values at the given shares of the order of vals, ascending
// shares in 0..1, interpolated linearly between the two nearest. It does not
// sort: a histogram finds the few values that must be ordered. vals is reordered.
func Quantiles(vals []int64, shares ...float64) []float64 {
	lo, hi := vals[0], vals[0]
	for _, v := range vals {
		lo, hi = min(lo, v), max(hi, v)
	}
	const bins = 2048 // at most; of a power of 2 each, since to divide by any number takes ten times as long
	shift := max(0, bits.Len64(uint64(hi-lo))-11)
	var count [bins + 1]int
	for _, v := range vals {
		count[uint64(v-lo)>>shift+1]++
	}
	for b := 1; b <= bins; b++ {
		count[b] += count[b-1]
	}
	out := make([]float64, len(shares))
	var sorted []int64
	bin := -1
	at := func(rank int) float64 {
		b := sort.Search(len(count), func(b int) bool { return count[b] > rank }) - 1
		if b != bin {
			bin, sorted = b, sorted[:0]
			for _, v := range vals {
				if int(uint64(v-lo)>>shift) == b {
					sorted = append(sorted, v)
				}
			}
			slices.Sort(sorted)
		}
		return float64(sorted[rank-count[b]])
	}
	for i, p := range shares {
		place := p * float64(len(vals)-1)
		rank := int(place)
		out[i] = at(rank)
		if part := place - float64(rank); part > 0 {
			out[i] += part * (at(rank+1) - out[i])
		}
	}
	return out
}
