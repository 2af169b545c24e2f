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
	"time"

	"github.com/stretchr/testify/require"

	"spoor/bench/workload"
	"spoor/server/rawtier/blob/blobtest"
)

// questions have answers of integers, or of numbers that follow from them in one way.
var rawQuestions = []string{
	"funnel view_product -> add_to_cart -> purchase_completed within 7d by context.device from 2026-05-01 to 2026-05-31",
	"funnel page_viewed -> purchase_completed order strict from 2026-05-01 to 2026-05-31",
	"trend count, users of any by source every day from 2026-05-01 to 2026-05-31",
	"trend users of any by user.plan every week from 2026-05-01 to 2026-05-31",
	"retention any -> any every day for 10 first from 2026-05-01 to 2026-05-31",
	"sessions gap 30m by context.device every day from 2026-05-01 to 2026-05-31",
	"paths from page_viewed depth 3 from 2026-05-01 to 2026-05-31",
	"top context.country of any from 2026-05-01 to 2026-05-31",
	"users of purchase_completed from 2026-05-01 to 2026-05-31 limit 10000",
	"events of any from 2026-05-01 to 2026-05-31 limit 10000", // with receivedAt, source and person
	"lifecycle any every week from 2026-05-01 to 2026-05-31",
}

// answers are those to the questions, without what says how they were found.
func (s *serving) answers() (out []string) {
	for _, q := range rawQuestions {
		var a map[string]any
		require.NoError(s.t, json.Unmarshal([]byte(s.post("/api/query", q)), &a))
		delete(a, "stats")
		delete(a, "as_of")
		text, err := json.Marshal(a)
		require.NoError(s.t, err)
		out = append(out, string(text))
	}
	return out
}

type rawState struct {
	Events   int64  `json:"events"`
	Erasures uint64 `json:"erasures"`
	Erasing  bool   `json:"erasing"`
	Error    string `json:"error"`
}

func (s *serving) awaitRaw(is func(rawState) bool) (state rawState) {
	s.t.Helper()
	return s.awaitRawAs("", is)
}

func (s *serving) awaitRawAs(key string, is func(rawState) bool) (state rawState) {
	s.t.Helper()
	require.Eventually(s.t, func() bool {
		req, err := http.NewRequest(http.MethodGet, s.url+"/api/raw", nil)
		if err != nil {
			return false
		}
		if key != "" {
			req.Header.Set("Authorization", "Bearer "+key)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return false
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		state = rawState{}
		return err == nil && json.Unmarshal(b, &state) == nil && is(state)
	}, 60*time.Second, 50*time.Millisecond)
	return state
}

type listedJob struct {
	ID, Kind, State, Unit string
	Done, Total           int64
}

func (s *serving) delete(path string) {
	s.t.Helper()
	req, err := http.NewRequest(http.MethodDelete, s.url+path, nil)
	require.NoError(s.t, err)
	resp, err := http.DefaultClient.Do(req)
	require.NoError(s.t, err)
	require.NoError(s.t, resp.Body.Close())
	require.Equal(s.t, 200, resp.StatusCode)
}

func (s *serving) jobs() []listedJob {
	s.t.Helper()
	resp, err := http.Get(s.url + "/api/jobs")
	require.NoError(s.t, err)
	defer resp.Body.Close()
	var list struct{ Jobs []listedJob }
	require.NoError(s.t, json.NewDecoder(resp.Body).Decode(&list))
	return list.Jobs
}

func testStoreIsRebuilt(t *testing.T, place string, flags ...string) {
	dir := t.TempDir()
	events := filepath.Join(dir, "events.ndjson")
	g, err := workload.New(workload.Config{Events: 6000, Seed: 3})
	require.NoError(t, err)
	var lines []byte
	for {
		line, ok := g.Next(nil)
		if !ok {
			break
		}
		lines = append(append(lines, line...), '\n')
	}
	require.NoError(t, os.WriteFile(events, lines, 0o600))
	command := func(s *serving, args ...string) (code int, out string) {
		var stdout, stderr bytes.Buffer
		env := &environment{Stdin: strings.NewReader(""), Stdout: &stdout, Stderr: &stderr, Getenv: func(string) string { return "" }}
		code = run(context.Background(), env, append([]string{"--server", s.url}, args...))
		return code, stdout.String() + stderr.String()
	}

	data := filepath.Join(dir, "data")
	serve := append([]string{"--data", data, "--raw", place}, flags...)
	s := startServe(t, serve...)
	s.awaitReady()
	code, out := command(s, "import", events)
	require.Zero(t, code, out)
	s.post("/api/identify", `{"userId":"someone","anonymousId":"phone","traits":{"plan":"pro","name":"erase-my-name"}}`)
	s.post("/api/identify", `{"userId":"other","anonymousId":"tablet","traits":{"plan":"free"}}`)
	s.post("/api/events/batch", `[{"eventId":"p1","eventName":"page_viewed","anonymousId":"phone","timestamp":"2026-05-03T10:00:00Z"},{"eventId":"p2","eventName":"page_viewed","userId":"someone","timestamp":"2026-05-03T11:00:00Z","properties":{"note":"erase-my-note"}},
		{"eventId":"p3","eventName":"page_viewed","anonymousId":"tablet","timestamp":"2026-05-03T10:00:00.000001Z"}]`)
	s.end()
	s = startServe(t, serve...)
	s.awaitReady()
	s.awaitRaw(func(r rawState) bool { return r.Events > 5000 })
	s.post("/api/erasures", `{"kind":"person","user":"someone"}`)
	s.end()
	s = startServe(t, serve...) // carries it out at its start
	s.awaitReady()
	s.awaitRaw(func(r rawState) bool { return r.Erasures > 0 && !r.Erasing })
	want := s.answers()
	require.NotContains(t, strings.Join(want, ""), "erase-my-note")
	state := s.awaitRaw(func(r rawState) bool { return r.Events > 0 })
	s.end()

	require.NoError(t, os.RemoveAll(data))
	s = startServe(t, serve...)
	s.awaitReady()
	require.Contains(t, s.awaitRaw(func(r rawState) bool { return r.Error != "" }).Error, "belongs to another store")
	endpoint := []string{}
	for i := 0; i+1 < len(flags); i += 2 {
		endpoint = append(endpoint, strings.Replace(flags[i], "--raw-", "--", 1), flags[i+1])
	}
	replay := append([]string{"replay", place, "--json", "--resume", filepath.Join(dir, "done")}, endpoint...)
	code, out = command(s, replay...)
	require.Zero(t, code, out)
	var sum struct{ Accepted, Duplicates, Rejected int64 }
	require.NoError(t, json.Unmarshal([]byte(out), &sum), out)
	require.Equal(t, state.Events, sum.Accepted)
	require.Zero(t, sum.Rejected+sum.Duplicates)
	require.Equal(t, want, s.answers())
	job := s.jobs()[0]
	require.Equal(t, []any{"replay", "done", "events", state.Events, state.Events}, []any{job.Kind, job.State, job.Unit, job.Done, job.Total})
	code, out = command(s, append([]string{"replay", place, "--json", "--as", "governed", "--rate", "100000"}, endpoint...)...)
	require.Zero(t, code, out)
	require.NoError(t, json.Unmarshal([]byte(out), &sum), out)
	require.Equal(t, state.Events, sum.Duplicates, "once more is no event more")
	require.Equal(t, want, s.answers())
	type ending struct {
		code int
		out  string
	}
	ended := make(chan ending, 1)
	go func() {
		code, out := command(s, append([]string{"replay", place, "--rate", "100"}, endpoint...)...)
		ended <- ending{code, out}
	}()
	require.Eventually(t, func() bool { return s.jobs()[0].State == "running" && s.jobs()[0].Done > 0 }, 60*time.Second, 20*time.Millisecond)
	id := s.jobs()[0].ID
	s.delete("/api/jobs/" + id)
	end := <-ended
	require.NotZero(t, end.code)
	require.Contains(t, end.out, "was canceled")
	require.Equal(t, []any{id, "canceled"}, []any{s.jobs()[0].ID, s.jobs()[0].State})
	s.end()
	s = startServe(t, append(serve, "--raw-adopt")...)
	s.awaitReady()
	require.Equal(t, state.Events, s.awaitRaw(func(r rawState) bool { return r.Events > 0 }).Events)
	s.end()
}

func TestAStoreThatWasLostIsRebuiltFromTheRawTierAndAnswersTheSame(t *testing.T) {
	testStoreIsRebuilt(t, filepath.Join(t.TempDir(), "raw"))
}

func TestAStoreThatWasLostIsRebuiltFromS3(t *testing.T) {
	g := blobtest.Start(t, t.TempDir())
	testStoreIsRebuilt(t, "s3://"+blobtest.Bucket+"/prod", "--raw-endpoint", g.Endpoint(), "--raw-region", "us-east-1")
}
