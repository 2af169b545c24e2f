package main

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// spoor runs a command against the server and returns its output.
func (s *serving) spoor(wantCode int, stdin string, args ...string) string {
	s.t.Helper()
	var stdout, stderr bytes.Buffer
	env := &environment{Stdin: strings.NewReader(stdin), Stdout: &stdout, Stderr: &stderr, Getenv: func(string) string { return "" }}
	code := run(context.Background(), env, append([]string{"--server", s.url}, args...))
	require.Equal(s.t, wantCode, code, "%v: %s%s", args, stdout.String(), stderr.String())
	return stdout.String() + stderr.String()
}

func TestSchemasLettersAndConsentAreLookedAfterFromTheShellAndOutliveARestart(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	file := filepath.Join(t.TempDir(), "buy.json")
	require.NoError(t, os.WriteFile(file, []byte(`{"type":"object","required":["id"],"properties":{"id":{"type":"string"}}}`), 0o600))
	s := startServe(t, "--data", dir, "--allowed-lateness", "36500d")
	s.awaitReady()
	require.Equal(t, "buy: version 1, observe\n", s.spoor(exitDone, "", "schema", "put", "buy", file))
	require.Equal(t, "buy: version 1, enforce\n", s.spoor(exitDone, "", "schema", "put", "buy", "--mode", "enforce"))
	require.Contains(t, s.spoor(exitFailed, `{"properties":{"id":{"type":"number"}}}`, "schema", "put", "buy", "-"), "not backward compatible")
	require.Contains(t, s.spoor(exitFailed, "", "schema", "put", "buy"), "--mode")
	require.Contains(t, s.spoor(exitFailed, `{"eventName":"buy","userId":"u"}`, "schema", "check", "buy", "-"), "properties.id is required")
	answer := s.post("/api/events/batch", `[{"eventId":"1","eventName":"buy","userId":"u","properties":{"id":1}},{"eventId":"2","eventName":"buy","userId":"u","properties":{"id":"x"}}]`)
	require.Contains(t, answer, `"deadLetter":true`)
	req, err := http.NewRequest(http.MethodPut, s.url+"/api/users/u/consent", strings.NewReader(`{"purposes":{"analytics":false}}`))
	require.NoError(t, err)
	resp, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	_, _ = io.Copy(io.Discard, resp.Body)
	require.NoError(t, resp.Body.Close())
	s.end()

	s = startServe(t, "--data", dir)
	s.awaitReady()
	require.Regexp(t, `(?m)^buy +enforce +1 +0 *$`, s.spoor(exitDone, "", "schema", "list"))
	require.Contains(t, s.spoor(exitDone, "", "schema", "show", "buy"), `"required"`)
	require.Regexp(t, `buy +schema_violation +properties.id +v1 +1`, s.spoor(exitDone, "", "dlq", "count"))
	require.Contains(t, s.spoor(exitDone, "", "dlq", "list", "--filter", "event=buy"), `"eventId":"1"`)
	require.Empty(t, s.spoor(exitDone, "", "dlq", "list", "--filter", "event=other"))
	require.Contains(t, s.spoor(exitFailed, "", "dlq", "list", "--filter", "name=x"), "no such key")
	require.Contains(t, s.spoor(exitFailed, "", "dlq", "purge"), "--all")
	s.spoor(exitDone, `{"properties":{"id":{"type":["string","number"]}}}`, "schema", "put", "buy", "-")
	require.Contains(t, s.spoor(exitDone, "", "schema", "diff", "buy"), "version 1 to 2: 2 changes")
	require.Equal(t, "1 replayed, 0 were stored before, 0 refused again and kept\n", s.spoor(exitDone, "", "dlq", "replay"))
	require.Equal(t, "0 letters are gone\n", s.spoor(exitDone, "", "dlq", "purge", "--all"))
	require.Contains(t, s.spoor(exitDone, "", "schema", "infer", "buy"), `"id"`)
	s.spoor(exitDone, `{"consent":{"default":"analytics"}}`, "policy", "put", "-")
	require.Contains(t, s.spoor(exitDone, "", "policy", "show"), `"default": "analytics"`)
	require.Contains(t, s.post("/api/events", `{"eventName":"buy","userId":"u","properties":{"id":"y"}}`), `"code":"no_consent"`)
	require.Regexp(t, `(?m)^buy +1 `, s.spoor(exitDone, "", "quality"))
	require.Contains(t, s.spoor(exitDone, "", "schema", "drop", "buy"), "gone")
	s.end()
}
