// Package logquota keeps a flood of alike lines out of a log: a disk that fails or a
// request that is sent again and again must not fill the disk of the log or hide other lines.
package logquota

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

const (
	// Lines of one level and message within Window are written, the others counted.
	Lines  = 10
	Window = time.Minute
	// maxMessages bounds what is remembered; messages are constants of the program, so it is not reached.
	maxMessages = 1000
)

// Handler is a slog.Handler that writes at most Lines alike lines per Window to
// another one. The first line of the next window says how many were left out. Lines below
// information are not bounded: they are written for whoever asked for them.
type Handler struct {
	slog.Handler
	counts *counts
}

type counts struct {
	now func() time.Time
	mu  sync.Mutex
	by  map[key]*count
}

type key struct {
	level   slog.Level
	message string
}

type count struct {
	since   time.Time
	lines   int
	leftOut int
}

// New wraps a handler; now is the clock.
func New(to slog.Handler, now func() time.Time) *Handler {
	return &Handler{to, &counts{now: now, by: map[key]*count{}}}
}

// Handle writes a line or counts it.
func (h *Handler) Handle(ctx context.Context, r slog.Record) error {
	if r.Level >= slog.LevelInfo {
		leftOut, ok := h.counts.take(key{r.Level, r.Message})
		if !ok {
			return nil
		}
		if leftOut > 0 {
			r = r.Clone()
			r.AddAttrs(slog.Int("left_out_before", leftOut))
		}
	}
	return h.Handler.Handle(ctx, r)
}

// take tells whether a line may be written, and how many were left out before it.
func (c *counts) take(k key) (leftOut int, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.now()
	n := c.by[k]
	if n == nil {
		if len(c.by) == maxMessages {
			clear(c.by)
		}
		n = &count{since: now}
		c.by[k] = n
	}
	if now.Sub(n.since) >= Window {
		leftOut, n.leftOut, n.lines, n.since = n.leftOut, 0, 0, now
	}
	if n.lines == Lines {
		n.leftOut++
		return 0, false
	}
	n.lines++
	return leftOut, true
}

// WithAttrs counts together with h.
func (h *Handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &Handler{h.Handler.WithAttrs(attrs), h.counts}
}

// WithGroup counts together with h.
func (h *Handler) WithGroup(name string) slog.Handler {
	return &Handler{h.Handler.WithGroup(name), h.counts}
}
