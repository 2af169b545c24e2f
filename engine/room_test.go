package engine

import (
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"spoor/internal/vfs"
)

// slowFS makes no segment until it may.
type slowFS struct {
	vfs.FS
	may chan struct{}
}

func (s *slowFS) Create(name string) (vfs.File, error) {
	if strings.Contains(name, segmentSuffix) {
		<-s.may
	}
	return s.FS.Create(name)
}

func TestEventsWaitWhileTheDiskIsBehind(t *testing.T) {
	const memory = 64 << 10
	log := script(5, 300, 40)
	disk := &slowFS{FS: vfs.NewMem(), may: make(chan struct{})}
	db, err := Open("data", Options{FS: disk, MemoryBytes: memory, OnFatal: func(err error) { t.Errorf("fatal: %v", err) }})
	require.NoError(t, err)

	closed := func() int64 {
		db.mem.RLock()
		defer db.mem.RUnlock()
		return db.mem.closed
	}
	var most int64
	var applied atomic.Int64
	var applying sync.WaitGroup
	applying.Go(func() {
		for i := range log {
			applyEntry(db, log, i)
			most = max(most, closed())
			applied.Add(1)
		}
	})
	// Nothing reaches the disk: the memtables fill up to their share, and no further.
	require.Eventually(t, func() bool { return closed() > memory/4 }, 10*time.Second, time.Millisecond)
	require.Less(t, int(applied.Load()), len(log))
	close(disk.may)
	applying.Wait()
	require.LessOrEqual(t, most, int64(memory/4+memory/2), "a memtable or two more than there is room for")
	m := newNaive()
	for i := range log {
		m.apply(&log[i])
	}
	check(t, db, m)
	require.NoError(t, db.Close())
}

func TestAnEventThatWaitsForTheDiskDoesNotHoldUpClosing(t *testing.T) {
	log := script(5, 300, 40)
	disk := &slowFS{FS: vfs.NewMem(), may: make(chan struct{})}
	db, err := Open("data", Options{FS: disk, MemoryBytes: 64 << 10, OnFatal: func(error) {}})
	require.NoError(t, err)
	var applying sync.WaitGroup
	applying.Go(func() {
		for i := range log {
			applyEntry(db, log, i)
		}
	})
	require.Eventually(t, func() bool {
		db.mem.RLock()
		defer db.mem.RUnlock()
		return db.mem.closed > 16<<10
	}, 10*time.Second, time.Millisecond)
	db.stop()
	close(disk.may)
	require.NoError(t, db.Close())
	applying.Wait()
}
