package server_test

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"strings"
	"sync"
	"testing"
	"unicode/utf8"

	"github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/require"

	"spoor/server"
)

func event(id int) string {
	return fmt.Sprintf(`{"eventId":"e%d","eventName":"home","userId":"u%d","timestamp":"2026-05-01T10:00:00Z","properties":{"price":%d}}`, id, id%7, id)
}

func TestOneEventIsStoredAndASecondTimeIsADuplicate(t *testing.T) {
	n := start(t, server.Options{})
	first := n.post("/api/events", event(1))
	require.Equal(t, 200, first.status)
	require.JSONEq(t, `{"accepted":1,"duplicates":0,"rejected":[]}`, string(first.body))
	require.Equal(t, "1", first.header.Get("X-Spoor-Index"))
	require.Equal(t, "application/json; charset=utf-8", first.header.Get("Content-Type"))
	require.JSONEq(t, `{"accepted":0,"duplicates":1,"rejected":[]}`, string(n.post("/api/events/", event(1)).body))
}

func TestAnEventWithoutAnIDIsGivenOne(t *testing.T) {
	n := start(t, server.Options{})
	one := n.post("/api/events", `{"eventName":"home","userId":"u"}`)
	require.Regexp(t, `^\{"accepted":1,"duplicates":0,"rejected":\[\],"eventId":"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"\}$`, string(one.body))
	many := n.post("/api/events/batch", `[{"eventName":"home","userId":"u"},`+event(3)+`,{"eventName":"home","userId":"u"}]`)
	require.Regexp(t, `"accepted":3.*"assigned":\[\{"index":0,"eventId":"[0-9a-f-]{36}"\},\{"index":2,"eventId":"[0-9a-f-]{36}"\}\]\}$`, string(many.body))
	stored := n.post("/api/query", `events of any from 2026-05-01 to 2026-05-03`)
	id := strings.Split(strings.Split(string(one.body), `"eventId":"`)[1], `"`)[0]
	require.Contains(t, string(stored.body), id)
}

func TestABadSingleEventIsRefused(t *testing.T) {
	n := start(t, server.Options{})
	for body, code := range map[string]string{
		``:                                     "malformed_json",
		`{`:                                    "malformed_json",
		`[]`:                                   "not_an_object",
		`{"userId":"u"}`:                       "missing_event_name",
		`{"eventName":"home"}`:                 "missing_person",
		`{"eventName":"home","userId":"u"} {}`: "malformed_json",
		`{"eventName":"home","userId":"u","timestamp":"yesterday"}`:                   "bad_timestamp",
		`{"eventName":"home","userId":"u","properties":{"a":1,"a":2}}`:                "duplicate_key",
		"{\"eventName\":\"home\",\"userId\":\"u\xff\"}":                               "invalid_utf8",
		`{"eventName":"home","userId":"u","properties":[1]}`:                          "bad_properties",
		`{"eventName":"home","userId":"u","properties":{"a":{"b":"\ud800"}}}`:         "invalid_utf8",
		`{"eventName":"home","userId":"u","properties":` + deep(100_000) + `}`:        "too_deep",
		`{"eventName":"home","userId":"u","properties":{"x":"` + long(70_000) + `"}}`: "string_too_long",
	} {
		r := n.post("/api/events", body)
		require.Equal(t, 400, r.status, "%.100s", body)
		require.Equal(t, code, r.errorCode(t), "%.100s", body)
		require.Len(t, r.json(t)["rejected"], 1)
		require.True(t, utf8.Valid(r.body))
		require.Less(t, len(r.body), 2000)
		require.Empty(t, r.header.Get("X-Spoor-Index"))
	}
	require.Zero(t, n.log.entries.Load())
}

func deep(levels int) string {
	return strings.Repeat(`{"a":`, levels) + "1" + strings.Repeat("}", levels)
}

func long(n int) string { return strings.Repeat("x", n) }

func TestABatchComesInThreeFormsAndThreeCodings(t *testing.T) {
	for name, body := range map[string]string{
		"array":   "[" + event(1) + "," + event(2) + "]",
		"wrapper": ` {"batch": [` + event(1) + "," + event(2) + `], "sentAt":"now"}`,
		"lines":   event(1) + "\r\n\n" + event(2),
		"bom":     "\xef\xbb\xbf[" + event(1) + "," + event(2) + "]",
	} {
		n := start(t, server.Options{})
		want := `{"accepted":2,"duplicates":0,"rejected":[]}`
		plain := n.post("/api/events/batch", body, "Content-Type", "text/plain")
		require.Equal(t, want, string(plain.body), name)
		again := `{"accepted":0,"duplicates":2,"rejected":[]}`
		gz, zs := string(gzipped([]byte(body))), string(zstded([]byte(body)))
		for _, r := range []reply{
			n.post("/api/events/batch", gz, "Content-Encoding", "gzip"),
			n.post("/api/events/batch", gz, "Content-Type", "application/x-www-form-urlencoded"),
			n.post("/api/events/batch", gzTwo(body), "Content-Encoding", "GZIP"),
			n.post("/api/events/batch", zs, "Content-Encoding", "zstd"),
			n.post("/api/events/batch", zs),
			n.post("/api/events/batch", body, "Content-Encoding", "identity"),
		} {
			require.Equal(t, 200, r.status, "%s: %s", name, r.body)
			require.Equal(t, again, string(r.body), name)
		}
	}
}

func gzipped(b []byte) []byte {
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	_, _ = w.Write(b)
	_ = w.Close()
	return out.Bytes()
}

// gzTwo is a body in two gzip members.
func gzTwo(body string) string {
	return string(gzipped([]byte(body[:len(body)/2]))) + string(gzipped([]byte(body[len(body)/2:])))
}

func zstded(b []byte) []byte {
	w, err := zstd.NewWriter(nil)
	if err != nil {
		panic(err)
	}
	defer w.Close()
	return w.EncodeAll(b, nil)
}

func TestAnEmptyBatchIsAnsweredWithZeros(t *testing.T) {
	n := start(t, server.Options{})
	for _, body := range []string{`[]`, `{"batch":[]}`, ``, "\n\n"} {
		r := n.post("/api/events/batch", body)
		require.Equal(t, 200, r.status, "%q: %s", body, r.body)
		require.Equal(t, `{"accepted":0,"duplicates":0,"rejected":[]}`, string(r.body), "%q", body)
	}
	require.Zero(t, n.log.entries.Load())
}

func TestABatchIsNeverRefusedForOneBadEvent(t *testing.T) {
	n := start(t, server.Options{})
	bad := `{"eventId":"` + long(90) + `ééééééé` + long(20) + `","eventName":"home"}`
	r := n.post("/api/events/batch", `[`+event(1)+`,`+bad+`,7,`+event(2)+`,`+event(1)+`]`)
	require.Equal(t, 200, r.status)
	got := r.json(t)
	require.EqualValues(t, 2, got["accepted"])
	require.EqualValues(t, 1, got["duplicates"])
	rejected := got["rejected"].([]any)
	require.Len(t, rejected, 2)
	first := rejected[0].(map[string]any)
	require.EqualValues(t, 1, first["index"])
	require.Equal(t, "missing_person", first["code"])
	require.Equal(t, long(90)+"ééééé", first["eventId"], "at most 100 bytes, whole characters")
	require.Equal(t, "not_an_object", rejected[1].(map[string]any)["code"])
}

func TestBodiesThatAreNoBatchStoreNothing(t *testing.T) {
	n := start(t, server.Options{MaxEvents: 10, MaxBodyBytes: 1 << 20})
	gz := gzipped([]byte("[" + event(1) + "," + event(2) + "]"))
	broken := bytes.Clone(gz)
	broken[len(broken)-6] ^= 1 // in the checksum
	zs := zstded([]byte("[" + event(1) + "]"))
	many := "[" + strings.Repeat(event(1)+",", 10) + event(1) + "]"
	for _, c := range []struct {
		name, body, header, value string
		status                    int
		code                      string
	}{
		{"array that does not end", "[" + event(1), "", "", 400, "malformed_json"},
		{"array with a comma too many", "[" + event(1) + ",]", "", "", 400, "malformed_json"},
		{"array and more", "[" + event(1) + "] x", "", "", 400, "malformed_json"},
		{"no JSON at all", "hello\nworld", "", "", 400, "malformed_json"},
		{"one object over several lines", "{\n\"eventName\":\"home\"\n}", "", "", 400, "malformed_json"},
		{"too many events", many, "", "", 413, "too_many_events"},
		{"too many lines", strings.Repeat(event(1)+"\n", 11), "", "", 413, "too_many_events"},
		{"too many bytes", "[" + strings.Repeat(" ", 1<<20) + "]", "", "", 413, "too_large"},
		{"cut off", string(gz[:len(gz)-4]), "Content-Encoding", "gzip", 400, "bad_encoding"},
		{"bad checksum", string(broken), "Content-Encoding", "gzip", 400, "bad_encoding"},
		{"trailing garbage", string(gz) + "garbage", "Content-Encoding", "gzip", 400, "bad_encoding"},
		{"zstd cut off", string(zs[:len(zs)-3]), "Content-Encoding", "zstd", 400, "bad_encoding"},
		{"zstd and garbage", string(zs) + "garbage", "Content-Encoding", "zstd", 400, "bad_encoding"},
		{"gzip announced, none there", "[" + event(1) + "]", "Content-Encoding", "gzip", 400, "bad_encoding"},
		{"gzip announced, zstd there", string(zs), "Content-Encoding", "gzip", 400, "bad_encoding"},
		{"gzip announced, nothing there", "", "Content-Encoding", "gzip", 400, "bad_encoding"},
		{"brotli", "xxx", "Content-Encoding", "br", 415, "bad_encoding"},
		{"twice", string(gzipped(gz)), "Content-Encoding", "gzip, gzip", 415, "bad_encoding"},
		{"nested without a word", string(gzipped(gz)), "", "", 400, "malformed_json"},
		{"latin1", "[" + event(1) + "]", "Content-Type", "application/json; charset=ISO-8859-1", 415, "bad_charset"},
		{"bomb", string(gzipped(make([]byte, 64<<20))), "Content-Encoding", "gzip", 413, "too_large"},
		{"zstd bomb", string(zstded(make([]byte, 64<<20))), "Content-Encoding", "zstd", 413, "too_large"},
		{"many members", strings.Repeat(string(gzipped(nil)), 20_000), "", "", 413, "too_large"},
	} {
		r := n.post("/api/events/batch", c.body, c.header, c.value)
		require.Equal(t, c.status, r.status, "%s: %s", c.name, r.body)
		require.Equal(t, c.code, r.errorCode(t), c.name)
		require.True(t, utf8.Valid(r.body))
	}
	require.Zero(t, n.log.entries.Load())
}

func TestABodyBeyondOneEntryIsStoredWholeOrNotAtAll(t *testing.T) {
	n := start(t, server.Options{})
	var b strings.Builder
	for i := range 9000 {
		fmt.Fprintf(&b, `{"eventId":"id-%d","eventName":"home","userId":"u%d","properties":{"text":"%s%d"}}`+"\n", i, i%50, long(200), i*7919)
	}
	lines := b.String()
	array := "[" + strings.ReplaceAll(strings.TrimSpace(lines), "\n", ",")
	require.Equal(t, 400, n.post("/api/events/batch", array).status)
	require.Zero(t, n.log.entries.Load())
	require.Equal(t, `{"accepted":9000,"duplicates":0,"rejected":[]}`, string(n.post("/api/events/batch", array+"]").body))
	require.Greater(t, n.log.entries.Load(), int64(1))
	require.Equal(t, `{"accepted":0,"duplicates":9000,"rejected":[]}`, string(n.post("/api/events/batch", lines).body))
}

func TestRequestsThatShareALogEntryLearnTheirOwnVerdicts(t *testing.T) {
	const clients, rounds = 16, 40
	n := start(t, server.Options{})
	var wg sync.WaitGroup
	for c := range clients {
		wg.Go(func() {
			for r := range rounds {
				// Of each batch the first event is new, the second was sent before, the third is bad.
				id := c*1_000_000 + r*10
				body := "[" + event(id) + "," + event(max(id-10, c*1_000_000)) + `,{"eventName":"x"}]`
				want := fmt.Sprintf(`"accepted":%d,"duplicates":%d,"rejected":[{"index":2`, 1, 1)
				if got := n.post("/api/events/batch", body); !strings.Contains(string(got.body), want) {
					t.Errorf("client %d, round %d: %s", c, r, got.body)
				}
				if got := n.post("/api/events", event(id)); !strings.Contains(string(got.body), `"accepted":0,"duplicates":1`) {
					t.Errorf("client %d, round %d: %s", c, r, got.body)
				}
			}
		})
	}
	wg.Wait()
	got := n.post("/api/query", `trend count of any from 2026-05-01 to 2026-05-02`).json(t)
	points := got["series"].([]any)[0].(map[string]any)["points"].([]any)
	require.EqualValues(t, clients*rounds, points[0].(map[string]any)["value"])
}

// What has no eventId would be counted twice by a client that believes that nothing was stored.
func TestABatchOfWhichOnlyTheBeginningIsStoredIsOfUnknownOutcome(t *testing.T) {
	n := start(t, server.Options{}, func(l *testLog) { l.room = 1 })
	lines := make([]string, 80)
	for i := range lines {
		lines[i] = fmt.Sprintf(`{"eventName":"e","userId":"u","properties":{"p":"%d%s"}}`, i, long(60_000))
	}
	r := n.post("/api/events/batch", strings.Join(lines, "\n"))
	require.Equal(t, 503, r.status, "%s", r.body)
	require.Equal(t, "unknown", r.errorCode(t))
	stored := len(n.exported())
	require.Positive(t, stored)
	require.Less(t, stored, len(lines))
}
