package query_test

import (
	"bytes"
	"context"
	"encoding/json"
	"math/rand"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"spoor/engine"
	"spoor/engine/event"
	"spoor/engine/query"
	"spoor/engine/query/oracle"
	"spoor/engine/query/oracle/workload"
)

// apply stores a batch as the collector would.
func apply(t *testing.T, db *engine.DB, b *workload.Batch) {
	t.Helper()
	if len(b.Events) > 0 {
		var lines [][]byte
		for i := range b.Events {
			lines = append(lines, workload.JSON(&b.Events[i]))
		}
		d := event.NewDecoder(event.DefaultLimits())
		require.NoError(t, d.AddAll(bytes.Join(lines, []byte("\n")), b.Source, noID, func(it event.Item) error {
			if it.Reject != nil {
				return it.Reject
			}
			return nil
		}))
		require.IsType(t, &engine.EventsResult{}, db.Apply(db.AppliedIndex()+1, engine.EventsEntry(nil, d.Seal(b.ReceivedAt))))
	}
	for _, l := range b.Links {
		db.Apply(db.AppliedIndex()+1, engine.IdentifyEntry(l.UserID, l.AnonymousID))
	}
}

// Months, time zones with changes of the clock, shared devices, links of ids, and
// questions with every clause of the language.
func TestTheEngineAgreesWithTheOracleOnAwkwardWorkloads(t *testing.T) {
	worlds, queries := 12, 40
	if n, err := strconv.Atoi(os.Getenv("SPOOR_ORACLE_WORLDS")); err == nil {
		worlds = n
	}
	failures := 0
	for seed := range int64(worlds) {
		r := rand.New(rand.NewSource(seed))
		w := workload.Random(r, workload.Size{Persons: 1 + r.Intn(8), Events: 1 + r.Intn(150)})
		model := w.Store()
		db := openStore(t)
		e := query.New(db, query.Limits{}, func() time.Time { return time.UnixMicro(w.Now) })
		for i := range w.Batches {
			apply(t, db, &w.Batches[i])
			switch r.Intn(3 * len(w.Batches)) {
			case 0:
				_, err := db.Checkpoint(context.Background())
				require.NoError(t, err)
			case 1:
				require.NoError(t, db.Compact(context.Background()))
			}
		}
		for range queries {
			text := workload.Query(r, w)
			want, err := model.Ask(text, w.Now)
			require.NoError(t, err, text)
			got, err := e.Ask(context.Background(), text)
			require.NoError(t, err, text)
			a, err := json.Marshal(want)
			require.NoError(t, err)
			b, err := json.Marshal(got)
			require.NoError(t, err)
			if d := oracle.Diff(a, b); d != "" {
				t.Errorf("workload %d: %s\n%s", seed, text, d)
				if failures++; failures > 20 {
					t.FailNow()
				}
			}
		}
	}
}
