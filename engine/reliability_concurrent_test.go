package engine

import (
	"context"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"spoor/internal/vfs"
	"spoor/segment"
)

// consistent checks a view: each event once, and exactly those of its index.
func consistent(t *testing.T, v *View, counts []int) (rows int) {
	seen := map[string]bool{}
	for _, r := range v.Segments {
		ids, err := r.IDs(0, r.Rows())
		if !assertNoError(t, err) {
			return rows
		}
		for i := range r.Rows() {
			id := string(ids.AppendText(nil, i))
			if seen[id] {
				t.Errorf("event %s is twice in a view", id)
			}
			seen[id] = true
		}
		var x segment.Scratch
		for i := range r.Sections() {
			s := &r.Sections()[i]
			keys := make([]uint64, s.Rows())
			if !assertNoError(t, s.Keys(keys, 0, len(keys), &x)) {
				return rows
			}
			for _, k := range keys {
				if v.Identity.Name(v.Identity.Person(segment.KeyPerson(k))) == "" {
					t.Errorf("a person without a name")
				}
			}
		}
	}
	if want := counts[v.AppliedIndex]; len(seen) != want {
		t.Errorf("a view of index %d has %d events, the log has %d", v.AppliedIndex, len(seen), want)
	}
	return len(seen)
}

func assertNoError(t *testing.T, err error) bool {
	if err != nil {
		t.Errorf("unexpected: %v", err)
	}
	return err == nil
}

func TestViewsAreConsistentWhileEverythingRunsAtOnce(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	log := script(400, 240, 20)
	counts := make([]int, len(log)+1)
	m := newNaive()
	for i := range log {
		m.apply(&log[i])
		counts[i+1] = len(m.events)
	}
	for round := range uint64(rounds(3, 100)) {
		mem := vfs.NewMem()
		var promised, applying atomic.Uint64
		var wg sync.WaitGroup
		db, err := Open("data", Options{
			FS: mem, FlushRows: 150, firstFilterKeys: testFilterKeys, smallFileRows: testSmallRows, CompactAfterIdle: time.Nanosecond,
			OnFatal: func(err error) { t.Errorf("fatal: %v", err) },
		})
		require.NoError(t, err)
		loop := func(f func(rng *rand.Rand)) {
			rng := rand.New(rand.NewPCG(round, uint64(runtime.NumGoroutine())))
			wg.Go(func() {
				for ctx.Err() == nil {
					f(rng)
				}
			})
		}
		rows := 0
		loop(func(*rand.Rand) { // a reader: the count never falls
			v, err := db.View()
			if !assertNoError(t, err) {
				return
			}
			n := consistent(t, v, counts)
			if n < rows {
				t.Errorf("%d events after %d", n, rows)
			}
			rows = n
			v.Release()
		})
		loop(func(rng *rand.Rand) { // a reader that holds its view for long
			v, err := db.View()
			if !assertNoError(t, err) {
				return
			}
			n := consistent(t, v, counts)
			for range rng.IntN(50) {
				runtime.Gosched()
			}
			if again := consistent(t, v, counts); again != n {
				t.Errorf("a view of %d events became one of %d", n, again)
			}
			v.Release()
		})
		loop(func(*rand.Rand) {
			p, err := db.Checkpoint(ctx)
			if err == nil {
				promised.Store(p)
			}
		})
		loop(func(*rand.Rand) { _ = db.Compact(ctx) })
		loop(func(*rand.Rand) { _, _ = db.compactOnce(ctx, whatIsDue) })
		for i := range log {
			applying.Store(uint64(i) + 1)
			require.NotNil(t, applyEntry(db, log, i))
			if i%40 == 39 {
				// The power goes while all that runs.
				atLeast := promised.Load()
				image := mem.CrashClone(rand.New(rand.NewPCG(round, uint64(i))))
				recovered(t, image, log[:i+1], atLeast, applying.Load(), rand.New(rand.NewPCG(round, uint64(i))))
			}
			if t.Failed() {
				break
			}
		}
		cancel()
		wg.Wait()
		ctx, cancel = context.WithCancel(context.Background())
		if !t.Failed() {
			check(t, db, m)
			require.NoError(t, db.Close())
			db = memStore(t, mem, Options{})
			require.GreaterOrEqual(t, db.DurableIndex(), promised.Load())
			for i := int(db.DurableIndex()); i < len(log); i++ {
				applyEntry(db, log, i)
			}
			check(t, db, m)
		}
		require.NoError(t, db.Close())
	}
	cancel()
}
