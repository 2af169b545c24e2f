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
	"sync"
	"time"

	"spoor/server/stream"
)

const (
	// every is the time between two lines.
	every = time.Second
	// firstAfter is when the first line comes: what fails before it is answered as any other error.
	firstAfter = 100 * time.Millisecond
)

// Stream is the body of the answer.
type Stream struct {
	*stream.Body

	mu          sync.Mutex
	done, total int64
}

// NewStream makes a stream. extend is called before each line is written to the client.
func NewStream(extend func() error) *Stream { return &Stream{Body: stream.New(extend)} }

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
	case err == nil:
		err = x.line(map[string]any{"result": result})
	case x.Begun():
		code, message := failed(err)
		err = x.line(map[string]failure{"error": {code, message}})
	}
	x.End(err)
}

// line is called by one goroutine at a time.
func (x *Stream) line(v any) error {
	b, err := json.Marshal(v)
	if err == nil {
		_, err = x.Write(append(b, '\n'))
	}
	return err
}
