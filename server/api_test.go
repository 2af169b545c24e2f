package server_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"spoor/engine/letters"
	"spoor/server"
	"spoor/server/access"
	"spoor/server/export"
)

func TestAQueryComesAsTextAsJSONOrInTheAddress(t *testing.T) {
	n := start(t, server.Options{})
	require.Equal(t, 200, n.post("/api/events/batch", "["+event(1)+","+event(2)+"]").status)
	const text = `trend count of home from 2026-05-01 to 2026-05-02`
	for _, r := range []reply{
		n.post("/api/query", text),
		n.post("/api/query", `{"query":"`+text+`"}`),
		n.do("GET", "/api/query?q="+strings.ReplaceAll(text, " ", "+"), nil),
	} {
		require.Equal(t, 200, r.status, "%s", r.body)
		require.Equal(t, "trend", r.json(t)["kind"])
		require.Contains(t, string(r.body), `"value":2`)
	}
	explained := n.post("/api/query?explain=1", text).json(t)
	require.Equal(t, "trend", explained["of"])
}

func TestAQueryThatCannotBeAnsweredSaysWhatAndWhere(t *testing.T) {
	n := start(t, server.Options{})
	bad := n.post("/api/query", "funnel home ->\n  -> cart")
	require.Equal(t, 400, bad.status)
	e := bad.json(t)["error"].(map[string]any)
	require.Equal(t, "syntax", e["code"])
	require.EqualValues(t, 2, e["line"])
	require.EqualValues(t, 3, e["column"])
	for body, code := range map[string]string{
		"": "missing_query", "  ": "missing_query", "{}": "missing_query", `{"query":1}`: "malformed_json",
		"\xff": "invalid_utf8", long(70_000): "too_large",
	} {
		require.Equal(t, code, n.post("/api/query", body).errorCode(t), "%.20q", body)
	}
	require.Equal(t, "missing_query", n.do("GET", "/api/query", nil).errorCode(t))
}

func TestSavedQueriesAreKeptByNameAndAnswerByKind(t *testing.T) {
	n := start(t, server.Options{})
	require.Equal(t, 200, n.post("/api/events", event(1)).status)
	const text = `funnel home -> cart within 1d from 2026-05-01 to 2026-05-02`
	put := n.do("PUT", "/api/queries/my%20checkout", []byte(text))
	require.Equal(t, 200, put.status, "%s", put.body)
	require.Equal(t, "2", put.header.Get("X-Spoor-Index"))
	require.JSONEq(t, `{"name":"my checkout","kind":"funnel","query":"`+strings.ReplaceAll(text, ">", `>`)+`","index":2}`, string(put.body))
	require.JSONEq(t, string(put.body), string(n.do("GET", "/api/queries/my%20checkout", nil).body))
	require.JSONEq(t, `{"queries":[`+string(put.body)+`]}`, string(n.do("GET", "/api/queries", nil).body))

	answer := n.do("GET", "/api/analytics/funnel?name=my+checkout", nil)
	require.Equal(t, "funnel", answer.json(t)["kind"])
	require.Equal(t, "wrong_kind", n.do("GET", "/api/analytics/trend?name=my+checkout", nil).errorCode(t))
	require.Equal(t, "missing_name", n.do("GET", "/api/analytics/funnel", nil).errorCode(t))
	require.Equal(t, 404, n.do("GET", "/api/analytics/funnel?name=other", nil).status)
	require.Equal(t, 404, n.do("GET", "/api/analytics/guess?name=my+checkout", nil).status)

	require.Equal(t, 400, n.do("PUT", "/api/queries/x", []byte("funnel")).status)
	for _, name := range []string{"%2e%2e", "a%2fb", "a%00b", "%ff", long(129)} {
		require.Equal(t, "bad_name", n.do("GET", "/api/queries/"+name, nil).errorCode(t), name)
	}
	require.Equal(t, 200, n.do("DELETE", "/api/queries/my%20checkout", nil).status)
	require.Equal(t, 404, n.do("DELETE", "/api/queries/my%20checkout", nil).status)
	require.JSONEq(t, `{"queries":[]}`, string(n.do("GET", "/api/queries", nil).body))
}

func TestIdentifyLinksAnAnonymousPersonToAUser(t *testing.T) {
	n := start(t, server.Options{})
	n.post("/api/events/batch", `[{"eventName":"home","anonymousId":"a1"},{"eventName":"cart","userId":"u1"}]`)
	require.Equal(t, `{"linked":true}`, string(n.post("/api/identify", `{"userId":"u1","anonymousId":"a1"}`).body))
	users := n.post("/api/query", `trend users of any from 2026-05-01 to 2026-05-04`)
	require.Contains(t, string(users.body), `"value":1`)
	require.Equal(t, `{"stored":true,"linked":true}`, string(n.post("/api/identify", `{"userId":"u1","anonymousId":"a1","traits":{"plan":"pro"},"timestamp":"2026-05-01T00:00:00Z"}`).body))
	require.Equal(t, `{"stored":true}`, string(n.post("/api/identify", `{"anonymousId":"a1","traits":{"plan":"free","at":{"city":"Bonn"}},"timestamp":"2026-04-01T00:00:00Z"}`).body))
	require.Equal(t, `{"person":"u1","userId":"u1","anonymousIds":["a1"],"traits":{"at":{"city":"Bonn"},"plan":"pro"}}`, string(n.do("GET", "/api/users/a1", nil).body))
	require.Contains(t, string(n.post("/api/query", `users of any where user.plan = "pro" and user.at.city exists from 2026-04-01 to 2026-06-01`).body), `"users":["u1"]`)
	require.Contains(t, string(n.post("/api/query", `users of any where user.plann = "pro" from 2026-04-01 to 2026-06-01`).body), `did you mean \"plan\"?`)
	n.post("/api/identify", `{"userId":"u1","traits":{"plan":"team"},"timestamp":"2099-01-01T00:00:00Z"}`)
	n.post("/api/identify", `{"userId":"u1","traits":{"plan":"solo"}}`)
	require.Contains(t, string(n.do("GET", "/api/users/u1", nil).body), `"plan":"solo"`, "a time to come counts as now")
	require.Equal(t, `{"linked":false,"warnings":["\"a1\" belongs to another user already; the first link stands"]}`, string(n.post("/api/alias", `{"userId":"u2","previousId":"a1"}`).body))
	require.Contains(t, string(n.post("/api/alias", `{"userId":"u3","previousId":"u1"}`).body), "two users are never merged")
	require.Equal(t, 404, n.do("GET", "/api/users/nobody", nil).status)
	n.post("/api/identify", `{"userId":"a/b c","traits":{"n":1}}`)
	require.Contains(t, string(n.do("GET", "/api/users/a%2Fb%20c", nil).body), `"userId":"a/b c"`)
	for body, code := range map[string]string{
		`{"userId":"u","traits":5}`: "bad_properties", `{"userId":"u","traits":{"a":1,"a":2}}`: "duplicate_key", `{"userId":7,"traits":{"a":1}}`: "bad_person_id",
		`{"traits":{"a":1}}`: "missing_person", `{"userId":"u","traits":{"a":1},"timestamp":"soon"}`: "bad_timestamp", `{"userId":"u","traits":{"a":1e999}}`: "number_out_of_range",
		`{"userId":"u","traits":{"a":"\ud800"}}`: "invalid_utf8", `{"userId":"u","traits":{}} x`: "malformed_json",
	} {
		require.Equal(t, code, n.post("/api/identify", body).errorCode(t), body)
	}
	require.Equal(t, "missing_person", n.post("/api/alias", `{"userId":"u2"}`).errorCode(t))
	require.Equal(t, "missing_person", n.post("/api/identify", `{"userId":"u1"}`).errorCode(t))
	require.Equal(t, "not_an_object", n.post("/api/identify", `[]`).errorCode(t))
}

// sendMany stores n events with times a minute apart, some at the same time.
func sendMany(n *node, count int) {
	var b strings.Builder
	for i := range count {
		at := time.Date(2026, 5, 1, 0, i/3, 0, 0, time.UTC).Format(time.RFC3339)
		if i%5 == 0 {
			fmt.Fprintf(&b, `{"eventId":"e%04d","eventName":"home","userId":"u%d","timestamp":"%s"}`+"\n", i, i%7, at)
		} else {
			fmt.Fprintf(&b, `{"eventId":"e%04d","eventName":"cart","userId":"u%d","timestamp":%d,"properties":{"price":-%d,"note":"=1+1","tags":["a","b"]}}`+"\n", i, i%7, time.Date(2026, 5, 1, 0, i/3, 0, 0, time.UTC).UnixMilli(), i)
		}
	}
	r := n.post("/api/events/batch", b.String())
	require.Contains(n.t, string(r.body), fmt.Sprintf(`{"accepted":%d,`, count))
}

func TestAnExportThatWasCutOffGoesOnBehindItsLastLine(t *testing.T) {
	n := start(t, server.Options{})
	sendMany(n, 1000)
	n.post("/api/events/batch", `{"eventId":"x1","eventName":"home","userId":"u1"}`+"\n"+`{"eventId":"x2","eventName":"home","userId":"u1"}`)
	whole := n.post("/api/events/export", ``)
	require.Equal(t, 200, whole.status)
	require.Equal(t, "application/x-ndjson", whole.header.Get("Content-Type"))
	lines := strings.SplitAfter(string(whole.body), "\n")
	require.Len(t, lines, 1003)
	require.Empty(t, lines[1002])

	got, cursor := "", "null"
	for range 1002/100 + 1 {
		part := n.post("/api/events/export", `{"limit":100,"cursor":`+cursor+`}`)
		require.Equal(t, 200, part.status, "%s", part.body)
		got += string(part.body)
		all := strings.Split(strings.TrimSpace(got), "\n")
		cursor = all[len(all)-1]
	}
	require.Equal(t, string(whole.body), got)

	var last struct{ Timestamp, EventID string }
	require.NoError(t, json.Unmarshal([]byte(lines[500]), &last))
	quoted, _ := json.Marshal(last.Timestamp + "," + last.EventID)
	rest := n.post("/api/events/export", `{"cursor":`+string(quoted)+`}`)
	require.Equal(t, strings.Join(lines[501:], ""), string(rest.body))
}

func TestAnExportIsFilteredByTimeNameAndPredicate(t *testing.T) {
	n := start(t, server.Options{})
	sendMany(n, 1000)
	count := func(call string) int {
		r := n.post("/api/events/export", call)
		require.Equal(t, 200, r.status, "%s: %s", call, r.body)
		return strings.Count(string(r.body), "\n")
	}
	require.Equal(t, 200, count(`{"events":["home"]}`))
	require.Equal(t, 1000, count(`{"events":["home","cart"]}`))
	require.Equal(t, 0, count(`{"events":["nothing"]}`))
	require.Equal(t, 180, count(`{"to":"2026-05-01T01:00:00Z"}`))
	require.Equal(t, 820, count(`{"from":"2026-05-01T01:00:00Z"}`))
	require.Equal(t, 4, count(`{"where":"price >= -5 # all of them"}`))
	require.Equal(t, 7, count(`{"limit":7}`))
	for call, code := range map[string]string{
		`{"where":"price >"}`:                        "syntax",
		`{"where":"price > 1) newest where (a = 1"}`: "repeated_clause",
		`{"from":"soon"}`:                            "invalid_value",
		`{"from":"2026-05-01\" to \"2026-05-02"}`:    "invalid_value",
		`{"limit":-1}`:                               "bad_limit",
		`{"format":"xml"}`:                           "bad_format",
		`{"fromm":"2026-05-01"}`:                     "malformed_json",
		`{"cursor":7}`:                               "bad_cursor",
		`{"cursor":"x"}`:                             "bad_cursor",
		`{"cursor":"x,y"}`:                           "bad_cursor",
		`{"cursor":{"eventId":"x"}}`:                 "bad_cursor",
		`{"columns":["a"]}`:                          "bad_columns",
		`{"events":[""]}`:                            "bad_event_name",
	} {
		r := n.post("/api/events/export", call)
		require.Equal(t, 400, r.status, "%s: %s", call, r.body)
		require.Equal(t, code, r.errorCode(t), "%s: %s", call, r.body)
	}
}

func TestAnExportAsCSVCannotCarryFormulas(t *testing.T) {
	n := start(t, server.Options{})
	sendMany(n, 3)
	n.post("/api/events", `{"eventId":"z","eventName":"@SUM(A1)","userId":"a,\"b\"\nc","timestamp":"2026-05-01T23:00:00Z"}`)
	r := n.post("/api/events/export", `{"format":"csv","columns":["eventId","eventName","userId","properties.price","properties.note","properties.tags","properties"]}`)
	records, err := csv.NewReader(bytes.NewReader(r.body)).ReadAll()
	require.NoError(t, err)
	require.Equal(t, [][]string{
		{"eventId", "eventName", "userId", "properties.price", "properties.note", "properties.tags", "properties"},
		{"e0000", "home", "u0", "", "", "", ""},
		{"e0001", "cart", "u1", "-1", "'=1+1", `["a","b"]`, `{"note":"=1+1","price":-1,"tags":["a","b"]}`},
		{"e0002", "cart", "u2", "-2", "'=1+1", `["a","b"]`, `{"note":"=1+1","price":-2,"tags":["a","b"]}`},
		{"z", "'@SUM(A1)", "a,\"b\"\nc", "", "", "", ""},
	}, records)
	records, err = csv.NewReader(bytes.NewReader(n.post("/api/events/export", `{"format":"csv"}`).body)).ReadAll()
	require.NoError(t, err)
	require.Len(t, records, 5)
	require.Equal(t, "2026-05-01T12:00:00.123Z", strings.Replace(records[1][3], "02T", "01T", 1), "receivedAt is the clock's, in milliseconds")
}

// failing yields some lines, then fails or waits for its context.
type failing struct {
	server.Backend
	lines int
	wait  bool
	ended chan error
}

func (f *failing) Export(ctx context.Context, _ export.Spec, yield func([]byte) error) error {
	err := io.ErrUnexpectedEOF
	for range f.lines {
		if yerr := yield([]byte(long(1000))); yerr != nil {
			err = yerr
			break
		}
	}
	if f.wait && f.lines == 0 {
		<-ctx.Done()
		err = ctx.Err()
	}
	f.ended <- err
	return err
}

func (f *failing) Store() server.StoreStatus { return server.StoreStatus{} }

func (f *failing) Ready() error { return nil }

func (f *failing) DocumentsIndex() uint64 { return 0 }

func (f *failing) Document(string, string) (server.Document, bool) { return server.Document{}, false }

func (f *failing) Documents(string) []server.Document { return nil }

func (f *failing) Letters() *letters.Store { return letters.New() }

func (f *failing) Cluster() server.ClusterStatus { return server.ClusterStatus{} }

func (f *failing) Query(ctx context.Context, _ string, _ server.QueryOptions) ([]byte, error) {
	<-ctx.Done()
	f.ended <- ctx.Err()
	return nil, ctx.Err()
}

func TestAnExportThatFailsOnTheWayIsCutOffWithoutItsEnd(t *testing.T) {
	f := &failing{lines: 1000, ended: make(chan error, 1)}
	n := startOver(t, f, server.Options{})
	resp, err := n.http.Post("http://"+n.addr+"/api/events/export", "", nil)
	require.NoError(t, err)
	defer resp.Body.Close()
	require.Equal(t, 200, resp.StatusCode)
	_, err = io.Copy(io.Discard, resp.Body)
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
	<-f.ended

	f.lines = 1
	require.Equal(t, 500, n.post("/api/events/export", "").status, "an error before the first piece is an answer")
}

func TestWorkEndsWhenItsClientLeaves(t *testing.T) {
	for name, c := range map[string]struct {
		request string
		f       *failing
	}{
		"query":              {"GET /api/query?q=x HTTP/1.1\r\nHost: localhost\r\n\r\n", &failing{}},
		"export that waits":  {"POST /api/events/export HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{}", &failing{wait: true}},
		"export that writes": {"POST /api/events/export HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{}", &failing{lines: 1 << 30}},
	} {
		c.f.ended = make(chan error, 1)
		n := startOver(t, c.f, server.Options{})
		conn := n.dial()
		_, err := io.WriteString(conn, c.request)
		require.NoError(t, err)
		if c.f.lines > 0 {
			_, err := bufio.NewReader(conn).ReadByte()
			require.NoError(t, err)
		}
		require.NoError(t, conn.Close())
		select {
		case <-c.f.ended:
		case <-time.After(5 * time.Second):
			t.Fatal(name + " went on without its client")
		}
		n.down()
	}
}

func TestAReaderWhoStopsReadingIsCutOff(t *testing.T) {
	f := &failing{lines: 1 << 30, ended: make(chan error, 1)}
	n := startOver(t, f, server.Options{WriteTimeout: 200 * time.Millisecond})
	conn := n.dial()
	defer conn.Close()
	_, err := io.WriteString(conn, "POST /api/events/export HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{}")
	require.NoError(t, err)
	select {
	case <-f.ended:
	case <-time.After(10 * time.Second):
		t.Fatal("the export waits for ever")
	}
}

func TestQueriesBeyondTheLimitAreToldToComeAgain(t *testing.T) {
	f := &failing{ended: make(chan error, 8)}
	n := startOver(t, f, server.Options{MaxQueries: 2, WaitTimeout: 50 * time.Millisecond, QueryTimeout: 2 * time.Second})
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			r := n.post("/api/query", "x")
			if r.status != 503 {
				t.Errorf("a query beyond its time was answered with %d", r.status)
			}
		})
	}
	n.becomes("spoor_queries_running", 2)
	r := n.post("/api/query", "x")
	require.Equal(t, 429, r.status)
	require.Equal(t, "1", r.header.Get("Retry-After"))
	wg.Wait()
}

func TestKeysAreAskedForByRole(t *testing.T) {
	const w, r, a = "write-key-0123456789", "read-key-0123456789", "admin-key-0123456789"
	keys, err := access.NewRing([]string{w}, []string{r}, []string{a})
	require.NoError(t, err)
	n := start(t, server.Options{Keys: keys})
	routes := []struct {
		verb, path, body string
		role             string
	}{
		{"POST", "/api/events", event(1), "w"},
		{"POST", "/api/events/batch", event(1), "w"},
		{"POST", "/api/identify", `{"userId":"u","anonymousId":"a"}`, "w"},
		{"POST", "/api/query", "trend count of any", "r"},
		{"GET", "/api/query?q=trend+count+of+any", "", "r"},
		{"POST", "/api/events/export", "", "r"},
		{"GET", "/api/queries", "", "r"},
		{"GET", "/api/cluster", "", "r"},
		{"GET", "/metrics", "", "r"},
		{"PUT", "/api/queries/x", "trend count of any", "a"},
		{"GET", "/api/queries/x", "", "r"},
		{"GET", "/api/analytics/trend?name=x", "", "r"},
		{"DELETE", "/api/queries/x", "", "a"},
		{"POST", "/api/admin/flush", "", "a"},
		{"POST", "/api/admin/compact", "", "a"},
		{"GET", "/healthz", "", ""},
		{"GET", "/readyz", "", ""},
		{"GET", "/", "", ""},
	}
	for _, c := range routes {
		what := c.verb + " " + c.path
		for key, role := range map[string]string{"": "", "unknown-key-0123456789": "?", w: "w", r: "r", a: "a"} {
			if key == a {
				continue // last, below: it changes what is there
			}
			want := 200
			switch {
			case c.role == "" || role == c.role:
			case role == "" || role == "?":
				want = 401
			default:
				want = 403
			}
			var header []string
			if key != "" {
				header = []string{"Authorization", "Bearer " + key}
			}
			if got := n.do(c.verb, c.path, []byte(c.body), header...); want != 200 || c.role != "r" {
				require.Equal(t, want, got.status, "%s with %q: %s", what, role, got.body)
			}
		}
		require.Equal(t, 200, n.do(c.verb, c.path, []byte(c.body), "Authorization", "Bearer "+a).status, what)
	}
	basic, err := http.NewRequest("POST", "http://x", nil)
	require.NoError(t, err)
	basic.SetBasicAuth(w, "")
	for _, accepted := range []reply{
		n.post("/api/events", event(2), "Authorization", basic.Header.Get("Authorization")),
		n.post("/api/events", event(2), "X-Write-Key", w),
		n.post("/api/events?writeKey="+w, event(2)),
	} {
		require.Equal(t, 200, accepted.status)
	}
	require.Equal(t, 401, n.post("/api/query?writeKey="+r, "trend count of any", "X-Write-Key", r).status, "keys in addresses are for events alone")
}

func TestWithoutKeysOtherNamesForThisMachineAreRefusedToReaders(t *testing.T) {
	n := start(t, server.Options{})
	ask := func(request string) string { return n.raw(request) }
	require.Contains(t, ask("GET /api/queries HTTP/1.1\r\nHost: evil.example:7480\r\nConnection: close\r\n\r\n"), " 403 ")
	require.Contains(t, ask("GET /api/queries HTTP/1.1\r\nHost: localhost:7480\r\nConnection: close\r\n\r\n"), " 200 ")
	require.Contains(t, ask("GET /api/queries HTTP/1.1\r\nHost: [::1]\r\nConnection: close\r\n\r\n"), " 200 ")
}

func TestPagesOfAnySiteMayPostEventsAndNothingElse(t *testing.T) {
	n := start(t, server.Options{})
	preflight := n.do("OPTIONS", "/api/events/batch", nil, "Origin", "https://shop.example",
		"Access-Control-Request-Method", "POST", "Access-Control-Request-Headers", "authorization,x-retry-count")
	require.Equal(t, 204, preflight.status)
	require.Equal(t, "https://shop.example", preflight.header.Get("Access-Control-Allow-Origin"))
	require.Equal(t, "true", preflight.header.Get("Access-Control-Allow-Credentials"))
	require.Equal(t, "authorization,x-retry-count", preflight.header.Get("Access-Control-Allow-Headers"))
	require.Equal(t, "86400", preflight.header.Get("Access-Control-Max-Age"))
	post := n.post("/api/events", event(1), "Origin", "https://shop.example")
	require.Equal(t, "https://shop.example", post.header.Get("Access-Control-Allow-Origin"))
	require.Equal(t, "Origin", post.header.Get("Vary"))
	refused := n.do("OPTIONS", "/api/query", nil, "Origin", "https://shop.example")
	require.Equal(t, 405, refused.status)
	require.Empty(t, n.post("/api/query", "trend count of any", "Origin", "https://shop.example").header.Get("Access-Control-Allow-Origin"))
}

func TestThoseWhoRunItSeeWhatItDoes(t *testing.T) {
	n := start(t, server.Options{})
	n.post("/api/events/batch", event(1)+"\n"+event(1)+"\n{}")
	metrics := string(n.do("GET", "/metrics", nil).body)
	for _, line := range []string{
		"spoor_events_accepted_total 1", "spoor_events_duplicate_total 1",
		`spoor_events_rejected_total{code="missing_event_name"} 1`, `spoor_http_requests_total{route="batch",status="2xx"} 1`,
		`spoor_http_request_seconds_count{route="batch"} 1`, "spoor_applied_index 1", "spoor_body_bytes 0", "go_goroutines ", "process_resident_memory_bytes ",
	} {
		require.Contains(t, metrics, line)
	}
	require.Equal(t, `{"status":"ok"}`, string(n.do("GET", "/healthz", nil).body))
	require.Equal(t, 200, n.do("GET", "/readyz", nil).status)
	n.log.notReady.Store(true)
	require.Equal(t, 503, n.do("GET", "/readyz", nil).status)
	require.Equal(t, "not_ready", n.post("/api/events", event(1)).errorCode(t))
	require.Equal(t, "not_ready", n.post("/api/query", "trend count of any").errorCode(t))
	require.Equal(t, 200, n.do("GET", "/metrics", nil).status)
	n.log.notReady.Store(false)
	require.Equal(t, 200, n.do("HEAD", "/healthz", nil).status)
	require.Contains(t, string(n.do("GET", "/", nil).body), n.addr)
	require.Equal(t, 200, n.post("/api/admin/flush", "").status)
	require.Equal(t, 200, n.post("/api/admin/compact", "").status)
	c := n.do("GET", "/api/cluster", nil).json(t)
	require.Equal(t, "n1", c["leader"])
	require.Equal(t, "leader", c["nodes"].([]any)[0].(map[string]any)["state"])
}
