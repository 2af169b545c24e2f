package index

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func candidates(t *IDTable, hash uint64) []uint32 {
	var locs []uint32
	for it := t.Find(hash); it.Next(); {
		locs = append(locs, it.Loc())
	}
	slices.Sort(locs)
	return locs
}

func TestAnIDTableFindsWhatAMapFinds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		table := newIDTable(rapid.IntRange(0, 50).Draw(t, "capacity"), rapid.Uint64().Draw(t, "seed"))
		hash := rapid.OneOf(rapid.Uint64Range(0, 5), rapid.Uint64())
		model := map[uint64][]uint32{}
		for range rapid.IntRange(1, 3).Draw(t, "uses") {
			for range rapid.IntRange(0, 200).Draw(t, "inserts") {
				h, loc := hash.Draw(t, "hash"), rapid.Uint32Range(0, MaxLoc).Draw(t, "loc")
				table.Insert(h, loc)
				model[h] = append(model[h], loc)
			}
			n := 0
			for h, locs := range model {
				slices.Sort(locs)
				n += len(locs)
				require.Equal(t, locs, candidates(table, h))
			}
			require.Equal(t, n, table.Len())
			require.Empty(t, candidates(table, hash.Filter(func(h uint64) bool { return model[h] == nil }).Draw(t, "stranger")))
			table.Reset()
			require.Zero(t, table.Len())
			clear(model)
		}
	})
}

func TestAnIDTableGrowsWithinItsLoadAndFewStrangersMatch(t *testing.T) {
	table := newIDTable(10, 1)
	keys := randomHashes(300_000, 1)
	for i, k := range keys {
		table.Insert(k, uint32(i))
		require.LessOrEqual(t, float64(table.Len())*8/float64(table.Bytes()), idTableLoad)
	}
	wrong := 0
	for i, k := range keys {
		found := candidates(table, k)
		require.Contains(t, found, uint32(i))
		wrong += len(found) - 1
	}
	for _, k := range randomHashes(300_000, 2) {
		wrong += len(candidates(table, k))
	}
	require.Less(t, wrong, 200, "candidates of another hash: 600,000 look-ups x 300,000 / 2^32 = 42")
	require.LessOrEqual(t, table.Bytes()/table.Len(), 20)
	require.LessOrEqual(t, newIDTable(1<<20, 1).Bytes()/(1<<20), 13, "bytes per id when the number is known")
}

func TestChosenHashesDoNotPileUp(t *testing.T) {
	// Without the seed all of these would begin at one slot.
	table := NewIDTable(20_000)
	for i := range 20_000 {
		table.Insert(uint64(i), uint32(i))
	}
	longest, run := 0, 0
	for _, s := range table.table.slots {
		if run++; s == 0 {
			run = 0
		}
		longest = max(longest, run)
	}
	require.Less(t, longest, 200)
}

func TestTheLargestLocationIsBounded(t *testing.T) {
	table := newIDTable(1, 1)
	table.Insert(1, MaxLoc)
	require.Equal(t, []uint32{MaxLoc}, candidates(table, 1))
	require.Panics(t, func() { table.Insert(1, MaxLoc+1) })
}

func TestFindingAllocatesNothing(t *testing.T) {
	table := NewIDTable(100)
	for i := range 100 {
		table.Insert(uint64(i), uint32(i))
	}
	require.Zero(t, testing.AllocsPerRun(100, func() {
		for it := table.Find(7); it.Next(); {
			sink = it.Loc() == 7
		}
	}))
}

func BenchmarkIDTable(b *testing.B) {
	const n = 1 << 20
	keys, strangers := randomHashes(n, 1), randomHashes(n, 2)
	full := NewIDTable(n)
	for i, k := range keys {
		full.Insert(k, uint32(i))
	}
	b.Run("insert", func(b *testing.B) {
		table := NewIDTable(n)
		for i := range b.N {
			if i%n == 0 {
				table.Reset()
			}
			table.Insert(keys[i%n], uint32(i%n))
		}
	})
	b.Run("insert and grow", func(b *testing.B) {
		table := NewIDTable(1 << 12)
		for i := range b.N {
			if i%n == 0 {
				table = NewIDTable(1 << 12)
			}
			table.Insert(keys[i%n], uint32(i%n))
		}
	})
	b.Run("hit", func(b *testing.B) {
		rng := rand.New(rand.NewPCG(1, 1))
		for range b.N {
			it := full.Find(keys[rng.IntN(n)])
			sink = it.Next()
		}
	})
	b.Run("miss", func(b *testing.B) {
		for i := range b.N {
			it := full.Find(strangers[i%n])
			sink = it.Next()
		}
	})
}
