package server

import (
	"context"
	"net"
	"syscall"
	"time"

	"github.com/valyala/fasthttp"
	"golang.org/x/sys/unix"
)

// goneEvery is how often a connection is asked whether its client is still there.
const goneEvery = 200 * time.Millisecond

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
