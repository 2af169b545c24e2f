package scan

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestRunsAreMergedInTheOrderOfAStableSort(t *testing.T) {
	r := rand.New(rand.NewPCG(4, 4))
	for range 2000 {
		var keys []uint64
		for range r.IntN(6) {
			run := make([]uint64, r.IntN(20))
			for i := range run {
				run[i] = r.Uint64N(1 + r.Uint64N(30))
			}
			if r.IntN(4) > 0 {
				slices.Sort(run)
			}
			keys = append(keys, run...)
		}
		want := make([]uint32, len(keys))
		for i := range want {
			want[i] = uint32(i)
		}
		slices.SortStableFunc(want, func(a, b uint32) int { return int(keys[a]) - int(keys[b]) })
		require.Equal(t, want, mergeRuns(keys), "%v", keys)
	}
}
