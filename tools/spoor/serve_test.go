package main

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"runtime/pprof"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"spoor/sdk/js"
)

// output is a writer that a test waits on.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
	news chan struct{}
}

func newOutput() *output { return &output{news: make(chan struct{}, 1)} }

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	select {
	case o.news <- struct{}{}:
	default:
	}
	return o.text.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// await returns the first match of a pattern in what is written.
func (o *output) await(t *testing.T, pattern string) string {
	t.Helper()
	re := regexp.MustCompile(pattern)
	for late := time.After(20 * time.Second); ; {
		if m := re.FindString(o.String()); m != "" {
			return m
		}
		select {
		case <-o.news:
		case <-late:
			t.Fatalf("%q was not written, but %q", pattern, o)
		}
	}
}

// serving is `spoor serve` in this process.
type serving struct {
	t        *testing.T
	url      string
	out, log *output
	stop     context.CancelFunc
	code     chan int
}

func startServe(t *testing.T, args ...string) *serving {
	t.Helper()
	s := &serving{t: t, out: newOutput(), log: newOutput(), code: make(chan int, 1)}
	ctx, stop := context.WithCancel(context.Background())
	s.stop = stop
	env := &environment{Stdin: strings.NewReader(""), Stdout: s.out, Stderr: s.log, Getenv: func(string) string { return "" }}
	go func() { s.code <- run(ctx, env, append([]string{"serve", "--listen", "127.0.0.1:0"}, args...)) }()
	return s
}

func (s *serving) awaitReady() {
	s.t.Helper()
	s.url = s.out.await(s.t, `http://127\.0\.0\.1:[0-9]+`)
}

func (s *serving) end() {
	s.t.Helper()
	s.stop()
	select {
	case code := <-s.code:
		require.Zero(s.t, code, "%s", s.log)
	case <-time.After(10 * time.Second):
		var at strings.Builder
		_ = pprof.Lookup("goroutine").WriteTo(&at, 1)
		s.t.Fatalf("it runs on 10 s after the signal:\n%s\n%s", at.String(), s.log)
	}
}

func (s *serving) post(path, body string) string {
	s.t.Helper()
	resp, err := http.Post(s.url+path, "", strings.NewReader(body))
	require.NoError(s.t, err)
	defer resp.Body.Close()
	out, err := io.ReadAll(resp.Body)
	require.NoError(s.t, err)
	require.Equal(s.t, 200, resp.StatusCode, "%s", out)
	return string(out)
}

func TestWhatAServerAcknowledgedIsThereAfterARestart(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	const events = `[{"eventId":"a","eventName":"home","userId":"u1","timestamp":"2026-05-01T10:00:00Z"},{"eventId":"b","eventName":"cart","userId":"u1","timestamp":"2026-05-01T10:05:00Z"}]`
	const question = `funnel home -> cart within 1h from 2026-05-01 to 2026-05-02`
	first := startServe(t, "--data", dir)
	first.awaitReady()
	require.Contains(t, first.post("/api/events/batch", events), `"accepted":2,`)
	require.Contains(t, first.post("/api/query", question), `"event":"cart","users":1`)

	other := startServe(t, "--data", dir)
	require.Equal(t, exitFailed, <-other.code, "two servers on one directory")
	require.Contains(t, other.log.String(), "lock")
	other.stop()

	first.end()
	second := startServe(t, "--data", dir, "--log-format", "json")
	second.awaitReady()
	require.Contains(t, second.post("/api/events/batch", events), `"accepted":0,"duplicates":2,`)
	require.Contains(t, second.post("/api/query", question), `"event":"cart","users":1`)
	second.end()
	require.Contains(t, second.log.String(), `"msg":"shutting down`)
}

func TestBeyondThisMachineKeysAreNeeded(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	s := startServe(t, "--data", dir, "--listen", "0.0.0.0:0")
	require.Equal(t, exitUsage, <-s.code)
	s.stop()
	require.Contains(t, s.log.String(), "--write-key")
	require.NoDirExists(t, dir)
	s = startServe(t, "--data", dir, "--write-key", "short")
	require.Equal(t, exitUsage, <-s.code)
	s.stop()
}

func TestAKeyOfTheLogIsEnoughToListenBeyondThisMachine(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	s := startServe(t, "--data", dir)
	s.awaitReady()
	var key bytes.Buffer
	env := &environment{Stdin: strings.NewReader(""), Stdout: &key, Stderr: io.Discard, Getenv: func(string) string { return "" }}
	require.Zero(t, run(t.Context(), env, []string{"key", "create", "--server", s.url, "--kind", "admin", "--name", "ops"}))
	require.Regexp(t, `^spoor_a_[A-Za-z0-9_-]{43}\n$`, key.String())
	s.end()

	s = startServe(t, "--data", dir, "--listen", "0.0.0.0:0")
	port := strings.TrimPrefix(s.out.await(t, `http://\[::\]:[0-9]+|http://0.0.0.0:[0-9]+`), "http://[::]:")
	s.url = "http://127.0.0.1:" + strings.TrimPrefix(port, "http://0.0.0.0:")
	resp, err := http.Post(s.url+"/api/events", "", strings.NewReader(`{}`))
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	require.Equal(t, http.StatusUnauthorized, resp.StatusCode)
	env.Stdout = io.Discard
	require.Equal(t, exitFailed, run(t.Context(), env, []string{"key", "list", "--server", s.url}))
	require.Zero(t, run(t.Context(), env, []string{"key", "list", "--server", s.url, "--key", strings.TrimSpace(key.String())}))
	s.end()

	// Revoking it is not possible, but a store whose keys are gone does not listen either.
	empty := filepath.Join(t.TempDir(), "data")
	s = startServe(t, "--data", empty)
	s.awaitReady()
	s.end()
	s = startServe(t, "--data", empty, "--listen", "0.0.0.0:0")
	require.Equal(t, exitUsage, <-s.code)
	s.stop()
	require.Contains(t, s.log.String(), "spoor key create")
}

func TestAnAddressInUseIsAnErrorThatNamesIt(t *testing.T) {
	first := startServe(t, "--data", filepath.Join(t.TempDir(), "data"))
	first.awaitReady()
	address := strings.TrimPrefix(first.url, "http://")
	second := startServe(t, "--data", filepath.Join(t.TempDir(), "data"), "--listen", address)
	require.Equal(t, exitFailed, <-second.code)
	second.stop()
	require.Contains(t, second.log.String(), address)
	first.end()
}

func TestSizesAreReadAsPersonsWriteThem(t *testing.T) {
	for text, want := range map[string]byteSize{"256MiB": 256 << 20, "1 GB": 1e9, "4096": 4096, "1.5KiB": 1536, "7B": 7, "2TiB": 2 << 40} {
		var got byteSize
		require.NoError(t, got.UnmarshalText([]byte(text)), text)
		require.Equal(t, want, got, text)
	}
	for _, text := range []string{"", "MiB", "-1", "x", "1e30", "NaN", "1XB"} {
		var got byteSize
		require.Error(t, got.UnmarshalText([]byte(text)), text)
	}
	require.Equal(t, "256MiB", byteSize(256<<20).String())
}

func TestTheTightestMemoryLimitOfTheControlGroupsCounts(t *testing.T) {
	root := t.TempDir()
	group := filepath.Join(root, "system.slice", "spoor.service")
	require.NoError(t, os.MkdirAll(group, 0o755))
	self := filepath.Join(root, "self")
	write := func(path, text string) { require.NoError(t, os.WriteFile(path, []byte(text), 0o600)) }
	write(self, "0::/system.slice/spoor.service\n")
	write(filepath.Join(group, "memory.max"), "max\n")
	_, ok := containerMemory(self, root)
	require.False(t, ok)
	write(filepath.Join(root, "system.slice", "memory.max"), "1073741824\n")
	limit, ok := containerMemory(self, root)
	require.True(t, ok)
	require.EqualValues(t, 1<<30, limit)
	write(filepath.Join(group, "memory.max"), "536870912\n")
	limit, _ = containerMemory(self, root)
	require.EqualValues(t, 512<<20, limit)
	_, ok = containerMemory(filepath.Join(root, "nothing"), root)
	require.False(t, ok)

	old := filepath.Join(root, "memory", "docker")
	require.NoError(t, os.MkdirAll(old, 0o755))
	write(self, "5:cpu,memory:/docker/of-the-host\n4:devices:/x\n0::/\n")
	write(filepath.Join(root, "memory", "memory.limit_in_bytes"), "9223372036854771712\n")
	_, ok = containerMemory(self, root)
	require.False(t, ok, "version 1 without a limit")
	write(filepath.Join(old, "memory.limit_in_bytes"), "268435456\n")
	limit, ok = containerMemory(self, root)
	require.True(t, ok)
	require.EqualValues(t, 256<<20, limit)
}

func TestTheScriptForPagesIsServedAtThePathOfTheOperator(t *testing.T) {
	s := startServe(t, "--data", filepath.Join(t.TempDir(), "data"), "--sdk-path", "/lib/app.js")
	s.awaitReady()
	for path, status := range map[string]int{"/lib/app.js": 200, "/s.js": 404} {
		resp, err := http.Get(s.url + path)
		require.NoError(t, err)
		text, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		require.Equal(t, status, resp.StatusCode, path)
		require.Equal(t, status == 200, bytes.Equal(js.Script, text), path)
	}
	s.end()
	for _, path := range []string{"s.js", "/api/events", "/v1/track", "/segment/v1/batch"} {
		s := startServe(t, "--data", filepath.Join(t.TempDir(), "data"), "--sdk-path", path)
		require.Equal(t, exitUsage, <-s.code, path)
		require.Contains(t, s.log.String(), "--sdk-path")
		s.stop()
	}
}

func TestAFaultOfACommandIsNotTakenForSuccess(t *testing.T) {
	env := &environment{Stdin: strings.NewReader(""), Stdout: io.Discard, Stderr: io.Discard, Getenv: func(string) string { panic("a fault") }}
	require.PanicsWithValue(t, "a fault", func() {
		run(context.Background(), env, []string{"serve", "--data", filepath.Join(t.TempDir(), "data"), "--listen", "127.0.0.1:0"})
	})
}
