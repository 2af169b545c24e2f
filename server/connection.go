package server

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"syscall"
	"time"

	"github.com/valyala/fasthttp"
	"golang.org/x/sys/unix"
)

// checkFraming refuses requests that two readers could frame in two ways:
// Content-Length together with Transfer-Encoding, a Transfer-Encoding other
// than chunked alone, and header lines that are folded. fasthttp refuses the
// rest (repeated or odd lengths, spaces before a colon, bad chunk sizes).
func checkFraming(h *fasthttp.RequestHeader) *failure {
	if p := h.Protocol(); string(p) != "HTTP/1.1" && string(p) != "HTTP/1.0" {
		return fail(fasthttp.StatusHTTPVersionNotSupported, "bad_version", "HTTP/1.1 is spoken here").final()
	}
	raw := h.RawHeaders()
	lengths, encodings := 0, 0
	for len(raw) > 0 {
		if raw[0] == ' ' || raw[0] == '\t' {
			return badFraming("a header line is folded")
		}
		end := bytes.IndexByte(raw, '\n')
		line := raw
		if end >= 0 {
			line, raw = raw[:end], raw[end+1:]
		} else {
			raw = nil
		}
		switch {
		case hasName(line, "content-length"):
			lengths++
		case hasName(line, "transfer-encoding"):
			encodings++
		}
	}
	switch {
	case lengths > 0 && encodings > 0:
		return badFraming("Content-Length and Transfer-Encoding exclude each other")
	case encodings > 0 && h.ContentLength() != -1:
		return badFraming("Transfer-Encoding must be chunked")
	}
	if expect := h.Peek("Expect"); len(expect) > 0 && !bytes.EqualFold(expect, []byte("100-continue")) {
		return fail(fasthttp.StatusExpectationFailed, "bad_expectation", "only 100-continue may be expected").final()
	}
	return nil
}

func badFraming(what string) *failure {
	return fail(fasthttp.StatusBadRequest, "bad_request", "%s", what).final()
}

// hasName tells whether a header line has the lower-case name.
func hasName(line []byte, name string) bool {
	if len(line) <= len(name) || line[len(name)] != ':' || line[0]|0x20 != name[0] {
		return false
	}
	for i := range len(name) {
		if c := line[i]; c != name[i] && (c < 'A' || c > 'Z' || c|0x20 != name[i]) {
			return false
		}
	}
	return true
}

const (
	// connSlack is how many connections beyond Options.MaxConns fasthttp has places
	// for: those that ended have theirs for a moment longer.
	connSlack = 256
	// maxRefusing bounds the connections without a place whose client is given the
	// time to read why; beyond, it is only told.
	maxRefusing = 64
	// refuseTime is how long a refused client may take to read.
	refuseTime = 250 * time.Millisecond
)

// bounded is a listener that refuses connections beyond Options.MaxConns.
type bounded struct {
	net.Listener
	s *Server
}

// Accept returns a connection that there is a place for.
func (b *bounded) Accept() (net.Conn, error) {
	for {
		conn, err := b.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if int(b.s.http.GetOpenConnectionsCount()) < b.s.opts.MaxConns {
			if tcp, ok := conn.(*net.TCPConn); ok {
				conn = &plainConn{TCPConn: tcp}
			}
			return conn, nil
		}
		b.s.refuseConn(conn)
	}
}

// plainConn tells a client that begins with TLS at once that it is at the wrong port:
// no line of a request would ever end.
type plainConn struct {
	*net.TCPConn
	begun bool
}

// tlsHandshake is the first byte of TLS, and of no HTTP request.
const tlsHandshake = 0x16

func (c *plainConn) Read(p []byte) (int, error) {
	n, err := c.TCPConn.Read(p)
	if c.begun || n == 0 {
		return n, err
	}
	if c.begun = true; p[0] != tlsHandshake {
		return n, err
	}
	body := appendError(nil, "bad_request", "this port speaks HTTP, not TLS; use http:// in the address")
	_, _ = fmt.Fprintf(c.TCPConn, "HTTP/1.1 400 Bad Request\r\nContent-Type: %s\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s", jsonType, len(body), body)
	return 0, io.EOF
}

// refuseConn answers a connection that there is no place for. Clients take an answer
// only behind their request, so its beginning is waited for, with as many as may be.
func (s *Server) refuseConn(conn net.Conn) {
	s.metrics.connsRefused.Inc()
	_ = conn.SetDeadline(time.Now().Add(refuseTime))
	select {
	case s.refusing <- struct{}{}:
	default:
		tellNoPlace(conn)
		_ = conn.Close()
		return
	}
	s.streams.Go(func() {
		defer func() { <-s.refusing }()
		defer conn.Close()
		if _, err := conn.Read(make([]byte, maxHeaderBytes)); err != nil {
			return
		}
		tellNoPlace(conn)
		if half, ok := conn.(interface{ CloseWrite() error }); ok && half.CloseWrite() == nil {
			// Closed with a request unread, the system would take the answer back.
			_, _ = io.Copy(io.Discard, io.LimitReader(conn, maxDrained))
		}
	})
}

func tellNoPlace(conn net.Conn) {
	body := appendError(nil, "too_many_connections", "the server has as many connections as it may; nothing was stored, come again later")
	_, _ = fmt.Fprintf(conn, "HTTP/1.1 503 Service Unavailable\r\nContent-Type: %s\r\nContent-Length: %d\r\nRetry-After: 1\r\nConnection: close\r\n\r\n%s", jsonType, len(body), body)
}

// goneEvery is how often a connection is asked whether its client is still there.
const goneEvery = 20 * time.Millisecond

// whilePresent returns a context for work whose only use is to answer the
// client of ctx: it ends when the client closes its connection, after timeout,
// or when the server gives up waiting at shutdown. A client that closes only
// its sending half counts as gone. stop must be called before the handler
// returns.
func (s *Server) whilePresent(ctx *fasthttp.RequestCtx, timeout time.Duration) (work context.Context, stop func()) {
	work, cancel := context.WithTimeout(s.ctx, timeout)
	raw := rawConn(ctx.Conn())
	if raw == nil {
		return work, cancel
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		ticker := time.NewTicker(goneEvery)
		defer ticker.Stop()
		for {
			select {
			case <-work.Done():
				return
			case <-ticker.C:
				if isGone(raw) {
					cancel()
					return
				}
			}
		}
	}()
	return work, func() {
		cancel()
		<-done
	}
}

func rawConn(conn net.Conn) syscall.RawConn {
	sc, ok := conn.(syscall.Conn)
	if !ok {
		return nil
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return nil
	}
	return raw
}

// isGone looks at the next byte of a connection without taking it.
func isGone(raw syscall.RawConn) bool {
	gone := false
	err := raw.Control(func(fd uintptr) {
		var one [1]byte
		n, _, err := unix.Recvfrom(int(fd), one[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
		switch err {
		case nil:
			gone = n == 0
		case unix.EAGAIN, unix.EINTR:
		default:
			gone = true
		}
	})
	return gone || err != nil
}
