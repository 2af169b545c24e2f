package cold

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path"
	"sync"
	"sync/atomic"
	"time"

	"spoor/internal/vfs"
)

// Options say where cold segments are and how they are read. The zero value has no store.
type Options struct {
	Store Store
	// CacheBytes bounds the blocks on the local disk; default 1 GiB, at least MinBlocks.
	CacheBytes int64
	// BlockBytes are read from the store at a time and kept together; default DefaultBlockBytes.
	BlockBytes int64
	// Timeout bounds one request for a block; default 10 s.
	Timeout time.Duration
	// Every is how often it is looked what is to be done; default a minute.
	Every time.Duration
	// Held tells whether a copy of the day's events for others, the raw tier, is there, so that the local files may go; nil: always.
	Held func(ctx context.Context, day int32) (bool, error)
}

const (
	// wholeBytes are read at once where all of an object is read, each in wholeFactor times the timeout.
	wholeBytes  = 8 << 20
	wholeFactor = 3
	// maxRequests are at work in the store at a time; others wait for their turn.
	maxRequests = 16
	// restTime is how long nothing is asked after a failure, so that queries do not each wait for it again.
	restTime = 2 * time.Second
)

// Tier reads and writes objects for one store of segments.
type Tier struct {
	opts  Options
	fs    vfs.FS
	dir   string
	log   *slog.Logger
	ctx   context.Context // ends with Close
	stop  context.CancelFunc
	turns chan struct{}
	cache cache
	files atomic.Uint64

	mu      sync.Mutex
	flights map[blockKey]*flight
	failed  error // of the last request, nil if it succeeded
	until   time.Time

	hits, misses, read, written, errs, requests atomic.Int64
	nanos                                       atomic.Int64 // that requests took
	closed                                      atomic.Int64 // files that were closed since the start
}

// flight is a block on its way, for all who wait for it.
type flight struct {
	done chan struct{}
	data []byte
	err  error
}

// New returns a tier for the store in a directory. Open makes its cache.
func New(fsys vfs.FS, dir string, log *slog.Logger, opts Options) *Tier {
	opts.CacheBytes = cmp.Or(opts.CacheBytes, 1<<30)
	opts.BlockBytes = cmp.Or(opts.BlockBytes, DefaultBlockBytes)
	opts.Timeout = cmp.Or(opts.Timeout, 10*time.Second)
	opts.Every = cmp.Or(opts.Every, time.Minute)
	t := &Tier{opts: opts, fs: fsys, dir: dir, log: log, turns: make(chan struct{}, maxRequests), flights: map[blockKey]*flight{}}
	t.cache.block, t.cache.sum = opts.BlockBytes, int(max(opts.BlockBytes/sumsOfBlock, 1))
	t.ctx, t.stop = context.WithCancel(context.Background())
	return t
}

// Open makes the cache, which begins empty.
func (t *Tier) Open() error {
	if t.opts.Store == nil {
		return nil
	}
	return t.cache.open(t.fs, path.Join(t.dir, CacheName), t.opts.CacheBytes)
}

// Close ends requests and removes the cache.
func (t *Tier) Close() {
	t.stop()
	if t.opts.Store != nil {
		t.cache.close()
		_ = t.fs.Remove(path.Join(t.dir, CacheName)) // the next start removes it
	}
}

// Has tells whether there is a store.
func (t *Tier) Has() bool { return t.opts.Store != nil }

// Options are those of New, with defaults.
func (t *Tier) Options() Options { return t.opts }

// Closed counts the files that were closed since the start: objects may be superfluous when it has changed.
func (t *Tier) Closed() int64 { return t.closed.Load() }

// Status is how the store and the cache do.
type Status struct {
	Place       string        `json:"place,omitempty"`
	CacheBytes  int64         `json:"cacheBytes"`
	CacheLimit  int64         `json:"cacheLimit"`
	Hits        int64         `json:"cacheHits"`
	Misses      int64         `json:"cacheMisses"`
	ReadBytes   int64         `json:"readBytes"` // from the store, since the start
	WriteBytes  int64         `json:"writtenBytes"`
	Requests    int64         `json:"requests"` // reads of the store
	Failures    int64         `json:"failures"` // of them
	RequestTime time.Duration `json:"-"`        // of all of them
	Away        string        `json:"away,omitempty"`
}

// Status may be called at any time.
func (t *Tier) Status() Status {
	s := Status{
		CacheBytes: t.cache.bytes(), CacheLimit: t.opts.CacheBytes, Hits: t.hits.Load(), Misses: t.misses.Load(),
		ReadBytes: t.read.Load(), WriteBytes: t.written.Load(), Requests: t.requests.Load(), Failures: t.errs.Load(), RequestTime: time.Duration(t.nanos.Load()),
	}
	if t.opts.Store != nil {
		s.Place = t.opts.Store.String()
	}
	t.mu.Lock()
	if t.failed != nil {
		s.Away = t.failed.Error()
	}
	t.mu.Unlock()
	return s
}

// away makes an error of the store one that says what it means.
func (t *Tier) away(err error) error { return fmt.Errorf("%w (%s): %w", ErrAway, t.place(), err) }

func (t *Tier) place() string {
	if t.opts.Store == nil {
		return "no store"
	}
	return t.opts.Store.String()
}

// rests is the error of a request that failed a moment ago, nil if there is none.
func (t *Tier) rests() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.failed != nil && time.Now().Before(t.until) {
		return t.failed
	}
	return nil
}

func (t *Tier) ended(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.failed = err; err != nil {
		t.until = time.Now().Add(restTime)
	}
}

// fetch reads from an object. It ends in the time given, after which the store counts as away for a moment.
func (t *Tier) fetch(ctx context.Context, key string, p []byte, off int64, within time.Duration) error {
	if t.opts.Store == nil {
		return t.away(ErrNoStore)
	}
	select {
	case t.turns <- struct{}{}:
		defer func() { <-t.turns }()
	case <-ctx.Done():
		return t.away(ctx.Err())
	}
	if err := t.rests(); err != nil {
		return err
	}
	timed, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	defer context.AfterFunc(t.ctx, cancel)()
	began := time.Now()
	err := t.opts.Store.ReadAt(timed, key, p, off)
	t.nanos.Add(int64(time.Since(began)))
	t.requests.Add(1)
	switch {
	case err == nil:
		t.read.Add(int64(len(p)))
		t.ended(nil)
		return nil
	case errors.Is(err, ErrMissing):
		t.errs.Add(1)
		return err
	}
	if timed.Err() != nil && ctx.Err() == nil && t.ctx.Err() == nil {
		err = fmt.Errorf("no answer within %s: %w", within, err)
	}
	err = t.away(err)
	t.errs.Add(1)
	if ctx.Err() == nil && t.ctx.Err() == nil {
		t.ended(err)
	}
	return err
}

// block fills p with what block n of a file holds at off.
func (t *Tier) block(f *File, n int64, p []byte, off int) error {
	k := blockKey{f.number, n}
	if t.cache.get(k, p, off) {
		t.hits.Add(1)
		return nil
	}
	t.misses.Add(1)
	t.mu.Lock()
	w := t.flights[k]
	if w == nil {
		w = &flight{done: make(chan struct{})}
		t.flights[k] = w
		t.mu.Unlock()
		data := make([]byte, min(t.opts.BlockBytes, f.size-n*t.opts.BlockBytes))
		if w.err = t.fetch(t.ctx, f.key, data, n*t.opts.BlockBytes, t.opts.Timeout); w.err == nil {
			w.data = data
			t.cache.put(k, data)
		}
		t.mu.Lock()
		delete(t.flights, k)
		t.mu.Unlock()
		close(w.done)
	} else {
		t.mu.Unlock()
		<-w.done // it ends by the timeout of the request
	}
	if w.err != nil {
		return w.err
	}
	copy(p, w.data[off:])
	return nil
}

// Copy reads all of an object of size bytes, past the cache, into w.
func (t *Tier) Copy(ctx context.Context, key string, size int64, w io.Writer) error {
	buf := make([]byte, min(wholeBytes, max(size, 1)))
	for off := int64(0); off < size; {
		b := buf[:min(int64(len(buf)), size-off)]
		if err := t.fetch(ctx, key, b, off, wholeFactor*t.opts.Timeout); err != nil {
			return err
		}
		if _, err := w.Write(b); err != nil {
			return err
		}
		off += int64(len(b))
	}
	return nil
}

// whole is Copy for an object whose SHA-256 is known, in hexadecimal.
func (t *Tier) whole(ctx context.Context, key string, size int64, sum string, w io.Writer) error {
	h := sha256.New()
	if err := t.Copy(ctx, key, size, io.MultiWriter(w, h)); err != nil {
		return err
	}
	if got := hex.EncodeToString(h.Sum(nil)); got != sum {
		return fmt.Errorf("%w: %s in %s has the SHA-256 %s, it was put there with %s", ErrDamaged, key, t.place(), got, sum)
	}
	return nil
}

// Put stores an object, reads it back and compares its SHA-256.
func (t *Tier) Put(ctx context.Context, key string, r io.ReaderAt, size int64, sum string) error {
	if t.opts.Store == nil {
		return t.away(ErrNoStore)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(t.ctx, cancel)()
	if err := t.opts.Store.Put(ctx, key, r, size); err != nil {
		return fmt.Errorf("put %s into %s: %w", key, t.place(), err)
	}
	t.written.Add(size)
	if err := t.whole(ctx, key, size, sum, io.Discard); err != nil {
		return fmt.Errorf("read back what was put: %w", err)
	}
	return nil
}

// List calls f with the objects whose keys begin with prefix.
func (t *Tier) List(ctx context.Context, prefix string, f func(key string, bytes int64) error) error {
	if t.opts.Store == nil {
		return t.away(ErrNoStore)
	}
	return t.opts.Store.List(ctx, prefix, f)
}

// Remove removes an object.
func (t *Tier) Remove(ctx context.Context, key string) error {
	if t.opts.Store == nil {
		return t.away(ErrNoStore)
	}
	return t.opts.Store.Remove(ctx, key)
}

// Rested lets the store be asked again at once after a failure.
func (t *Tier) Rested() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.until = time.Time{}
}
