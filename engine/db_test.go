package engine_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"spoor/engine"
	"spoor/engine/event"
	"spoor/segment"
)

// loader feeds events into a store as the log would.
type loader struct {
	t     testing.TB
	db    *engine.DB
	index uint64
	d     *event.Decoder
}

func newLoader(t testing.TB, db *engine.DB) *loader {
	return &loader{t: t, db: db, index: db.AppliedIndex(), d: event.NewDecoder(event.DefaultLimits())}
}

func noID() [16]byte { panic("every event of the test has an id") }

// apply proposes lines of events as one entry.
func (l *loader) apply(lines []byte) *engine.EventsResult {
	l.t.Helper()
	err := l.d.AddAll(lines, "", noID, func(it event.Item) error {
		if it.Reject != nil {
			return it.Reject
		}
		return nil
	})
	require.NoError(l.t, err)
	l.index++
	res := l.db.Apply(l.index, engine.EventsEntry(nil, l.d.Seal(1_700_000_000_000_000+int64(l.index)*1000)))
	require.IsType(l.t, &engine.EventsResult{}, res)
	return res.(*engine.EventsResult)
}

// ecom returns the lines of the shared data set in chunks of size lines.
func ecom(t testing.TB, size int) [][]byte {
	f, err := os.Open(filepath.Join("..", "..", "shared", "data", "ecom.ndjson.gz"))
	if err != nil {
		t.Skip("the shared data set is not here: ../shared/data/ecom.ndjson.gz")
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	require.NoError(t, err)
	var chunks [][]byte
	var buf bytes.Buffer
	n := 0
	for s := bufio.NewScanner(z); s.Scan(); {
		buf.Write(s.Bytes())
		buf.WriteByte('\n')
		if n++; n%size == 0 {
			chunks = append(chunks, bytes.Clone(buf.Bytes()))
			buf.Reset()
		}
	}
	return append(chunks, bytes.Clone(buf.Bytes()))
}

func openStore(t testing.TB, dir string, opts engine.Options) *engine.DB {
	t.Helper()
	opts.ManualCompaction = true
	opts.OnFatal = func(err error) { t.Errorf("fatal: %v", err) }
	db, err := engine.Open(dir, opts)
	require.NoError(t, err)
	return db
}

func rowsOf(t testing.TB, db *engine.DB) int {
	t.Helper()
	v, err := db.View()
	require.NoError(t, err)
	defer v.Release()
	n := 0
	for _, s := range v.Segments {
		n += s.Rows()
		var x segment.Scratch
		for i := range s.Sections() {
			sec := &s.Sections()[i]
			keys := make([]uint64, sec.Rows())
			require.NoError(t, sec.Keys(keys, 0, len(keys), &x))
			require.IsNonDecreasing(t, keys)
		}
	}
	return n
}

func TestAResendIsADuplicateBeforeAndAfterFlushCompactionAndRestart(t *testing.T) {
	dir := t.TempDir()
	db := openStore(t, dir, engine.Options{})
	l := newLoader(t, db)
	chunks := ecom(t, 500)
	total := 0
	for _, c := range chunks {
		res := l.apply(c)
		require.Zero(t, res.Duplicates)
		total += res.Accepted
	}
	require.Equal(t, 31106, total)
	again := func() {
		t.Helper()
		for _, c := range chunks[:9] {
			require.Zero(t, l.apply(c).Accepted)
		}
		require.Equal(t, total, rowsOf(t, db))
	}
	again()
	_, err := db.Checkpoint(context.Background())
	require.NoError(t, err)
	again()
	require.NoError(t, db.Compact(context.Background()))
	again()
	_, err = db.Checkpoint(context.Background())
	require.NoError(t, err)
	require.NoError(t, db.Close())

	db = openStore(t, dir, engine.Options{})
	require.Equal(t, l.index, db.AppliedIndex())
	l = newLoader(t, db)
	again()
	require.NoError(t, db.Close())
}

// watching is a context that looks whenever it is asked for its end.
type watching struct {
	context.Context
	look func()
}

func (w watching) Err() error { w.look(); return w.Context.Err() }

func TestAMergeTellsWhatItReadsAndHowFarItIs(t *testing.T) {
	db := openStore(t, t.TempDir(), engine.Options{ManualCompaction: true, MergeRows: 600})
	l := newLoader(t, db)
	for file := range 3 {
		var lines []byte
		for i := range 500 {
			lines = fmt.Appendf(lines, `{"eventId":"e%d-%d","userId":"u%d","eventName":"a","timestamp":"2026-05-01T10:00:00Z"}`+"\n", file, i, i)
		}
		l.apply(lines)
		_, err := db.Checkpoint(context.Background())
		require.NoError(t, err)
	}
	_, running := db.Merging()
	require.False(t, running)
	var seen []engine.Merge
	require.NoError(t, db.Compact(watching{context.Background(), func() {
		if m, running := db.Merging(); running {
			seen = append(seen, m)
		}
	}}))
	further := 0
	for i, m := range seen {
		require.Positive(t, m.Files)
		require.LessOrEqual(t, m.Last-m.First, int32(1))
		require.LessOrEqual(t, m.Done, m.Bytes)
		if i > 0 && m.Began == seen[i-1].Began {
			require.Greater(t, m.Done, seen[i-1].Done)
			further++
		} else {
			require.Zero(t, m.Done)
		}
	}
	require.Positive(t, further, "a merge of several pieces tells more than once")
	_, running = db.Merging()
	require.False(t, running)
}
