package server_test

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"spoor/server"
)

const inMay = " from 2026-05-01 to 2026-06-01"

func shop(t *testing.T) *node {
	t.Helper()
	n := start(t, server.Options{})
	r := n.post("/api/events/batch", `[
		{"eventName":"view","userId":"u1","timestamp":"2026-05-01T10:00:00Z","properties":{"category":"shoes","price":10},"context":{"device":"phone"}},
		{"eventName":"view","userId":"u2","timestamp":"2026-05-01T11:00:00Z","properties":{"category":"shoes"},"context":{"device":"desk"}},
		{"eventName":"view","userId":"u3","timestamp":"2026-05-01T11:00:00Z","properties":{"category":"hats"}},
		{"eventName":"Order Completed","userId":"u1","timestamp":"2026-05-02T10:00:00Z","properties":{"total":5.5}}]`)
	require.Equal(t, 200, r.status, "%s", r.body)
	return n
}

func TestASavedUsersQueryIsACohort(t *testing.T) {
	n := shop(t)
	require.Equal(t, 200, n.do("PUT", "/api/queries/buyers", []byte(`users of "Order Completed"`+inMay)).status)
	a := n.post("/api/query", `trend count of view where user in cohort "buyers"`+inMay)
	require.Equal(t, 200, a.status, "%s", a.body)
	require.Contains(t, string(a.body), `"value":1`)
	require.Equal(t, 400, n.post("/api/query", `trend count of view where user in cohort "nobody"`+inMay).status)
}

func TestAnAnswerIsComputedOnceUntilTheDataChange(t *testing.T) {
	n := shop(t)
	cached := func(path string) any {
		r := n.post(path, "funnel view -> \"Order Completed\" within 7d"+inMay)
		require.Equal(t, 200, r.status, "%s", r.body)
		return r.json(t)["stats"].(map[string]any)["cached"]
	}
	for range 2 { // from memory, then from files
		require.Nil(t, cached("/api/query"))
		require.Equal(t, true, cached("/api/query"))
		require.Nil(t, cached("/api/query?cache=off"))
		require.Equal(t, 200, n.post("/api/admin/flush", "").status)
	}
	r := n.post("/api/events", `{"eventName":"view","userId":"u9","timestamp":"2026-05-03T10:00:00Z"}`)
	require.Equal(t, 200, r.status, "%s", r.body)
	require.Nil(t, cached("/api/query"), "a late event is part of the answer")
}

func TestAMergeOfPersonsAndALaterEventChangeKeptAnswers(t *testing.T) {
	n := shop(t)
	r := n.post("/api/events/batch", `[{"eventName":"view","anonymousId":"a1","timestamp":"2026-05-04T10:00:00Z"}]`)
	require.Equal(t, 200, r.status)
	require.Equal(t, 200, n.post("/api/admin/flush", "").status)
	const text = "trend users of view" + inMay
	require.Contains(t, string(n.post("/api/query", text).body), `"value":4`)
	require.Equal(t, 200, n.post("/api/identify", `{"userId":"u2","anonymousId":"a1"}`).status)
	after := n.post("/api/query", text)
	require.Contains(t, string(after.body), `"value":3`)
	// An event outside of what the query reaches leaves it as it is.
	require.Equal(t, 200, n.post("/api/events", `{"eventName":"view","userId":"u1","timestamp":"2026-04-01T10:00:00Z"}`).status)
	require.Equal(t, true, n.post("/api/query", text).json(t)["stats"].(map[string]any)["cached"])
}

func TestExplainTellsWhatWasLeftAsideAndWhy(t *testing.T) {
	n := shop(t)
	require.Equal(t, 200, n.post("/api/admin/flush", "").status)
	p := n.post("/api/query?explain=1", "trend count of view by category from 2026-05-01 to 2026-05-02").json(t)
	require.Equal(t, "explain", p["kind"])
	require.Equal(t, "trend", p["of"])
	require.NotEmpty(t, p["stages"])
	require.Equal(t, map[string]any{"total": 2.0, "read": 1.0, "pruned": []any{map[string]any{"reason": "outside the time", "count": 1.0}}}, p["partitions"])
	require.Equal(t, map[string]any{"total": 4.0, "read": 3.0, "pruned": []any{map[string]any{"reason": "outside the time", "count": 1.0}}}, p["rows"])
	require.EqualValues(t, 3, p["rows_scanned"])
}

func TestCompletionKnowsEventsFieldsValuesAndCohorts(t *testing.T) {
	n := shop(t)
	require.Equal(t, 200, n.do("PUT", "/api/queries/buyers", []byte(`users of "Order Completed"`)).status)
	texts := func(q string) (out []string) {
		r := n.do("GET", "/api/query/complete?q="+url.QueryEscape(q), nil)
		require.Equal(t, 200, r.status, "%s", r.body)
		for _, s := range r.json(t)["suggestions"].([]any) {
			out = append(out, s.(map[string]any)["text"].(string))
		}
		return out
	}
	require.Contains(t, texts("fun"), "funnel")
	require.Equal(t, []string{"view"}, texts("funnel vi"))
	require.Equal(t, []string{`"Order Completed"`}, texts("funnel view -> Or"))
	require.Contains(t, texts("funnel view[pr"), "properties.price")
	require.NotContains(t, texts("funnel view[to"), "properties.total", "it is a field of another event")
	require.Equal(t, []string{`"shoes"`, `"hats"`}, texts("events of view where category = "))
	require.Equal(t, []string{`"buyers"`}, texts("users of any where user in cohort "))
	require.Contains(t, texts("funnel view wi"), "within")
	require.Equal(t, "bad_pos", n.do("GET", "/api/query/complete?q=f&pos=x", nil).errorCode(t))
}

func TestTheCatalogListsEventsAndTheirFields(t *testing.T) {
	n := shop(t)
	c := n.do("GET", "/api/catalog?event=view", nil).json(t)
	require.Equal(t, map[string]any{"name": "view", "events": 3.0, "first_seen": "2026-05-01T10:00:00Z", "last_seen": "2026-05-01T11:00:00Z"}, c["events"].([]any)[0])
	require.Equal(t, map[string]any{"field": "properties.category", "kinds": []any{"string"}, "share": 1.0, "examples": []any{"shoes", "hats"}}, c["fields"].([]any)[0])
}

// slow is a store that answers queries when their client has gone.
type slow struct {
	server.Backend
	began, ended chan struct{}
}

func (s *slow) Query(ctx context.Context, _ string, _ server.QueryOptions) ([]byte, error) {
	s.began <- struct{}{}
	<-ctx.Done()
	s.ended <- struct{}{}
	return nil, ctx.Err()
}

func (s *slow) Ready() error { return nil }

func (s *slow) Store() server.StoreStatus { return server.StoreStatus{} }

func (s *slow) DocumentsIndex() uint64 { return 0 }

func (s *slow) Documents(string) []server.Document { return nil }

func TestAQueryEndsWhenItsClientHasGone(t *testing.T) {
	back := &slow{began: make(chan struct{}), ended: make(chan struct{}, 1)}
	n := startOver(t, back, server.Options{QueryTimeout: time.Hour})
	ctx, leave := context.WithCancel(context.Background())
	req, err := http.NewRequestWithContext(ctx, "GET", "http://"+n.addr+"/api/query?q=sessions", nil)
	require.NoError(t, err)
	gone := make(chan error, 1)
	go func() {
		resp, err := n.http.Do(req)
		if err == nil {
			_ = resp.Body.Close()
		}
		gone <- err
	}()
	<-back.began
	leave()
	require.True(t, errors.Is(<-gone, context.Canceled))
	select {
	case <-back.ended:
	case <-time.After(20 * time.Second):
		t.Fatal("the query still runs although nobody waits for it")
	}
}
