package stats

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestQuantilesAreThoseOfTheSortedValues(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	for round := range 3000 {
		vals := make([]int64, 1+r.IntN(60))
		if round%30 == 0 { // more than are sorted, most of them near each other
			vals = make([]int64, 1+r.IntN(20_000))
		}
		span := int64(1) << (1 + r.IntN(50))
		near := 1 + r.Int64N(span)
		for i := range vals {
			vals[i] = r.Int64N(span) - span/2
			if r.IntN(10) > 0 {
				vals[i] %= near
			}
		}
		sorted := slices.Sorted(slices.Values(vals))
		shares := []float64{0, 0.1, 0.5, 0.9, 0.99, 1}
		for i, got := range Quantiles(vals, shares...) {
			at := shares[i] * float64(len(sorted)-1)
			lo := int(at)
			want := float64(sorted[lo])
			if lo+1 < len(sorted) {
				want += (at - float64(lo)) * (float64(sorted[lo+1]) - want)
			}
			require.InDelta(t, want, got, 1e-9+math.Abs(want)*1e-12, "%v of %v", shares[i], sorted)
		}
	}
}
