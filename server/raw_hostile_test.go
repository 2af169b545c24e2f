package server_test

import (
	"bufio"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"spoor/server"
)

func chunked(chunks string) string {
	return "POST /api/events HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks
}

// Beside what raw_test.go sends. A status of 0 is a connection that is closed
// without an answer.
func TestHostile5RequestsThatAreNotAsHTTPIsWritten(t *testing.T) {
	n := start(t, server.Options{HeaderTimeout: 2 * time.Second, BodyTimeout: 500 * time.Millisecond})
	one := event(1)
	for _, c := range []struct {
		line, request string
		status        []int
	}{
		{"10,000 headers", "GET /healthz HTTP/1.1\r\nHost: a\r\n" + strings.Repeat("X-A: b\r\n", 10_000) + "\r\n", []int{431, 408, 0}},
		{"10 MB of headers", "GET /healthz HTTP/1.1\r\nHost: a\r\nX-A: " + long(10<<20) + "\r\n\r\n", []int{431, 408, 0}},
		{"a query string of 1 MB", "GET /api/query?q=" + long(1<<20) + " HTTP/1.1\r\nHost: a\r\n\r\n", []int{431, 408, 0}},
		{"a length with a space", "POST /api/events HTTP/1.1\r\nHost: a\r\nContent-Length: 5 5\r\n\r\nhello", []int{400}},
		{"a length of nothing", "POST /api/events HTTP/1.1\r\nHost: a\r\nContent-Length: \r\n\r\n", []int{400}},
		{"a coding behind a tab", "POST /api/events HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\tchunked, identity\r\n\r\n0\r\n\r\n", []int{400}},
		{"identity, chunked", "POST /api/events HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity, chunked\r\n\r\n0\r\n\r\n", []int{400}},
		{"chunks for HTTP/1.0", "POST /api/events HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n", []int{400}},
		{"a chunk size with a sign", chunked("+1\r\nx\r\n0\r\n\r\n"), []int{400}},
		{"a chunk size with an underscore", chunked("1_0\r\n0123456789abcdef\r\n0\r\n\r\n"), []int{400}},
		{"a chunk size of nothing", chunked("\r\nx\r\n0\r\n\r\n"), []int{400}},
		{"a chunk longer than its size", chunked("1\r\nxy\r\n0\r\n\r\n"), []int{400}},
		{"1 MB of chunk extensions", chunked("1;a=" + long(1<<20) + "\r\nx\r\n0\r\n\r\n"), []int{400, 0}},
		{"no last chunk", chunked(fmt.Sprintf("%x\r\n%s\r\n", len(one), one)), []int{400, 408, 0}},
		{"a body that never ends", "POST /api/events HTTP/1.1\r\nHost: a\r\nContent-Length: 50\r\n\r\n{", []int{408}},
		{"GET with a second request as its body", "GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 25\r\n\r\nGET /metrics HTTP/1.1\r\n\r\n\r\n", []int{200, 400}},
		{"CONNECT", "CONNECT a:1 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", []int{400, 404, 405}},
		{"TRACE", "TRACE /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", []int{405}},
		{"OPTIONS *", "OPTIONS * HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", []int{400, 404}},
		{"a method in lower case", "get /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", []int{400, 405}},
		{"HTTP/0.9", "GET /healthz\r\n\r\n", []int{400, 505, 0}},
		{"a TLS hello", "\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03" + strings.Repeat("\x00", 160), []int{400}},
		{"HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", []int{400, 505}},
		{"HTTP/1.2", "GET /healthz HTTP/1.2\r\nHost: a\r\n\r\n", []int{400, 505}},
		{"another host's path", "GET http://other/healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", []int{200, 400, 404}},
		{"NUL in a header", "GET /healthz HTTP/1.1\r\nHost: a\r\nX-A: a\x00b\r\nConnection: close\r\n\r\n", []int{400}},
		{"CR alone in a header", "GET /healthz HTTP/1.1\r\nHost: a\r\nX-A: a\rb\r\nConnection: close\r\n\r\n", []int{400}},
		{"a path that climbs", "GET /api/../api/queries HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", []int{400, 404}},
		{"a path that climbs encoded", "GET /api/queries/%2e%2e HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", []int{400}},
		{"a path with NUL", "GET /api/queries/a%00b HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", []int{400}},
		{"a path with a slash encoded", "GET /api/queries/a%2fb HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", []int{400}},
		{"an overlong slash", "GET /api/queries/%c0%af HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", []int{400}},
		{"two slashes", "GET //api/queries HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", []int{400, 404}},
		{"Expect: nonsense", "POST /api/events HTTP/1.1\r\nHost: a\r\nExpect: 200-ok\r\nContent-Length: 2\r\n\r\n{}", []int{417}},
		{"Expect with too large a body", "POST /api/events HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 999999999\r\n\r\n", []int{413}},
	} {
		out := n.raw(c.request)
		status := 0
		if _, err := fmt.Sscanf(out, "HTTP/1.1 %d ", &status); err != nil {
			require.Empty(t, out, c.line)
		}
		require.Contains(t, c.status, status, "%s: %.200q", c.line, out)
		require.LessOrEqual(t, strings.Count(out, "\r\nDate: "), 1, "%s is one request: %.300q", c.line, out)
		require.Equal(t, 200, n.do("GET", "/healthz", nil).status, c.line)
	}
	hello := &tls.Config{InsecureSkipVerify: true} //nolint:gosec // it shall fail
	_, err := tls.Dial("tcp", n.addr, hello)
	require.Error(t, err, "a TLS hello on a plain port")
	require.Zero(t, n.log.entries.Load())
}

func TestHostile5TrailersAreIgnoredAndChunksOfOneByteAreRead(t *testing.T) {
	n := start(t, server.Options{})
	one := event(1)
	for _, trailer := range []string{"Content-Length: 5", "Host: b", "Transfer-Encoding: chunked", "Authorization: Bearer x"} {
		out := n.raw(chunked(fmt.Sprintf("%x\r\n%s\r\n0\r\n%s\r\n\r\n", len(one), one, trailer)))
		require.Contains(t, out, " 400 ", "a trailer that would mean something: %s", trailer)
	}
	require.Zero(t, n.log.entries.Load())
	out := n.raw(chunked(fmt.Sprintf("%x;name=value\r\n%s\r\n0\r\nX-Checksum: 5\r\n\r\n", len(one), one)))
	require.Contains(t, out, `"accepted":1`)
	var tiny strings.Builder
	body := "[" + event(2) + strings.Repeat(" ", 1<<20) + "]"
	for i := range len(body) {
		tiny.WriteString("1\r\n" + body[i:i+1] + "\r\n")
	}
	out = n.raw(strings.Replace(chunked(tiny.String()+"0\r\n\r\n"), "/api/events", "/api/events/batch", 1))
	require.Contains(t, out, `"accepted":1`)
}

func TestHostile5APipelineEndsAtItsFirstBadRequest(t *testing.T) {
	n := start(t, server.Options{})
	var request strings.Builder
	for i := range 1000 {
		if i == 500 {
			request.WriteString("GET /healthz HTTP/1.1\r\nHost: a\r\nContent-Length : 5\r\n\r\nhello")
			continue
		}
		body := event(i)
		fmt.Fprintf(&request, "POST /api/events HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	}
	conn := n.dial()
	defer conn.Close()
	go func() { _, _ = io.WriteString(conn, request.String()) }()
	r := bufio.NewReader(conn)
	for i := range 501 {
		resp, err := http.ReadResponse(r, nil)
		require.NoError(t, err, "answer %d", i)
		_, err = io.Copy(io.Discard, resp.Body)
		require.NoError(t, err)
		want := 200
		if i == 500 {
			want = 400
		}
		require.Equal(t, want, resp.StatusCode, "answer %d", i)
	}
	rest, _ := io.ReadAll(r)
	require.Empty(t, rest)
	require.Len(t, n.exported(), 500)
}

// A request that is reset, or ended by half, at any byte stores its event whole
// or not at all, and can be sent again.
func TestHostile5ARequestThatIsResetAnywhereIsWholeOrNothing(t *testing.T) {
	n := start(t, server.Options{})
	body := event(1)
	request := fmt.Sprintf("POST /api/events HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	for cut := 0; cut <= len(request); cut += 3 {
		for _, reset := range []bool{true, false} {
			conn := n.dial()
			_, err := io.WriteString(conn, request[:cut])
			require.NoError(t, err)
			if tcp := conn.(*net.TCPConn); reset {
				require.NoError(t, tcp.SetLinger(0))
			} else {
				require.NoError(t, tcp.CloseWrite())
				_, _ = io.ReadAll(conn)
			}
			require.NoError(t, conn.Close())
		}
	}
	require.Equal(t, 200, n.post("/api/events", body).status)
	require.Len(t, n.exported(), 1)
}

// attack is what a thousand connections do at once.
type attack struct {
	line string
	run  func(conn net.Conn, stop <-chan struct{})
	work bool // it begins with requests that have to be answered like any others
}

func drip(text string, every time.Duration) func(net.Conn, <-chan struct{}) {
	return func(conn net.Conn, stop <-chan struct{}) {
		ticker := time.NewTicker(every)
		defer ticker.Stop()
		for i := 0; ; i++ {
			if _, err := io.WriteString(conn, text[i%len(text):i%len(text)+1]); err != nil {
				return
			}
			select {
			case <-stop:
				return
			case <-ticker.C:
			}
		}
	}
}

func say(text string, then func(net.Conn, <-chan struct{})) func(net.Conn, <-chan struct{}) {
	return func(conn net.Conn, stop <-chan struct{}) {
		if _, err := io.WriteString(conn, text); err == nil {
			then(conn, stop)
		}
	}
}

func hold(_ net.Conn, stop <-chan struct{}) { <-stop }

// While a thousand connections misbehave, memory grows by at most 64 MiB and a
// good client's 99th percentile at most doubles: SPOOR_HOSTILE=strict asks for that,
// of five runs each, against the same connections to somebody who only reads, since
// the attackers take the same processors, and once there is nothing left to answer. Beside other tests on a busy machine times
// are given more room; memory is not.
func TestHostile5GoodClientsAreUnharmedByAThousandBadOnes(t *testing.T) {
	gz := gzipped(make([]byte, 32<<20))
	attacks := []attack{
		{line: "headers by the byte", run: drip("GET /healthz HTTP/1.1\r\nX-A: ", 500*time.Millisecond)},
		{line: "bodies by the byte", run: say("POST /api/events/batch HTTP/1.1\r\nHost: a\r\nContent-Length: 4000000\r\n\r\n", drip("[ ", 500*time.Millisecond))},
		{line: "announced bodies", run: say("POST /api/events/batch HTTP/1.1\r\nHost: a\r\nContent-Length: 16000000\r\n\r\n[", hold)},
		{line: "answers that nobody reads", run: say(strings.Repeat("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", 300), hold), work: true},
		{line: "silence", run: hold},
		{line: "bombs", run: say(fmt.Sprintf("POST /api/events/batch HTTP/1.1\r\nHost: a\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n%s", len(gz), gz), hold)},
	}
	strict := os.Getenv("SPOOR_HOSTILE") == "strict"
	rounds, timeout := 1, time.Second
	if strict {
		rounds, timeout = 5, 10*time.Second // the attack goes on while it is measured
	}
	// All send without a key, as one tenant: a good request waits behind the bombs that came before it.
	n := start(t, server.Options{HeaderTimeout: timeout, BodyTimeout: timeout, WriteTimeout: timeout, WaitTimeout: maxBecoming})
	quiet := n.percentiles(t, 400, rounds)
	before := memory()
	for _, a := range attacks {
		count := 1000
		var work time.Duration // of the attack, which a good request may have to wait for
		if a.line == "bombs" {
			count = 50
			begin := time.Now()
			require.Equal(t, 413, n.do("POST", "/api/events/batch", gz, "Content-Encoding", "gzip").status)
			work = time.Duration(count) * time.Since(begin)
		}
		stop := a.begin(t, readOnly(t), count)
		beside := n.percentiles(t, 400, rounds)
		stop()
		stop = a.begin(t, n.addr, count)
		if strict && a.work {
			n.settles(t)
		}
		during := n.percentiles(t, 400, rounds)
		grown := int64(memory()) - int64(before)
		stop()
		t.Logf("%s: p50 %v, p99 %v; beside who only reads %v, %v; alone %v, %v; %d MiB more with the attackers' own memory",
			a.line, during[0], during[1], beside[0], beside[1], quiet[0], quiet[1], grown>>20)
		require.Less(t, grown, int64(64<<20), a.line)
		limit := 2 * max(quiet[1], beside[1])
		if !strict {
			limit = max(limit, 250*time.Millisecond, 2*work)
		}
		if a.line != "bombs" || !strict { // they are work that has to be done
			require.Less(t, during[1], limit, a.line)
		}
	}
	n.becomes("spoor_http_connections", 1) // they are all closed
	require.Eventually(t, func() bool { return memory() < before+16<<20 }, 15*time.Second, 100*time.Millisecond, "their memory is free again")
}

// settles waits until the server has answered all that it can: the rest waits for somebody who reads.
func (n *node) settles(t *testing.T) {
	t.Helper()
	answered := regexp.MustCompile(`spoor_http_requests_total\{route="root",status="2xx"\} \d+`)
	before := "not yet"
	require.Eventually(t, func() bool {
		now := answered.FindString(string(n.do("GET", "/metrics", nil).body))
		same := now == before
		before = now
		return same
	}, maxBecoming, 100*time.Millisecond)
}

// begin lets count connections attack an address until stop is called.
func (a *attack) begin(t *testing.T, addr string, count int) (stop func()) {
	t.Helper()
	ending := make(chan struct{})
	var wg sync.WaitGroup
	var connected atomic.Int64
	for range count {
		wg.Go(func() {
			conn, err := net.Dial("tcp", addr)
			if err != nil {
				return
			}
			defer conn.Close()
			_ = conn.SetDeadline(time.Now().Add(maxBecoming))
			connected.Add(1)
			a.run(conn, ending)
		})
	}
	stop = sync.OnceFunc(func() {
		close(ending)
		wg.Wait()
	})
	t.Cleanup(stop)
	require.Eventually(t, func() bool { return connected.Load() == int64(count) }, maxBecoming, time.Millisecond, a.line)
	return stop
}

// readOnly is the address of somebody who takes connections and reads what comes.
func readOnly(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	var all sync.WaitGroup
	all.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			all.Go(func() {
				defer conn.Close()
				_, _ = io.Copy(io.Discard, conn)
			})
		}
	})
	t.Cleanup(func() {
		_ = ln.Close()
		all.Wait()
	})
	return ln.Addr().String()
}

// memory is what is in use, stacks included.
func memory() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc + m.StackInuse
}

// percentiles are the 50th and the 99th of a good client's requests, each the median of rounds.
func (n *node) percentiles(t *testing.T, requests, rounds int) (of [2]time.Duration) {
	t.Helper()
	var p50, p99 []time.Duration
	for range rounds {
		took := make([]time.Duration, requests)
		for i := range took {
			begin := time.Now()
			r := n.post("/api/events", event(i))
			require.Equal(t, 200, r.status, "%s", r.body)
			require.True(t, json.Valid(r.body))
			took[i] = time.Since(begin)
		}
		slices.Sort(took)
		p50, p99 = append(p50, took[requests/2]), append(p99, took[requests*99/100])
	}
	slices.Sort(p50)
	slices.Sort(p99)
	return [2]time.Duration{p50[rounds/2], p99[rounds/2]}
}
