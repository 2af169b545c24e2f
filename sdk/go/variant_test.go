package spoor

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

// variantVectors is the file that holds all SDKs to one hash.
type variantVectors struct {
	Buckets []struct {
		Experiment string
		Unit       string
		Hash       uint32
	}
	Assignments []struct {
		Experiment string
		Variants   []Weighted
		Units      map[string]string // unit to variant
	}
}

func TestUnitsLieWhereEverySDKPutsThem(t *testing.T) {
	text, err := os.ReadFile("../variant-vectors.json")
	if os.IsNotExist(err) {
		t.Skip("the vectors that the SDKs share are not beside this module")
	}
	require.NoError(t, err)
	var vectors variantVectors
	require.NoError(t, json.Unmarshal(text, &vectors))
	require.NotEmpty(t, vectors.Buckets)
	for _, v := range vectors.Buckets {
		require.Equal(t, float64(v.Hash)/(1<<32), Bucket(v.Experiment, v.Unit), "%q %q", v.Experiment, v.Unit)
	}
	require.NotEmpty(t, vectors.Assignments)
	for _, a := range vectors.Assignments {
		for unit, want := range a.Units {
			require.Equal(t, want, Assign(a.Experiment, unit, a.Variants), "%q %q", a.Experiment, unit)
		}
	}
}

func TestHalvesAreHalvesAndExperimentsDoNotDependOnEachOther(t *testing.T) {
	const units, experiments = 4000, 12
	for _, format := range []string{"%d", "user_%05d", "user-%d@example.com"} {
		var side [experiments][units]bool
		for e := range experiments {
			n := 0.0
			for u := range units {
				side[e][u] = Bucket(fmt.Sprint("exp", e), fmt.Sprintf(format, u)) < 0.5
				if side[e][u] {
					n++
				}
			}
			require.Less(t, math.Abs(n-units/2), 4*math.Sqrt(units/4), "experiment %d of %s", e, format)
			for other := range e {
				same := 0.0
				for u := range units {
					if side[e][u] == side[other][u] {
						same++
					}
				}
				require.Less(t, math.Abs(same-units/2), 4.5*math.Sqrt(units/4), "experiments %d and %d of %s", e, other, format)
			}
		}
	}
}

func TestWeightsAreShares(t *testing.T) {
	count := map[string]int{}
	for u := range 10000 {
		count[Assign("checkout", fmt.Sprint("u", u), []Weighted{{"off", 0}, {"a", 1}, {"b", 2}, {"c", 7}, {"negative", -1}})]++
	}
	require.InDelta(t, 1000, count["a"], 150)
	require.InDelta(t, 2000, count["b"], 200)
	require.InDelta(t, 7000, count["c"], 250)
	require.Len(t, count, 3)
}

func TestWithoutAWeightThereIsNoVariant(t *testing.T) {
	require.Empty(t, Assign("e", "u", nil))
	require.Empty(t, Assign("e", "u", []Weighted{{"a", 0}}))
	require.Equal(t, "a", Assign("e", "u", []Weighted{{"a", 0.1}}))
}
