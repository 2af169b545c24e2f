package erasure

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestNamesThatGoByTheDefaultAgainAreNotKeptForEver(t *testing.T) {
	c := Cutoffs{Default: NoCutoff}
	for i := range 100 { // a rule for another name each day, and one that is kept longer
		day := int32(1000 + i)
		c = c.Advance(Cutoffs{Default: day, Events: map[string]int32{fmt.Sprint("e", i): day, "long": day - 500}})
		require.LessOrEqual(t, len(c.Events), 2)
	}
	require.Equal(t, []int32{1099, 599, 1099}, []int32{c.Of("e5"), c.Of("long"), c.Of("other")})
	c = c.Advance(Cutoffs{Default: 1100})
	require.Equal(t, Cutoffs{Default: 1100, Events: map[string]int32{}}, c)
	c = c.Advance(Cutoffs{Default: NoCutoff, Events: map[string]int32{"e1": 1200, "e2": 3}})
	require.Equal(t, Cutoffs{Default: 1100, Events: map[string]int32{"e1": 1200, "e2": 1100}}, c)
	c = c.Advance(Cutoffs{Default: NoCutoff})
	require.Equal(t, []int32{1200, 1100}, []int32{c.Of("e1"), c.Of("e2")}, "what is gone stays gone")
}
