package dialect_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/base64"
	"io"
	"net"
	"net/http"
	"net/url"
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
	"spoor/server/dialect"
	"spoor/server/dialect/amplitude"
	"spoor/server/dialect/mixpanel"
	"spoor/server/dialect/posthog"
	"spoor/server/dialect/segment"
	"spoor/server/dialect/snowplow"
)

func TestMain(m *testing.M) {
	// fasthttp ends these by itself: one after its next sleep, one never.
	goleak.VerifyTestMain(m,
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.(*workerPool).Start.func2"),
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.updateServerDate.func1"))
}

// now is the clock of all tests.
func now() time.Time { return time.Date(2026, 11, 28, 13, 0, 0, 0, time.UTC) }

// memLog is a log without a disk: entries are applied in the order of their proposals.
type memLog struct {
	mu       sync.Mutex
	db       *engine.DB
	allow    atomic.Int64 // so many proposals are taken first
	refuse   atomic.Int64 // so many proposals are refused
	refusal  error
	notReady atomic.Int64 // so many times it says so
	entries  int
}

func (l *memLog) Propose(_ context.Context, data []byte) (any, uint64, error) {
	if l.allow.Add(-1) < 0 && l.refuse.Add(-1) >= 0 {
		return nil, 0, l.refusal
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.entries++
	index := l.db.AppliedIndex() + 1
	return l.db.Apply(index, data), index, nil
}

func (l *memLog) Ready() error {
	if l.notReady.Add(-1) >= 0 {
		return io.ErrNoProgress
	}
	return nil
}

func (l *memLog) Cluster() server.ClusterStatus { return server.ClusterStatus{} }

func (l *memLog) Checkpoint(ctx context.Context) error {
	_, err := l.db.Checkpoint(ctx)
	return err
}

func (l *memLog) CutLog(ctx context.Context) error { return l.Checkpoint(ctx) }

func (l *memLog) Verify(context.Context) (first, last uint64, err error) {
	return 1, l.db.AppliedIndex(), nil
}

// node is a server over a real engine in memory, on a real port.
type node struct {
	t    testing.TB
	log  *memLog
	addr string
	http *http.Client
	seen map[string]bool // events that were shown
}

func start(t testing.TB, opts server.Options, prefixes map[string]string) *node {
	t.Helper()
	db, err := engine.Open("store", engine.Options{FS: vfs.NewMem(), ManualCompaction: true, OnFatal: func(err error) { t.Errorf("fatal: %v", err) }})
	require.NoError(t, err)
	var ok bool
	opts.Dialects, ok = dialect.Mount(prefixes, segment.Segment{}, posthog.PostHog{}, snowplow.Snowplow{}, amplitude.Amplitude{}, mixpanel.Mixpanel{})
	require.True(t, ok)
	opts.Now = now
	n := &node{t: t, log: &memLog{db: db}, seen: map[string]bool{}}
	srv := server.New(backend.New(n.log, db, now), opts)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	n.addr = ln.Addr().String()
	served := make(chan error, 1)
	go func() { served <- srv.Serve(ln) }()
	transport := &http.Transport{MaxIdleConnsPerHost: 64, DisableCompression: true}
	n.http = &http.Client{Transport: transport}
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		require.NoError(t, srv.Shutdown(ctx))
		require.NoError(t, <-served)
		require.NoError(t, db.Close())
	})
	return n
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
		req.Header.Set(header[i], header[i+1])
		if header[i] == "Host" {
			req.Host = header[i+1]
		}
	}
	resp, err := n.http.Do(req)
	require.NoError(n.t, err)
	defer resp.Body.Close()
	out, err := io.ReadAll(resp.Body)
	require.NoError(n.t, err)
	return reply{resp.StatusCode, resp.Header, out}
}

func (n *node) post(path, body string, header ...string) reply {
	n.t.Helper()
	return n.do("POST", path, []byte(body), header...)
}

// export is all events, one a line.
func (n *node) export() []byte {
	n.t.Helper()
	r := n.post("/api/events/export", `{"from":"2000-01-01","to":"2100-01-01"}`, "Authorization", "Bearer read-key-read-key-read-key")
	require.Equal(n.t, 200, r.status, "%s", r.body)
	return r.body
}

func zip(t testing.TB, data []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	_, err := w.Write(data)
	require.NoError(t, err)
	require.NoError(t, w.Close())
	return out.Bytes()
}

// packed is a body in one of the forms in which clients send JSON.
func packed(t testing.TB, form string, data []byte) []byte {
	t.Helper()
	switch form {
	case "":
		return data
	case "gzip":
		return zip(t, data)
	case "base64":
		return []byte(base64.StdEncoding.EncodeToString(data))
	case "form":
		return []byte("data=" + url.QueryEscape(base64.StdEncoding.EncodeToString(data)) + "&ver=1.2.3")
	case "form-json":
		return []byte("verbose=1&data=" + url.QueryEscape(string(data)))
	case "form-gzip":
		return []byte("data=" + url.QueryEscape(base64.StdEncoding.EncodeToString(zip(t, data))))
	}
	t.Fatalf("%q is no form of a body", form)
	return nil
}
