package engine

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"spoor/internal/vfs"
)

// faultRun opens a store over a disk that fails and works through a log until
// an error is reported. It tells what was promised, and whether a failure was seen.
type faultRun struct {
	promised uint64 // by DurableIndex or Checkpoint
	applied  int
	reported bool
}

// warnings notes that the log warned.
type warnings struct {
	slog.Handler
	seen *bool
}

func (w warnings) Enabled(_ context.Context, l slog.Level) bool { return l >= slog.LevelWarn }

func (w warnings) Handle(context.Context, slog.Record) error {
	*w.seen = true
	return nil
}

func (r *faultRun) run(t *testing.T, fsys vfs.FS, log []logEntry, seed uint64) {
	t.Helper()
	ctx := context.Background()
	rng := rand.New(rand.NewPCG(seed, 3))
	fatal := false
	db, err := Open("data", Options{
		FS: fsys, Logger: slog.New(warnings{slog.DiscardHandler, &r.reported}), ManualCompaction: true, FlushRows: 60,
		firstFilterKeys: testFilterKeys, OnFatal: func(error) { fatal = true },
	})
	if err != nil {
		r.reported = true
		return
	}
	defer func() {
		err := db.Close()
		r.reported = r.reported || fatal || err != nil
	}()
	for i := range log {
		res := applyEntry(db, log, i)
		if err, bad := res.(error); bad {
			require.True(t, fatal, "Apply failed and nobody was told: %v", err)
		} else if !fatal {
			r.applied = i + 1
		}
		p, err := step(ctx, db, rng)
		r.reported = r.reported || fatal || err != nil
		if fatal {
			// After the first fatal error nothing may be promised any more, whatever is called.
			for _, f := range []func() error{
				func() error { _, err := db.Checkpoint(ctx); return err },
				func() error { return db.Compact(ctx) },
				func() error { return db.flush(ctx) },
			} {
				before := db.DurableIndex()
				require.Error(t, f(), "the store went on after a fatal error")
				require.Equal(t, before, db.DurableIndex())
			}
			if i+1 < len(log) {
				err, _ := db.Apply(uint64(i)+2, log[i+1].data).(error)
				require.Error(t, err)
			}
		}
		if err == nil {
			r.promised = max(r.promised, p)
		}
		r.promised = max(r.promised, db.DurableIndex())
		if fatal {
			return
		}
	}
}

func TestAFailureOfAnyIOCallIsReportedAndAReopenLosesNothing(t *testing.T) {
	log := script(11, 12, 8)
	calls := vfs.NewFault(vfs.NewMem(), vfs.Plan{})
	(&faultRun{}).run(t, calls, log, 11)
	require.Greater(t, calls.Calls(), 300)
	t.Logf("%d I/O calls", calls.Calls())
	ways := []struct {
		name   string
		err    error
		sticky bool
	}{
		{"EIO once", syscall.EIO, false},
		{"EIO from then on", syscall.EIO, true},
		{"ENOSPC once", syscall.ENOSPC, false},
		{"ENOSPC from then on", syscall.ENOSPC, true},
	}
	each := rounds(1, len(ways)) // in CI a call fails in one of the ways
	stride := 1
	if raceEnabled {
		stride = 11
	}
	for n := 1; n <= calls.Calls(); n += stride {
		for k := range each {
			way := ways[(n+k)%len(ways)]
			rng := rand.New(rand.NewPCG(uint64(n), uint64(k)))
			mem := vfs.NewMem()
			fault := vfs.NewFault(mem, vfs.Plan{FailAt: n, Err: way.err, Sticky: way.sticky})
			r := &faultRun{}
			r.run(t, fault, log, 11)
			call, failed := fault.Failed()
			require.True(t, failed)
			if !r.reported {
				// Of a file that is only read or that goes, closing changes nothing.
				require.Contains(t, []vfs.Op{vfs.OpRemove, vfs.OpClose}, call.Op, "call %d: nobody was told of %s at %s of %s", n, way.name, call.Op, call.Path)
			}
			image := mem
			if rng.IntN(2) == 0 {
				image = mem.CrashClone(rng)
			}
			recovered(t, image, log, r.promised, uint64(r.applied)+1, rng)
			if t.Failed() {
				t.Fatalf("%s at call %d: %s of %s", way.name, n, call.Op, call.Path)
			}
		}
	}
}
