package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// ask sends a request with a key and returns status and answer.
func (s *serving) ask(key, method, path, body string) (int, string) {
	s.t.Helper()
	req, err := http.NewRequest(method, s.url+path, strings.NewReader(body))
	require.NoError(s.t, err)
	if key != "" {
		req.Header.Set("Authorization", "Bearer "+key)
	}
	resp, err := http.DefaultClient.Do(req)
	require.NoError(s.t, err)
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	require.NoError(s.t, err)
	return resp.StatusCode, string(b)
}

func (s *serving) must(key, method, path, body string) string {
	s.t.Helper()
	status, answer := s.ask(key, method, path, body)
	require.Equal(s.t, 200, status, "%s %s: %s", method, path, answer)
	return answer
}

func TestARebuiltStoreIsRuledAsTheOneBefore(t *testing.T) {
	dir := t.TempDir()
	data, raw := filepath.Join(dir, "data"), filepath.Join(dir, "raw")
	s := startServe(t, "--data", data, "--raw", raw)
	s.awaitReady()
	var lines []string
	for _, user := range []string{"ada", "bob", "cyd"} {
		lines = append(lines, `{"eventId":"`+user+`-1","eventName":"purchase","userId":"`+user+`","anonymousId":"phone-of-`+user+`","timestamp":"2026-05-03T10:00:00Z","properties":{"price":7}}`)
	}
	lines = append(lines, `{"eventId":"bob-0","eventName":"purchase","userId":"bob","timestamp":"2025-01-03T10:00:00Z"}`)
	s.must("", "POST", "/api/events/batch", "["+strings.Join(lines, ",")+"]")
	s.must("", "PUT", "/api/queries/buys", "trend count of purchase from 2026-05-01 to 2026-06-01")
	s.must("", "PUT", "/api/boards/home", `{"title":"Home","tiles":[{"title":"Buys","query":"trend count of purchase last 7d"}]}`)
	s.must("", "PUT", "/api/schemas/purchase?mode=enforce", `{"type":"object","properties":{"price":{"type":"number"}}}`)
	s.must("", "PUT", "/api/policy", `{"redact":{"scope":"all"},"consent":{"events":{"ad_shown":"ads"}}}`)
	s.must("", "PUT", "/api/users/bob/consent", `{"purposes":{"ads":true}}`)
	s.must("", "PUT", "/api/users/cyd/consent", `{"purposes":{"ads":false}}`)
	status, refused := s.ask("", "POST", "/api/events", `{"eventId":"dead-1","eventName":"purchase","userId":"bob","timestamp":"2026-05-04T10:00:00Z","properties":{"price":"dear"}}`)
	require.Equal(t, 400, status, refused)
	require.Contains(t, refused, `"deadLetter":true`)
	s.must("", "POST", "/api/erasures", `{"kind":"person","user":"ada"}`)
	s.must("", "PUT", "/api/retention", `{"default":0,"events":{"rumour":30},"dedupe":300}`)
	var made struct{ ID, Key string }
	require.NoError(t, json.Unmarshal([]byte(s.must("", "POST", "/api/keys", `{"kind":"admin","name":"ops"}`)), &made))
	admin := made.Key
	require.NoError(t, json.Unmarshal([]byte(s.must(admin, "POST", "/api/keys", `{"kind":"write","source":"web"}`)), &made))
	web := made.Key
	ruled := func(s *serving) (out []string) {
		for _, path := range []string{"/api/queries", "/api/boards", "/api/schemas/purchase", "/api/policy", "/api/users/bob/consent", "/api/users/cyd/consent", "/api/dlq", "/api/retention", "/api/keys"} {
			var answer any
			require.NoError(t, json.Unmarshal([]byte(s.must(admin, "GET", path, "")), &answer))
			out = append(out, path+" "+withoutIndexes(answer))
		}
		for _, q := range []string{"trend count, users of any from 2026-05-01 to 2026-06-01", "events of any from 2025-01-01 to 2026-06-01"} {
			var a map[string]any
			require.NoError(t, json.Unmarshal([]byte(s.must(admin, "POST", "/api/query", q)), &a))
			delete(a, "stats")
			delete(a, "as_of")
			out = append(out, withoutIndexes(a))
		}
		return out
	}
	s.end()
	s = startServe(t, "--data", data, "--raw", raw) // a round at its start writes all of it
	s.awaitReady()
	s.awaitRawAs(admin, func(r rawState) bool { return r.Erasures > 0 && !r.Erasing && r.Error == "" })
	want := ruled(s)
	s.end()

	require.NoError(t, os.RemoveAll(data))
	s = startServe(t, "--data", data, "--raw", raw)
	s.awaitReady()
	command := func(args ...string) (int, string) {
		var stdout, stderr bytes.Buffer
		env := &environment{Stdin: strings.NewReader(""), Stdout: &stdout, Stderr: &stderr, Getenv: func(string) string { return "" }}
		return run(context.Background(), env, append([]string{"--server", s.url}, args...)), stdout.String() + stderr.String()
	}
	code, out := command("replay", raw, "--rebuild", "--as", "governed")
	require.NotZero(t, code, out)
	code, out = command("replay", raw, "--rebuild")
	require.Zero(t, code, out)
	require.Contains(t, out, "3 accepted, 0 duplicates, 0 rejected")
	require.Equal(t, want, ruled(s))

	status, answer := s.ask(web, "POST", "/api/events", lines[0])
	require.Equal(t, 400, status, answer)
	require.Contains(t, answer, "person_erased", "an old event of whom an erasure took")
	status, answer = s.ask(web, "POST", "/api/events", `{"eventId":"ada-2","eventName":"page","anonymousId":"phone-of-ada"}`)
	require.Equal(t, 400, status, answer)
	require.Contains(t, answer, "person_erased", "by an anonymousId, too")
	status, answer = s.ask(web, "POST", "/api/events", `{"eventName":"purchase","userId":"bob","properties":{"price":"dear"}}`)
	require.Equal(t, 400, status, answer)
	require.Contains(t, answer, "schema_violation")
	require.Contains(t, s.must(web, "POST", "/api/events/batch", `[{"eventName":"ad_shown","userId":"cyd"}]`), "no_consent")
	require.Equal(t, 401, first(s.ask("", "POST", "/api/events", `{"eventName":"x","userId":"u"}`)), "without a key nobody is let in")
	now := ruled(s)
	code, out = command("--key", admin, "replay", raw, "--rebuild", "--json")
	require.Zero(t, code, out)
	require.Contains(t, out, `"accepted":0,"duplicates":2,"rejected":1`, "one is too old by the retention that came back last")
	require.Equal(t, now, ruled(s), "once more changes nothing")
	s.must(admin, "POST", "/api/users/ada/allow", "")
	s.must(web, "POST", "/api/events", `{"eventName":"page","userId":"ada"}`)
	s.end()

	s = startServe(t, "--data", data, "--raw", raw, "--raw-adopt")
	s.awaitReady()
	require.Contains(t, s.awaitRawAs(admin, func(r rawState) bool { return r.Error != "" }).Error, "1 ids that were erased would be taken again", "one was allowed after the raw tier was replayed")
	code, out = command("--key", admin, "replay", raw)
	require.Zero(t, code, out)
	s.end()
	s = startServe(t, "--data", data, "--raw", raw, "--raw-adopt")
	s.awaitReady()
	require.Positive(t, s.awaitRawAs(admin, func(r rawState) bool { return r.Error == "" && r.Events > 0 }).Events)
	s.end()
}

func first(status int, _ string) int { return status }

// withoutIndexes is an answer without what depends on the log or the hour.
func withoutIndexes(v any) string {
	var strip func(any) any
	strip = func(v any) any {
		switch v := v.(type) {
		case map[string]any:
			for _, name := range []string{"index", "next", "made"} {
				delete(v, name)
			}
			for k := range v {
				v[k] = strip(v[k])
			}
		case []any:
			for i := range v {
				v[i] = strip(v[i])
			}
		}
		return v
	}
	b, _ := json.Marshal(strip(v))
	return string(b)
}
