package hotpath

import (
	"bytes"
	"context"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"spoor/engine"
	"spoor/engine/event"
	"spoor/segment"
	"spoor/segment/batch"
	"spoor/segment/encoding"
)

const lookUps = 1000

// knownIDs are some ids of a file.
func knownIDs(tb testing.TB, r *segment.Reader) []batch.ID {
	all, err := r.IDs(0, r.Rows())
	require.NoError(tb, err)
	rng := rand.New(rand.NewPCG(1, 1))
	out := make([]batch.ID, lookUps)
	for i := range out {
		out[i] = all.IDs[rng.IntN(len(all.IDs))]
	}
	return out
}

func lookUpIn(tb testing.TB, r *segment.Reader, ids []batch.ID) {
	for _, id := range ids {
		has, err := r.HasID(id, nil)
		require.NoError(tb, err)
		require.True(tb, has)
	}
}

func lookUpCached(tb testing.TB, events int) pair {
	v, _ := view(tb, events)
	r := v.Segments[0]
	ids := knownIDs(tb, r)
	lookUpIn(tb, r, ids)
	memory := randomMemory(int(r.Size()))
	return pair{
		n:    len(ids),
		path: func() { lookUpIn(tb, r, ids) },
		reference: func() {
			for _, id := range ids {
				sums += memory[id.Lo%uint64(len(memory))]
			}
		},
	}
}

// lookUpRead reads each page from the file, which the system has in memory.
func lookUpRead(tb testing.TB, events int) pair {
	v, dir := view(tb, events)
	file, err := os.Open(filepath.Join(dir, filepath.Base(v.Segments[0].Name())))
	require.NoError(tb, err)
	tb.Cleanup(func() { _ = file.Close() })
	size := v.Segments[0].Size()
	r, err := segment.Open(file, size, file.Name(), nil)
	require.NoError(tb, err)
	ids := knownIDs(tb, r)
	const idPageBytes = 1024 * 136 / 10 // of 1,024 random ids
	page := make([]byte, min(idPageBytes, size/2))
	return pair{
		n:    len(ids),
		path: func() { lookUpIn(tb, r, ids) },
		reference: func() {
			for _, id := range ids {
				_, err := file.ReadAt(page, int64(id.Lo%uint64(size-int64(len(page)))))
				require.NoError(tb, err)
			}
		},
	}
}

// merge makes one file of four that were flushed.
func merge(tb testing.TB, events int) pair {
	const files = 4
	n := min(events, 40_000) / files
	bodies := make([][]byte, files)
	for i := range bodies {
		bodies[i] = lines(tb, n, uint64(i+1))
	}
	var db *engine.DB
	dir := filepath.Join(tb.TempDir(), "store")
	next := func() {
		if db != nil {
			require.NoError(tb, db.Close())
			require.NoError(tb, os.RemoveAll(dir))
		}
		var err error
		db, err = engine.Open(dir, engine.Options{ManualCompaction: true})
		require.NoError(tb, err)
		for i, body := range bodies {
			d := event.NewDecoder(event.DefaultLimits())
			decodeInto(tb, d, body)
			_, ok := db.Apply(uint64(i+1), engine.EventsEntry(nil, d.Seal(received))).(*engine.EventsResult)
			require.True(tb, ok)
			_, err := db.Checkpoint(context.Background())
			require.NoError(tb, err)
		}
	}
	next()
	tb.Cleanup(func() { require.NoError(tb, db.Close()) })
	copied := filepath.Join(tb.TempDir(), "copy")
	return pair{
		n:    files * n,
		path: func() { require.NoError(tb, db.Compact(context.Background())) },
		reference: func() {
			names, err := filepath.Glob(filepath.Join(dir, "*.seg"))
			require.NoError(tb, err)
			require.NotEmpty(tb, names)
			to, err := os.Create(copied)
			require.NoError(tb, err)
			for _, name := range names {
				from, err := os.ReadFile(name)
				require.NoError(tb, err)
				_, err = to.Write(from)
				require.NoError(tb, err)
			}
			require.NoError(tb, to.Sync())
			require.NoError(tb, to.Close())
		},
		between: next,
	}
}

// decodeTexts decodes a block of texts in place that hardly repeat.
func decodeTexts(tb testing.TB, _ int) pair {
	body := lines(tb, 256, 1)
	var lengths []uint32
	for line := range bytes.Lines(body) {
		lengths = append(lengths, uint32(len(line)))
	}
	c := encoding.NewCompressor()
	block := c.AppendTexts(nil, lengths, body)
	require.Less(tb, len(block), len(body))
	block = append(block, make([]byte, encoding.Pad)...)
	to := bytes.NewBuffer(make([]byte, 0, len(body)))
	return pair{
		n: len(body),
		path: func() {
			_, texts, err := c.ReadTexts(encoding.NewLane(block), len(lengths))
			require.NoError(tb, err)
			require.Len(tb, texts, len(body))
		},
		reference: func() {
			to.Reset()
			_, err := io.Copy(to, bytes.NewReader(body))
			require.NoError(tb, err)
		},
	}
}
