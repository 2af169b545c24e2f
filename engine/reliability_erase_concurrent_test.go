package engine

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"spoor/engine/query/scan"
	"spoor/internal/vfs"
)

// fingerprint is a number that a set of eventIds has, and hardly any other.
func fingerprint(sum uint64, id string) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(id))
	return sum + h.Sum64()
}

// leftIn is the fingerprint of the events that a view shows.
func leftIn(v *View) (sum uint64, err error) {
	for _, r := range v.Segments {
		ids, err := r.IDs(0, r.Rows())
		if err != nil {
			return 0, err
		}
		sections := r.Sections()
		for i := range sections {
			s := &sections[i]
			m, err := v.Mask(s)
			if err != nil {
				return 0, err
			}
			var rows scan.Bits
			if m.Where != nil && !m.All {
				if rows, err = scan.NewWorker(scan.Persons{}, v.Identity).Rows(m.Where, s); err != nil {
					return 0, err
				}
			}
			for row := range s.Rows() {
				if !m.All && (m.Where == nil || rows.Has(row)) {
					sum = fingerprint(sum, string(ids.AppendText(nil, s.FirstRow()+row)))
				}
			}
		}
	}
	return sum, nil
}

func TestAViewShowsWhatIsNotErasedAtItsIndexWhileEverythingRunsAtOnce(t *testing.T) {
	log := erasingScript(77, 240, 20)
	at := make([]uint64, len(log)+1) // by log index
	m := newNaive()
	for i := range log {
		m.apply(&log[i])
		for id := range m.events {
			at[i+1] = fingerprint(at[i+1], id)
		}
	}
	for round := range uint64(rounds(3, 100)) {
		ctx, cancel := context.WithCancel(context.Background())
		var running sync.WaitGroup
		mem, backups := vfs.NewMem(), vfs.NewMem()
		db, err := Open("data", Options{
			FS: mem, FlushRows: 150, firstFilterKeys: testFilterKeys, smallFileRows: testSmallRows, CompactAfterIdle: time.Nanosecond,
			OnFatal: func(err error) { t.Errorf("fatal: %v", err) },
		})
		require.NoError(t, err)
		loop := func(f func() error) {
			running.Go(func() {
				for ctx.Err() == nil {
					if err := f(); err != nil && !errors.Is(err, context.Canceled) {
						t.Errorf("unexpected: %v", err)
						return
					}
				}
			})
		}
		for hold := range 2 { // a reader, and one that holds its view for long
			loop(func() error {
				v, err := db.View()
				if err != nil {
					return err
				}
				defer v.Release()
				for range 1 + hold {
					sum, err := leftIn(v)
					if err != nil {
						return err
					}
					if sum != at[v.AppliedIndex] {
						return fmt.Errorf("a view of index %d shows other events than are left then", v.AppliedIndex)
					}
					for range hold * 40 {
						runtime.Gosched()
					}
				}
				return nil
			})
		}
		loop(func() error { _, err := db.Checkpoint(ctx); return err })
		loop(func() error { return db.Compact(ctx) })
		loop(func() error { _, err := db.Backup(ctx, backups, "backup", nil); return err })
		loop(func() error {
			report, err := db.Verify(ctx, nil)
			if err != nil {
				return err
			}
			return report.Err()
		})
		loop(func() error {
			records, err := db.Erasures()
			for i := range records {
				db.EraseStatus(&records[i])
			}
			runtime.Gosched()
			return err
		})
		for i := range log {
			applyEntry(db, log, i)
			if i%40 == 39 { // the power goes while all that runs
				rng := rand.New(rand.NewPCG(round, uint64(i)))
				recovered(t, mem.CrashClone(rng), log[:i+1], db.DurableIndex()/2, uint64(i)+1, rng)
			}
			if t.Failed() {
				break
			}
		}
		cancel()
		running.Wait()
		if !t.Failed() {
			check(t, db, m)
			require.NoError(t, db.Compact(context.Background()))
			check(t, db, m)
			checkPurged(t, db)
		}
		require.NoError(t, db.Close())
	}
}
