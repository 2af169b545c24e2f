// Package collect gathers the events of many requests into few log entries.
//
// On the way of an event it stands between the HTTP handlers, which have the
// decompressed body of a request, and the log. Requests decode their events
// straight into shared batches; whenever the log is idle, or a batch is full,
// the batch is sealed, committed as one log entry, and every request that has
// rows in it learns which of them were new. So the number of log entries
// follows the speed of the log, not the number of requests: an idle log takes
// a single event at once, a busy one takes whatever came meanwhile.
package collect

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"spoor/engine/event"
	"spoor/engine/letters"
	"spoor/segment/batch"
)

// Log is where batches become log entries.
type Log interface {
	// EventsEntry appends the log entry that stores b to dst.
	EventsEntry(dst []byte, b *batch.Batch) []byte
	// CommitEvents returns when the entry is durable and applied, with what became of its rows.
	// After an error the log may keep entry for ever, otherwise it is the caller's again.
	CommitEvents(ctx context.Context, entry []byte) (v Verdicts, index uint64, err error)
	// CommitLetters returns when dead letters, each as letters.Append has it, are durable and applied.
	CommitLetters(ctx context.Context, b letters.Bounds, encoded []byte) (index uint64, err error)
}

// Verdicts say what became of the rows of an entry; a nil list is about none.
type Verdicts struct {
	// Duplicate tells for each row whether an event with its id was stored before.
	Duplicate []bool
	// Refused says of each row why it was not stored, nil where it was, or is a duplicate.
	Refused []*event.Reject
	// Letters are those of refused rows that are to be kept, nil for other rows.
	Letters []*letters.Letter

	lettersErr error // they could not be kept
}

// Errors of a request. Errors of Log are passed on as they are.
var (
	// ErrBusy: too many requests wait for the log. Nothing was stored.
	ErrBusy = errors.New("too many requests wait for the log")
	// ErrClosed: the collector is shutting down. Nothing was stored.
	ErrClosed = errors.New("the collector is shutting down")
	// ErrPartly: what was refused of the request could not be kept. Some of it may be stored.
	ErrPartly = errors.New("what was refused could not be kept")
	// ErrTooManyEvents: the body has more events than Options.MaxEvents. Nothing was stored.
	ErrTooManyEvents = errors.New("too many events in one request")
)

// A builder that reached sealBytes or sealRows is sealed. What came last may go
// beyond: a shared body, or in a builder of one request an event. Both are at
// most 512 KiB, so that an entry stays below the 1 MiB that a log takes.
const (
	sealBytes = 384 << 10 // of the encoded batch, by estimate
	sealRows  = 4096
	// Bodies up to this share a builder with other requests; larger ones have
	// builders of their own.
	maxSharedBody = 256 << 10
	// MaxEventBytes bounds Options.Limits.EventBytes.
	MaxEventBytes = 512 << 10
	// maxInFlight is how many entries wait for the log at once. Only full ones
	// go beyond the first: a batch that is not full gains rows by waiting.
	maxInFlight = 8
	// maxFreeBuilders bounds the memory that empty builders keep.
	maxFreeBuilders = 16
)

// Options tune a Collector. Zero values take the defaults.
type Options struct {
	Limits        event.Limits  // default event.DefaultLimits(), events of at most MaxEventBytes
	MaxEvents     int           // of one request; default 10,000
	MaxWaiting    int           // requests inside the collector at once; default 16,384
	CommitTimeout time.Duration // how long the log may take for an entry; default 10 s
	Now           func() time.Time
	// Elapsed is a clock that is never set, for measuring how long the log takes; default the system's.
	Elapsed func() time.Duration
	// Random fills p with random bytes, for assigned event ids; default crypto/rand.
	// It is called by one builder at a time, from several goroutines.
	Random func(p []byte)
	// Governor makes what decides over the events of one builder; nil: all are taken.
	Governor func() event.Governor
	// Duplicates is told of a batch of which rows were stored before; nil: nobody is. It keeps nothing of it.
	Duplicates func(b *batch.Batch, duplicate []bool)
	// LetterBounds says which dead letters stay at a time; default: as many as may.
	LetterBounds func(now time.Time) letters.Bounds
}

func (o *Options) setDefaults() {
	if o.Limits == (event.Limits{}) {
		o.Limits = event.DefaultLimits()
	}
	o.Limits.EventBytes = min(o.Limits.EventBytes, MaxEventBytes)
	if o.MaxEvents == 0 {
		o.MaxEvents = 10_000
	}
	if o.MaxWaiting == 0 {
		o.MaxWaiting = 16 << 10
	}
	if o.CommitTimeout == 0 {
		o.CommitTimeout = 10 * time.Second
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Elapsed == nil {
		start := time.Now()
		o.Elapsed = func() time.Duration { return time.Since(start) }
	}
	if o.LetterBounds == nil {
		o.LetterBounds = func(time.Time) letters.Bounds { return letters.Bounds{Bytes: letters.MaxBytes} }
	}
	if o.Random == nil {
		o.Random = cryptoRandom
	}
}

// Collector is safe for concurrent use.
type Collector struct {
	log  Log
	opts Options

	slots chan struct{} // held while a body is decoded: decoding is CPU alone

	mu       sync.Mutex
	work     sync.Cond    // of mu: something may be ready for a committer, or the end has come
	open     []*builder   // with rows, below the seal limits; the last takes the next request
	full     []entry      // sealed or due, oldest first
	free     []*builder   // empty
	letters  *letterChunk // in full, takes more; nil: there is none
	inFlight int
	passed   int               // full entries that went before an open builder, in a row
	waiting  int               // requests inside
	crowds   map[string]*crowd // by tenant
	smallest int               // usual of the smallest crowd, in sixteenths
	asleep   []*crowd          // with requests that may be woken, the next one first
	sleepers sync.Cond         // of mu: somebody is asleep, or the end has come
	awake    int               // requests that wakeLoop woke and that are inside
	took     time.Duration     // by the last commit
	drained  sync.Cond
	closed   bool

	committers sync.WaitGroup
	leastTook  atomic.Int64 // nanoseconds, see Took; written under mu
	stats      Stats
}

// Stats counts since the collector was made.
type Stats struct {
	Entries uint64 // log entries that were committed
	Rows    uint64 // rows in them
	Failed  uint64 // log entries that the log refused or lost
	Waiting int    // requests inside, now
	// Gathered is the rows that wait for the log now, of requests that were decoded.
	Gathered int
}

// New returns a collector that commits to log until Close.
func New(log Log, opts Options) *Collector {
	opts.setDefaults()
	c := &Collector{log: log, opts: opts, crowds: map[string]*crowd{}, slots: make(chan struct{}, runtime.GOMAXPROCS(0))}
	c.work.L, c.drained.L, c.sleepers.L = &c.mu, &c.mu, &c.mu
	c.committers.Go(c.wakeLoop)
	for range maxInFlight {
		c.committers.Go(c.commitLoop)
	}
	return c
}

// Took is how long the log takes for an entry when nothing holds it up: about the
// least of what it took lately.
func (c *Collector) Took() time.Duration { return time.Duration(c.leastTook.Load()) }

// Close refuses further requests, waits for those that are inside, and stops.
func (c *Collector) Close() {
	c.mu.Lock()
	c.closed = true
	for c.waiting > 0 {
		c.drained.Wait()
	}
	c.work.Broadcast()
	c.sleepers.Broadcast()
	c.mu.Unlock()
	c.committers.Wait()
}

// Stats returns the counters of now.
func (c *Collector) Stats() Stats {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.stats
	s.Waiting = c.waiting
	for _, b := range c.open {
		s.Gathered += b.dec.Rows()
	}
	for i := range c.full {
		if e := &c.full[i]; e.b != nil {
			s.Gathered += e.b.dec.Rows()
		} else {
			s.Gathered += e.part.rows
		}
	}
	return s
}

func (c *Collector) enter(r *Request) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.closed:
		return ErrClosed
	case c.waiting >= c.opts.MaxWaiting:
		return ErrBusy
	}
	c.waiting++
	r.crowd = c.crowdOf(r.Tenant)
	r.crowd.inside++
	return nil
}

func (c *Collector) leave(r *Request) {
	c.mu.Lock()
	c.waiting--
	r.crowd.inside--
	if r.paced {
		r.paced = false
		c.awake--
	}
	if c.closed && c.waiting == 0 {
		c.drained.Broadcast()
	}
	c.mu.Unlock()
}
