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

// every is the time between two lines.
const every = time.Second

// Stream is the body of the answer: Run writes, the connection reads.
type Stream struct {
	r      *io.PipeReader
	w      *io.PipeWriter
	extend func() error // gives the connection time for the next piece

	mu          sync.Mutex
	done, total int64
}

// NewStream makes a stream. extend is called before each line is written to the client.
func NewStream(extend func() error) *Stream {
	x := &Stream{extend: extend}
	x.r, x.w = io.Pipe()
	return x
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
		tick := time.NewTicker(every)
		defer tick.Stop()
		for {
			x.mu.Lock()
			at := place{x.done, x.total}
			x.mu.Unlock()
			if x.line(at) != nil {
				return // the client is gone; the work's context ends with it
			}
			select {
			case <-tick.C:
			case <-ended:
				return
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
	if err != nil {
		code, message := failed(err)
		err = x.line(map[string]failure{"error": {code, message}})
	} else {
		err = x.line(map[string]any{"result": result})
	}
	_ = x.w.CloseWithError(err)
}

func (x *Stream) line(v any) error {
	b, err := json.Marshal(v)
	if err == nil {
		_, err = x.w.Write(append(b, '\n'))
	}
	return err
}
