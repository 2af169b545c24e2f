package spoor

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"

	"spoor/sdk/go/internal/spool"
)

// Version of this package, as events carry it in context.library.
const Version = "0.1.0"

// Client queues events and sends them. It is safe for use by any number of
// goroutines; Close it, or the last events are lost or stay in the spool.
type Client struct {
	opts     Options
	static   map[string]any // Options.Context, written already
	counters counters
	queue    *queue
	found    uint64 // events that were in the spool
	http     *http.Client

	hurry  chan struct{}
	stop   context.CancelFunc // ends the sender at once
	ended  chan struct{}      // it has ended
	ending sync.Once
	result error // of Close

	exposures exposures
	awaited   awaited
}

// New returns a client, which connects with its first events. With a spool it
// begins with what an earlier one has left there.
func New(options Options) (*Client, error) {
	o, err := options.withDefaults()
	if err != nil {
		return nil, fmt.Errorf("spoor client: %w", err)
	}
	c := &Client{opts: o, static: make(map[string]any, len(o.Context)), hurry: make(chan struct{}), ended: make(chan struct{}), http: o.httpClient()}
	for name, value := range o.Context {
		text, err := appendValue(nil, value, 2)
		if err != nil {
			return nil, fmt.Errorf("spoor client: Context %q: %w", name, err)
		}
		c.static[name] = encoded(text)
	}
	c.queue = newQueue(&c.opts, &c.counters)
	if o.SpoolDir == "" {
		c.queue.store = newMemory(o.QueueEvents, o.QueueBytes)
	} else {
		s, err := spool.Open(spool.Options{
			Dir: o.SpoolDir, MaxBytes: o.SpoolBytes, MaxLine: maxEventBytes, Sync: o.SpoolSync, Changed: c.queue.onDisk, Log: o.Logger,
		})
		if err != nil {
			return nil, fmt.Errorf("spoor client: %w", err)
		}
		c.queue.store, c.found = files{s}, uint64(s.Found())
		c.queue.pushed = int64(c.found)
	}
	ctx, stop := context.WithCancel(context.Background())
	c.stop = stop
	sender := &sender{
		refused: c.awaited.refuse, opts: &c.opts, queue: c.queue, counts: &c.counters, http: c.http, log: o.Logger, hurry: c.hurry, random: rand.Float64,
	}
	go func() {
		defer close(c.ended)
		sender.run(ctx)
	}()
	return c, nil
}

// buffers hold events while they are written.
var buffers = sync.Pool{New: func() any { return new([]byte) }}

// maxKeptBuffer is the largest buffer that is kept for the next event.
const maxKeptBuffer = 64 << 10

// Enqueue queues an event and returns: nil when it is queued and, with a spool,
// in a file; otherwise an error that wraps ErrInvalid, ErrFull, ErrClosed,
// ErrSpool or ErrNotDurable. It never waits longer than Options.MaxBlock, and,
// but for Options.Synchronous, never for the network. ctx carries what WithContext
// has put there, and ends a wait; a ctx that has ended is no reason not to queue.
func (c *Client) Enqueue(ctx context.Context, e Event) error {
	now := time.Now()
	if e.ID == "" {
		e.ID = newID(now)
	}
	if e.Timestamp.IsZero() {
		e.Timestamp = now
	}
	around, static := contextOf(ctx), c.static
	if c.opts.BeforeSend != nil {
		merged := maps.Clone(c.opts.Context)
		maps.Copy(merged, around)
		maps.Copy(merged, e.Context)
		e.Context, around, static = merged, nil, nil
		if ok, err := c.hook(&e); err != nil || !ok {
			c.counters.droppedByHook.Add(1)
			return err
		}
	}
	if e.isEmpty() {
		return nil
	}
	buf := buffers.Get().(*[]byte)
	defer buffers.Put(buf)
	err := e.check()
	if err == nil {
		*buf, err = e.append((*buf)[:0], e.Context, around, static)
	}
	if err != nil {
		c.counters.invalid.Add(1)
		return err
	}
	data := *buf
	if c.opts.SpoolDir == "" { // a spool copies what it is given
		data = append(make([]byte, 0, len(data)), data...)
	}
	if cap(*buf) > maxKeptBuffer {
		*buf = nil
	}
	var answer *awaitedEvent
	if c.opts.Synchronous {
		answer = c.awaited.add(e.ID)
		defer c.awaited.remove(e.ID)
	}
	if err = c.queue.put(ctx, data); err == nil || errors.Is(err, ErrNotDurable) {
		c.counters.enqueued.Add(1)
	}
	if err == nil && answer != nil {
		err = c.await(ctx, now, answer)
	}
	return err
}

// ErrUnanswered: the event is queued and will be sent again, but the server has
// not answered for it within MaxBlock or the time of ctx. Only with Options.Synchronous.
var ErrUnanswered = errors.New("the event is queued, but the server has not answered for it")

// RefusedError says that the server refused the event of a call for good. Only
// with Options.Synchronous.
type RefusedError struct{ Dead }

func (e *RefusedError) Error() string {
	return fmt.Sprintf("the server refused event %s for good: %s: %s", e.EventID, e.Code, e.Message)
}

// await waits until the server has answered for an event that was enqueued at a time.
func (c *Client) await(ctx context.Context, since time.Time, event *awaitedEvent) error {
	ctx, cancel := context.WithDeadline(ctx, since.Add(c.opts.MaxBlock))
	defer cancel()
	if err := c.queue.flush(ctx); err != nil {
		return fmt.Errorf("%w: %w", ErrUnanswered, err)
	}
	c.awaited.mu.Lock()
	defer c.awaited.mu.Unlock()
	if event.refused != nil {
		return event.refused
	}
	return nil
}

// awaited are the events that calls wait for, by id.
type awaited struct {
	mu     sync.Mutex
	events map[string]*awaitedEvent
}

type awaitedEvent struct {
	calls   int
	refused *RefusedError // nil: it was not
}

func (a *awaited) add(id string) *awaitedEvent {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.events == nil {
		a.events = map[string]*awaitedEvent{}
	}
	if a.events[id] == nil {
		a.events[id] = &awaitedEvent{}
	}
	a.events[id].calls++
	return a.events[id]
}

func (a *awaited) remove(id string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.events[id].calls--; a.events[id].calls == 0 {
		delete(a.events, id)
	}
}

func (a *awaited) refuse(d Dead) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if e := a.events[d.EventID]; e != nil {
		e.refused = &RefusedError{d}
	}
}

// hook asks BeforeSend. Where it panics the event is not sent: it may hold what
// the hook would have taken out.
func (c *Client) hook(e *Event) (ok bool, err error) {
	defer func() {
		if p := recover(); p != nil {
			ok, err = false, fmt.Errorf("BeforeSend panicked, the event is dropped: %v", p)
			c.opts.Logger.Error("BeforeSend panicked; the event is dropped", "event", e.Name, "panic", fmt.Sprint(p))
		}
	}()
	return c.opts.BeforeSend(e), nil
}

// Flush returns when every event that was enqueued before is stored, refused or
// dropped, or with the error of ctx.
func (c *Client) Flush(ctx context.Context) error { return c.queue.flush(ctx) }

// UnsentError says that a client was closed before all events were sent. It
// wraps the error of the context that ended.
type UnsentError struct {
	Events  int64
	Spooled bool // they are in the spool, and the next client will send them; otherwise they are lost
	Cause   error
}

func (e *UnsentError) Error() string {
	where := "and are lost"
	if e.Spooled {
		where = "and stay in the spool"
	}
	return fmt.Sprintf("%d events were not sent before the client closed (%v) %s", e.Events, e.Cause, where)
}

// Unwrap returns the error of the context.
func (e *UnsentError) Unwrap() error { return e.Cause }

// Close refuses further events and sends those that are queued, until ctx ends.
// It returns an *UnsentError where some are left. Further calls wait for the
// first and return what it returned.
func (c *Client) Close(ctx context.Context) error {
	c.ending.Do(func() { c.result = c.close(ctx) })
	return c.result
}

func (c *Client) close(ctx context.Context) error {
	c.queue.close()
	close(c.hurry)
	var cause error
	select {
	case <-c.ended:
	case <-ctx.Done():
		cause = ctx.Err()
		c.stop()
		<-c.ended
	}
	c.stop()
	left, _ := c.queue.size()
	err := c.queue.store.close()
	if c.opts.HTTPClient == nil {
		c.http.CloseIdleConnections()
	}
	if left > 0 {
		err = errors.Join(&UnsentError{Events: left, Spooled: c.opts.SpoolDir != "", Cause: cause}, err)
	}
	return err
}
