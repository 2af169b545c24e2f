package peer

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"
)

// target is a node and where it is.
type target struct{ node, address string }

// tracked is a connection that the port closes at its end.
type tracked struct {
	net.Conn          // the TLS connection once there is one
	raw      net.Conn // what lies below
	p        *Port
	node     string // at the other end, of a connection that it made
	// answered tells that the last thing that came through was read, not written:
	// on a connection for calls, a request begins with the next write.
	answered atomic.Bool
	calls    bool
}

// track notes a connection; false, and it is closed, where it is one too many.
func (p *Port) track(raw net.Conn) (*tracked, bool) {
	c := &tracked{Conn: raw, raw: raw, p: p}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || len(p.conns) >= maxConnections {
		_ = raw.Close()
		return nil, false
	}
	p.conns[raw] = struct{}{}
	return c, true
}

// secure makes it a TLS connection.
func (c *tracked) secure(ctx context.Context, over *tls.Conn) error {
	if err := over.HandshakeContext(ctx); err != nil {
		return err
	}
	c.Conn = over
	return nil
}

// checkCertificate refuses a node whose certificate is that of another one.
func (c *tracked) checkCertificate(node string) *Refusal {
	over, ok := c.Conn.(*tls.Conn)
	if !ok {
		return nil
	}
	chain := over.ConnectionState().PeerCertificates
	if len(chain) == 0 {
		return &Refusal{RefusedCertificate, "there is no certificate"}
	}
	if err := chain[0].VerifyHostname(node); err != nil {
		return &Refusal{RefusedCertificate, fmt.Sprintf("the certificate is not that of node %.100q: its DNS names have to hold the id of the node", node)}
	}
	return nil
}

// Close ends the connection.
func (c *tracked) Close() error {
	c.p.mu.Lock()
	delete(c.p.conns, c.raw)
	c.p.mu.Unlock()
	return c.Conn.Close()
}

// Read notes that something came.
func (c *tracked) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if c.calls {
		c.answered.Store(true)
	}
	return n, err
}

// Write refuses to begin a request on a connection that the other side has
// closed meanwhile: it could not be told from one whose answer was lost.
func (c *tracked) Write(b []byte) (int, error) {
	if c.calls && c.answered.CompareAndSwap(true, false) && isReadable(c.raw) {
		return 0, errStale
	}
	return c.Conn.Write(b)
}

// isReadable tells whether a connection that waits for nothing has something to
// read, which can only be its end. Where it cannot be asked, it is taken for good.
func isReadable(conn net.Conn) bool {
	sc, ok := conn.(syscall.Conn)
	if !ok {
		return false
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return true
	}
	readable := false
	err = raw.Control(func(fd uintptr) {
		var one [1]byte
		_, _, err := unix.Recvfrom(int(fd), one[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
		readable = err != unix.EAGAIN && err != unix.EINTR
	})
	return readable || err != nil
}

// queue is a listener whose connections were accepted elsewhere.
type queue struct {
	addr  string
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func newQueue(addr string) *queue {
	return &queue{addr: addr, conns: make(chan net.Conn), done: make(chan struct{})}
}

// put hands a connection on; false when the listener is closed.
func (q *queue) put(c net.Conn) bool {
	select {
	case q.conns <- c:
		return true
	case <-q.done:
		return false
	}
}

// Accept implements net.Listener.
func (q *queue) Accept() (net.Conn, error) {
	select {
	case c := <-q.conns:
		return c, nil
	case <-q.done:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (q *queue) Close() error {
	q.once.Do(func() { close(q.done) })
	return nil
}

// Addr implements net.Listener.
func (q *queue) Addr() net.Addr { return address(q.addr) }

// address is what other nodes dial.
type address string

func (address) Network() string  { return "tcp" }
func (a address) String() string { return string(a) }
