package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/rogpeppe/go-internal/testscript"
)

// TestMain lets the test binary be spoor itself in the scripts.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"spoor": func() {
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
		env := &environment{Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, Getenv: os.Getenv}
		code := run(ctx, env, os.Args[1:])
		stop()
		os.Exit(code)
	}})
}

// TestTheBinaryDoesWhatTheScriptsSay runs testdata/*.txtar. Each script has a
// server of its own, whose address is $SPOOR_SERVER.
func TestTheBinaryDoesWhatTheScriptsSay(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Setup: func(e *testscript.Env) error {
			server := httptest.NewServer(newFakeServer())
			e.Defer(server.Close)
			e.Setenv("SPOOR_SERVER", server.URL)
			return nil
		},
	})
}

// fakeServer takes events as Spoor does and knows a few questions.
type fakeServer struct {
	mu   sync.Mutex
	seen map[string]bool
	busy int // requests that are still to be answered with 503

	starting int // looks at /readyz before it is
}

func newFakeServer() *fakeServer { return &fakeServer{seen: map[string]bool{}, busy: 1, starting: 2} }

func (f *fakeServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch r.URL.Path {
	case "/api/events/batch":
		if f.busy > 0 {
			f.busy--
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		f.ingest(w, r)
	case "/api/query":
		f.query(w, r)
	case "/readyz":
		if f.starting > 0 {
			f.starting--
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	default:
		http.NotFound(w, r)
	}
}

func (f *fakeServer) ingest(w http.ResponseWriter, r *http.Request) {
	text, err := plainBody(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	accepted, duplicates, rejected := 0, 0, []string{}
	for i, line := range strings.Split(strings.TrimSpace(string(text)), "\n") {
		var e struct{ EventID, UserID, AnonymousID string }
		switch {
		case json.Unmarshal([]byte(line), &e) != nil || e.UserID+e.AnonymousID == "":
			rejected = append(rejected, fmt.Sprintf(`{"index":%d,"code":"no_person","message":"neither userId nor anonymousId"}`, i))
		case f.seen[e.EventID]:
			duplicates++
		default:
			f.seen[e.EventID] = true
			accepted++
		}
	}
	_, _ = fmt.Fprintf(w, `{"accepted":%d,"duplicates":%d,"rejected":[%s]}`, accepted, duplicates, strings.Join(rejected, ","))
}

func plainBody(r *http.Request) ([]byte, error) {
	switch r.Header.Get("Content-Encoding") {
	case "zstd":
		d, err := zstd.NewReader(r.Body)
		if err != nil {
			return nil, err
		}
		defer d.Close()
		return io.ReadAll(d)
	case "gzip":
		d, err := gzip.NewReader(r.Body)
		if err != nil {
			return nil, err
		}
		return io.ReadAll(d)
	}
	return io.ReadAll(r.Body)
}

func (f *fakeServer) query(w http.ResponseWriter, r *http.Request) {
	var q struct{ Query string }
	body, err := io.ReadAll(r.Body)
	if err != nil || json.Unmarshal(body, &q) != nil {
		http.Error(w, "no query", http.StatusBadRequest)
		return
	}
	switch {
	case r.URL.Query().Get("explain") == "1":
		_, _ = io.WriteString(w, `{"kind":"explain","of":"funnel","stages":[{"name":"sweep","ms":1}]}`)
	case strings.HasPrefix(q.Query, "funnel"):
		_, _ = fmt.Fprintf(w, `{"kind":"funnel","steps":[{"event":"a","users":%d,"conversion":1,"step_conversion":1},{"event":"b","users":1,"conversion":0.5,"step_conversion":0.5}]}`, len(f.seen))
	case q.Query == "key":
		_, _ = fmt.Fprintf(w, `{"kind":"key","key":%q}`, r.Header.Get("Authorization"))
	default:
		w.WriteHeader(http.StatusBadRequest)
		_, _ = fmt.Fprintf(w, `{"error":{"code":"syntax","message":"no such question","line":1,"column":%d,"hint":"try funnel"}}`, 1+bytes.IndexByte(append([]byte(q.Query), ' '), ' '))
	}
}
