// Package progress is the answer to long work that an operator asks for: lines of
// JSON that say how far it is, at least one a second so that nobody on the way takes the
// connection for dead, and a last line with what came of it.
//
//	{"done":1048576,"total":52428800}
//	{"result":{...}}                                or {"error":{"code":"...","message":"..."}}
//
// A stream without such a last line was cut off.
package progress

import (
	"encoding/json"
	"io"
	"sync"
	"time"
)

const (
	// every is the time between two lines.
	every = time.Second
	// firstAfter is when the first line comes: what fails before it is answered as any other error.
	firstAfter = 100 * time.Millisecond
)

// Stream is the body of the answer: Run writes, the connection reads.
type Stream struct {
	r      *io.PipeReader
	w      *io.PipeWriter
	extend func() error // gives the connection time for the next piece

	mu          sync.Mutex
	done, total int64

	begun   bool          // there was a line
	started chan struct{} // closed when there is something to send, or the end
	failed  error         // before anything was sent; read after started
}

// NewStream makes a stream. extend is called before each line is written to the client.
func NewStream(extend func() error) *Stream {
	x := &Stream{extend: extend, started: make(chan struct{})}
	x.r, x.w = io.Pipe()
	return x
}

// Started waits for the first line, or the end. An error is that of work which failed
// before: there is no stream then.
func (x *Stream) Started() error {
	<-x.started
	return x.failed
}

// Read is called by the connection's goroutine.
func (x *Stream) Read(p []byte) (int, error) {
	n, err := x.r.Read(p)
	if derr := x.extend(); derr != nil && err == nil {
		err = derr
	}
	return n, err
}

// Close is called when the answer was sent or the client is gone.
func (x *Stream) Close() error { return x.r.Close() }

type place struct {
	Done  int64 `json:"done"`
	Total int64 `json:"total"`
}

type failure struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}

// Run does the work and tells of it. failed says how an error is told.
func (x *Stream) Run(work func(told func(done, total int64)) (any, error), failed func(error) (code, message string)) {
	ended := make(chan struct{})
	var ticks sync.WaitGroup
	ticks.Go(func() {
		for wait := firstAfter; ; wait = every {
			select {
			case <-time.After(wait):
			case <-ended:
				return
			}
			x.mu.Lock()
			at := place{x.done, x.total}
			x.mu.Unlock()
			if x.line(at) != nil {
				return // the client is gone; the work's context ends with it
			}
		}
	})
	result, err := work(func(done, total int64) {
		x.mu.Lock()
		defer x.mu.Unlock()
		x.done, x.total = done, total
	})
	close(ended)
	ticks.Wait()
	switch {
	case err != nil && !x.begun:
		x.failed = err
		close(x.started)
	case err != nil:
		code, message := failed(err)
		err = x.line(map[string]failure{"error": {code, message}})
	default:
		err = x.line(map[string]any{"result": result})
	}
	_ = x.w.CloseWithError(err)
}

// line is called by one goroutine at a time.
func (x *Stream) line(v any) error {
	if !x.begun {
		x.begun = true
		close(x.started)
	}
	b, err := json.Marshal(v)
	if err == nil {
		_, err = x.w.Write(append(b, '\n'))
	}
	return err
}
