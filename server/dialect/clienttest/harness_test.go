// Package clienttest holds the server to what the published clients of other
// systems do: it drives them, as an application would, against the built binary
// with a proxy between that answers in place of the server, or loses its
// answers. It is a module of its own, so that the program does not take the
// clients as dependencies. The clients of npm need node and a registry of
// packages, those that run in a browser Chromium; where one is absent their tests are skipped.
package clienttest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// spoor is the server that all tests share; each has event names of its own.
var spoor *server

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "spoor-clients")
	if err != nil {
		panic(err)
	}
	spoor = &server{dir: dir}
	code := m.Run()
	spoor.stop()
	os.RemoveAll(dir)
	os.Exit(code)
}

// server is the built binary in a process of its own.
type server struct {
	dir   string
	once  sync.Once
	err   error
	url   string
	cmd   *exec.Cmd
	log   bytes.Buffer
	npm   sync.Once
	npmIs string // why the clients of npm cannot run
}

func (s *server) start(t *testing.T) {
	t.Helper()
	s.once.Do(func() { s.err = s.run() })
	require.NoError(t, s.err, "%s", &s.log)
}

func (s *server) run() error {
	binary := filepath.Join(s.dir, "spoor")
	build := exec.Command("go", "build", "-o", binary, "./tools/spoor")
	build.Dir = filepath.Join("..", "..", "..")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("build the server: %w: %s", err, out)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	address := ln.Addr().String()
	if err := ln.Close(); err != nil {
		return err
	}
	s.url = "http://" + address
	s.cmd = exec.Command(binary, "serve", "--data", filepath.Join(s.dir, "data"), "--listen", address, "--log-level", "warn")
	s.cmd.Stderr = &s.log
	if err := s.cmd.Start(); err != nil {
		return err
	}
	for late := time.Now().Add(20 * time.Second); time.Now().Before(late); time.Sleep(20 * time.Millisecond) {
		if resp, err := http.Get(s.url + "/readyz"); err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return nil
			}
		}
	}
	return fmt.Errorf("the server is not ready after 20 s")
}

func (s *server) stop() {
	if s.cmd != nil && s.cmd.Process != nil {
		s.cmd.Process.Kill()
		s.cmd.Wait()
	}
}

// stored is an event as the server gives it back.
type stored struct {
	EventID     string
	EventName   string
	UserID      string
	AnonymousID string
	Person      string
	Properties  map[string]any
	Context     map[string]any
}

// events are the stored events of a name.
func (s *server) events(t *testing.T, name string) (out []stored) {
	t.Helper()
	resp, err := http.Post(s.url+"/api/events/export", "", strings.NewReader(`{"from":"2020-01-01","to":"2100-01-01"}`))
	require.NoError(t, err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.Equal(t, 200, resp.StatusCode, "%s", text)
	for line := range bytes.Lines(text) {
		var e stored
		require.NoError(t, json.Unmarshal(line, &e))
		if e.EventName == name {
			out = append(out, e)
		}
	}
	return out
}

// person is what the server knows of an id.
func (s *server) person(t *testing.T, id string) (p struct {
	Person       string
	AnonymousIDs []string
	Traits       map[string]any
},
) {
	t.Helper()
	resp, err := http.Get(s.url + "/api/users/" + url.PathEscape(id))
	require.NoError(t, err)
	defer resp.Body.Close()
	require.NoError(t, json.NewDecoder(resp.Body).Decode(&p))
	return p
}

// requireOnce checks that the events 0 to count-1 of a name are stored, each once.
func (s *server) requireOnce(t *testing.T, name string, count int) []stored {
	t.Helper()
	events := s.events(t, name)
	times := map[float64]int{}
	for _, e := range events {
		times[e.Properties["n"].(float64)]++
	}
	for i := range count {
		require.Equal(t, 1, times[float64(i)], "event %d of %s", i, name)
	}
	require.Len(t, events, count)
	return events
}

// answer is what a proxy does with one request.
type answer int

const (
	pass  answer = 0  // answer as the server does
	lose  answer = -1 // let the server store it, and cut the connection
	spoil answer = -2 // let the server store it, and say 400
)

// proxy stands before the server and answers in its place.
type proxy struct {
	*httptest.Server
	mu      sync.Mutex
	answers []answer // of the next requests that carry events; the last one goes on for ever
	posts   []post
}

// post is a request that carried events.
type post struct {
	path   string
	status int
}

// newProxy returns a proxy that gives answers, in order, to requests that carry
// events, and the last one to all further ones. Any number that is none of the
// constants is a status.
func newProxy(t *testing.T, answers ...answer) *proxy {
	t.Helper()
	spoor.start(t)
	target, err := url.Parse(spoor.url)
	require.NoError(t, err)
	forward := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(target)
		r.Out.Host = r.In.Host // the settings name it
	}}
	p := &proxy{answers: answers}
	p.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !carriesEvents(r) {
			forward.ServeHTTP(w, r)
			return
		}
		p.mu.Lock()
		a := p.answers[0]
		if len(p.answers) > 1 {
			p.answers = p.answers[1:]
		}
		p.mu.Unlock()
		inner := httptest.NewRecorder()
		if a <= 0 {
			forward.ServeHTTP(inner, r)
		}
		status := inner.Code
		switch {
		case a > 0:
			status = int(a)
		case a == spoil:
			status = http.StatusBadRequest
		}
		p.mu.Lock()
		p.posts = append(p.posts, post{r.URL.Path, status})
		p.mu.Unlock()
		if a == lose {
			panic(http.ErrAbortHandler)
		}
		for name, values := range inner.Header() {
			w.Header()[name] = values
		}
		if status == http.StatusTooManyRequests || status == http.StatusServiceUnavailable {
			w.Header().Set("Retry-After", "1")
		}
		if origin := r.Header.Get("Origin"); a > 0 && origin != "" { // as the server does: a page sees no status otherwise
			w.Header().Set("Access-Control-Allow-Origin", origin)
			w.Header().Set("Access-Control-Allow-Credentials", "true")
			w.Header().Set("Access-Control-Expose-Headers", "Retry-After")
		}
		w.WriteHeader(status)
		if a > 0 {
			fmt.Fprintf(w, `{"code":%d,"error":"said the proxy"}`, status) // one client looks there
		}
		w.Write(inner.Body.Bytes())
	}))
	t.Cleanup(p.Close)
	return p
}

func carriesEvents(r *http.Request) bool {
	return r.Method == http.MethodPost && !strings.Contains(r.URL.Path, "/flags") && !strings.HasSuffix(r.URL.Path, "/v1/m")
}

// count is how many requests carried events.
func (p *proxy) count() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.posts)
}

// statuses are the answers so far.
func (p *proxy) statuses() (out []int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, x := range p.posts {
		out = append(out, x.status)
	}
	return out
}
