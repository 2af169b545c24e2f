package engine

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"spoor/engine/document"
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
		FS: fsys, Logger: slog.New(warnings{slog.DiscardHandler, &r.reported}), ManualCompaction: true, FlushRows: 60, smallFileRows: testSmallRows,
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
	failEveryCall(t, script(11, 12, 8))
}

func TestAFailureOfAnyIOCallWhileErasingBringsNothingBack(t *testing.T) {
	failEveryCall(t, erasingScript(3, 20, 6))
}

// failEveryCall works through a log as often as there are calls of the disk, and has another one fail each time.
func failEveryCall(t *testing.T, log []logEntry) {
	t.Helper()
	calls := vfs.NewFault(vfs.NewMem(), vfs.Plan{})
	(&faultRun{}).run(t, calls, log, 11)
	require.Greater(t, calls.Calls(), 200)
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

// TestAManifestThatMayHaveReachedTheDiskKeepsItsFiles fails every call that
// writes in one flush and in one merge: after an error nobody knows which manifest the disk has.
func TestAManifestThatMayHaveReachedTheDiskKeepsItsFiles(t *testing.T) {
	ctx := context.Background()
	s := newScripter(13)
	for range 10 {
		s.add(10)
	}
	doc := &document.Document{Kind: "query", Name: "last", Value: []byte("1")}
	s.entries = append(s.entries, logEntry{put: doc, data: PutEntry(doc.Kind, doc.Name, doc.Value)})
	s.batch([]testEvent{s.event(nil)})
	log := s.entries
	for name, last := range map[string]func(db *DB) error{
		"flush": func(db *DB) error { _, err := db.Checkpoint(ctx); return err },
		"merge": func(db *DB) error { _, err := db.compactOnce(ctx, wholeDays); return err },
	} {
		for n, more := 1, true; more; n++ {
			more = false
			for _, way := range []error{syscall.EIO, syscall.ENOSPC} {
				mem, armed := vfs.NewMem(), false
				fault := vfs.NewFault(mem, vfs.Plan{FailAt: n, Err: way, Only: func(op vfs.Op, _ string) bool {
					return armed && op != vfs.OpOpen && op != vfs.OpRead && op != vfs.OpClose
				}})
				db, err := Open("data", Options{FS: fault, ManualCompaction: true, firstFilterKeys: testFilterKeys, OnFatal: func(error) {}})
				require.NoError(t, err)
				for i := range log {
					applyEntry(db, log, i)
					if i == len(log)/2 || i == len(log)-1 && name == "merge" {
						_, err := db.Checkpoint(ctx)
						require.NoError(t, err)
					}
				}
				armed = true
				_ = last(db)
				armed = false
				call, failed := fault.Failed()
				more = more || failed
				if db.broken() == nil { // a full disk: it goes on when there is space
					require.NoError(t, last(db))
					check(t, db, modelAt(log, uint64(len(log))))
				}
				promised := db.DurableIndex()
				require.NoError(t, db.lock.Close())
				rng := rand.New(rand.NewPCG(uint64(n), 13))
				recovered(t, mem, log, promised, uint64(len(log)), rng)
				if t.Failed() {
					t.Fatalf("%s, %v at %s of %s", name, way, call.Op, call.Path)
				}
			}
		}
	}
}
