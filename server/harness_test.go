package server_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"spoor/engine"
	"spoor/internal/vfs"
	"spoor/server"
	"spoor/server/backend"
)

func TestMain(m *testing.M) {
	// fasthttp ends these by itself: one after its next sleep, one never.
	goleak.VerifyTestMain(m,
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.(*workerPool).Start.func2"),
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.updateServerDate.func1"))
}

// now is the clock of all tests.
func now() time.Time { return time.Date(2026, 5, 2, 12, 0, 0, 123_456_789, time.UTC) }

// testLog is a log without a disk: entries are applied in the order of their proposals.
type testLog struct {
	db       *engine.DB
	mu       sync.Mutex
	asked    atomic.Int64 // proposals, those included that wait
	entries  atomic.Int64
	hold     chan struct{} // if not nil, each proposal takes one from it
	fail     atomic.Pointer[error]
	room     int64 // entries, beyond which the log is overloaded; 0: no bound
	notReady atomic.Bool
}

func (l *testLog) Propose(ctx context.Context, data []byte) (any, uint64, error) {
	l.asked.Add(1)
	if l.hold != nil {
		select {
		case <-l.hold:
		case <-ctx.Done():
			return nil, 0, server.ErrUnknown
		}
	}
	if err := l.fail.Load(); err != nil {
		return nil, 0, *err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.room > 0 && l.entries.Load() >= l.room {
		return nil, 0, server.ErrOverloaded
	}
	l.entries.Add(1)
	index := l.db.AppliedIndex() + 1
	return l.db.Apply(index, data), index, nil
}

func (l *testLog) Ready() error {
	if l.notReady.Load() {
		return io.ErrNoProgress
	}
	return nil
}

func (l *testLog) Cluster() server.ClusterStatus {
	return server.ClusterStatus{Node: "n1", Role: "leader", Leader: "n1", Members: []server.Member{{ID: "n1", Voter: true}}}
}

func (l *testLog) Checkpoint(ctx context.Context) error {
	_, err := l.db.Checkpoint(ctx)
	return err
}

func (l *testLog) CutLog(ctx context.Context) error { return l.Checkpoint(ctx) }

func (l *testLog) Verify(context.Context) (first, last uint64, err error) {
	return 1, l.db.AppliedIndex(), nil
}

// node is a server over a real engine in memory, on a real port.
type node struct {
	t    testing.TB
	log  *testLog
	back server.Backend
	srv  *server.Server
	addr string
	http *http.Client
	down func()
}

func start(t testing.TB, opts server.Options, change ...func(*testLog)) *node {
	t.Helper()
	db, err := engine.Open("store", engine.Options{FS: vfs.NewMem(), ManualCompaction: true, OnFatal: func(err error) { t.Errorf("fatal: %v", err) }})
	require.NoError(t, err)
	n := &node{t: t, log: &testLog{db: db}}
	for _, f := range change {
		f(n.log)
	}
	n.serve(backend.New(n.log, db, now), opts, db.Close)
	return n
}

// startOver starts a server over another backend than the real one.
func startOver(t testing.TB, back server.Backend, opts server.Options) *node {
	t.Helper()
	n := &node{t: t}
	n.serve(back, opts, func() error { return nil })
	return n
}

func (n *node) serve(back server.Backend, opts server.Options, closeStore func() error) {
	t := n.t
	t.Helper()
	if opts.Now == nil {
		opts.Now = now
	}
	n.back = back
	n.srv = server.New(back, opts)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	n.addr = ln.Addr().String()
	served := make(chan error, 1)
	go func() { served <- n.srv.Serve(ln) }()
	transport := &http.Transport{MaxIdleConnsPerHost: 256}
	n.http = &http.Client{Transport: transport, Timeout: maxAnswer}
	n.down = sync.OnceFunc(func() {
		transport.CloseIdleConnections()
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		require.NoError(t, n.srv.Shutdown(ctx))
		require.NoError(t, <-served)
		require.NoError(t, closeStore())
	})
	t.Cleanup(n.down)
}

const (
	// maxAnswer bounds a request of a test: no answer at all is a failure, not a wait.
	maxAnswer = time.Minute
	// maxBecoming is how long a state that must come may take, beside all that runs at the same time.
	maxBecoming = 30 * time.Second
)

// stopLog lets proposals wait until goOn is called, or the test ends, however it
// ends: a server that is closed waits for its log.
func (n *node) stopLog() (goOn func()) {
	n.log.mu.Lock()
	goOn = sync.OnceFunc(n.log.mu.Unlock)
	n.t.Cleanup(goOn)
	return goOn
}

// becomes waits until the server's metric has a value.
func (n *node) becomes(metric string, value int) {
	n.t.Helper()
	line := fmt.Sprintf("%s %d\n", metric, value)
	require.Eventually(n.t, func() bool {
		return strings.Contains(string(n.do("GET", "/metrics", nil).body), line)
	}, maxBecoming, time.Millisecond, "%s", line)
}

// reply is an answer as a test looks at it.
type reply struct {
	status int
	header http.Header
	body   []byte
}

func (n *node) do(method, path string, body []byte, header ...string) reply {
	n.t.Helper()
	req, err := http.NewRequest(method, "http://"+n.addr+path, bytes.NewReader(body))
	require.NoError(n.t, err)
	for i := 0; i+1 < len(header); i += 2 {
		if header[i] != "" {
			req.Header.Set(header[i], header[i+1])
		}
	}
	resp, err := n.http.Do(req)
	require.NoError(n.t, err)
	defer resp.Body.Close()
	out, err := io.ReadAll(resp.Body)
	require.NoError(n.t, err)
	r := reply{resp.StatusCode, resp.Header, out}
	d, err := described()
	require.NoError(n.t, err)
	d.check(n.t, method, path, r)
	return r
}

func (n *node) post(path, body string, header ...string) reply {
	n.t.Helper()
	return n.do("POST", path, []byte(body), header...)
}

// errorCode is the code of an error answer, which must be JSON.
func (r reply) errorCode(t testing.TB) string {
	t.Helper()
	var v struct {
		Error struct{ Code, Message string }
	}
	require.NoError(t, json.Unmarshal(r.body, &v), "%s", r.body)
	require.NotEmpty(t, v.Error.Message)
	return v.Error.Code
}

func (r reply) json(t testing.TB) map[string]any {
	t.Helper()
	var v map[string]any
	require.NoError(t, json.Unmarshal(r.body, &v), "%s", r.body)
	return v
}
