package datadir_test

import (
	"context"
	"fmt"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"spoor/cluster/datadir"
	"spoor/engine"
	"spoor/engine/erasure"
	"spoor/engine/event"
	"spoor/internal/vfs"
)

func TestAPersonWhoWasErasedIsInNoFileAfterACompactionAndACut(t *testing.T) {
	ctx := context.Background()
	dir := filepath.Join(t.TempDir(), "data")
	n := mustStart(t, dir, "n1")
	n.fill()
	d := event.NewDecoder(event.DefaultLimits())
	_, rej := d.Add([]byte(`{"eventId":"erase-me-1","eventName":"e1","userId":"erased-user","anonymousId":"erased-anon","timestamp":"2026-05-01T10:00:00Z","properties":{"mail":"erased@example.com"}}`), "", nil)
	require.Nil(t, rej)
	n.propose(engine.EventsEntry(nil, d.Seal(1_777_700_000_000_000)))
	n.checkpoint()
	entry, err := engine.EraseEntry(&erasure.Request{ID: "r1", Kind: erasure.Person, User: "erased-user", At: 1_777_700_000_000_000})
	require.NoError(t, err)
	n.propose(entry)
	require.NoError(t, n.db.Compact(ctx))
	require.NoError(t, n.raft.CutLog(ctx))
	found, err := datadir.GrepInUse(ctx, vfs.OS(), dir, nil, []string{"erased@example.com", "erased-anon", "erased-user"}, nil)
	require.NoError(t, err)
	require.True(t, found.Gone(), "%+v", found)
	n.close()
	require.NoError(t, verify(t, dir).Err())
	require.True(t, grepFor(t, dir, "erased@example.com", "erased-anon", "erased-user").Gone())
	// Nothing but the eventId stays, so that a resend is a duplicate.
	found = grepFor(t, dir, "erase-me-1")
	require.Equal(t, map[string]bool{".seg": true}, typesOf(found))
}

// Whatever a store in use does with its files meanwhile: what it held at the call is found.
func TestASearchThroughAStoreInUseFindsATextWhereverItMovesTo(t *testing.T) {
	ctx := context.Background()
	dir := filepath.Join(t.TempDir(), "data")
	n := mustStart(t, dir, "n1")
	d := event.NewDecoder(event.DefaultLimits())
	add := func(id, rest string) {
		_, rej := d.Add(fmt.Appendf(nil, `{"eventId":%q,"eventName":"e1","timestamp":"2026-05-01T10:00:00Z",%s}`, id, rest), "", nil)
		require.Nil(t, rej)
		n.propose(engine.EventsEntry(nil, d.Seal(1_777_700_000_000_000)))
	}
	add("wanted", `"userId":"wanted-user","properties":{"mail":"wanted@example.com"}`)
	look := func(texts ...string) *datadir.Found {
		found, err := datadir.GrepInUse(ctx, vfs.OS(), dir, nil, texts, nil)
		require.NoError(t, err)
		return found
	}
	require.True(t, typesOf(look("wanted@example.com"))[".log"], "it is in the memtable, so it is in the log")
	done := make(chan struct{})
	var work sync.WaitGroup
	work.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-done:
				return
			default:
			}
			add(fmt.Sprint("other-", i), `"userId":"somebody"`)
			if i%5 == 4 {
				n.checkpoint()
			}
			if i%20 == 19 {
				if err := n.db.Compact(ctx); err != nil {
					t.Error(err)
				}
			}
		}
	})
	for range 40 {
		for _, text := range []string{"wanted@example.com", "wanted-user"} {
			if found := look(text); len(found.Places) == 0 {
				t.Errorf("%s is not found in %d files, %v", text, found.Files, found.Undecoded)
			}
		}
		if found := look("never-sent"); len(found.Places) > 0 {
			t.Errorf("found what was never sent: %v", found.Places)
		}
	}
	close(done)
	work.Wait()
	require.Empty(t, look("never-sent").Undecoded, "nothing is written any more")
	n.close()
}
