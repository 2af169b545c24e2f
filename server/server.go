// Package server is the HTTP face of a node: it takes events in, answers
// queries, and shows those who run it what it does.
//
// On the way of an event it is the first room: a request is authenticated, its
// body read within a budget of bytes and decompressed within limits, in turns that
// keys share fairly (package fair), and handed to the collector (package collect), which answers when the event is durable.
// What comes after stands behind the Backend interface.
package server

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"runtime"
	"sync"
	"time"

	"github.com/valyala/fasthttp"

	"spoor/engine/event"
	"spoor/server/access"
	"spoor/server/boards"
	"spoor/server/calls"
	"spoor/server/collect"
	"spoor/server/dialect"
	"spoor/server/enrich"
	"spoor/server/erase"
	"spoor/server/fair"
	"spoor/server/govern"
	"spoor/server/inflate"
	"spoor/server/jobs"
	"spoor/server/nodes"
	"spoor/server/rawtier/exports"
	"spoor/server/replay"
	"spoor/server/sdkfile"
)

// Options tune a Server. Zero values take the defaults.
type Options struct {
	Logger *slog.Logger // default: discard
	// Keys are those of the command line; New adds those of the log. Default: none.
	Keys *access.Ring
	Now  func() time.Time
	// Nodes is this server among others; default: it is alone.
	Nodes nodes.Cluster
	// Dialects are the protocols of other systems; default: none.
	Dialects *dialect.Mounted
	// Script is the SDK for web pages; nil: it is not served.
	Script *sdkfile.File
	// Countries finds the country of an address; nil: nobody does.
	Countries *enrich.Countries
	Lateness  govern.Lateness
	// Raw is the raw tier; nil: there is none.
	Raw RawTier
	// Exports are those into the raw tier; nil: there are none.
	Exports *exports.Exports
	// Jobs is how far long work is; nil: a list of the server's own.
	Jobs *jobs.Jobs
	// Elapsed is a clock that is never set, for rates; default the system's.
	Elapsed func() time.Duration
	// Random is where keys come from; default crypto/rand.
	Random io.Reader
	// TrustedProxies are the networks of proxies whose X-Forwarded-For is believed.
	TrustedProxies []netip.Prefix

	Limits       event.Limits
	MaxEvents    int   // of one request; default 10,000
	MaxBodyBytes int   // of one request, before and after decompression; default 16 MiB
	BudgetBytes  int64 // request bodies of one key in memory, and an eighth more for others; default 64 MiB
	MaxWaiting   int   // requests of one key that wait for the log, and an eighth more for others; default 16,384
	MaxConns     int   // default 8,192
	MaxQueries   int   // that run at once; default twice the processors, at least 4

	HeaderTimeout time.Duration // from a connection's first byte to the end of the headers; default 10 s
	BodyTimeout   time.Duration // for the whole body; default 30 s
	WriteTimeout  time.Duration // without progress of the answer; default 30 s
	IdleTimeout   time.Duration // between requests; default 90 s
	QueryTimeout  time.Duration // default 30 s
	WaitTimeout   time.Duration // for a place under a limit, before an overload is answered; default 2 s
	CommitTimeout time.Duration // for the log; default 10 s
}

func (o *Options) setDefaults() {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Keys == nil {
		o.Keys = &access.Ring{}
	}
	if o.Elapsed == nil {
		start := time.Now()
		o.Elapsed = func() time.Duration { return time.Since(start) }
	}
	if o.Random == nil {
		o.Random = rand.Reader
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Limits == (event.Limits{}) {
		o.Limits = event.DefaultLimits()
	}
	for _, d := range []struct {
		value *int
		def   int
	}{
		{&o.MaxEvents, 10_000},
		{&o.MaxBodyBytes, 16 << 20},
		{&o.MaxWaiting, 16 << 10},
		{&o.MaxConns, 8 << 10},
		{&o.MaxQueries, max(4, 2*runtime.GOMAXPROCS(0))},
	} {
		if *d.value == 0 {
			*d.value = d.def
		}
	}
	if o.BudgetBytes == 0 {
		o.BudgetBytes = 64 << 20
	}
	// Room for the largest body, and for others beside it.
	o.BudgetBytes = max(o.BudgetBytes, 3*int64(o.MaxBodyBytes)+1<<20)
	for _, d := range []struct {
		value *time.Duration
		def   time.Duration
	}{
		{&o.HeaderTimeout, 10 * time.Second},
		{&o.BodyTimeout, 30 * time.Second},
		{&o.WriteTimeout, 30 * time.Second},
		{&o.IdleTimeout, 90 * time.Second},
		{&o.QueryTimeout, 30 * time.Second},
		{&o.WaitTimeout, 2 * time.Second},
		{&o.CommitTimeout, 10 * time.Second},
	} {
		if *d.value == 0 {
			*d.value = d.def
		}
	}
}

// Server serves one Backend over HTTP.
type Server struct {
	back     Backend
	opts     Options
	log      *slog.Logger
	http     *fasthttp.Server
	collect  *collect.Collector
	govern   *govern.Pipeline
	erase    *erase.API
	boards   *boards.API
	nodes    *nodes.API
	forward  *nodes.Forwarder
	fresh    *nodes.Freshness
	replay   *replay.API
	jobs     *jobs.Jobs
	inflate  *inflate.Pool
	bytes    *fair.Gate // bytes of request bodies
	places   *fair.Gate // of requests with events between their last byte and their answer
	room     *fair.Gate // bytes of events between there and their answer
	turns    *fair.Gate // at decompressing and decoding
	limits   *access.Limits
	sessions access.Sessions // browsers that signed in at this node
	keysMu   sync.Mutex      // held while a key is made
	queries  *fair.Gate      // places of queries that run
	exports  chan struct{}   // held by exports that run
	chores   chan struct{}   // held by the verification or backup that runs
	refusing chan struct{}   // held by connections without a place
	metrics  *serverMetrics
	routes   *routes
	root     string    // what / answers
	said     sync.Pool // of *calls.Batch

	ctx     context.Context // ends when shutdown gives up waiting
	cancel  context.CancelFunc
	streams sync.WaitGroup // exports and chores that write, connections that are refused, and what expires letters

	carriedMu  sync.RWMutex // read-locked while a request is served that another node carried here
	carriedEnd bool         // none is taken any more
}

// maxHeaderBytes bounds the request line and the headers together; it is also
// the memory that an idle connection holds.
const maxHeaderBytes = 16 << 10

// New returns a server for back; Serve starts it.
func New(back Backend, opts Options) *Server {
	opts.setDefaults()
	s := &Server{
		back: back, opts: opts, log: opts.Logger,
		inflate:  inflate.NewPool(),
		bytes:    fair.NewGate(opts.BudgetBytes+opts.BudgetBytes/8, opts.BudgetBytes),
		places:   fair.NewGate(int64(opts.MaxWaiting+opts.MaxWaiting/8), int64(opts.MaxWaiting)),
		room:     fair.NewGate(logRoomBytes+logRoomBytes/8, logRoomBytes),
		turns:    fair.NewGate(int64(2*runtime.GOMAXPROCS(0)), int64(2*runtime.GOMAXPROCS(0))), // one at work, one that is waking up
		limits:   access.NewLimits(access.MaxBuckets),
		queries:  fair.NewGate(int64(opts.MaxQueries), int64(opts.MaxQueries)),
		exports:  make(chan struct{}, maxExports),
		chores:   make(chan struct{}, 1),
		refusing: make(chan struct{}, maxRefusing),
	}
	s.root = textOfRoot(opts.Script)
	s.said.New = func() any { return calls.NewBatch(opts.Limits) }
	opts.Keys.Attach(keyStore{back})
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.govern = govern.New(back, opts.Countries, opts.Lateness, opts.Logger)
	s.erase, s.replay, s.boards = erase.New(back), replay.New(back), boards.New(back)
	if s.jobs = opts.Jobs; s.jobs == nil {
		s.jobs = jobs.New(opts.Now)
	}
	s.jobs.Watch(s.mergeAtWork)
	s.collect = collect.New(back, collect.Options{
		Limits: opts.Limits, MaxEvents: opts.MaxEvents, MaxWaiting: opts.MaxWaiting + opts.MaxWaiting/8,
		CommitTimeout: opts.CommitTimeout, Now: opts.Now, Governor: s.govern.Governor, LetterBounds: s.govern.LetterBounds, Duplicates: s.govern.Duplicates,
	})
	s.room.Tighten(s.sharedRoom)
	if s.opts.Nodes == nil {
		s.opts.Nodes = nodes.Alone{Status: s.ownStatus, Applied: func() uint64 { return back.Store().AppliedIndex }}
	}
	s.streams.Go(func() { s.govern.ExpireLetters(s.ctx, s.leads, s.opts.Now, s.opts.CommitTimeout) })
	s.metrics = newMetrics(s)
	s.nodes, s.fresh = nodes.NewAPI(s.opts.Nodes), nodes.NewFreshness(s.opts.Nodes, opts.WaitTimeout)
	s.forward = nodes.NewForwarder(s.opts.Nodes, opts.WaitTimeout, opts.CommitTimeout+opts.WaitTimeout, s.metrics.set)
	s.routes = newRoutes(s)
	s.http = &fasthttp.Server{
		Handler:                      s.handle,
		ErrorHandler:                 s.protocolError,
		HeaderReceived:               s.headerReceived,
		ExpectHandler:                s.expect,
		Logger:                       discardLogger{},
		Concurrency:                  opts.MaxConns + connSlack,
		ReadBufferSize:               maxHeaderBytes,
		ReadTimeout:                  opts.HeaderTimeout,
		WriteTimeout:                 opts.WriteTimeout,
		IdleTimeout:                  opts.IdleTimeout,
		MaxRequestBodySize:           opts.MaxBodyBytes,
		StreamRequestBody:            true,
		DisablePreParseMultipartForm: true,
		SecureErrorLogMessage:        true,
		NoDefaultServerHeader:        true,
		NoDefaultContentType:         true,
		CloseOnShutdown:              true,
		LazyRequestTime:              true,
		TCPKeepalive:                 true,
		MaxIdleWorkerDuration:        10 * time.Second,
	}
	return s
}

// discardLogger drops what fasthttp says of broken connections; the metrics count them.
type discardLogger struct{}

func (discardLogger) Printf(string, ...any) {}

// Handle serves one request that another node carried here. Shutdown waits for it,
// and what comes later is told that nothing was done.
func (s *Server) Handle(ctx *fasthttp.RequestCtx) {
	s.carriedMu.RLock()
	defer s.carriedMu.RUnlock()
	if s.carriedEnd {
		s.answerError(ctx, ErrNotLeader)
		return
	}
	s.handle(ctx)
}

// endCarried waits for the requests that Handle serves and refuses others.
func (s *Server) endCarried() {
	s.carriedMu.Lock()
	defer s.carriedMu.Unlock()
	s.carriedEnd = true
}

// Serve serves connections of ln until Shutdown.
func (s *Server) Serve(ln net.Listener) error {
	if err := s.http.Serve(&bounded{ln, s}); err != nil {
		return fmt.Errorf("serve %s: %w", ln.Addr(), err)
	}
	return nil
}

// Shutdown stops accepting, lets requests that came finish until ctx ends, and
// then ends queries and exports too. Events that were taken are always decided.
func (s *Server) Shutdown(ctx context.Context) error {
	stop := context.AfterFunc(ctx, s.cancel)
	defer stop()
	err := s.http.ShutdownWithContext(ctx)
	if errors.Is(err, net.ErrClosed) {
		err = nil
	}
	s.cancel()
	s.endCarried()
	s.collect.Close()
	s.streams.Wait()
	s.inflate.Close()
	if err != nil {
		return fmt.Errorf("shut down: %w", err)
	}
	return nil
}

// headerReceived gives a request with a body the time that bodies have. One
// byte of the body is enough to call the handler, which reads the rest into its
// own memory, or refuses before it does.
func (s *Server) headerReceived(h *fasthttp.RequestHeader) fasthttp.RequestConfig {
	if length := h.ContentLength(); length > 0 || length == -1 {
		return fasthttp.RequestConfig{ReadTimeout: s.opts.BodyTimeout, MaxRequestBodySize: 1}
	}
	return fasthttp.RequestConfig{}
}

// expect answers Expect: 100-continue before a body is sent that is too large.
func (s *Server) expect(ctx *fasthttp.RequestCtx) int {
	if ctx.Request.Header.ContentLength() > s.opts.MaxBodyBytes {
		return fasthttp.StatusRequestEntityTooLarge
	}
	return fasthttp.StatusContinue
}

// protocolError answers what is no HTTP request; the connection ends.
func (s *Server) protocolError(ctx *fasthttp.RequestCtx, err error) {
	var small *fasthttp.ErrSmallBuffer
	var netErr net.Error
	f := fail(fasthttp.StatusBadRequest, "bad_request", "this is not a well-formed HTTP/1.1 request")
	switch {
	case errors.As(err, &small):
		f = fail(fasthttp.StatusRequestHeaderFieldsTooLarge, "headers_too_large", "the request line and headers have more than %d bytes", maxHeaderBytes)
	case errors.As(err, &netErr) && netErr.Timeout():
		f = fail(fasthttp.StatusRequestTimeout, "slow_request", "the request did not arrive in time")
	}
	s.metrics.badRequests.Inc()
	ctx.Response.Reset()
	s.answerFailure(ctx, f.final())
}
