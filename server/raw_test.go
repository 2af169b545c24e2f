package server_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"spoor/server"
)

// raw sends bytes and returns all that comes back until the server closes.
func (n *node) raw(request string) string {
	n.t.Helper()
	conn := n.dial()
	defer conn.Close()
	_, _ = io.WriteString(conn, request) // the server may refuse before it read everything
	out, _ := io.ReadAll(conn)           // or reset behind its answer
	return string(out)
}

func (n *node) dial() net.Conn {
	n.t.Helper()
	conn, err := net.Dial("tcp", n.addr)
	require.NoError(n.t, err)
	require.NoError(n.t, conn.SetDeadline(time.Now().Add(20*time.Second)))
	return conn
}

func TestRequestsThatCanBeFramedInTwoWaysAreRefusedAndTheConnectionEnds(t *testing.T) {
	n := start(t, server.Options{})
	one := event(1)
	length := fmt.Sprintf("Content-Length: %d\r\n", len(one))
	chunked := fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(one), one)
	for name, request := range map[string]string{
		"length and chunks":       "POST /api/events HTTP/1.1\r\nHost: a\r\n" + length + "Transfer-Encoding: chunked\r\n\r\n" + chunked,
		"chunks and length":       "POST /api/events HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n" + length + "\r\n" + chunked,
		"chunks and lower length": "POST /api/events HTTP/1.1\r\nHost: a\r\ntransfer-encoding: chunked\r\ncontent-length: 0\r\n\r\n" + chunked,
		"two lengths":             "POST /api/events HTTP/1.1\r\nHost: a\r\n" + length + "Content-Length: 5\r\n\r\n" + one,
		"the same length twice":   "POST /api/events HTTP/1.1\r\nHost: a\r\n" + length + length + "\r\n" + one,
		"signed length":           "POST /api/events HTTP/1.1\r\nHost: a\r\nContent-Length: +5\r\n\r\nhello",
		"list of lengths":         "POST /api/events HTTP/1.1\r\nHost: a\r\nContent-Length: 5,5\r\n\r\nhello",
		"hexadecimal length":      "POST /api/events HTTP/1.1\r\nHost: a\r\nContent-Length: 0x5\r\n\r\nhello",
		"negative length":         "POST /api/events HTTP/1.1\r\nHost: a\r\nContent-Length: -5\r\n\r\nhello",
		"length beyond 64 bits":   "POST /api/events HTTP/1.1\r\nHost: a\r\nContent-Length: 18446744073709551617\r\n\r\nhello",
		"unknown coding":          "POST /api/events HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n" + chunked,
		"identity":                "POST /api/events HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\n\r\n" + one,
		"two codings":             "POST /api/events HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, identity\r\n\r\n" + chunked,
		"chunked twice":           "POST /api/events HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked,
		"vertical tab":            "POST /api/events HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \vchunked\r\n\r\n" + chunked,
		"space before the colon":  "POST /api/events HTTP/1.1\r\nHost: a\r\nContent-Length : 5\r\n\r\nhello",
		"folded header":           "POST /api/events HTTP/1.1\r\nHost: a\r\nX-A: b\r\n c\r\n" + length + "\r\n" + one,
		"folded with a tab":       "POST /api/events HTTP/1.1\r\nHost: a\r\nX-A: b\r\n\tc\r\n" + length + "\r\n" + one,
		"folded first":            "POST /api/events HTTP/1.1\r\n Host: a\r\n" + length + "\r\n" + one,
		"two hosts":               "POST /api/events HTTP/1.1\r\nHost: a\r\nHost: b\r\n" + length + "\r\n" + one,
		"bad chunk size":          "POST /api/events HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\nhello\r\n0\r\n\r\n",
		"chunk size with 0x":      "POST /api/events HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0x5\r\nhello\r\n0\r\n\r\n",
		"huge chunk size":         "POST /api/events HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\nhello\r\n0\r\n\r\n",
		"no method":               "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
		"other protocol":          "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
		"header without a name":   "GET /healthz HTTP/1.1\r\nHost: a\r\n: b\r\n\r\n",
	} {
		out := n.raw(request)
		require.True(t, strings.HasPrefix(out, "HTTP/1.1 400 "), "%s: %q", name, out)
		require.Contains(t, out, `{"error":{"code":"`, name)
		require.Equal(t, 1, strings.Count(out, "HTTP/1.1 400"), "%s: one answer, then the end: %q", name, out)
	}
	require.Zero(t, n.log.entries.Load())
}

func TestPipelinedRequestsAreAnsweredInOrderAndABodyIsNeverARequest(t *testing.T) {
	n := start(t, server.Options{})
	inner := "GET /readyz HTTP/1.1\r\nHost: a\r\n\r\n"
	var request strings.Builder
	for range 100 {
		request.WriteString("GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
	}
	fmt.Fprintf(&request, "POST /api/events HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%s", len(inner), inner)
	request.WriteString("GET /nothing HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\nGET /readyz HTTP/1.1\r\n\r\n")
	conn := n.dial()
	defer conn.Close()
	go func() { _, _ = io.WriteString(conn, request.String()) }()
	r := bufio.NewReader(conn)
	for i := range 102 {
		resp, err := http.ReadResponse(r, nil)
		require.NoError(t, err, "answer %d", i)
		body, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		want := 200
		if i == 100 {
			want = 400
		} else if i == 101 {
			want = 404
		}
		require.Equal(t, want, resp.StatusCode, "answer %d: %s", i, body)
	}
	_, err := r.ReadByte()
	require.ErrorIs(t, err, io.EOF)
}

func TestHeadersAndMethodsBeyondWhatIsServed(t *testing.T) {
	n := start(t, server.Options{MaxBodyBytes: 1000})
	require.Contains(t, n.raw("GET /healthz HTTP/1.1\r\nHost: a\r\nX-A: "+long(1<<20)+"\r\n\r\n"), "HTTP/1.1 431 ")
	require.Contains(t, n.raw("GET /"+long(1<<20)+" HTTP/1.1\r\nHost: a\r\n\r\n"), "HTTP/1.1 431 ")
	require.Contains(t, n.raw("POST /api/events HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 1001\r\n\r\n"), "HTTP/1.1 413 ")
	require.Contains(t, n.raw("POST /api/events HTTP/1.1\r\nHost: a\r\nExpect: nonsense\r\nContent-Length: 1\r\n\r\nx"), "HTTP/1.1 417 ")
	require.Contains(t, n.raw("POST /api/events HTTP/1.1\r\nHost: a\r\nContent-Length: 1001\r\n\r\n{"), "HTTP/1.1 413 ")
	for _, verb := range []string{"TRACE", "PUT", "DELETE", "GET", "CONNECT"} {
		r := n.do(verb, "/api/events/batch", nil)
		require.Equal(t, 405, r.status, verb)
		require.Equal(t, "POST, OPTIONS", r.header.Get("Allow"))
	}
	for _, path := range []string{"/api", "/api/eventsx", "/api/../healthz", "//healthz", "/%68ealthz", "/api/analytics/", "/healthz/x", "/API/query", "/api/queries/a/b"} {
		r := n.do("GET", path, nil)
		require.Contains(t, []int{400, 404}, r.status, path)
		require.NotEmpty(t, r.errorCode(t), path)
	}
	require.Contains(t, n.raw("GET /api/../healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"), "HTTP/1.1 404 ")
	require.Contains(t, n.raw("GET /healthz HTTP/0.9\r\n\r\n"), " 505 ")
	require.Contains(t, n.raw("GET /healthz HTTP/1.0\r\n\r\n"), "HTTP/1.1 200 ")
	require.Contains(t, n.raw("GET http://127.0.0.1/healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"), "HTTP/1.1 200 ")
}

func TestABodyInChunksIsReadToItsEnd(t *testing.T) {
	n := start(t, server.Options{})
	var body strings.Builder
	for _, c := range event(1) {
		fmt.Fprintf(&body, "1\r\n%c\r\n", c)
	}
	out := n.raw("POST /api/events HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n" + body.String() + "0\r\nX-Trailer: 5\r\n\r\n")
	require.Contains(t, out, `{"accepted":1,`)
	out = n.raw("POST /api/events HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1100000\r\n" + long(17<<20))
	require.True(t, out == "" || strings.HasPrefix(out, "HTTP/1.1 413"), "%.100q", out)
}

func TestSlowClientsAreCutOffWhileOthersAreServed(t *testing.T) {
	n := start(t, server.Options{HeaderTimeout: 300 * time.Millisecond, BodyTimeout: 300 * time.Millisecond, IdleTimeout: 300 * time.Millisecond})
	starts := []string{
		"", "POST /api/events HTTP/1.1\r\nHo",
		"POST /api/events HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n{",
		"POST /api/events HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel",
		"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n", // and nothing more
	}
	var wg sync.WaitGroup
	for i := range 100 {
		wg.Go(func() {
			conn, err := net.Dial("tcp", n.addr)
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Close()
			_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
			_, _ = io.WriteString(conn, starts[i%len(starts)])
			out, err := io.ReadAll(conn)
			if err != nil && !strings.Contains(err.Error(), "reset") {
				t.Errorf("%q was not cut off: %v", starts[i%len(starts)], err)
			}
			if i%len(starts) == 2 && !strings.Contains(string(out), " 408 ") {
				t.Errorf("a slow body was answered with %q", out)
			}
		})
	}
	for i := range 20 {
		require.Equal(t, 200, n.post("/api/events", event(i)).status)
	}
	wg.Wait()
	n.http.CloseIdleConnections() // the good client's own is idle as long as those were
	require.Equal(t, 200, n.post("/api/events", event(99)).status)
	n.becomes("spoor_http_connections", 1)
}

func heap() uint64 {
	runtime.GC()
	runtime.GC() // pools let go with the second
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

func TestAnnouncedBodiesReserveNoMemory(t *testing.T) {
	n := start(t, server.Options{BudgetBytes: 1})
	before := heap()
	var conns []net.Conn
	for range 200 {
		conn := n.dial()
		defer conn.Close()
		_, err := io.WriteString(conn, "POST /api/events/batch HTTP/1.1\r\nHost: a\r\nContent-Length: 16000000\r\n\r\n[")
		require.NoError(t, err)
		conns = append(conns, conn)
	}
	require.Equal(t, 200, n.post("/api/events", event(1)).status)
	require.Less(t, heap(), before+16<<20)
	for _, conn := range conns {
		require.NoError(t, conn.Close())
	}
}

func TestARequestThatIsCutOffAnywhereStoresNothing(t *testing.T) {
	n := start(t, server.Options{})
	body := "[" + event(1) + "," + event(2) + "]"
	request := fmt.Sprintf("POST /api/events/batch HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	for cut := range len(request) - 1 {
		conn := n.dial()
		_, err := io.WriteString(conn, request[:cut])
		require.NoError(t, err)
		require.NoError(t, conn.Close())
	}
	require.Equal(t, `{"accepted":2,"duplicates":0,"rejected":[]}`, string(n.post("/api/events/batch", body).body))
	n.down()
	require.EqualValues(t, 1, n.log.entries.Load())
}
