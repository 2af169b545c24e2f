package hotpath

import (
	"bytes"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/cespare/xxhash/v2"
	"github.com/hashicorp/raft"
	"github.com/stretchr/testify/require"

	"spoor/cluster/logstore"
	"spoor/engine"
	"spoor/engine/event"
	"spoor/index"
	"spoor/internal/vfs"
	"spoor/segment/batch"
)

const (
	requestEvents = 500    // of one request
	entryEvents   = 10_000 // of one log entry under load
	received      = 1_790_000_000_000_000
)

func noID() [16]byte { panic("an event of the workload has no id") }

func decodeInto(tb testing.TB, d *event.Decoder, body []byte) {
	require.NoError(tb, d.AddAll(body, "bench", noID, func(it event.Item) error {
		if it.Reject != nil {
			return it.Reject
		}
		return nil
	}))
}

func decodeJSON(tb testing.TB, _ int) pair {
	body := lines(tb, requestEvents, 1)
	d := event.NewDecoder(event.DefaultLimits())
	return pair{
		n: requestEvents,
		path: func() {
			decodeInto(tb, d, body)
			require.Equal(tb, requestEvents, d.Rows())
			d.Seal(received)
		},
		reference: func() { sums += xxhash.Sum64(body) },
	}
}

func dictionary(tb testing.TB, events int) pair {
	rng := rand.New(rand.NewPCG(1, 1))
	texts := make([][]byte, min(events, entryEvents))
	for i := range texts {
		texts[i] = []byte("product-" + strconv.Itoa(rng.IntN(2000)))
	}
	b := batch.NewBuilder()
	head := batch.Head{Name: []byte("view_product"), User: []byte("u"), Time: received}
	return pair{
		n: len(texts),
		path: func() {
			column := b.Column("productId", batch.KindString)
			for i, t := range texts {
				column.Text(i, t)
			}
		},
		reference: func() {
			for _, t := range texts {
				sums += xxhash.Sum64(t)
			}
		},
		between: func() {
			for i := range texts {
				head.ID.Lo = uint64(i)
				b.AddRow(&head)
			}
			b.Reset()
		},
	}
}

// appendLog appends what two requests are in the log.
func appendLog(tb testing.TB, _ int) pair {
	s, err := logstore.Open(logstore.Options{
		FS: vfs.OS(), Dir: filepath.Join(tb.TempDir(), "log"), NewCluster: logstore.ClusterID{1}, OnFatal: func(err error) { panic(err) },
	})
	require.NoError(tb, err)
	tb.Cleanup(func() { require.NoError(tb, s.Close()) })
	data := bytes.Repeat([]byte("some bytes of an entry, "), 2700) // 64 KiB
	record := &raft.Log{Term: 1, Type: raft.LogCommand, Data: data, AppendedAt: time.Unix(1_790_000_000, 0)}

	file, err := os.Create(filepath.Join(tb.TempDir(), "reference"))
	require.NoError(tb, err)
	tb.Cleanup(func() { _ = file.Close() })
	_, err = file.Write(make([]byte, logstore.DefaultSegmentBytes))
	require.NoError(tb, err)
	require.NoError(tb, file.Sync())
	at := int64(0)
	return pair{
		n: 1,
		path: func() {
			record.Index++
			require.NoError(tb, s.StoreLogs([]*raft.Log{record}))
		},
		reference: func() {
			_, err := file.WriteAt(data, at)
			require.NoError(tb, err)
			require.NoError(tb, file.Sync())
			if at += int64(len(data)); at+int64(len(data)) > logstore.DefaultSegmentBytes {
				at = 0
			}
		},
		between: func() {
			const kept = 2000 // entries, eight files
			first, err := s.FirstIndex()
			require.NoError(tb, err)
			if first+kept < record.Index {
				require.NoError(tb, s.DeleteRange(first, record.Index-kept/2))
			}
		},
	}
}

// apply applies entries as large as they come under load. The least that an event takes is to look whether its id was there, to find its
// person, each somewhere in memory, and to keep its bytes.
func apply(tb testing.TB, events int) pair {
	db, err := engine.Open(filepath.Join(tb.TempDir(), "store"), engine.Options{ManualCompaction: true, MemoryBytes: 4 << 30}) // nothing is flushed meanwhile
	require.NoError(tb, err)
	tb.Cleanup(func() { require.NoError(tb, db.Close()) })
	n := min(events, entryEvents)
	memory, kept := randomMemory(64<<20), []byte(nil)
	rng := rand.New(rand.NewPCG(1, 1))
	d, seed := event.NewDecoder(event.DefaultLimits()), uint64(0)
	var entry []byte
	next := func() {
		seed++
		decodeInto(tb, d, lines(tb, n, seed))
		entry = engine.EventsEntry(nil, d.Seal(received+int64(seed)*1000))
	}
	path := func() {
		_, ok := db.Apply(db.AppliedIndex()+1, entry).(*engine.EventsResult)
		require.True(tb, ok)
	}
	for range events / n / 2 { // so that memory is there and filters have something
		next()
		path()
	}
	next()
	return pair{
		n:    n,
		path: path,
		reference: func() {
			for range 2 * n {
				sums += memory[rng.Uint64()%uint64(len(memory))]
			}
			kept = append(kept[:0], entry...)
		},
		between: next,
	}
}

// randomMemory is so many bytes in words, beyond the processor's caches when they are enough.
func randomMemory(bytes int) []uint64 {
	m := make([]uint64, bytes/8)
	for i := range m {
		m[i] = uint64(i) * 0x9e3779b97f4a7c15
	}
	return m
}

// filterProbe asks for ids that were never there, as most of what comes.
func filterProbe(tb testing.TB, events int) pair {
	capacity := 8 * events
	f := index.NewFilters(vfs.OS(), tb.TempDir(), capacity)
	rng := rand.New(rand.NewPCG(1, 1))
	for range capacity {
		f.Add(rng.Uint64())
	}
	strangers := make([]uint64, events)
	for i := range strangers {
		strangers[i] = rng.Uint64()
	}
	maybe := make([]bool, len(strangers))
	memory := randomMemory(capacity * 12 / 8)
	return pair{
		n:    len(strangers),
		path: func() { f.HasAll(strangers, maybe) },
		reference: func() {
			for _, s := range strangers {
				sums += memory[s%uint64(len(memory))]
			}
		},
	}
}
