package engine

import (
	"context"
	"math/rand/v2"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"spoor/internal/vfs"
)

// recovered opens what a crash left, checks it against what was promised and
// what the log says, replays the rest of the log and checks again.
func recovered(t *testing.T, image vfs.FS, log []logEntry, promised, applied uint64, rng *rand.Rand) {
	t.Helper()
	db := memStore(t, image, Options{FlushRows: 1 + rng.IntN(200)})
	durable := db.DurableIndex()
	require.GreaterOrEqual(t, durable, promised, "an index was promised and is not there")
	require.LessOrEqual(t, durable, applied, "an index is there that was never applied")
	require.Equal(t, durable, db.AppliedIndex())
	m := modelAt(log, durable)
	checkRows(t, db, m, false)
	for i := int(durable); i < len(log); i++ {
		want := m.apply(&log[i])
		got := applyEntry(db, log, i)
		if log[i].del == nil { // whether a document was there to remove is not kept
			require.Equal(t, want, got, "verdict of entry %d", i+1)
		}
		_, err := step(context.Background(), db, rng)
		require.NoError(t, err)
	}
	check(t, db, m)
	if rng.IntN(4) == 0 { // and once more, by a plain drop
		require.NoError(t, db.lock.Close())
		db = memStore(t, image, Options{})
		m := modelAt(log, db.DurableIndex())
		for i := int(db.DurableIndex()); i < len(log); i++ {
			m.apply(&log[i])
			applyEntry(db, log, i)
		}
		check(t, db, m)
	}
	require.NoError(t, db.Close())
}

func TestAfterAPowerCutAtAnyMomentTheStoreOpensAndTheLogCompletesIt(t *testing.T) {
	ctx := context.Background()
	images, calls, wanted := 0, 0, rounds(300, 20_000)
	for seed := uint64(1); images < wanted; seed++ {
		log := script(seed, 40, 24)
		rng, cuts := rand.New(rand.NewPCG(seed, 1)), rand.New(rand.NewPCG(seed, 2))
		mem := vfs.NewMem()
		var promised, applying atomic.Uint64
		busy := false
		fs := vfs.NewFault(mem, vfs.Plan{Before: func(c vfs.Call) {
			calls++
			if busy || images >= wanted || cuts.IntN(40) != 0 {
				return
			}
			images++
			recovered(t, mem.CrashClone(cuts), log, promised.Load(), applying.Load(), cuts)
		}})
		db := memStore(t, fs, Options{FlushRows: 40 + rng.IntN(200)})
		for i := range log {
			applying.Store(uint64(i) + 1)
			require.NotNil(t, applyEntry(db, log, i))
			p, err := step(ctx, db, rng)
			require.NoError(t, err)
			promised.Store(max(promised.Load(), p, db.DurableIndex()))
		}
		check(t, db, modelAt(log, uint64(len(log))))
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
		busy = true
		require.NoError(t, db.Close())
	}
	t.Logf("%d images at %d I/O calls", images, calls)
}
