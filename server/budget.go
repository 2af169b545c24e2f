package server

import (
	"context"
	"sync"
	"time"
)

// budget shares a number of bytes among requests. Those who wait are served in
// the order of arrival, so that a large body is not overtaken for ever.
type budget struct {
	mu    sync.Mutex
	free  int64
	queue []*budgetWaiter
}

type budgetWaiter struct {
	bytes int64
	ready chan struct{}
}

func newBudget(bytes int64) *budget { return &budget{free: bytes} }

// take takes bytes, waiting at most wait for them; false where it waited in vain.
func (b *budget) take(ctx context.Context, bytes int64, wait time.Duration) bool {
	b.mu.Lock()
	if len(b.queue) == 0 && b.free >= bytes {
		b.free -= bytes
		b.mu.Unlock()
		return true
	}
	w := &budgetWaiter{bytes, make(chan struct{})}
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

// give returns bytes that were taken.
func (b *budget) give(bytes int64) {
	if bytes == 0 {
		return
	}
	b.mu.Lock()
	b.free += bytes
	b.serve()
	b.mu.Unlock()
}

func (b *budget) serve() {
	for len(b.queue) > 0 && b.free >= b.queue[0].bytes {
		w := b.queue[0]
		b.queue[0] = nil
		b.queue = b.queue[1:]
		b.free -= w.bytes
		close(w.ready)
	}
}

// left is how many bytes are free now.
func (b *budget) left() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.free
}
