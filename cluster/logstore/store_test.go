package logstore

import (
	"fmt"
	"io/fs"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"spoor/internal/vfs"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var testCluster = ClusterID{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}

func testOptions(fsys vfs.FS) Options {
	return Options{
		FS: fsys, Dir: "/log", NewCluster: testCluster, SegmentBytes: MinSegmentBytes,
		OnFatal: func(err error) { panic(err) },
	}
}

func open(t testing.TB, fsys vfs.FS) *Store {
	t.Helper()
	s, err := Open(testOptions(fsys))
	require.NoError(t, err)
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func entry(index uint64, size int) *raft.Log {
	data := make([]byte, size)
	for i := range data {
		data[i] = byte(index) + byte(i)
	}
	return &raft.Log{Index: index, Term: 1 + index/100, Type: raft.LogCommand, Data: data, AppendedAt: time.Unix(1_700_000_000, int64(index))}
}

func fill(t testing.TB, s *Store, from, to uint64, size int) {
	t.Helper()
	for i := from; i <= to; i++ {
		require.NoError(t, s.StoreLog(entry(i, size)))
	}
}

func requireEntry(t testing.TB, s *Store, want *raft.Log) {
	t.Helper()
	var got raft.Log
	require.NoError(t, s.GetLog(want.Index, &got), "entry %d", want.Index)
	require.True(t, got.AppendedAt.Equal(want.AppendedAt))
	got.AppendedAt = want.AppendedAt
	require.Equal(t, *want, got)
}

func requireBounds(t testing.TB, s *Store, first, last uint64) {
	t.Helper()
	f, err := s.FirstIndex()
	require.NoError(t, err)
	l, err := s.LastIndex()
	require.NoError(t, err)
	require.Equal(t, [2]uint64{first, last}, [2]uint64{f, l})
}

func TestEntriesComeBackAsTheyWereStored(t *testing.T) {
	mem := vfs.NewMem()
	s := open(t, mem)
	logs := []*raft.Log{
		{Index: 1, Term: 1, Type: raft.LogConfiguration, Data: []byte("config")},
		{Index: 2, Term: 1, Type: raft.LogNoop, Data: []byte{}},
		{Index: 3, Term: 1, Type: raft.LogCommand, Data: []byte("abc"), Extensions: []byte("more"), AppendedAt: time.Unix(5, 6)},
		{Index: 4, Term: 2, Type: raft.LogCommand, Data: make([]byte, 3*MinSegmentBytes)}, // larger than a file
		{Index: 5, Term: 2, Type: raft.LogBarrier, Data: []byte{}},
	}
	require.NoError(t, s.StoreLogs(logs[:3]))
	require.NoError(t, s.StoreLogs(logs[3:]))
	for range 2 {
		requireBounds(t, s, 1, 5)
		for _, l := range logs {
			requireEntry(t, s, l)
		}
		require.ErrorIs(t, s.GetLog(0, &raft.Log{}), raft.ErrLogNotFound)
		require.ErrorIs(t, s.GetLog(6, &raft.Log{}), raft.ErrLogNotFound)
		require.NoError(t, s.Close())
		s = open(t, mem)
	}
}

func TestIndexesHaveNoGaps(t *testing.T) {
	s := open(t, vfs.NewMem())
	require.NoError(t, s.StoreLogs([]*raft.Log{entry(7, 1), entry(8, 1)}))
	require.ErrorContains(t, s.StoreLog(entry(8, 1)), "the next one is 9")
	require.ErrorContains(t, s.StoreLog(entry(10, 1)), "the next one is 9")
	require.ErrorContains(t, s.StoreLogs([]*raft.Log{entry(9, 1), entry(11, 1)}), "the next one is 10")
	require.NoError(t, s.StoreLog(entry(9, 1)), "a refused entry does no harm")
	require.ErrorContains(t, s.StoreLog(entry(10, MaxEntryBytes+1)), "limit")
	requireBounds(t, s, 7, 9)
	require.True(t, s.IsMonotonic())
}

func TestOneBatchIsOneWriteAndOneSync(t *testing.T) {
	calls := map[vfs.Op]int{}
	var mu sync.Mutex
	s := open(t, vfs.NewFault(vfs.NewMem(), vfs.Plan{Before: func(c vfs.Call) {
		if strings.HasSuffix(c.Path, segmentSuffix) {
			mu.Lock()
			defer mu.Unlock()
			calls[c.Op]++
		}
	}}))
	require.NoError(t, s.StoreLog(entry(1, 10)))
	s.waitSpare()
	mu.Lock()
	clear(calls)
	mu.Unlock()
	require.NoError(t, s.StoreLogs([]*raft.Log{entry(2, 10), entry(3, 10), entry(4, 10)}))
	mu.Lock()
	defer mu.Unlock()
	require.Equal(t, map[vfs.Op]int{vfs.OpWrite: 1, vfs.OpSync: 1}, calls)
}

// waitSpare waits until nothing is made in the background.
func (s *Store) waitSpare() {
	s.spare.mu.Lock()
	defer s.spare.mu.Unlock()
	for s.spare.want && s.spare.g == nil && !s.spare.ended {
		s.spare.cond.Wait()
	}
}

func TestDistancesAreCountedInBytesOnDisk(t *testing.T) {
	s := open(t, vfs.NewMem())
	require.Zero(t, s.Bytes(0, 10))
	require.Zero(t, s.EntriesWithin(1000))
	fill(t, s, 1, 50, 500) // 552 bytes each, several files
	size := int64(recordBytes(entry(1, 500)))
	require.Greater(t, len(s.segments), 3)
	for _, g := range s.segments[1:] {
		// The header and the unused rest of a file lie between its entries and those of the next.
		require.Equal(t, s.Bytes(g.first-1, g.first), size)
	}
	require.Equal(t, size, s.Bytes(9, 10))
	require.Zero(t, s.Bytes(50, 60))
	require.GreaterOrEqual(t, s.Bytes(0, 50), 50*size)
	require.EqualValues(t, 0, s.EntriesWithin(size-1))
	require.EqualValues(t, 1, s.EntriesWithin(size))
	require.EqualValues(t, 50, s.EntriesWithin(1<<20))
	n := s.EntriesWithin(10 * size)
	require.LessOrEqual(t, s.Bytes(50-n, 50), 10*size)
	require.Greater(t, s.Bytes(50-n-1, 50), 10*size)
}

func TestLogAgreesWithAModelThroughAnyOperations(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		mem := vfs.NewMem()
		s := open(t, mem)
		defer func() { _ = s.Close() }()
		var first, next uint64 = 1, 1
		model := map[uint64]*raft.Log{}
		for range rapid.IntRange(1, 30).Draw(rt, "steps") {
			switch rapid.IntRange(0, 5).Draw(rt, "op") {
			case 0, 1, 2: // append
				var logs []*raft.Log
				for range rapid.IntRange(1, 8).Draw(rt, "entries") {
					l := entry(next, rapid.IntRange(0, 1500).Draw(rt, "size"))
					l.Term = rapid.Uint64Range(1, 9).Draw(rt, "term")
					model[next] = l
					logs = append(logs, l)
					next++
				}
				require.NoError(t, s.StoreLogs(logs))
			case 3: // head
				if next > first {
					to := rapid.Uint64Range(first, next-1).Draw(rt, "head")
					require.NoError(t, s.DeleteRange(first, to))
					for ; first <= to; first++ {
						delete(model, first)
					}
				}
			case 4: // tail
				if next > first {
					from := rapid.Uint64Range(first, next-1).Draw(rt, "tail")
					require.NoError(t, s.DeleteRange(from, next-1))
					for ; next > from; next-- {
						delete(model, next-1)
					}
				}
			case 5:
				require.NoError(t, s.Close())
				s = open(t, mem)
			}
			if first == next { // an empty log goes on anywhere
				first += rapid.Uint64Range(0, 50).Draw(rt, "jump")
				next = first
				requireBounds(t, s, 0, 0)
			} else {
				requireBounds(t, s, first, next-1)
			}
			for _, l := range model {
				requireEntry(t, s, l)
			}
		}
	})
}

func TestAFailedWriteEndsTheLogForEver(t *testing.T) {
	for _, op := range []vfs.Op{vfs.OpWrite, vfs.OpSync} {
		t.Run(string(op), func(t *testing.T) {
			var fatal []error
			var armed atomic.Bool // the store looks after its files in the background
			mem := vfs.NewMem()
			fault := vfs.NewFault(mem, vfs.Plan{FailAt: 1, Err: syscall.EIO, Only: func(o vfs.Op, name string) bool {
				return armed.Load() && o == op && strings.HasSuffix(name, segmentSuffix)
			}})
			o := testOptions(fault)
			o.OnFatal = func(err error) { fatal = append(fatal, err) }
			s, err := Open(o)
			require.NoError(t, err)
			fill(t, s, 1, 3, 100)
			s.waitSpare()
			armed.Store(true)
			require.ErrorIs(t, s.StoreLog(entry(4, 100)), syscall.EIO)
			require.Len(t, fatal, 1)
			require.ErrorIs(t, fatal[0], ErrFailed)
			// The disk works again, and the log takes nothing.
			require.ErrorIs(t, s.StoreLog(entry(4, 100)), ErrFailed)
			require.ErrorIs(t, s.DeleteRange(1, 2), ErrFailed)
			require.ErrorIs(t, s.StableStore().SetUint64([]byte("CurrentTerm"), 5), ErrFailed)
			requireBounds(t, s, 1, 3)
			require.NoError(t, s.Close())
			require.Len(t, fatal, 1)

			s = open(t, mem)
			requireEntry(t, s, entry(3, 100))
		})
	}
}

func TestRollingBesideAppendsEnds(t *testing.T) {
	s := open(t, vfs.NewMem())
	for round := range uint64(300) {
		rolled := make(chan error, 1)
		go func() { rolled <- s.Roll() }()
		fill(t, s, 20*round+1, 20*round+20, 500) // takes what is made ahead
		select {
		case err := <-rolled:
			require.NoError(t, err)
		case <-time.After(20 * time.Second):
			t.Fatal("it waits for a file that nobody makes")
		}
	}
}

// hangingFS lets the next sync of a file hang.
type hangingFS struct {
	vfs.FS
	hang atomic.Pointer[chan struct{}] // closed to go on; nil for no hanging
}

type hangingFile struct {
	vfs.File
	fs *hangingFS
}

func (h *hangingFS) Create(name string) (vfs.File, error) {
	f, err := h.FS.Create(name)
	return &hangingFile{f, h}, err
}

func (f *hangingFile) Sync() error {
	if hang := f.fs.hang.Load(); hang != nil {
		<-*hang
	}
	return f.File.Sync()
}

func TestADiskThatHangsEndsTheLogWhileItHangs(t *testing.T) {
	h := &hangingFS{FS: vfs.NewMem()}
	fatal := make(chan error, 1)
	o := testOptions(h)
	o.StallLimit = 30 * time.Millisecond
	o.OnFatal = func(err error) { fatal <- err }
	s, err := Open(o)
	require.NoError(t, err)
	fill(t, s, 1, 1, 10)
	s.waitSpare()
	hang := make(chan struct{})
	h.hang.Store(&hang)
	acked := make(chan error, 1)
	go func() { acked <- s.StoreLog(entry(2, 10)) }()
	require.ErrorContains(t, <-fatal, "the disk has not answered for 30ms")
	require.Empty(t, acked, "no answer while it hangs")
	close(hang)
	require.ErrorIs(t, <-acked, ErrFailed, "an answer that comes too late is none")
	require.NoError(t, s.Close())
}

func TestAFullDiskIsNoFailure(t *testing.T) {
	mem := vfs.NewMem().WithDiskLimit(5 * MinSegmentBytes)
	s := open(t, mem)
	next := uint64(1)
	var err error
	for ; err == nil; next++ {
		require.Less(t, next, uint64(100))
		err = s.StoreLog(entry(next, 500))
	}
	next--
	require.ErrorIs(t, err, ErrNoSpace)
	require.NoError(t, s.Failed())
	require.False(t, s.HasRoom(500))
	require.NoError(t, s.StableStore().SetUint64([]byte("CurrentTerm"), 5), "a vote needs no space")
	mem.WithDiskLimit(0)
	s.waitSpare()
	require.True(t, s.HasRoom(500))
	fill(t, s, next, next+20, 500)
	requireBounds(t, s, 1, next+20)
}

func TestAVoteIsOneRecord(t *testing.T) {
	mem := vfs.NewMem()
	st := open(t, mem).StableStore()
	_, err := st.Get([]byte("LastVoteCand"))
	require.EqualError(t, err, "not found")
	_, err = st.GetUint64([]byte("CurrentTerm"))
	require.EqualError(t, err, "not found")

	require.NoError(t, st.SetUint64([]byte("CurrentTerm"), 7))
	require.NoError(t, st.SetUint64([]byte(keyVoteTerm), 7))
	require.NoError(t, st.Set([]byte(keyVoteCandidate), []byte("n1")))
	require.NoError(t, st.SetUint64([]byte(keyVoteTerm), 8)) // and the power goes

	again := open(t, mem.CrashClone(rand.New(rand.NewPCG(1, 1)))).StableStore()
	for want, key := range map[uint64]string{7: keyVoteTerm} {
		got, err := again.GetUint64([]byte(key))
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
	got, err := again.Get([]byte(keyVoteCandidate))
	require.NoError(t, err)
	require.Equal(t, "n1", string(got))
	term, err := again.GetUint64([]byte("CurrentTerm"))
	require.NoError(t, err)
	require.EqualValues(t, 7, term)
}

func TestALogOfAnotherClusterIsRefused(t *testing.T) {
	mem := vfs.NewMem()
	s := open(t, mem)
	require.Equal(t, testCluster, s.Cluster())
	require.NoError(t, s.Close())
	o := testOptions(mem)
	o.Cluster = ClusterID{9}
	_, err := Open(o)
	require.ErrorContains(t, err, "belongs to cluster 0102")
	o.Cluster = testCluster
	s, err = Open(o)
	require.NoError(t, err)
	require.NoError(t, s.Close())
}

func TestFilesOfAnUnknownVersionAreRefusedByName(t *testing.T) {
	for _, name := range []string{metaName, markName, voteName, segmentName(1)} {
		mem := vfs.NewMem()
		s := open(t, mem)
		fill(t, s, 1, 2, 10)
		require.NoError(t, s.Close())
		path := filepath.Join("/log", name)
		b, err := vfs.ReadFile(mem, path)
		require.NoError(t, err)
		for at := 0; at+envelopeBytes <= len(b); at += markSlotBytes {
			if string(b[at:at+5]) == "SPOOR" {
				setVersion(b[at:], 2)
			}
		}
		require.NoError(t, vfs.WriteFileAtomic(mem, path, b))
		_, err = Open(testOptions(mem))
		require.ErrorIs(t, err, errVersion, name)
		require.ErrorContains(t, err, name)
		require.NotErrorIs(t, err, ErrDamaged)
	}
}

func TestAMissingFileIsNoticed(t *testing.T) {
	names := []string{metaName, markName, voteName}
	for seq := uint64(1); seq <= 5; seq++ {
		names = append(names, segmentName(seq))
	}
	for _, name := range names {
		mem := vfs.NewMem()
		s := open(t, mem)
		fill(t, s, 1, 34, 500) // seven in a file
		require.Len(t, s.segments, 5)
		require.NoError(t, s.Close())
		require.NoError(t, mem.Remove(filepath.Join("/log", name)))
		_, err := Open(testOptions(mem))
		require.Error(t, err, name)
		require.True(t, errorsIsAny(err, ErrDamaged, fs.ErrNotExist), "%v", err)
	}
}

func BenchmarkAppend(b *testing.B) {
	for _, size := range []int{1 << 10, 64 << 10} {
		for _, batch := range []int{1, 16, 64} {
			b.Run(fmt.Sprintf("%dKiBx%d", size>>10, batch), func(b *testing.B) {
				o := testOptions(vfs.OS())
				o.Dir, o.SegmentBytes = b.TempDir(), DefaultSegmentBytes
				s, err := Open(o)
				require.NoError(b, err)
				defer s.Close()
				logs := make([]*raft.Log, batch)
				for i := range logs {
					logs[i] = entry(uint64(i+1), size)
				}
				b.SetBytes(int64(size * batch))
				b.ReportAllocs()
				b.ResetTimer()
				for range b.N {
					require.NoError(b, s.StoreLogs(logs))
					for _, l := range logs {
						l.Index += uint64(batch)
					}
					if len(s.segments) > 8 {
						require.NoError(b, s.DeleteRange(s.first, s.segments[7].first))
					}
				}
				b.ReportMetric(float64(b.N*batch)/b.Elapsed().Seconds(), "entries/s")
			})
		}
	}
}

func TestTheFirstFileAndTheOneBehindARollAreShortAndEachAfterItIsTwiceAsLong(t *testing.T) {
	mem := vfs.NewMem()
	o := testOptions(mem)
	o.SegmentBytes = 64 << 10
	const short = 4 << 10
	s, err := Open(o)
	require.NoError(t, err)
	lengths := func() (out []int64) {
		for _, g := range s.segments {
			out = append(out, g.f.Size())
		}
		return out
	}
	next := uint64(1)
	store := func(entries int) {
		fill(t, s, next, next+uint64(entries)-1, 900)
		next += uint64(entries)
	}
	store(160)
	require.Equal(t, []int64{short, 2 * short, 4 * short, 8 * short, 16 * short, 16 * short}, lengths())

	require.NoError(t, s.Roll()) // the next one may be made already, and is made shorter then
	store(10)
	require.NoError(t, s.Roll())
	store(1)
	require.Equal(t, []int64{16 * short, short, 2 * short, short}, lengths()[5:])

	require.NoError(t, s.Close())
	s, err = Open(o)
	require.NoError(t, err)
	defer func() { require.NoError(t, s.Close()) }()
	for i := uint64(1); i < next; i++ {
		requireEntry(t, s, entry(i, 900))
	}
	store(10)
	requireEntry(t, s, entry(next-1, 900))
}

func TestWhileTheDiskIsNearlyFullFilesAreWholeSoThatThereIsRoomForWhatIsUnderWay(t *testing.T) {
	o := testOptions(vfs.NewMem().WithDiskLimit(tightBytes / 2))
	o.SegmentBytes = 64 << 10
	const short = 4 << 10
	s, err := Open(o)
	require.NoError(t, err)
	defer func() { require.NoError(t, s.Close()) }()
	fill(t, s, 1, 10, 900)
	require.NoError(t, s.Roll())
	fill(t, s, 11, 50, 900) // more than half of the file: the next is made ahead
	s.waitSpare()
	var lengths []int64
	for _, g := range s.segments {
		lengths = append(lengths, g.f.Size())
	}
	require.Equal(t, []int64{short, 16 * short, 16 * short}, lengths)
	require.True(t, s.HasRoom(64<<10))
	require.False(t, s.HasRoom(256<<10))
}
