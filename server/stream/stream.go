// Package stream is the body of an answer that one goroutine writes while the
// connection reads it. Nothing but one piece is held between them.
package stream

import (
	"io"
	"sync"
)

// Body is such a body. Whoever fills it calls Write, and End once.
type Body struct {
	r      *io.PipeReader
	w      *io.PipeWriter
	extend func() error // gives the connection time for the next piece

	begun   bool // there was a piece
	once    sync.Once
	started chan struct{} // closed when there is something to send, or the end
	failed  error         // before anything was sent; read after started
}

// New makes a body. extend is called after each read of the connection, before the
// next piece is written to the client.
func New(extend func() error) *Body {
	x := &Body{extend: extend, started: make(chan struct{})}
	x.r, x.w = io.Pipe()
	return x
}

// Started waits for the first piece, or the end. An error means that the work
// failed before it: there is no body then.
func (x *Body) Started() error {
	<-x.started
	return x.failed
}

// Read is called by the connection's goroutine.
func (x *Body) Read(p []byte) (int, error) {
	n, err := x.r.Read(p)
	if derr := x.extend(); derr != nil && err == nil {
		err = derr
	}
	return n, err
}

// Close is called when the answer was sent or the client is gone.
func (x *Body) Close() error { return x.r.Close() }

// Begun tells whoever writes whether there was a piece: an error is then no longer Started's to tell.
func (x *Body) Begun() bool { return x.begun }

// Write sends a piece, which may be empty. One goroutine calls it at a time.
func (x *Body) Write(piece []byte) (int, error) {
	x.begun = true
	x.start()
	if len(piece) == 0 {
		return 0, nil
	}
	return x.w.Write(piece)
}

// End ends the body: regularly where err is nil, else cut off, or with nothing
// where nothing was sent.
func (x *Body) End(err error) {
	if !x.begun {
		x.failed = err
	}
	_ = x.w.CloseWithError(err)
	x.start()
}

func (x *Body) start() { x.once.Do(func() { close(x.started) }) }
