package spoor

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if os.Getenv(childEnv) != "" {
		child()
		return
	}
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		os.RemoveAll(binaryDir)
		os.Exit(code)
	}))
}

// discard is the log of tests that do not look at it.
var discard = slog.New(slog.DiscardHandler)

// request is a batch as the fake server saw it.
type request struct {
	at     time.Time
	sentAt time.Time
	header http.Header
	events []map[string]any
}

func (r request) ids() (ids []string) {
	for _, e := range r.events {
		ids = append(ids, e["eventId"].(string))
	}
	return ids
}

// fake is a transport with a Spoor server behind it, which answers without a
// network, so that time can be a test's own. It keeps one event of an id.
type fake struct {
	t testing.TB
	// fault answers a request, from 0 on, in place of the server where it returns
	// one or an error. A fault that stores calls keep.
	fault func(n int, r request) (*http.Response, error)

	breaks atomic.Bool // see broken

	mu       sync.Mutex
	requests []request
	stored   map[string]int // how often an id was sent and answered for
	order    []string
}

func newFake(t testing.TB) *fake { return &fake{t: t, stored: map[string]int{}} }

func (f *fake) RoundTrip(r *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(r.Body)
	require.NoError(f.t, err)
	if r.Header.Get("Content-Encoding") == "gzip" {
		z, err := gzip.NewReader(bytes.NewReader(body))
		require.NoError(f.t, err)
		body, err = io.ReadAll(z)
		require.NoError(f.t, err)
	}
	var sent struct {
		SentAt time.Time        `json:"sentAt"`
		Batch  []map[string]any `json:"batch"`
	}
	require.NoError(f.t, json.Unmarshal(body, &sent), "%s", body)
	req := request{at: time.Now(), sentAt: sent.SentAt, header: r.Header, events: sent.Batch}
	f.mu.Lock()
	n := len(f.requests)
	f.requests = append(f.requests, req)
	f.mu.Unlock()
	if f.fault != nil {
		if resp, err := f.fault(n, req); resp != nil || err != nil {
			return resp, err
		}
	}
	accepted, duplicates := f.keep(req)
	return reply(200, fmt.Sprintf(`{"accepted":%d,"duplicates":%d,"rejected":[]}`, accepted, duplicates)), nil
}

// broken is the error of a server that breaks.
func (f *fake) broken() error {
	if f.breaks.Load() {
		return errors.New("connection refused")
	}
	return nil
}

// keep stores the events of a request.
func (f *fake) keep(r request) (accepted, duplicates int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, id := range r.ids() {
		if f.stored[id]++; f.stored[id] == 1 {
			accepted++
			f.order = append(f.order, id)
		} else {
			duplicates++
		}
	}
	return accepted, duplicates
}

func (f *fake) seen() []request {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]request(nil), f.requests...)
}

func (f *fake) storedIDs() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]string(nil), f.order...)
}

// reply is an answer; header is name, value, ...
func reply(status int, body string, header ...string) *http.Response {
	r := &http.Response{StatusCode: status, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(body))}
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	return r
}

// open returns a client of the fake server, closed with the test unless the
// test does it.
func (f *fake) open(t testing.TB, change ...func(*Options)) *Client {
	t.Helper()
	o := Options{Endpoint: "http://spoor.test", HTTPClient: &http.Client{Transport: f}, Logger: discard}
	for _, c := range change {
		c(&o)
	}
	c, err := New(o)
	require.NoError(t, err)
	t.Cleanup(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		c.Close(ctx)
	})
	return c
}

func event(id string) Event { return Event{ID: id, Name: "tested", UserID: "u"} }

func enqueue(t testing.TB, c *Client, ids ...string) {
	t.Helper()
	for _, id := range ids {
		require.NoError(t, c.Enqueue(context.Background(), event(id)))
	}
}

// named returns n ids that begin alike.
func named(prefix string, n int) (ids []string) {
	for i := range n {
		ids = append(ids, fmt.Sprintf("%s%04d", prefix, i))
	}
	return ids
}
