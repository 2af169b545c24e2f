// Package peer is how nodes talk to each other: one port of each node, on which
// connections begin with a hello (who, of which cluster, understanding what) and
// then serve the Raft library or calls between nodes, which are HTTP/1.1.
//
// On the way of an event it is what carries log entries to the other replicas,
// and a request that came to a follower to the leader. Without TLS the port
// listens on loopback alone; with it, both sides show certificates of the same
// authority whose DNS name is the id of the node.
package peer

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/valyala/fasthttp"
)

const (
	// helloTimeout bounds the time from a connection's begin to the end of the hellos.
	helloTimeout = 5 * time.Second
	// maxConnections of other nodes are served at once, the hellos included.
	maxConnections = 1024
	// acceptPause follows an Accept that failed, as for want of descriptors.
	acceptPause = 50 * time.Millisecond
)

// Options of a Port.
type Options struct {
	Listen string // host:port that the port listens on
	// Advertise is the address at which the others find it; "" for the one that it listens on.
	Advertise string
	Cluster   [16]byte
	ID        string
	Formats   Formats
	TLS       *TLS // nil: none, and loopback addresses alone
	Logger    *slog.Logger
	// Dial connects to an address; nil: TCP. Tests put faults here.
	Dial func(ctx context.Context, address string) (net.Conn, error)
}

// Port is the door of a node for the others. Its methods are safe for concurrent use.
type Port struct {
	opts    Options
	cluster string
	log     *slog.Logger
	ln      net.Listener
	addr    string

	raft  *queue // connections for the Raft library
	calls *queue // and for calls
	http  *fasthttp.Server

	ctx  context.Context
	stop context.CancelFunc
	wg   sync.WaitGroup

	mu       sync.Mutex
	closed   bool
	conns    map[net.Conn]struct{} // open, of both directions
	known    map[string]Formats    // by node, as its last hello said
	told     map[string]time.Time  // errors that the log was told of
	clients  map[target]*fasthttp.HostClient
	handlers map[string]fasthttp.RequestHandler
	fallback fasthttp.RequestHandler
}

// Open listens. Handlers of calls may be registered before and after.
func Open(opts Options) (*Port, error) {
	if err := CheckNodeID(opts.ID); err != nil {
		return nil, err
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	if opts.TLS == nil {
		if err := CheckLoopback(opts.Listen); err != nil {
			return nil, err
		}
	}
	if opts.Dial == nil {
		opts.Dial = func(ctx context.Context, address string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", address)
		}
	}
	ln, err := net.Listen("tcp", opts.Listen)
	if err != nil {
		return nil, fmt.Errorf("listen for other nodes at %s: %w", opts.Listen, err)
	}
	p := &Port{
		opts: opts, cluster: clusterText(opts.Cluster), log: opts.Logger, ln: ln, addr: opts.Advertise,
		conns: map[net.Conn]struct{}{}, known: map[string]Formats{}, told: map[string]time.Time{},
		clients: map[target]*fasthttp.HostClient{}, handlers: map[string]fasthttp.RequestHandler{},
	}
	if p.addr == "" {
		p.addr = ln.Addr().String()
	}
	if host, _, err := net.SplitHostPort(p.addr); err != nil || host == "" || net.ParseIP(host).IsUnspecified() {
		return nil, errors.Join(fmt.Errorf("other nodes cannot find this one at %s: name the address to advertise", p.addr), ln.Close())
	}
	p.raft, p.calls = newQueue(p.addr), newQueue(p.addr)
	p.ctx, p.stop = context.WithCancel(context.Background())
	p.http = p.newServer()
	p.wg.Go(p.accept)
	p.wg.Go(func() { _ = p.http.Serve(p.calls) })
	return p, nil
}

// Addr is where other nodes find this one.
func (p *Port) Addr() string { return p.addr }

// Formats are the versions that another node said it understands, false as long
// as there was no connection with it.
func (p *Port) Formats(node string) (Formats, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f, ok := p.known[node]
	return f, ok
}

// Close ends every connection and waits for the handlers of calls.
func (p *Port) Close() error {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return nil
	}
	p.closed = true
	for c := range p.conns {
		_ = c.Close()
	}
	p.mu.Unlock()
	p.stop()
	err := p.ln.Close()
	_ = p.raft.Close()
	_ = p.calls.Close()
	_ = p.http.Shutdown()
	p.wg.Wait()
	if err != nil {
		return fmt.Errorf("close the port for other nodes: %w", err)
	}
	return nil
}

// accept takes connections until Close.
func (p *Port) accept() {
	for {
		conn, err := p.ln.Accept()
		if err != nil {
			select {
			case <-p.ctx.Done():
				return
			case <-time.After(acceptPause):
				continue
			}
		}
		p.wg.Go(func() { p.greet(conn) })
	}
}

// greet answers the hello of a connection and hands it to those whom it is for.
func (p *Port) greet(raw net.Conn) {
	conn, ok := p.track(raw)
	if !ok {
		return // closed, or too many
	}
	h, err := p.answerHello(conn)
	if err != nil {
		_ = conn.Close()
		if p.ctx.Err() == nil {
			p.tell("a connection of another node was refused", err, "from", raw.RemoteAddr().String())
		}
		return
	}
	conn.node = h.From
	to := p.calls
	if h.Purpose == purposeRaft {
		to = p.raft
	}
	if !to.put(conn) {
		_ = conn.Close()
	}
}

func (p *Port) answerHello(conn *tracked) (*hello, error) {
	if err := conn.SetDeadline(time.Now().Add(helloTimeout)); err != nil {
		return nil, err
	}
	if p.opts.TLS != nil {
		if err := conn.secure(p.ctx, tls.Server(conn.Conn, p.opts.TLS.server)); err != nil {
			return nil, fmt.Errorf("TLS: %w", err)
		}
	}
	h, err := readHello(conn)
	if err != nil {
		return nil, err
	}
	refused := p.check(h)
	if refused == nil && h.Purpose != purposeRaft && h.Purpose != purposeCall {
		refused = &Refusal{RefusedProtocol, fmt.Sprintf("node %s does not know connections for %.100q", p.opts.ID, h.Purpose)}
	}
	if refused == nil {
		refused = conn.checkCertificate(h.From)
	}
	own := p.hello(h.From, h.Purpose)
	own.Refused = refused
	if err := writeHello(conn, own); err != nil {
		return nil, err
	}
	if refused != nil {
		return nil, refused
	}
	p.learn(h)
	return h, conn.SetDeadline(time.Time{})
}

// ErrNotReached is wrapped when no connection to a node could be made: nothing of a call was sent.
var ErrNotReached = errors.New("the node could not be reached")

// dial connects to a node. What it wraps is an ErrNotReached.
func (p *Port) dial(ctx context.Context, to target, purpose string) (net.Conn, error) {
	conn, err := p.connect(ctx, to, purpose)
	if err != nil {
		return nil, fmt.Errorf("%w: node %s at %s: %w", ErrNotReached, to.node, to.address, err)
	}
	return conn, nil
}

func (p *Port) connect(ctx context.Context, to target, purpose string) (*tracked, error) {
	ctx, cancel := context.WithTimeout(ctx, helloTimeout)
	defer cancel()
	raw, err := p.opts.Dial(ctx, to.address)
	if err != nil {
		return nil, err
	}
	conn, ok := p.track(raw)
	if !ok {
		return nil, errors.New("the node is closing, or holds as many connections as it may")
	}
	if err := p.sayHello(ctx, conn, to, purpose); err != nil {
		_ = conn.Close()
		var refused *Refusal
		if errors.As(err, &refused) {
			p.tell("another node refuses this one, or is not the one that was looked for", err, "node", to.node, "address", to.address)
		}
		return nil, err
	}
	conn.calls = purpose == purposeCall
	return conn, nil
}

func (p *Port) sayHello(ctx context.Context, conn *tracked, to target, purpose string) error {
	deadline, _ := ctx.Deadline()
	if err := conn.SetDeadline(deadline); err != nil {
		return err
	}
	if p.opts.TLS != nil {
		if err := conn.secure(ctx, tls.Client(conn.Conn, p.opts.TLS.client(to.node))); err != nil {
			return fmt.Errorf("TLS: %w", err)
		}
	}
	if err := writeHello(conn, p.hello(to.node, purpose)); err != nil {
		return err
	}
	h, err := readHello(conn)
	if err != nil {
		return err
	}
	if h.Refused != nil {
		return h.Refused
	}
	if h.From != to.node {
		return &Refusal{RefusedNode, fmt.Sprintf("node %.100q answers there", h.From)}
	}
	if refused := p.check(h); refused != nil {
		return refused
	}
	p.learn(h)
	return conn.SetDeadline(time.Time{})
}

// tellEvery is how often the log is told of the same error: nodes try again many times a second.
const tellEvery = time.Minute

// maxTold bounds the errors that are remembered for that.
const maxTold = 256

func (p *Port) tell(what string, err error, args ...any) {
	now, text := time.Now(), what+err.Error()
	p.mu.Lock()
	last, known := p.told[text]
	news := !known || now.Sub(last) > tellEvery
	if news {
		if len(p.told) >= maxTold {
			clear(p.told)
		}
		p.told[text] = now
	}
	p.mu.Unlock()
	if news {
		p.log.Warn(what, append(args, "error", err)...)
	}
}

func (p *Port) learn(h *hello) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.known[h.From] = h.Formats
}

func writeHello(conn net.Conn, h *hello) error {
	b, err := appendHello(nil, h)
	if err == nil {
		_, err = conn.Write(b)
	}
	return err
}

// CheckLoopback refuses addresses that other machines can reach: without TLS the
// port takes orders from whoever connects.
func CheckLoopback(addr string) error {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return fmt.Errorf("address for other nodes: %w", err)
	}
	if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return fmt.Errorf("address for other nodes: %s can be reached from other machines, and the port lets everybody in who reaches it; give it certificates (--peer-cert, --peer-key, --peer-ca), or use 127.0.0.1", addr)
	}
	return nil
}
