package kernel_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"spoor/engine/query/kernel"
)

func TestAPageOfNamesIsThatOfASortedList(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 500 {
		all := make([]string, r.IntN(60))
		for i := range all {
			all[i] = fmt.Sprintf("u%d", i*7919%1000) // no two are the same
		}
		r.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		limit, after := 1+r.IntN(12), ""
		if r.IntN(2) == 0 {
			after = fmt.Sprintf("u%d", r.IntN(1000))
		}
		pages := make([]kernel.NamePage, 1+r.IntN(3))
		for i := range pages {
			pages[i] = kernel.NamePage{Limit: limit, After: after}
		}
		for _, name := range all {
			pages[r.IntN(len(pages))].Add(name)
		}
		for i := range pages[1:] {
			pages[0].Merge(&pages[1+i])
		}
		names, more := pages[0].Names()
		slices.Sort(all)
		want := []string{}
		for _, name := range all {
			if name > after || after == "" {
				want = append(want, name)
			}
		}
		require.Equal(t, len(want) > limit, more)
		require.Equal(t, want[:min(limit, len(want))], names)
	}
}
