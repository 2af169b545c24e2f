package query_test

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
	"spoor/engine/traits"
)

// say applies an identify call to a store.
func say(t *testing.T, db *engine.DB, user, anon string, at int64, object string) {
	t.Helper()
	body := `{"traits":` + object
	if user != "" {
		body += fmt.Sprintf(`,"userId":%q`, user)
	}
	if anon != "" {
		body += fmt.Sprintf(`,"anonymousId":%q`, anon)
	}
	c, rej := event.NewDecoder(event.DefaultLimits()).Identify([]byte(body + "}"))
	require.Nil(t, rej)
	entry := engine.IdentifyEntry(traits.Call{UserID: c.UserID, AnonymousID: c.AnonymousID, Time: at, Traits: c.Traits})
	_, ok := db.Apply(db.AppliedIndex()+1, entry).([]engine.IdentifyResult)
	require.True(t, ok)
}

// identify says something of somebody, to the engine and to the oracle.
func (w *world) identify(t *testing.T) {
	user, anon := w.pick("", "u0", "u1", "u2", "u3", "u4", "u5"), w.pick("", "x0", "x1", "x2", "x3", "x9")
	if user == "" && anon == "" {
		return
	}
	object := w.pick(`{}`, `{"plan":"free"}`, `{"plan":"pro","at":{"city":"Berlin"}}`, `{"plan":2}`, `{"plan":null}`, `{"at":5}`, `{"at":{"city":"Oslo","zip":1}}`, `{"plan":9007199254740993}`, `{"plan":true}`)
	at := int64(w.r.IntN(10))
	say(t, w.db, user, anon, at, object)
	w.oracle.Identify(user, anon)
	d := json.NewDecoder(bytes.NewReader([]byte(object)))
	d.UseNumber()
	var values map[string]any
	require.NoError(t, d.Decode(&values))
	w.oracle.SetTraits(user, anon, at, values)
}

func TestATraitThatComesLateCountsForEverythingThePersonDid(t *testing.T) {
	db := openStore(t)
	e := query.New(db, query.Limits{}, func() time.Time { return worldNow })
	loadAt(t, db, [][]byte{
		[]byte(`{"eventId":"1","eventName":"view","anonymousId":"phone","timestamp":"2026-04-01T10:00:00Z"}`),
		[]byte(`{"eventId":"2","eventName":"view","userId":"ada","timestamp":"2026-04-02T10:00:00Z"}`),
		[]byte(`{"eventId":"3","eventName":"view","userId":"bob","timestamp":"2026-04-02T10:00:00Z"}`),
	}, 1)
	_, err := db.Checkpoint(context.Background())
	require.NoError(t, err)
	count := func(text string) string {
		a, err := e.Ask(context.Background(), text)
		require.NoError(t, err)
		b, err := json.Marshal(plain(t, a))
		require.NoError(t, err)
		return string(b)
	}
	users := `users of view where user.plan = "pro" from 2026-04-01 to 2026-05-01`
	require.Contains(t, count(users), `"count":0`)
	say(t, db, "", "phone", 5, `{"plan":"pro"}`)
	require.Contains(t, count(users), `"users":["phone"]`)
	say(t, db, "ada", "", 3, `{"plan":"free"}`) // older than what her telephone said
	require.Contains(t, count(users), `"users":["phone"]`)
	say(t, db, "ada", "phone", 1, `{}`) // a merge: the later call stands
	require.Contains(t, count(users), `"users":["ada"]`)
	require.Contains(t, count(`trend count of view by user.plan from 2026-04-01 to 2026-05-01`), `"key":["pro"]`)
	require.NoError(t, db.Compact(context.Background()))
	require.Contains(t, count(users), `"users":["ada"]`)
}
