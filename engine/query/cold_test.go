package query_test

import (
	"context"
	"io"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"spoor/engine"
	"spoor/engine/cold"
	"spoor/engine/erasure"
	"spoor/engine/query"
	"spoor/engine/query/oracle"
)

// objectStore keeps objects in memory, and counts what is read of them.
type objectStore struct {
	mu   sync.Mutex
	of   map[string][]byte
	read int
}

func (o *objectStore) Put(_ context.Context, key string, content io.ReaderAt, size int64) error {
	b := make([]byte, size)
	if n, err := content.ReadAt(b, 0); n < len(b) {
		return err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.of[key] = b
	return nil
}

func (o *objectStore) ReadAt(_ context.Context, key string, p []byte, off int64) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	b := o.of[key]
	if int64(len(b)) < off+int64(len(p)) {
		return cold.ErrMissing
	}
	o.read += copy(p, b[off:])
	return nil
}

func (o *objectStore) List(_ context.Context, prefix string, f func(string, int64) error) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	for k, b := range o.of {
		if strings.HasPrefix(k, prefix) {
			if err := f(k, int64(len(b))); err != nil {
				return err
			}
		}
	}
	return nil
}

func (o *objectStore) Remove(_ context.Context, key string) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.of, key)
	return nil
}

func (o *objectStore) String() string { return "objects in memory" }

func TestTheEngineAgreesWithTheOracleWhenAllDaysAreInTheObjectStore(t *testing.T) {
	ctx := context.Background()
	for seed := range uint64(3) {
		far := &objectStore{of: map[string][]byte{}}
		db, err := engine.Open(t.TempDir(), engine.Options{
			ManualCompaction: true, MergeRows: cut(seed), OnFatal: func(err error) { t.Errorf("fatal: %v", err) },
			MemoryBytes: 8 << 20, Cold: cold.Options{Store: far, BlockBytes: 256, CacheBytes: 4096},
		})
		require.NoError(t, err)
		w := &world{r: rand.New(rand.NewPCG(1000+seed, 1)), db: db, oracle: &oracle.Store{}, coarse: seed == 2}
		w.add(t, 900)
		require.NoError(t, db.Compact(ctx))
		now := time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC)
		entry, err := engine.RetentionEntry(&erasure.Retention{Dedupe: 30, Local: 30}, now)
		require.NoError(t, err)
		require.Equal(t, true, db.Apply(db.AppliedIndex()+1, entry))
		require.NoError(t, db.Cool(ctx, now))
		status := db.ColdStatus()
		require.Positive(t, status.Files)
		require.Greater(t, status.Bytes, 4*status.CacheLimit, "the cache holds a small part")
		far.read = 0
		e := query.New(db, smallRanges(int(seed)), func() time.Time { return worldNow })
		for range 120 {
			text := w.query()
			want, err := w.oracle.Ask(text, worldNow.UnixMicro())
			require.NoError(t, err, text)
			got, err := e.Ask(ctx, text)
			require.NoError(t, err, text)
			if d := difference("", plain(t, want), plain(t, got)); d != "" {
				t.Errorf("world %d (oracle and engine):\n%s\n%s", seed, text, d)
			}
		}
		require.Positive(t, far.read)
		require.LessOrEqual(t, db.ColdStatus().CacheBytes, int64(4096))
		require.NoError(t, db.Close())
	}
}
