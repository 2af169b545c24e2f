package server_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"spoor/engine"
	"spoor/engine/erasure"
	"spoor/server"
	"spoor/server/backend"
)

func (n *node) count(t *testing.T) float64 {
	t.Helper()
	r := n.post("/api/query", "trend count of any"+inMay)
	require.Equal(t, 200, r.status, "%s", r.body)
	var sum float64
	for _, s := range r.json(t)["series"].([]any) {
		for _, p := range s.(map[string]any)["points"].([]any) {
			sum += p.(map[string]any)["value"].(float64)
		}
	}
	return sum
}

func TestAUserWhoIsDeletedIsGoneFromEveryAnswerAndRefusedUntilAllowed(t *testing.T) {
	n := shop(t)
	require.EqualValues(t, 4, n.count(t))
	would := n.post("/api/erasures?dryRun=1", `{"kind":"person","user":"u1"}`)
	require.JSONEq(t, `{"dryRun":true,"kind":"person","would":{"known":true,"events":2,"ids":1}}`, string(would.body))
	require.EqualValues(t, 4, n.count(t), "a dry run takes nothing")

	r := n.do("DELETE", "/api/users/u1?reference=T7", nil)
	require.Equal(t, 200, r.status, "%s", r.body)
	require.NotEmpty(t, r.header.Get("X-Spoor-Index"))
	status := r.json(t)
	require.Equal(t, "in_force", status["state"])
	require.EqualValues(t, 1, status["ids"])
	require.NotContains(t, string(r.body), "u1", "the log of requests is no list of ids")
	require.EqualValues(t, 2, n.count(t))
	require.Equal(t, 404, n.do("GET", "/api/users/u1", nil).status)

	one := n.post("/api/events", `{"eventName":"view","userId":"u1"}`)
	require.Equal(t, 400, one.status)
	require.Equal(t, "person_erased", one.errorCode(t))
	many := n.post("/api/events/batch", `[{"eventName":"view","userId":"u2","timestamp":"2026-05-03T10:00:00Z"},{"eventName":"view","userId":"u1"}]`)
	require.Equal(t, 200, many.status)
	require.EqualValues(t, 1, many.json(t)["accepted"])
	require.Contains(t, string(many.body), `"index":1,"code":"person_erased"`)
	require.Equal(t, "person_erased", n.post("/api/identify", `{"userId":"u1","traits":{"a":1}}`).errorCode(t))

	require.Equal(t, 200, n.post("/api/admin/compact", "").status)
	got := n.do("GET", "/api/erasures/"+status["id"].(string), nil).json(t)
	require.Equal(t, "erased", got["state"])
	require.EqualValues(t, 2, got["eventsErased"])
	require.Equal(t, "T7", got["reference"])

	require.Equal(t, 200, n.post("/api/users/u1/allow", "").status)
	require.Equal(t, 200, n.post("/api/events", `{"eventName":"view","userId":"u1","timestamp":"2026-05-05T10:00:00Z"}`).status)
	require.EqualValues(t, 4, n.count(t), "what came since, and nothing from before")
	require.EqualValues(t, 2, n.do("GET", "/api/erasures", nil).json(t)["total"])
}

func TestAnIDOfARequestThatIsTakenForAnotherOneIsAnErrorAndNotAnErasure(t *testing.T) {
	n := shop(t)
	require.Equal(t, 200, n.do("DELETE", "/api/users/u1?id=T7", nil).status)
	require.Equal(t, 200, n.do("DELETE", "/api/users/u1?id=T7", nil).status, "a repetition")
	for path, body := range map[string]string{
		"/api/erasures?1": `{"id":"T7","kind":"person","user":"u2"}`,
		"/api/erasures?2": `{"id":"T7","kind":"history","user":"u2"}`,
		"/api/erasures?3": `{"id":"T7","kind":"events","events":["view"]}`,
	} {
		r := n.post(path, body)
		require.Equal(t, 409, r.status, "%s", r.body)
		require.Equal(t, "id_taken", r.errorCode(t))
	}
	require.Equal(t, 409, n.do("DELETE", "/api/users/u2?id=T7", nil).status)
	require.EqualValues(t, 2, n.count(t))
	require.EqualValues(t, 1, n.do("GET", "/api/erasures", nil).json(t)["total"])
	require.Equal(t, 200, n.do("DELETE", "/api/users/u2?id=T8", nil).status)
}

func TestRequestsToEraseThatMakeNoSenseAreRefusedWithTheReason(t *testing.T) {
	n := shop(t)
	for body, says := range map[string]string{
		`{`:                 "no request to erase",
		`{"kind":"user"}`:   "none of person",
		`{"kind":"person"}`: "user has 1 to 1024 bytes",
		`{"kind":"events"}`: "erase all events",
		`{"kind":"events","where":"properties.x ="}`:              "where:",
		`{"kind":"events","where":"user.plan = 1"}`:               "about a person",
		`{"kind":"events","where":"userId = \"u1\""}`:             "about a person",
		`{"kind":"events","where":"user in cohort \"x\""}`:        "about persons",
		`{"kind":"events","where":"a = 1) limit 5 (b = 2"}`:       "where:",
		`{"kind":"events","from":"soon"}`:                         "from is no date",
		`{"kind":"events","from":"2026-05-02","to":"2026-05-01"}`: "not before",
		`{"kind":"field"}`:                                    "fields names none",
		`{"kind":"field","fields":["user.plan"]}`:             "no field of events",
		`{"kind":"field","fields":["properties.a] limit 5"]}`: "no field of events",
		`{"kind":"person","user":"u1","where":"a = 1"}`:       "belong to kind events",
		`{"kind":"events","user":"u1","events":["a"]}`:        "not about a user",
		`{"kind":"person","user":"u1","id":"../x"}`:           "id has",
		`{"kind":"person","user":"u1","nonsense":1}`:          "no request to erase",
	} {
		r := n.post("/api/erasures", body)
		require.Equal(t, 400, r.status, "%s: %s", body, r.body)
		require.Contains(t, string(r.body), says, body)
	}
	require.EqualValues(t, 4, n.count(t))
	require.Equal(t, 400, n.do("DELETE", "/api/users/u1?events=some", nil).status)
	require.Equal(t, 400, n.do("DELETE", "/api/users/"+strings.Repeat("x", 2000), nil).status)
}

func TestEventsAndFieldsAreErasedByWhatTheyAre(t *testing.T) {
	n := shop(t)
	r := n.post("/api/erasures", `{"kind":"events","events":["view"],"where":"properties.category = \"shoes\"","from":"2026-05-01T10:30:00Z"}`)
	require.Equal(t, 200, r.status, "%s", r.body)
	require.EqualValues(t, 3, n.count(t))
	require.Equal(t, 200, n.post("/api/erasures", `{"kind":"field","fields":["properties.category"]}`).status)
	for range 2 {
		all := n.post("/api/query", "events of any"+inMay)
		require.NotContains(t, string(all.body), "shoes")
		require.NotContains(t, string(all.body), "hats")
		require.Contains(t, string(all.body), `"total":5.5`)
		require.Equal(t, 200, n.post("/api/admin/compact", "").status)
	}
}

func TestARetentionShowsWhatGoesAndLetsItGoForGood(t *testing.T) {
	at := time.Date(2026, 5, 20, 12, 0, 0, 0, time.UTC)
	n := start(t, server.Options{Now: func() time.Time { return at }})
	send := func(id, when string) reply {
		return n.post("/api/events", `{"eventId":"`+id+`","eventName":"view","userId":"u1","timestamp":"`+when+`"}`)
	}
	require.Equal(t, 200, send("a", "2026-05-01T10:00:00Z").status)
	require.Equal(t, 200, send("b", "2026-05-19T10:00:00Z").status)
	dry := n.do("PUT", "/api/retention?dryRun=1", []byte(`{"default":0,"events":{"view":7}}`))
	require.Equal(t, 200, dry.status, "%s", dry.body)
	require.Contains(t, string(dry.body), `"expiring":[{"event":"view","days":1,"events":1,`)
	require.EqualValues(t, 2, n.count(t))
	require.Equal(t, 200, n.do("PUT", "/api/retention", []byte(`{"default":0,"events":{"view":7}}`)).status)
	require.EqualValues(t, 1, n.count(t))
	late := send("c", "2026-05-12T23:59:59Z")
	require.Equal(t, "expired", late.errorCode(t))
	require.Equal(t, 200, send("d", "2026-05-13T00:00:00Z").status)
	require.Equal(t, 200, n.do("PUT", "/api/retention", []byte(`{"default":0}`)).status)
	require.EqualValues(t, 2, n.count(t), "what is gone stays gone")
	require.Equal(t, 400, n.do("PUT", "/api/retention", []byte(`{"default":-1}`)).status)
	require.Equal(t, 400, n.do("PUT", "/api/retention", []byte(`{"days":1}`)).status)
	require.Contains(t, string(n.do("GET", "/api/retention", nil).body), `"firsts":{"view":"2026-05-13"}`)
}

func TestAnEventThatIsTooOldToTellWhetherItIsStoredBecomesADeadLetter(t *testing.T) {
	at := time.Date(2026, 5, 20, 12, 0, 0, 0, time.UTC)
	n := start(t, server.Options{Now: func() time.Time { return at }})
	send := func(id, when string) reply {
		return n.post("/api/events", `{"eventId":"`+id+`","eventName":"view","userId":"u1","timestamp":"`+when+`"}`)
	}
	require.Equal(t, 200, send("a", "2026-05-01T10:00:00Z").status)
	set := n.do("PUT", "/api/retention", []byte(`{"default":0,"dedupe":7}`))
	require.Equal(t, 200, set.status, "%s", set.body)
	require.Contains(t, string(set.body), `"dedupeFirst":"2026-05-13"`)
	require.EqualValues(t, 1, n.count(t), "the event stays, and so does its id: it came today")
	require.Equal(t, "too_old", send("a", "2026-05-01T10:00:00Z").errorCode(t))
	require.Contains(t, string(send("a", "2026-05-13T10:00:00Z").body), `"duplicates":1`, "a corrected timestamp")
	require.Equal(t, "too_old", send("b", "2026-05-12T23:59:59Z").errorCode(t))
	require.Equal(t, "too_far_ahead", send("c", "2026-06-21T00:00:00Z").errorCode(t))
	require.Equal(t, 200, send("d", "2026-06-20T23:00:00Z").status)
	letters := string(n.do("GET", "/api/dlq", nil).body)
	require.Contains(t, letters, `"eventId":"b","eventName":"view","reason":"too_old"`)
	require.Contains(t, letters, `"reason":"too_far_ahead"`)

	at = at.AddDate(0, 0, 8) // the id of the first event is forgotten
	require.Equal(t, 200, n.do("PUT", "/api/retention", []byte(`{"default":0,"dedupe":7}`)).status)
	require.Contains(t, string(send("a", "2026-05-28T10:00:00Z").body), `"accepted":1`)
	require.EqualValues(t, 2, n.count(t), "of May")
	require.Equal(t, 400, n.do("PUT", "/api/retention", []byte(`{"default":0,"dedupe":-1}`)).status)
	require.Equal(t, 200, n.do("PUT", "/api/retention", []byte(`{"default":0}`)).status)
	require.Equal(t, "too_old", send("e", "2026-05-20T10:00:00Z").errorCode(t), "what was let go stays let go")
}

func TestASchemaIsStillInferredFromEventsWhenSomeLostTheirPerson(t *testing.T) {
	n := shop(t)
	require.Equal(t, 200, n.post("/api/erasures", `{"kind":"anonymise","user":"u1"}`).status)
	r := n.do("GET", "/api/schemas/view/infer", nil)
	require.Equal(t, 200, r.status, "%s", r.body)
	require.Positive(t, r.json(t)["events"])
}

func TestAClockThatLeapsAheadLetsNothingExpireUntilSomebodySaysSo(t *testing.T) {
	clock := now()
	n := start(t, server.Options{Now: func() time.Time { return clock }})
	require.Equal(t, 200, n.post("/api/events", `{"eventName":"view","userId":"u","timestamp":"2026-05-01T10:00:00Z"}`).status)
	const retention = `{"default":90}`
	require.Equal(t, 200, n.do("PUT", "/api/retention", []byte(retention)).status)
	back := n.back.(*backend.Backend)
	first := func() int {
		_, cutoffs, err := back.Retention()
		require.NoError(t, err)
		return int(cutoffs.Default)
	}
	began := first()

	// expire runs until a day has expired, or did not.
	expire := func(days int, done func(err error) bool) {
		ctx, cancel := context.WithCancel(t.Context())
		var failure atomic.Pointer[error]
		var running sync.WaitGroup
		running.Go(func() {
			at := clock.AddDate(0, 0, days)
			back.Expire(ctx, func() time.Time { return at }, func(err error) { failure.Store(&err) })
		})
		require.Eventually(t, func() bool {
			if err := failure.Load(); err != nil {
				return done(*err)
			}
			return done(nil)
		}, 10*time.Second, time.Millisecond)
		cancel()
		running.Wait()
	}
	expire(20, func(err error) bool { return err == nil && first() == began+20 })
	expire(20+130, func(err error) bool { return err != nil && strings.Contains(err.Error(), "the clock says 2026-09-29") })
	require.Equal(t, began+20, first())
	require.EqualValues(t, 1, n.count(t))
	clock = clock.AddDate(0, 0, 150)
	require.Equal(t, 200, n.do("PUT", "/api/retention", []byte(retention)).status)
	require.EqualValues(t, 0, n.count(t))
}

// The time for which eventIds are remembered moves on between the taking of an event and its entry.
func TestAnEventThatLosesTheRaceAgainstTheCutoffBecomesADeadLetter(t *testing.T) {
	at := time.Date(2026, 5, 20, 12, 0, 0, 0, time.UTC)
	n := start(t, server.Options{Now: func() time.Time { return at }})
	key := n.makeKey("", `{"kind":"write","source":"web"}`)
	const line = `{"eventId":"%s","eventName":"view","userId":"u1","anonymousId":null,"timestamp":"%s","properties":{"n":1.5,"big":9007199254740993,"list":[1,{"a":"ü"}],"off":false,"none":null,"text":"a\"b"},"context":{"page":{"url":"x"}}}`
	race := func(path, body string) reply {
		t.Helper()
		asked := n.log.asked.Load()
		goOn := n.stopLog()
		answer := make(chan reply, 1)
		go func() { answer <- n.post(path, body, "Authorization", bearer(key.Key)) }()
		require.Eventually(t, func() bool { return n.log.asked.Load() > asked }, maxBecoming, time.Millisecond)
		entry, err := engine.RetentionEntry(&erasure.Retention{Dedupe: 7}, at)
		require.NoError(t, err)
		if result := n.log.db.Apply(n.log.db.AppliedIndex()+1, entry); result != nil {
			if err, ok := result.(error); ok {
				require.NoError(t, err)
			}
		}
		goOn()
		return <-answer
	}
	old, fresh := fmt.Sprintf(line, "old", "2026-05-01T10:00:00+02:00"), fmt.Sprintf(line, "fresh", "2026-05-19T10:00:00Z")
	r := race("/api/events/batch", old+"\n"+fresh)
	require.Equal(t, 200, r.status, "%s", r.body)
	require.Contains(t, string(r.body), `{"accepted":1,"duplicates":0,"rejected":[{"index":0,"code":"too_old"`)
	require.Contains(t, string(r.body), `"deadLetter":true`)
	letters := n.do("GET", "/api/dlq", nil).json(t)["letters"].([]any)
	require.Len(t, letters, 1)
	kept := letters[0].(map[string]any)
	require.Equal(t, "too_old", kept["reason"])
	require.Equal(t, "web", kept["source"])
	event, err := json.Marshal(kept["event"])
	require.NoError(t, err)
	require.JSONEq(t, old, string(event))
	r = n.post("/api/events/batch", old+"\n"+fresh, "Authorization", bearer(key.Key))
	require.Contains(t, string(r.body), `"deadLetter":true`, "sent again it is refused before the log")
	require.Contains(t, string(n.do("GET", "/api/dlq/count", nil).body), `1`)
	require.Len(t, n.exported(), 1)
}
