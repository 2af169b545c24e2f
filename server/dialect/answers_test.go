package dialect_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"spoor/server"
	"spoor/server/access"
)

// one is a request of each dialect with one event of an id.
var one = []struct {
	name, path, body string
}{
	{"segment", "/v1/batch", `{"batch":[{"type":"track","event":"x","userId":"u","messageId":"%s"}]}`},
	{"posthog", "/batch/", `{"api_key":"k","batch":[{"event":"x","distinct_id":"u","uuid":"%s"}]}`},
	{"amplitude", "/2/httpapi", `{"api_key":"k","events":[{"event_type":"x","user_id":"u","insert_id":"%s"}]}`},
	{"mixpanel", "/import", `[{"event":"x","properties":{"distinct_id":"u","time":1795866000,"$insert_id":"%s"}}]`},
	{"snowplow", "/com.snowplowanalytics.snowplow/tp2", `{"data":[{"e":"se","se_ac":"x","uid":"u","eid":"%s"}]}`},
}

func TestWhatTheServerRefusesIsToldInAWayThatClientsActOnRightly(t *testing.T) {
	n := start(t, server.Options{WaitTimeout: 30 * time.Millisecond, MaxBodyBytes: 64 << 10}, nil)
	large := strings.Repeat(" ", 40<<10)
	for _, d := range one {
		body := fmt.Sprintf(d.body, "a")
		for _, c := range []struct {
			err  error
			want int
		}{
			{server.ErrOverloaded, 503},
			{server.ErrNotLeader, 503},
			{server.ErrUnknown, 503},
			{server.ErrDiskFull, 503},
			{server.ErrTooLarge, map[string]int{"snowplow": 400}[d.name]},
		} {
			if c.want == 0 {
				c.want = 413
			}
			n.log.refusal = fmt.Errorf("propose: %w", c.err)
			n.log.refuse.Store(1 << 30)
			r := n.post(d.path, body)
			require.Equal(t, c.want, r.status, "%s: %v: %s", d.name, c.err, r.body)
			require.True(t, json.Valid(r.body))
			if d.name == "amplitude" {
				require.Contains(t, string(r.body), fmt.Sprintf(`"code":%d,`, c.want))
			}
			require.Equal(t, c.want == 503, r.header.Get("Retry-After") == "1", "%s: %v", d.name, c.err)
		}
		n.log.refuse.Store(0)
		n.log.notReady.Store(1 << 30)
		require.Equal(t, 503, n.post(d.path, body).status, d.name)
		n.log.notReady.Store(0)

		want := map[string]int{"snowplow": 400}[d.name]
		if want == 0 {
			want = 413
		}
		r := n.post(d.path, body+large)
		require.Equal(t, want, r.status, "%s: %s", d.name, r.body)
		require.Empty(t, r.header.Get("Retry-After"), "sent again it is as large")
		r = n.do("PUT", d.path, nil)
		require.Contains(t, []int{400, 405}, r.status)
		require.Equal(t, 200, n.post(d.path, body).status)
	}
}

func TestAnOverloadThatPassesIsWaitedFor(t *testing.T) {
	n := start(t, server.Options{}, nil)
	n.log.refusal = server.ErrOverloaded
	for _, d := range one {
		n.log.refuse.Store(3)
		n.log.notReady.Store(3)
		require.Equal(t, 200, n.post(d.path, fmt.Sprintf(d.body, d.name)).status, d.name)
	}
	require.Len(t, bytes.Split(bytes.TrimSpace(n.export()), []byte("\n")), len(one))
}

func TestABatchThatIsSentTenTimesIsStoredOnce(t *testing.T) {
	n := start(t, server.Options{}, nil)
	var wg sync.WaitGroup
	for range 10 {
		for _, d := range one {
			wg.Go(func() {
				if r := n.post(d.path, fmt.Sprintf(d.body, "poison-"+d.name)); r.status != 200 {
					t.Errorf("%s: %d", d.name, r.status)
				}
			})
		}
	}
	wg.Wait()
	require.Len(t, bytes.Split(bytes.TrimSpace(n.export()), []byte("\n")), len(one))
}

const writeKey = "write-key-write-key-write-key"

func TestKeysAreFoundWhereverADialectHasThem(t *testing.T) {
	keys, err := access.NewRing([]string{writeKey}, []string{"read-key-read-key-read-key"}, nil)
	require.NoError(t, err)
	n := start(t, server.Options{Keys: keys}, nil)
	const msg = `{"type":"track","event":"x","userId":"u","messageId":"%s","writeKey":"%s"}`
	for i, c := range []struct{ path, body, header, value string }{
		{path: "/v1/batch", body: `{"batch":[` + msg + `]}`, header: "Authorization", value: "Basic " + basic(writeKey+":")},
		{path: "/v1/batch", body: `{"writeKey":"` + writeKey + `","batch":[` + msg + `]}`},
		{path: "/v1/batch", body: `{"writeKey":"` + writeKey + `","batch":[` + msg + `]}`, header: "Authorization", value: "Bearer token-of-somebody-else"},
		{path: "/v1/batch", body: `{"writeKey":"wrong","batch":[` + msg + `]}`, header: "Authorization", value: "Basic " + basic(writeKey+":")},
		{path: "/beacon/v1/batch?writeKey=" + writeKey, body: `{"batch":[` + msg + `]}`},
		{path: "/v1/t", body: msg},
		{path: "/e/", body: `{"api_key":"` + writeKey + `","batch":[{"event":"x","distinct_id":"u","uuid":"%s"}]}`},
		{path: "/e/", body: `{"token":"` + writeKey + `","event":"x","distinct_id":"u","uuid":"%s"}`},
		{path: "/e/", body: `[{"event":"x","distinct_id":"u","uuid":"%s","properties":{"token":"` + writeKey + `"}}]`},
		{path: "/com.acme/v1", body: `{"data":[{"e":"se","se_ac":"x","uid":"u","eid":"%s","aid":"` + writeKey + `"}]}`},
		{path: "/com.acme/v1", body: `{"data":[{"e":"se","se_ac":"x","uid":"u","eid":"%s"}]}`, header: "X-Write-Key", value: writeKey},
	} {
		args := []any{fmt.Sprint("id", i), writeKey}[:strings.Count(c.body, "%s")]
		var header []string
		if c.header != "" {
			header = []string{c.header, c.value}
		}
		r := n.post(c.path, fmt.Sprintf(c.body, args...), header...)
		require.Equal(t, 200, r.status, "%d %s: %s", i, c.path, r.body)
	}
	require.Len(t, bytes.Split(bytes.TrimSpace(n.export()), []byte("\n")), 11)
	for _, d := range one {
		require.Equal(t, 401, n.post(d.path, fmt.Sprintf(d.body, "no")).status, d.name)
		require.Equal(t, 403, n.post(d.path, fmt.Sprintf(d.body, "no"), "Authorization", "Bearer read-key-read-key-read-key").status, "a read key must not write")
	}
	require.Equal(t, 401, n.do("GET", "/i?e=pv&uid=u", nil).status)
	require.Equal(t, 401, n.do("GET", "/pixel/v1/track?event=x&userId=u", nil).status)
	require.Len(t, bytes.Split(bytes.TrimSpace(n.export()), []byte("\n")), 11)
}

func basic(text string) string {
	req, _ := http.NewRequest("GET", "/", nil)
	name, password, _ := strings.Cut(text, ":")
	req.SetBasicAuth(name, password)
	return strings.TrimPrefix(req.Header.Get("Authorization"), "Basic ")
}

func TestWhatABatchSaysForAllCannotGrowBeyondItsBound(t *testing.T) {
	n := start(t, server.Options{}, nil)
	context := strings.Repeat("x", 60<<10)
	var body strings.Builder
	fmt.Fprintf(&body, `{"context":{"big":%q},"batch":[`, context)
	for i := range 1000 {
		if i > 0 {
			body.WriteByte(',')
		}
		fmt.Fprintf(&body, `{"type":"track","event":"x","userId":"u","messageId":"m%d"}`, i)
	}
	body.WriteString("]}")
	r := n.post("/v1/batch", body.String())
	require.Equal(t, 413, r.status, "%s", r.body)
	require.Equal(t, 200, n.post("/v1/batch", strings.Replace(body.String(), context, "", 1)).status)
}

func TestHostileBodiesAreRefusedAndTheNextRequestIsServed(t *testing.T) {
	n := start(t, server.Options{}, nil)
	bomb := zip(t, bytes.Repeat([]byte(" "), 12<<20))
	bodies := map[string][]byte{
		"bomb": bomb, "cut gzip": bomb[:1000], "nothing": nil, "NUL": {0}, "brackets": []byte(strings.Repeat("[", 1<<18)),
		"objects": []byte(strings.Repeat(`{"batch":`, 1<<15)), "no UTF-8": []byte("{\"batch\":[\"\xff\xfe\"]}"), "number": []byte("1"), "text": []byte(`"x"`),
		"form": []byte("data=%zz&data="), "base64": []byte("data=aGVsbG8="), "null": []byte("null"),
	}
	for name, body := range bodies {
		for _, path := range []string{"/v1/batch", "/v1/t", "/e/", "/com.acme/v1", "/engage", "/2/httpapi", "/import"} {
			begin := time.Now()
			r := n.do("POST", path, body)
			refusals := []int{400, 413}
			if name == "no UTF-8" || name == "objects" && path == "/import" {
				refusals = []int{200, 400} // a batch, whose one message is refused
			}
			require.Contains(t, refusals, r.status, "%s on %s: %s", name, path, r.body)
			require.Less(t, time.Since(begin), 5*time.Second)
			require.True(t, json.Valid(r.body) || string(r.body) == "ok" || string(r.body) == "1", "%s", r.body)
		}
	}
	require.Empty(t, n.export())
	for _, d := range one {
		require.Equal(t, 200, n.post(d.path, fmt.Sprintf(d.body, "good-"+d.name)).status)
	}
}

func TestManyIdentifyCallsOfOneRequestShareLogEntries(t *testing.T) {
	n := start(t, server.Options{}, nil)
	var body strings.Builder
	body.WriteString(`{"batch":[`)
	for i := range 2000 {
		fmt.Fprintf(&body, `{"type":"identify","userId":"u%d","traits":{"n":%d}},`, i, i)
	}
	body.WriteString(`{"type":"identify","userId":"last","traits":{"text":"` + strings.Repeat("x", 200<<10) + `"}}]}`)
	before := n.log.entries
	r := n.post("/v1/batch", body.String())
	require.Equal(t, 200, r.status)
	require.Contains(t, string(r.body), `"rejectedCount":1,"rejected":[{"index":2000,"code":"event_too_large"`)
	require.Equal(t, 2, n.log.entries-before)
	require.Contains(t, string(n.do("GET", "/api/users/u1999", nil).body), `"traits":{"n":1999}`)
}

func TestAnEventIsDurableBeforeAnyDialectAnswers(t *testing.T) {
	n := start(t, server.Options{WaitTimeout: time.Millisecond}, nil)
	n.log.refusal = io.ErrClosedPipe
	for _, d := range one {
		n.log.refuse.Store(1)
		r := n.post(d.path, fmt.Sprintf(d.body, "never"))
		require.Equal(t, 500, r.status, "%s: %s", d.name, r.body)
		require.NotContains(t, string(r.body), "pipe")
	}
	require.Empty(t, n.export())
}

func TestAHalfStoredBatchIsNotTriedAgainByTheServer(t *testing.T) {
	n := start(t, server.Options{}, nil)
	n.log.refusal = server.ErrOverloaded
	n.log.allow.Store(1)
	n.log.refuse.Store(1)
	var body strings.Builder
	body.WriteString(`{"batch":[{"type":"track","event":"x","userId":"u"}`)
	const events = 5000 // two log entries, without ids
	for range events - 1 {
		body.WriteString(`,{"type":"track","event":"x","userId":"u","properties":{"text":"` + "0123456789012345678901234567890123456789" + `"}}`)
	}
	body.WriteString("]}")
	r := n.post("/v1/batch", body.String())
	require.Equal(t, 503, r.status)
	require.Contains(t, string(r.body), `"code":"unknown"`)
	stored := bytes.Count(n.export(), []byte("\n"))
	require.Positive(t, stored)
	require.Less(t, stored, events)
}
