package query_test

import (
	"bytes"
	"context"
	"encoding/json"
	"maps"
	"math/rand"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"spoor/engine"
	"spoor/engine/event"
	"spoor/engine/query"
	"spoor/engine/query/oracle"
	"spoor/engine/query/oracle/workload"
	"spoor/engine/traits"
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
		db.Apply(db.AppliedIndex()+1, engine.IdentifyEntry(traits.Call{UserID: []byte(l.UserID), AnonymousID: []byte(l.AnonymousID)}))
	}
}

// Months, time zones with changes of the clock, shared devices, links of ids, and
// questions with every clause of the language.
func TestTheEngineAgreesWithTheOracleOnAwkwardWorkloads(t *testing.T) {
	worlds, queries := 60, 40
	if n, err := strconv.Atoi(os.Getenv("SPOOR_ORACLE_WORLDS")); err == nil {
		worlds = n
	}
	failures, skipped := 0, 0
	first, _ := strconv.ParseInt(os.Getenv("SPOOR_ORACLE_SEED"), 10, 64)
	for seed := first; seed < first+int64(worlds); seed++ {
		r := rand.New(rand.NewSource(seed))
		w := workload.Random(r, workload.Size{Persons: 1 + r.Intn(8), Events: 1 + r.Intn(150)})
		model := w.Store()
		if ambiguous(w, model) {
			skipped++
			continue
		}
		db := openStore(t)
		limits := query.DefaultLimits()
		limits.Workers, limits.Rows = 1+r.Intn(4), 1+r.Intn(60)
		e := query.New(db, limits, func() time.Time { return time.UnixMicro(w.Now) })
		for _, name := range slices.Sorted(maps.Keys(workload.Cohorts)) {
			value, err := json.Marshal(query.Saved{Kind: "users", Query: workload.Cohorts[name]})
			require.NoError(t, err)
			db.Apply(db.AppliedIndex()+1, engine.PutEntry(query.QueryDocument, name, value))
		}
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
	require.LessOrEqual(t, skipped, 1+worlds*9/10)
}

// ambiguous tells whether persons who were merged only later have events of one
// microsecond, whose order is not promised.
func ambiguous(w *workload.Workload, model *oracle.Store) bool {
	type moment struct {
		person string
		time   int64
	}
	former := map[moment]string{}
	then := &oracle.Store{}
	for i := range w.Batches {
		b := &w.Batches[i]
		for _, e := range b.Events {
			then.Add(e)
			at := moment{model.Person(e.UserID, e.AnonymousID), e.Time}
			was := then.Person(e.UserID, e.AnonymousID)
			if other, ok := former[at]; ok && other != was {
				return true
			}
			former[at] = was
		}
		for _, l := range b.Links {
			then.Identify(l.UserID, l.AnonymousID)
		}
	}
	return false
}
