package server_test

import (
	"bufio"
	"context"
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

	"spoor/server"
)

func TestRequestsBeyondWhatMayWaitAreToldToComeAgain(t *testing.T) {
	n := start(t, server.Options{MaxWaiting: 4, WaitTimeout: time.Second}, func(l *testLog) { l.hold = make(chan struct{}) })
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			if r := n.post("/api/events", event(i)); r.status != 200 {
				t.Errorf("event %d: %s", i, r.body)
			}
		})
	}
	n.becomes("spoor_collector_waiting", 4)
	r := n.post("/api/events", event(5))
	require.Equal(t, 503, r.status)
	require.Equal(t, "overloaded", r.errorCode(t))
	require.Equal(t, "1", r.header.Get("Retry-After"))
	close(n.log.hold)
	wg.Wait()
	require.Equal(t, 200, n.post("/api/events", event(5)).status)
}

func TestBodiesBeyondTheBudgetWaitThenAreToldToComeAgain(t *testing.T) {
	// The budget is raised to 4 MiB.
	n := start(t, server.Options{MaxBodyBytes: 1 << 20, BudgetBytes: 1, WaitTimeout: 50 * time.Millisecond, BodyTimeout: maxBecoming})
	body := "[" + event(1) + "," + strings.Repeat(" ", 1<<20-len(event(1))-3) + "]"
	for range 4 { // bodies that stop just before their end hold it all
		conn := n.dial()
		defer conn.Close()
		_, err := fmt.Fprintf(conn, "POST /api/events/batch HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%s", len(body), body[:len(body)-1])
		require.NoError(t, err)
	}
	n.becomes("spoor_body_bytes", 4*len(body))
	r := n.post("/api/events", event(1))
	require.Equal(t, 503, r.status)
	require.Equal(t, "overloaded", r.errorCode(t))
	require.Equal(t, "1", r.header.Get("Retry-After"))
}

func TestConnectionsBeyondTheLimitAreToldToComeAgain(t *testing.T) {
	n := start(t, server.Options{MaxConns: 4})
	held := make([]net.Conn, 4)
	for i := range held {
		held[i] = n.dial()
		defer held[i].Close()
		_, err := io.WriteString(held[i], "GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
		require.NoError(t, err)
		resp, err := http.ReadResponse(bufio.NewReader(held[i]), nil)
		require.NoError(t, err)
		require.Equal(t, 200, resp.StatusCode)
	}
	for range 100 {
		r := n.post("/api/events", event(1))
		require.Equal(t, 503, r.status)
		require.Equal(t, "too_many_connections", r.errorCode(t))
		require.Equal(t, "1", r.header.Get("Retry-After"))
		require.Equal(t, "application/json; charset=utf-8", r.header.Get("Content-Type"))
	}
	require.NoError(t, held[0].Close())
	require.Eventually(t, func() bool { return n.post("/api/events", event(1)).status == 200 }, maxBecoming, time.Millisecond)
	require.Regexp(t, `spoor_http_connections_refused_total \d{3}\n`, string(n.do("GET", "/metrics", nil).body))
}

func TestWhatTheLogSaysBecomesAnAnswer(t *testing.T) {
	n := start(t, server.Options{})
	for err, want := range map[error]struct {
		status int
		code   string
	}{
		server.ErrNotLeader:  {503, "not_leader"},
		server.ErrOverloaded: {503, "overloaded"},
		server.ErrUnknown:    {503, "unknown"},
		server.ErrTooLarge:   {413, "too_large"},
		server.ErrDiskFull:   {507, "disk_full"},
		io.ErrClosedPipe:     {500, "internal"},
	} {
		err = fmt.Errorf("propose: %w", err)
		n.log.fail.Store(&err)
		for _, r := range []reply{n.post("/api/events", event(1)), n.post("/api/events/batch", event(1)), n.do("PUT", "/api/queries/x", []byte("trend count of any"))} {
			require.Equal(t, want.status, r.status, "%v", err)
			require.Equal(t, want.code, r.errorCode(t), "%v", err)
			require.NotContains(t, string(r.body), "pipe", "inner words stay inside")
		}
	}
	n.log.fail.Store(nil)
	require.Equal(t, `{"accepted":1,"duplicates":0,"rejected":[]}`, string(n.post("/api/events", event(1)).body))
}

func TestShutdownAnswersWhatWasTaken(t *testing.T) {
	const clients = 32
	n := start(t, server.Options{}, func(l *testLog) { l.hold = make(chan struct{}) })
	var wg sync.WaitGroup
	var stored atomic.Int64
	for i := range clients {
		wg.Go(func() {
			if r := n.post("/api/events", event(i)); r.status == 200 {
				stored.Add(1)
			}
		})
	}
	n.becomes("spoor_collector_waiting", clients)
	done := make(chan error, 1)
	go func() { done <- n.srv.Shutdown(context.Background()) }()
	select {
	case <-done:
		t.Fatal("it shut down before the log answered")
	case <-time.After(50 * time.Millisecond):
	}
	close(n.log.hold)
	wg.Wait()
	require.EqualValues(t, clients, stored.Load())
	require.NoError(t, <-done)
}

func TestShutdownEndsQueriesThatTakeTooLong(t *testing.T) {
	f := &failing{ended: make(chan error, 2), wait: true}
	n := startOver(t, f, server.Options{})
	var wg sync.WaitGroup
	defer wg.Wait()
	for path, body := range map[string]string{"/api/query": "x", "/api/events/export": ""} {
		wg.Go(func() {
			if r := n.post(path, body); r.status != 503 || r.errorCode(t) != "shutting_down" {
				t.Errorf("%s was answered with %d", path, r.status)
			}
		})
	}
	n.becomes("spoor_queries_running", 1)
	n.becomes("spoor_exports_running", 1)
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	begin := time.Now()
	_ = n.srv.Shutdown(ctx) // its time is over, the next call waits for the rest
	<-f.ended
	<-f.ended
	require.Less(t, time.Since(begin), 5*time.Second)
}
