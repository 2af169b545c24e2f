package query_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"spoor/engine"
	"spoor/engine/erasure"
	"spoor/engine/query"
	"spoor/engine/query/oracle"
	"spoor/segment"
)

// erase carries out a request in the engine.
func erase(t testing.TB, db *engine.DB, r *erasure.Request) *erasure.Record {
	t.Helper()
	r.ID = fmt.Sprintf("er-%d", db.AppliedIndex())
	require.NoError(t, r.Check())
	entry, err := engine.EraseEntry(r)
	require.NoError(t, err)
	rec, ok := db.Apply(db.AppliedIndex()+1, entry).(*erasure.Record)
	require.True(t, ok)
	return rec
}

func expire(t testing.TB, db *engine.DB, c erasure.Cutoffs) {
	t.Helper()
	entry, err := engine.CutoffsEntry(c)
	require.NoError(t, err)
	require.IsType(t, true, db.Apply(db.AppliedIndex()+1, entry))
}

// erase erases something in both.
func (w *world) erase(t *testing.T) {
	t.Helper()
	switch w.r.IntN(5) {
	case 0, 1:
		user := fmt.Sprintf("u%d", w.r.IntN(6))
		erase(t, w.db, &erasure.Request{Kind: erasure.Person, User: user})
		w.oracle.EraseUser(user)
	case 2:
		from := time.Date(2026, 3, 27+w.r.IntN(3), w.r.IntN(24), 0, 0, 0, time.UTC)
		r := &erasure.Request{Kind: erasure.Events, From: from.Format(time.RFC3339), To: from.Add(30 * time.Hour).Format(time.RFC3339), Where: `context.device = "phone" or properties.item missing`}
		erase(t, w.db, r)
		w.oracle.Erase(func(e *oracle.Event) bool {
			return e.Time >= from.UnixMicro() && e.Time < from.Add(30*time.Hour).UnixMicro() && (e.Context["device"] == "phone" || e.Properties["item"] == nil)
		})
	case 3:
		name := w.pick("p", "price", "item")
		erase(t, w.db, &erasure.Request{Kind: erasure.Field, Fields: []string{"properties." + name}})
		w.oracle.EraseProperty(name)
	default:
		first := segment.Day(time.Date(2026, 3, 26+w.r.IntN(3), 0, 0, 0, 0, time.UTC).UnixMicro())
		name := w.pick("a", "b")
		expire(t, w.db, erasure.Cutoffs{Default: erasure.NoCutoff, Events: map[string]int32{name: first}})
		w.oracle.Expire(func(e *oracle.Event) bool { return e.Name == name && segment.Day(e.Time) < first })
	}
}

// fromFooters are questions that are answered without reading rows where nothing is erased.
var fromFooters = []string{
	"trend count of any", "trend count of any every day", "trend count of a by eventName every day", "trend users of any every day", "trend users of a",
	"retention any -> any every day for 5", "retention a -> any every day for 3 first", "stickiness any every day", "lifecycle any every day",
}

func TestErasedEventsAreInNoAnswer(t *testing.T) {
	ctx := context.Background()
	for seed := range uint64(12) {
		w := &world{r: rand.New(rand.NewPCG(seed, 2)), db: openCut(t, cut(seed)), oracle: &oracle.Store{}}
		e := query.New(w.db, query.Limits{}, func() time.Time { return worldNow })
		ask := func(when string) {
			for i := range 25 {
				text := w.query()
				if i < len(fromFooters) {
					text = fromFooters[i] + " from 2026-03-26 to 2026-04-06"
				}
				want, err := w.oracle.Ask(text, worldNow.UnixMicro())
				require.NoError(t, err, text)
				got, err := e.Ask(ctx, text)
				require.NoError(t, err, text)
				require.Empty(t, difference("", plain(t, want), plain(t, got)), "world %d, %s (oracle and engine):\n%s", seed, when, text)
			}
		}
		for range 3 {
			w.add(t, 40+w.r.IntN(120))
			if w.r.IntN(2) == 0 {
				_, err := w.db.Checkpoint(ctx)
				require.NoError(t, err)
			}
			w.erase(t)
			ask("at once")
			if w.r.IntN(3) == 0 {
				require.NoError(t, w.db.Compact(ctx))
				ask("when the bytes have gone")
			}
		}
	}
}

func TestEventsOfAnAnonymisedPersonCountAndNameNobody(t *testing.T) {
	ctx := context.Background()
	db := openStore(t)
	e := query.New(db, query.Limits{}, func() time.Time { return worldNow })
	loadAt(t, db, [][]byte{
		[]byte(`{"eventId":"1","eventName":"view","anonymousId":"phone","timestamp":"2026-04-01T10:00:00Z"}`),
		[]byte(`{"eventId":"2","eventName":"buy","userId":"ada","anonymousId":"phone","timestamp":"2026-04-01T11:00:00Z"}`),
		[]byte(`{"eventId":"3","eventName":"view","userId":"bob","timestamp":"2026-04-02T10:00:00Z"}`),
	}, 1)
	erase(t, db, &erasure.Request{Kind: erasure.Anonymise, User: "ada"})
	for range 2 {
		answer := func(text string) map[string]any {
			got, err := e.Ask(ctx, text)
			require.NoError(t, err)
			return plain(t, got)
		}
		funnel := answer("funnel view -> buy within 1d from 2026-04-01 to 2026-04-03")
		require.EqualValues(t, 1, funnel["steps"].([]any)[1].(map[string]any)["users"])
		require.EqualValues(t, 2, answer("users of any at least 1 from 2026-04-01 to 2026-04-03")["count"])
		require.Empty(t, answer(`events of any user "ada" from 2026-04-01 to 2026-04-03`)["events"])
		for _, v := range answer("events of any from 2026-04-01 to 2026-04-03")["events"].([]any) {
			require.NotContains(t, fmt.Sprint(v), "ada")
			require.NotContains(t, fmt.Sprint(v), "phone")
		}
		require.NoError(t, db.Compact(ctx))
	}
}
