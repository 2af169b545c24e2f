// Package budget shares memory among requests: bodies take of it as they
// arrive, and wait for others to give it back.
package budget

import (
	"context"
	"sync"
	"time"
)

// Budget is a number of bytes that requests share. Those who wait are served in
// the order of arrival, so that a large body is not overtaken for ever.
type Budget struct {
	mu    sync.Mutex
	free  int64
	queue []*waiter
}

type waiter struct {
	bytes int64
	ready chan struct{}
}

// New returns a budget of so many bytes.
func New(bytes int64) *Budget { return &Budget{free: bytes} }

// Take takes bytes, waiting at most wait for them; false where it waited in vain.
func (b *Budget) Take(ctx context.Context, bytes int64, wait time.Duration) bool {
	b.mu.Lock()
	if len(b.queue) == 0 && b.free >= bytes {
		b.free -= bytes
		b.mu.Unlock()
		return true
	}
	w := &waiter{bytes, make(chan struct{})}
	b.queue = append(b.queue, w)
	b.mu.Unlock()
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-w.ready:
		return true
	case <-timer.C:
	case <-ctx.Done():
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for i, other := range b.queue {
		if other == w {
			b.queue = append(b.queue[:i], b.queue[i+1:]...)
			b.serve() // it may have stood before smaller ones
			return false
		}
	}
	return true // it was served while it gave up
}

// Give returns bytes that were taken.
func (b *Budget) Give(bytes int64) {
	if bytes == 0 {
		return
	}
	b.mu.Lock()
	b.free += bytes
	b.serve()
	b.mu.Unlock()
}

func (b *Budget) serve() {
	for len(b.queue) > 0 && b.free >= b.queue[0].bytes {
		w := b.queue[0]
		b.queue[0] = nil
		b.queue = b.queue[1:]
		b.free -= w.bytes
		close(w.ready)
	}
}

// Left is how many bytes are free now.
func (b *Budget) Left() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.free
}
