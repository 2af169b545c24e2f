package peer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/valyala/fasthttp"
)

const (
	// MaxBodyBytes bounds the body of a call and of its answer: larger things are
	// asked for in pieces.
	MaxBodyBytes = 17 << 20
	// maxHeaderBytes bounds the request line and the headers of a call: those of a
	// request of a client that is carried to the leader, and a little.
	maxHeaderBytes = 20 << 10
	// maxCallsOfNode run to one node at once; more wait as long as their time lasts.
	maxCallsOfNode = 256
	// MaxCalls that other nodes send are served at once.
	MaxCalls = 512
	// maxClients are nodes that calls are kept ready for.
	maxClients = 64

	// idleTimeout of a connection is longer on the side that serves, so that the side that dials ends it.
	idleTimeout       = 60 * time.Second
	serveIdleTimeout  = 2 * idleTimeout
	serveReadTimeout  = 30 * time.Second
	serveWriteTimeout = 30 * time.Second
	// DefaultCallTimeout bounds a call whose context has no end.
	DefaultCallTimeout = 30 * time.Second
)

// errStale is answered by a connection that was kept for the next call and whose
// other side has gone.
var errStale = errors.New("the connection has ended")

// Handle serves the calls of a path. The body is in ctx.PostBody(), at most
// MaxBodyBytes; nothing of ctx may be used after the handler has returned.
func (p *Port) Handle(path string, h fasthttp.RequestHandler) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.handlers[path] = h
}

// HandleRest serves the calls of all paths that Handle was not called for. Their
// bodies are streams, ctx.RequestBodyStream(), of any length.
func (p *Port) HandleRest(h fasthttp.RequestHandler) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fallback = h
}

// Caller is the id of the node that sent a call, as its hello and its certificate say.
func Caller(ctx *fasthttp.RequestCtx) string {
	if c, ok := ctx.Conn().(*tracked); ok {
		return c.node
	}
	return ""
}

func (p *Port) newServer() *fasthttp.Server {
	return &fasthttp.Server{
		Handler:                      p.serve,
		Logger:                       discard{},
		Concurrency:                  MaxCalls,
		ReadBufferSize:               maxHeaderBytes,
		ReadTimeout:                  serveReadTimeout,
		WriteTimeout:                 serveWriteTimeout,
		IdleTimeout:                  serveIdleTimeout,
		MaxRequestBodySize:           MaxBodyBytes,
		StreamRequestBody:            true,
		HeaderReceived:               headerReceived,
		DisablePreParseMultipartForm: true,
		NoDefaultServerHeader:        true,
		NoDefaultDate:                true,
		NoDefaultContentType:         true,
		CloseOnShutdown:              true,
	}
}

// headerReceived lets a handler begin with the first byte of a body, so that it can
// take memory for the rest as it comes.
func headerReceived(h *fasthttp.RequestHeader) fasthttp.RequestConfig {
	if length := h.ContentLength(); length > 0 || length == -1 {
		return fasthttp.RequestConfig{ReadTimeout: serveReadTimeout, MaxRequestBodySize: 1}
	}
	return fasthttp.RequestConfig{}
}

type discard struct{}

func (discard) Printf(string, ...any) {}

func (p *Port) serve(ctx *fasthttp.RequestCtx) {
	p.mu.Lock()
	h, rest := p.handlers[string(ctx.URI().PathOriginal())], p.fallback
	p.mu.Unlock()
	if h == nil {
		h = rest
	} else if err := readBody(ctx); err != nil {
		ctx.Error(err.Error(), fasthttp.StatusBadRequest)
		ctx.SetConnectionClose()
		return
	}
	if h == nil {
		ctx.Error("this node does not serve "+string(ctx.Path())+" yet", fasthttp.StatusServiceUnavailable)
		return
	}
	h(ctx)
}

// readBody puts the whole body where ctx.PostBody() finds it.
func readBody(ctx *fasthttp.RequestCtx) error {
	stream := ctx.RequestBodyStream()
	if stream == nil {
		return nil
	}
	b, err := io.ReadAll(io.LimitReader(stream, MaxBodyBytes+1))
	switch {
	case err != nil:
		return fmt.Errorf("read the body: %w", err)
	case len(b) > MaxBodyBytes:
		return fmt.Errorf("the body has more than %d bytes", MaxBodyBytes)
	}
	ctx.Request.SetBodyRaw(b)
	return nil
}

// Call sends a request to a node at an address and reads the answer, whatever its
// status. The request's URI needs no host; its Host header goes as it is. A call
// is sent once: after an error that wraps ErrNotReached nothing of it has reached
// the node, after any other one it is not known.
func (p *Port) Call(ctx context.Context, node, address string, req *fasthttp.Request, resp *fasthttp.Response) error {
	c, err := p.client(target{node, address})
	if err != nil {
		return err
	}
	deadline, ok := ctx.Deadline()
	if !ok {
		deadline = time.Now().Add(DefaultCallTimeout)
	}
	err = ctx.Err()
	if err == nil {
		err = c.DoDeadline(req, resp, deadline)
	}
	switch {
	case err == nil:
		return nil
	case errors.Is(err, ErrNotReached):
		return fmt.Errorf("call %s: %w", node, err)
	case errors.Is(err, errStale), errors.Is(err, fasthttp.ErrNoFreeConns), ctx.Err() != nil && err == ctx.Err():
		return fmt.Errorf("call %s: %w: %w", node, ErrNotReached, err)
	}
	return fmt.Errorf("call %s: %w", node, err)
}

// client returns what calls to a node go through.
func (p *Port) client(to target) (*fasthttp.HostClient, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, fmt.Errorf("call %s: %w: this node is closing", to.node, ErrNotReached)
	}
	if c := p.clients[to]; c != nil {
		return c, nil
	}
	if len(p.clients) >= maxClients { // nodes that have gone; connections end when they are idle
		for old, c := range p.clients {
			c.CloseIdleConnections()
			delete(p.clients, old)
			break
		}
	}
	c := &fasthttp.HostClient{
		Addr: to.address,
		DialTimeout: func(_ string, timeout time.Duration) (net.Conn, error) {
			ctx := p.ctx
			if timeout > 0 {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, timeout)
				defer cancel()
			}
			return p.dial(ctx, to, purposeCall)
		},
		MaxConns:                      maxCallsOfNode,
		MaxConnWaitTimeout:            DefaultCallTimeout,
		MaxIdleConnDuration:           idleTimeout,
		ReadBufferSize:                maxHeaderBytes,
		MaxResponseBodySize:           MaxBodyBytes,
		NoDefaultUserAgentHeader:      true,
		DisableHeaderNamesNormalizing: true,
		DisablePathNormalizing:        true,
		MaxIdemponentCallAttempts:     maxCallsOfNode + 1, // each stale connection once
		RetryIfErr: func(_ *fasthttp.Request, _ int, err error) (resetTimeout, retry bool) {
			return false, errors.Is(err, errStale)
		},
	}
	p.clients[to] = c
	return c, nil
}
