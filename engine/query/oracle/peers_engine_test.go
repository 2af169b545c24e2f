package oracle

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"spoor/engine"
	"spoor/engine/event"
	"spoor/engine/query"
)

// engineOf is a peer's events in an engine: in memory, in files, or in merged files.
func engineOf(t *testing.T, c *peerCase, state string) *query.Engine {
	t.Helper()
	db, err := engine.Open(t.TempDir(), engine.Options{ManualCompaction: true, OnFatal: func(err error) { t.Errorf("fatal: %v", err) }})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	for i, e := range c.Events {
		line, err := json.Marshal(map[string]any{
			"eventId": fmt.Sprint(c.ID, "-", i), "userId": e.User, "eventName": e.Event,
			"timestamp": e.TS.UTC().Format(time.RFC3339Nano), "properties": e.Properties, "context": e.Context,
		})
		require.NoError(t, err)
		d := event.NewDecoder(event.DefaultLimits())
		require.NoError(t, d.AddAll(bytes.TrimSpace(line), "", nil, func(it event.Item) error {
			if it.Reject != nil {
				return it.Reject
			}
			return nil
		}))
		require.IsType(t, &engine.EventsResult{}, db.Apply(db.AppliedIndex()+1, engine.EventsEntry(nil, d.Seal(1_790_000_000_000_000+int64(i)*1000))))
		if state == "merged files" && i%7 == 3 {
			require.NoError(t, checkpoint(db))
		}
	}
	switch state {
	case "files":
		require.NoError(t, checkpoint(db))
	case "merged files":
		require.NoError(t, db.Compact(context.Background()))
	}
	return query.New(db, query.Limits{}, func() time.Time { return time.UnixMicro(0) })
}

func checkpoint(db *engine.DB) error {
	_, err := db.Checkpoint(context.Background())
	return err
}

// askEngines holds the engine's answers, wherever it has the events, against the
// oracle's, which the peer's numbers are held against.
func (c *peerCase) askEngines(t *testing.T, text string, want *Answer) {
	t.Helper()
	if len(c.Events) == 0 {
		return
	}
	if c.engines == nil {
		c.engines = map[string]*query.Engine{}
		for _, state := range []string{"memory", "files", "merged files"} {
			c.engines[state] = engineOf(t, c, state)
		}
	}
	expected, err := json.Marshal(want)
	require.NoError(t, err)
	for state, e := range c.engines {
		a, err := e.Ask(context.Background(), text)
		require.NoError(t, err, "%s: %s", state, text)
		got, err := json.Marshal(a)
		require.NoError(t, err)
		require.Empty(t, Diff(expected, got), "%s: %s", state, text)
	}
}
