package install

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/valyala/fasthttp"

	"spoor/cluster/peer"
	"spoor/engine"
)

const (
	// DefaultLeaseIdle is how long a snapshot is held for a node that does not ask for anything.
	DefaultLeaseIdle = time.Minute
	// maxLeases are held at once.
	maxLeases = 4
	// maxLeaseIDBytes bounds the name that a node gives its lease.
	maxLeaseIDBytes = 64
)

// Store is what snapshots are taken of: the engine.
type Store interface {
	Snapshot(ctx context.Context) (*engine.Snapshot, error)
}

// LeaseOptions of Leases.
type LeaseOptions struct {
	// Hold keeps the log as long as it is while a snapshot is held, see cluster.Node.HoldLog; nil: nothing does.
	Hold   func() (release func())
	Idle   time.Duration    // 0 for DefaultLeaseIdle
	Now    func() time.Time // nil for the system's clock
	Logger *slog.Logger
}

// Leases are the snapshots that this node holds for others.
type Leases struct {
	store Store
	opts  LeaseOptions
	ctx   context.Context
	stop  context.CancelFunc
	wg    sync.WaitGroup

	mu   sync.Mutex
	held map[string]*lease
}

type lease struct {
	made    chan struct{} // closed when s or err is set
	s       *engine.Snapshot
	err     error
	release func() // of the log

	used    time.Time // under the lock of Leases, like the rest
	readers int
	over    bool // it is released when the last reader goes
}

// NewLeases begins; Close ends what is held.
func NewLeases(store Store, opts LeaseOptions) *Leases {
	if opts.Idle == 0 {
		opts.Idle = DefaultLeaseIdle
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	if opts.Hold == nil {
		opts.Hold = func() func() { return func() {} }
	}
	l := &Leases{store: store, opts: opts, held: map[string]*lease{}}
	l.ctx, l.stop = context.WithCancel(context.Background())
	l.wg.Go(l.expire)
	return l
}

// ErrBusy is wrapped when as many snapshots are held as may be.
var ErrBusy = errors.New("too many snapshots are held")

// take finds a lease, or begins it.
func (l *Leases) take(id string) (*lease, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if x := l.held[id]; x != nil {
		x.used = l.opts.Now()
		return x, nil
	}
	if len(l.held) >= maxLeases || l.ctx.Err() != nil {
		return nil, fmt.Errorf("%w: %d", ErrBusy, len(l.held))
	}
	x := &lease{made: make(chan struct{}), used: l.opts.Now(), release: l.opts.Hold(), readers: 1}
	l.held[id] = x
	l.wg.Go(func() {
		defer l.leave(id, x)
		x.s, x.err = l.store.Snapshot(l.ctx)
		close(x.made)
		if x.err == nil {
			l.opts.Logger.Info("holding a snapshot for another node", "lease", id, "applied", x.s.AppliedIndex, "files", len(x.s.Files))
		}
	})
	return x, nil
}

// Manifest takes a snapshot under the name of a lease, or returns that of one which has it. nil
// without an error means that it is still made after wait.
func (l *Leases) Manifest(ctx context.Context, id string, wait time.Duration) ([]byte, error) {
	x, err := l.take(id)
	if err != nil {
		return nil, err
	}
	t := time.NewTimer(wait)
	defer t.Stop()
	select {
	case <-x.made:
	case <-t.C:
		return nil, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if x.err != nil {
		l.Release(id)
		return nil, x.err
	}
	if n := len(x.s.Manifest); n > maxManifestBytes {
		l.Release(id)
		return nil, fmt.Errorf("the manifest has %d bytes, more than the %d that a call carries: compact the store", n, maxManifestBytes)
	}
	return x.s.Manifest, nil
}

// ReadAt reads a piece of a file that a lease holds.
func (l *Leases) ReadAt(id, name string, p []byte, off int64) error {
	l.mu.Lock()
	x := l.held[id]
	if x != nil {
		x.used = l.opts.Now()
		x.readers++
	}
	l.mu.Unlock()
	if x == nil {
		return ErrLease
	}
	defer l.leave(id, x)
	select {
	case <-x.made:
	default:
		return ErrLease // nobody knows of a file yet
	}
	if x.err != nil {
		return x.err
	}
	if n, err := x.s.ReadAt(name, p, off); n < len(p) {
		return fmt.Errorf("read %s: %d of %d bytes at %d: %w", name, n, len(p), off, err)
	}
	return nil
}

// Release ends a lease.
func (l *Leases) Release(id string) {
	l.mu.Lock()
	x := l.held[id]
	if x != nil {
		l.end(id, x)
	}
	l.mu.Unlock()
}

// end lets nobody begin to read. The caller holds the lock.
func (l *Leases) end(id string, x *lease) {
	delete(l.held, id)
	if x.over = true; x.readers == 0 {
		x.free()
	}
}

func (l *Leases) leave(id string, x *lease) {
	l.mu.Lock()
	defer l.mu.Unlock()
	x.used = l.opts.Now()
	if x.readers--; x.readers == 0 && x.over {
		x.free()
	}
}

func (x *lease) free() {
	x.release()
	if x.s != nil {
		x.s.Release()
	}
}

// Len is how many snapshots are held.
func (l *Leases) Len() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.held)
}

// expire ends leases that nobody uses: a node that died must not hold files for ever.
func (l *Leases) expire() {
	tick := time.NewTicker(l.opts.Idle / 4)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			l.endIdle()
		case <-l.ctx.Done():
			return
		}
	}
}

func (l *Leases) endIdle() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for id, x := range l.held {
		if x.readers == 0 && l.opts.Now().Sub(x.used) >= l.opts.Idle {
			l.opts.Logger.Info("a snapshot is let go that another node has not asked for any more", "lease", id)
			l.end(id, x)
		}
	}
}

// Close ends all leases. Nothing may be asked for any more.
func (l *Leases) Close() {
	l.mu.Lock()
	l.stop()
	l.mu.Unlock()
	l.wg.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	for id, x := range l.held {
		l.end(id, x)
	}
}

// Serve answers the calls of other nodes.
func (l *Leases) Serve(port *peer.Port) {
	port.Handle(pathState, l.serveManifest)
	port.Handle(pathFile, l.serveFile)
	port.Handle(pathRelease, func(call *fasthttp.RequestCtx) { l.Release(string(call.QueryArgs().Peek("lease"))) })
}

func (l *Leases) serveManifest(call *fasthttp.RequestCtx) {
	id := string(call.QueryArgs().Peek("lease"))
	if id == "" || len(id) > maxLeaseIDBytes {
		call.Error("a lease has a name", fasthttp.StatusBadRequest)
		return
	}
	manifest, err := l.Manifest(l.ctx, id, manifestWait)
	switch {
	case err != nil:
		call.Error(err.Error(), fasthttp.StatusServiceUnavailable)
	case manifest == nil:
		call.SetStatusCode(fasthttp.StatusAccepted)
	default:
		call.SetBody(manifest)
	}
}

func (l *Leases) serveFile(call *fasthttp.RequestCtx) {
	q := call.QueryArgs()
	from, ferr := q.GetUint("from")
	n, nerr := q.GetUint("bytes")
	if ferr != nil || nerr != nil || n > MaxPieceBytes {
		call.Error(fmt.Sprintf("a piece has a place and at most %d bytes", MaxPieceBytes), fasthttp.StatusBadRequest)
		return
	}
	b := make([]byte, n)
	err := l.ReadAt(string(q.Peek("lease")), string(q.Peek("name")), b, int64(from))
	switch {
	case errors.Is(err, ErrLease):
		call.Error(err.Error(), fasthttp.StatusGone)
	case err != nil:
		call.Error(err.Error(), fasthttp.StatusInternalServerError)
	default:
		call.Response.SetBodyRaw(b)
	}
}
