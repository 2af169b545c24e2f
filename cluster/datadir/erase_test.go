package datadir_test

import (
	"context"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"spoor/engine"
	"spoor/engine/erasure"
	"spoor/engine/event"
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
	n.close()
	require.NoError(t, verify(t, dir).Err())
	require.True(t, grepFor(t, dir, "erased@example.com", "erased-anon", "erased-user").Gone())
	// Nothing but the eventId stays, so that a resend is a duplicate.
	found := grepFor(t, dir, "erase-me-1")
	require.Equal(t, map[string]bool{".seg": true}, typesOf(found))
}
