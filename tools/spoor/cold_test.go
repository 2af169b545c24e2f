package main

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"spoor/bench/workload"
	"spoor/server/rawtier/blob/blobtest"
)

// local is what GET /api/raw says of days in the object store.
type localDays struct {
	Files     int
	Bytes     int64
	StubBytes int64
	Events    int64
	Erasing   int
	Error     string
	Away      string
}

func (s *serving) awaitLocal(is func(localDays) bool) (state localDays) {
	s.t.Helper()
	require.Eventually(s.t, func() bool {
		_, body := s.call(http.MethodGet, "/api/raw", "")
		var a struct{ Local localDays }
		err := json.Unmarshal([]byte(body), &a)
		state = a.Local
		return err == nil && is(state)
	}, 60*time.Second, 50*time.Millisecond)
	return state
}

// call is post for answers of every status.
func (s *serving) call(method, path, body string) (status int, answer string) {
	s.t.Helper()
	req, err := http.NewRequest(method, s.url+path, strings.NewReader(body))
	require.NoError(s.t, err)
	resp, err := http.DefaultClient.Do(req)
	require.NoError(s.t, err)
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	require.NoError(s.t, err)
	return resp.StatusCode, string(b)
}

// replayed are generated events as they were received when they happened.
func replayed(t *testing.T, events int) string {
	g, err := workload.New(workload.Config{Events: int64(events), Seed: 4})
	require.NoError(t, err)
	var lines []byte
	for {
		line, ok := g.Next(nil)
		if !ok {
			return string(lines)
		}
		var e struct{ Timestamp string }
		require.NoError(t, json.Unmarshal(line, &e))
		lines = append(append(lines, bytes.TrimSuffix(line, []byte("}"))...), `,"receivedAt":"`+e.Timestamp+"\"}\n"...)
	}
}

// testDaysInTheObjectStore lets a server keep its old days in an object store, which goes away and
// comes back by the functions given.
func testDaysInTheObjectStore(t *testing.T, place string, goAway, comeBack func(), flags ...string) {
	data := filepath.Join(t.TempDir(), "data")
	serve := append([]string{"--data", data, "--raw", place, "--cold-cache", "8MiB"}, flags...)
	s := startServe(t, serve...)
	s.awaitReady()
	lines := strings.SplitAfter(replayed(t, 6000), "\n")
	for len(lines) > 0 {
		n := min(len(lines), 2000)
		s.post("/api/admin/replay", strings.Join(lines[:n], ""))
		lines = lines[n:]
	}
	s.post("/api/admin/replay", `{"eventId":"p1","eventName":"page_viewed","userId":"someone","timestamp":"2026-05-03T11:00:00Z","receivedAt":"2026-05-03T11:00:00Z","properties":{"note":"erase-my-note"}}`)
	s.post("/api/admin/compact", "")
	s.post("/api/events", `{"eventId":"now-0","eventName":"started","userId":"u1"}`) // in a file of its own: the others go as a whole
	want := s.answers()
	s.spoor(exitFailed, "", "retention", "set", "forever", "--local", "60d")
	s.spoor(exitDone, "", "retention", "set", "forever", "--dedupe", "30d", "--local", "60d")
	require.Contains(t, s.spoor(exitDone, "", "retention"), "on the disks of nodes with a raw tier for 60d")
	s.end()
	before := bytesIn(t, filepath.Join(data, "store"), ".seg")
	s = startServe(t, serve...) // whose first round writes the raw tier,
	s.awaitReady()
	s.awaitRaw(func(r rawState) bool { return r.Events > 5000 })
	s.end()

	s = startServe(t, serve...) // and the next one finds it there
	s.awaitReady()
	state := s.awaitLocal(func(l localDays) bool { return l.Events > 5000 })
	require.Equal(t, before, state.Bytes+bytesIn(t, filepath.Join(data, "store"), ".seg"), "byte for byte")
	require.Less(t, 10*bytesIn(t, filepath.Join(data, "store"), ".seg"), before)
	require.Equal(t, state.StubBytes, bytesIn(t, filepath.Join(data, "store"), ".cold"))
	require.Equal(t, want, s.answers())
	_, metrics := s.call(http.MethodGet, "/metrics", "")
	require.Contains(t, metrics, "spoor_cold_cache_misses_total")
	s.spoor(exitDone, "", "verify")
	require.Contains(t, s.spoor(exitFailed, "", "verify", "--grep", "erase-my-note"), "object store")

	// The store goes: old days are an error that says so, all else goes on.
	s.end()
	goAway()
	s = startServe(t, serve...)
	s.awaitReady()
	began := time.Now()
	status, body := s.call(http.MethodPost, "/api/query?cache=off", rawQuestions[0])
	require.Equal(t, http.StatusServiceUnavailable, status, body)
	require.Contains(t, body, "object_store_away")
	require.Less(t, time.Since(began), 25*time.Second)
	s.post("/api/events", `{"eventId":"now-1","eventName":"page_viewed","userId":"u1"}`)
	require.Contains(t, s.post("/api/events", `{"eventId":"now-1","eventName":"page_viewed","userId":"u1"}`), `"duplicates":1`)
	require.Contains(t, s.post("/api/query?cache=off", "trend count of page_viewed last 2d"), `"value":1`)
	require.NotEmpty(t, s.awaitLocal(func(l localDays) bool { return l.Away != "" || l.Error != "" }))
	comeBack()
	require.Eventually(t, func() bool {
		status, _ := s.call(http.MethodPost, "/api/query?cache=off", rawQuestions[0])
		return status == http.StatusOK
	}, 60*time.Second, 100*time.Millisecond)
	require.Equal(t, want, s.answers())

	// Somebody is erased: from the disk and from the store.
	s.post("/api/erasures", `{"kind":"person","user":"someone"}`)
	s.post("/api/admin/compact", "")
	s.end()
	s = startServe(t, serve...) // whose first round removes what nobody needs
	s.awaitReady()
	s.awaitLocal(func(l localDays) bool { return l.Events > 5000 && l.Erasing == 0 })
	require.Eventually(t, func() bool {
		status, body := s.call(http.MethodPost, "/api/admin/verify", `{"grep":["erase-my-note"]}`)
		return status == http.StatusOK && !strings.Contains(body, "object store")
	}, 60*time.Second, 200*time.Millisecond)
	s.spoor(exitDone, "", "verify", "--grep", "erase-my-note")
	s.end()
}

// bytesIn is the size of the files of a directory whose names have a suffix.
func bytesIn(t *testing.T, dir, suffix string) (sum int64) {
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	for _, e := range entries {
		if info, err := e.Info(); err == nil && strings.HasSuffix(e.Name(), suffix) {
			sum += info.Size()
		}
	}
	return sum
}

func TestOldDaysAreReadFromADirectoryThatMayGoAway(t *testing.T) {
	place := filepath.Join(t.TempDir(), "raw")
	move := func(from, to string) func() {
		return func() { require.NoError(t, os.Rename(filepath.Join(place, from), filepath.Join(place, to))) }
	}
	testDaysInTheObjectStore(t, place, move("_cold", "unmounted"), move("unmounted", "_cold"))
}

func TestOldDaysAreReadFromS3ThatMayGoAway(t *testing.T) {
	g := blobtest.Start(t, t.TempDir())
	testDaysInTheObjectStore(t, "s3://"+blobtest.Bucket+"/node", g.Kill, g.Run, "--raw-endpoint", g.Endpoint(), "--raw-region", "us-east-1")
}
