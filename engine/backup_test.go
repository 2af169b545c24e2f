package engine

import (
	"context"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"spoor/internal/vfs"
)

// restored restores a backup and compares it with the model at its index; then the log goes on.
func restored(t *testing.T, src vfs.FS, dir string, log []logEntry) uint64 {
	t.Helper()
	mem := vfs.NewMem()
	report, err := Restore(context.Background(), src, dir, mem, "data", nil)
	require.NoError(t, err)
	db := memStore(t, mem, Options{FlushRows: 100})
	require.Equal(t, report.AppliedIndex, db.DurableIndex())
	m := modelAt(log, db.DurableIndex())
	checkRows(t, db, m, false)
	for i := int(db.DurableIndex()); i < len(log); i++ {
		want := m.apply(&log[i])
		if got := applyEntry(db, log, i); log[i].del == nil {
			require.Equal(t, want, got)
		}
	}
	check(t, db, m)
	require.NoError(t, db.Close())
	return report.AppliedIndex
}

func TestABackupOfAStoreThatIsWrittenHoldsOneMoment(t *testing.T) {
	ctx := context.Background()
	log := script(600, 160, 20)
	mem := vfs.NewMem()
	db, err := Open("data", Options{FS: mem, FlushRows: 150, firstFilterKeys: testFilterKeys, CompactAfterIdle: time.Nanosecond, OnFatal: func(err error) { t.Errorf("fatal: %v", err) }})
	require.NoError(t, err)
	for i := range log[:50] {
		applyEntry(db, log, i)
	}
	var wg sync.WaitGroup
	done := make(chan struct{})
	wg.Go(func() {
		defer close(done)
		for i := 50; i < len(log); i++ {
			applyEntry(db, log, i)
			if i%10 == 0 {
				_ = db.Compact(ctx)
			}
		}
	})
	others := vfs.NewMem()
	reused, linked := 0, 0
	for running := true; running; {
		select {
		case <-done:
			running = false
		default:
		}
		for _, dst := range []vfs.FS{others, mem} {
			before := db.DurableIndex()
			report, err := db.Backup(ctx, dst, "backup", nil)
			require.NoError(t, err)
			require.GreaterOrEqual(t, report.AppliedIndex, before)
			reused += report.Reused
			require.Equal(t, report.Files, report.Copied+report.Linked+report.Reused)
			if dst == vfs.FS(mem) {
				linked += report.Linked
			} else {
				require.Zero(t, report.Linked)
			}
			require.Equal(t, report.AppliedIndex, restored(t, dst, "backup", log))
			checked, err := Verify(ctx, dst, "backup", nil)
			require.NoError(t, err)
			require.NoError(t, checked.Err())
		}
	}
	wg.Wait()
	require.Positive(t, reused)
	require.Positive(t, linked)
	require.Equal(t, uint64(len(log)), restored(t, others, "backup", log))
	require.NoError(t, db.Close())
}

func TestASecondBackupCopiesOnlyWhatIsNew(t *testing.T) {
	ctx := context.Background()
	log := script(601, 60, 30)
	db := memStore(t, vfs.NewMem(), Options{})
	for i := range log[:30] {
		applyEntry(db, log, i)
	}
	dst := vfs.NewMem()
	first, err := db.Backup(ctx, dst, "b", nil)
	require.NoError(t, err)
	require.Equal(t, first.Files, first.Copied)
	require.Equal(t, first.Bytes, first.CopiedBytes)
	same, err := db.Backup(ctx, dst, "b", nil)
	require.NoError(t, err)
	require.Equal(t, first.Files, same.Reused)
	require.Zero(t, same.CopiedBytes)
	for i := 30; i < len(log); i++ {
		applyEntry(db, log, i)
	}
	second, err := db.Backup(ctx, dst, "b", nil)
	require.NoError(t, err)
	require.GreaterOrEqual(t, second.Reused, 1, "the segment of the first")
	require.Less(t, second.CopiedBytes, second.Bytes*3/4)
	require.Equal(t, uint64(len(log)), restored(t, dst, "b", log))
	require.NoError(t, db.Compact(ctx))
	_, err = db.Backup(ctx, dst, "b", nil)
	require.NoError(t, err)
	names := filesOf(t, dst, "b")
	segments := 0
	for name := range names {
		if strings.HasSuffix(name, segmentSuffix) {
			segments++
		}
	}
	require.Equal(t, len(db.files.current.files), segments, "files that compaction replaced are gone from the backup")
	require.Equal(t, uint64(len(log)), restored(t, dst, "b", log))
	require.NoError(t, db.Close())
}

func TestABackupThatIsCutOffLeavesTheOneBeforeOrIsWhole(t *testing.T) {
	ctx := context.Background()
	log := script(602, 40, 20)
	db := memStore(t, vfs.NewMem(), Options{FlushRows: 60})
	for i := range log[:20] {
		applyEntry(db, log, i)
	}
	dst := vfs.NewMem()
	_, err := db.Backup(ctx, dst, "b", nil)
	require.NoError(t, err)
	for i := 20; i < len(log); i++ {
		applyEntry(db, log, i)
	}
	require.NoError(t, db.Compact(ctx))
	rng := rand.New(rand.NewPCG(6, 602))
	outcomes := map[uint64]int{}
	cut := vfs.NewFault(dst, vfs.Plan{Before: func(vfs.Call) {
		outcomes[restored(t, dst.CrashClone(rng), "b", log)]++
	}})
	_, err = db.Backup(ctx, cut, "b", nil)
	require.NoError(t, err)
	require.Len(t, outcomes, 2, "%v", outcomes)
	require.NoError(t, db.Close())
}

func TestADamagedBackupIsNotRestored(t *testing.T) {
	ctx := context.Background()
	log := script(603, 30, 20)
	db := memStore(t, vfs.NewMem(), Options{})
	for i := range log {
		applyEntry(db, log, i)
	}
	dst := vfs.NewMem()
	_, err := db.Backup(ctx, dst, "b", nil)
	require.NoError(t, err)
	require.NoError(t, db.Close())
	rng := rand.New(rand.NewPCG(6, 603))
	for name, b := range filesOf(t, dst, "b") {
		for range 20 {
			image := dst.CrashClone(rng)
			damaged := append([]byte(nil), b...)
			damaged[rng.IntN(len(b))] ^= 1 << rng.IntN(8)
			require.NoError(t, vfs.WriteFileAtomic(image, "b/"+name, damaged))
			target := vfs.NewMem()
			_, err := Restore(ctx, image, "b", target, "data", nil)
			require.Error(t, err, "%s", name)
			_, err = target.Stat("data/" + manifestName)
			require.Error(t, err, "what is damaged is not made a store")
		}
	}
}

func TestADirectoryThatHoldsSomethingElseIsNotWrittenTo(t *testing.T) {
	ctx := context.Background()
	mem := vfs.NewMem()
	db, other := memStore(t, mem, Options{}), memStore(t, vfs.NewMem(), Options{})
	_, err := db.Backup(ctx, mem, "data/", nil)
	require.ErrorIs(t, err, ErrOtherBackup)
	_, err = db.Backup(ctx, mem, "b", nil)
	require.NoError(t, err)
	_, err = other.Backup(ctx, mem, "b", nil)
	require.ErrorIs(t, err, ErrOtherBackup)
	_, err = Restore(ctx, mem, "b", mem, "b2", nil)
	require.NoError(t, err)
	_, err = Restore(ctx, mem, "b", mem, "b2", nil)
	require.ErrorIs(t, err, ErrOtherBackup, "a store is not restored over")
	_, err = db.Backup(ctx, mem, "b2", nil)
	require.ErrorIs(t, err, ErrOtherBackup, "a store is not backed up over")
	_, err = Restore(ctx, mem, "b2", mem, "b3", nil)
	require.ErrorIs(t, err, ErrOtherBackup, "a store is no backup")
	require.NoError(t, other.Close())
	require.NoError(t, db.Close())
}

func TestABackupOnTheSameDiskLinksSegments(t *testing.T) {
	ctx := context.Background()
	log := script(604, 30, 20)
	dir := filepath.ToSlash(t.TempDir())
	db, err := Open(dir+"/data", Options{ManualCompaction: true, firstFilterKeys: testFilterKeys})
	require.NoError(t, err)
	for i := range log {
		applyEntry(db, log, i)
	}
	report, err := db.Backup(ctx, vfs.OS(), dir+"/backup", nil)
	require.NoError(t, err)
	require.Positive(t, report.Linked)
	require.NoError(t, db.Compact(ctx)) // removes the store's own names
	require.NoError(t, db.Close())
	require.Equal(t, uint64(len(log)), restored(t, vfs.OS(), dir+"/backup", log))
}
