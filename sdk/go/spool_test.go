package spoor

import (
	"context"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestWhatAClosedClientLeavesInTheSpoolTheNextOneSends(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "spool")
	f := newFake(t)
	f.fault = func(int, request) (*http.Response, error) { return nil, f.broken() }
	f.breaks.Store(true)
	spooled := func(o *Options) { o.SpoolDir, o.BatchEvents = dir, 10 }
	c := f.open(t, spooled)
	enqueue(t, c, named("a", 25)...)
	_, err := New(Options{Endpoint: "http://spoor.test", SpoolDir: dir, Logger: discard})
	require.ErrorContains(t, err, "another client has this spool open")
	ctx, cancel := context.WithTimeout(background, 50*time.Millisecond)
	defer cancel()
	var unsent *UnsentError
	require.ErrorAs(t, c.Close(ctx), &unsent)
	require.Equal(t, int64(25), unsent.Events)
	require.True(t, unsent.Spooled)

	f.breaks.Store(false)
	c = f.open(t, spooled)
	require.Equal(t, uint64(25), c.Stats().Spooled)
	enqueue(t, c, "b")
	require.NoError(t, c.Close(background))
	require.Equal(t, append(named("a", 25), "b"), f.storedIDs())
}

func TestEveryFsyncPolicyTakesCallsFromManyGoroutines(t *testing.T) {
	for _, policy := range []time.Duration{SyncEach, time.Millisecond, 0} {
		f := newFake(t)
		c := f.open(t, func(o *Options) { o.SpoolDir, o.SpoolSync = t.TempDir(), policy })
		var all sync.WaitGroup
		for _, id := range named("e", 200) {
			all.Go(func() {
				if err := c.Enqueue(background, event(id)); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		require.NoError(t, c.Close(background))
		require.ElementsMatch(t, named("e", 200), f.storedIDs())
	}
}

func TestADiskThatRefusesIsAnErrorOfTheCall(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "spool")
	f := newFake(t)
	c := f.open(t, func(o *Options) { o.SpoolDir = dir })
	require.NoError(t, os.Rename(dir, dir+".away"))
	err := c.Enqueue(background, event("lost"))
	require.ErrorIs(t, err, ErrSpool)
	require.ErrorIs(t, err, os.ErrNotExist)
	require.NoError(t, c.Flush(background), "nothing waits")
	require.NoError(t, os.Rename(dir+".away", dir))
	enqueue(t, c, "kept")
	require.NoError(t, c.Close(background))
	require.Equal(t, []string{"kept"}, f.storedIDs())
	require.Equal(t, []uint64{1, 1}, []uint64{c.Stats().Enqueued, c.Stats().SpoolFailed})
}

func TestASpoolThatIsFullFollowsThePolicy(t *testing.T) {
	for _, policy := range []Policy{DropOldest, DropNewest, Block} {
		synctest.Test(t, func(t *testing.T) {
			f := newFake(t)
			f.fault = func(int, request) (*http.Response, error) { return nil, f.broken() }
			f.breaks.Store(true)
			c := f.open(t, func(o *Options) {
				o.SpoolDir, o.SpoolBytes, o.WhenFull, o.MaxBlock, o.Coding = t.TempDir(), minSpoolBytes, policy, 5*time.Second, Plain()
			})
			big := map[string]any{"text": strings.Repeat("x", 60<<10)}
			refused := 0
			for _, id := range named("e", 100) {
				begin := time.Now()
				err := c.Enqueue(background, Event{ID: id, Name: "big", UserID: "u", Properties: big})
				require.LessOrEqual(t, time.Since(begin), 5*time.Second)
				if err != nil {
					require.True(t, errors.Is(err, ErrFull), "%v", err)
					refused++
				}
			}
			s := c.Stats()
			require.Equal(t, policy == DropOldest, refused == 0)
			require.LessOrEqual(t, s.QueuedBytes, int64(minSpoolBytes))
			require.Positive(t, s.DroppedOldest+s.DroppedNewest)
			f.breaks.Store(false)
			require.NoError(t, c.Close(background))
			s = c.Stats()
			require.Equal(t, uint64(100), s.Accepted+s.DroppedOldest+s.DroppedNewest)
			require.Len(t, f.storedIDs(), int(s.Accepted))
		})
	}
}
