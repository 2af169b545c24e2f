package export

import (
	"io"
	"sync"
	"time"
)

const (
	// flushBytes is how much is gathered before it is sent,
	flushBytes = 32 << 10
	// flushAge unless that takes longer than this.
	flushAge = 100 * time.Millisecond
)

// Stream is the body of an export: one goroutine writes, the connection reads.
// Nothing but one piece is held between them.
type Stream struct {
	r       *io.PipeReader
	w       *io.PipeWriter
	lines   Format
	extend  func() error // gives the connection time for the next piece
	buf     []byte
	flushed time.Time
	begun   bool

	once    sync.Once
	started chan struct{} // closed when there is something to send, or the end
	failed  error         // before anything was sent; read after started
}

// NewStream makes a stream; lines is nil for one that Fill writes. extend is called before each piece is written to the client.
func NewStream(lines Format, extend func() error) *Stream {
	x := &Stream{lines: lines, extend: extend, started: make(chan struct{}), flushed: time.Now()}
	x.r, x.w = io.Pipe()
	return x
}

// Started waits for the first piece, or the end. An error means that the
// export failed before it: there is no stream then.
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

// Run writes what each yields. An error before the first piece is told by
// Started; a later one cuts the stream off without its end mark.
func (x *Stream) Run(each func(yield func(event []byte) error) error) {
	x.buf = x.lines.Head(make([]byte, 0, flushBytes+4096))
	err := each(func(event []byte) error {
		var err error
		if x.buf, err = x.lines.Line(x.buf, event); err != nil {
			return err
		}
		if len(x.buf) >= flushBytes || time.Since(x.flushed) >= flushAge {
			return x.flush()
		}
		return nil
	})
	if err == nil {
		err = x.flush()
	} else if !x.begun {
		x.failed = err
	}
	_ = x.w.CloseWithError(err) // nil is the regular end
	x.start()
}

// Fill is Run for an export that is written as bytes, of a file with a format of its own.
func (x *Stream) Fill(write func(w io.Writer) error) {
	x.buf = make([]byte, 0, flushBytes+4096)
	err := write(filler{x})
	if err == nil {
		err = x.flush()
	} else if !x.begun {
		x.failed = err
	}
	_ = x.w.CloseWithError(err)
	x.start()
}

// filler gathers what is written.
type filler struct{ x *Stream }

func (f filler) Write(p []byte) (int, error) {
	f.x.buf = append(f.x.buf, p...)
	if len(f.x.buf) >= flushBytes {
		if err := f.x.flush(); err != nil {
			return 0, err
		}
	}
	return len(p), nil
}

func (x *Stream) start() { x.once.Do(func() { close(x.started) }) }

func (x *Stream) flush() error {
	x.begun = true
	x.start()
	if len(x.buf) == 0 {
		return nil
	}
	_, err := x.w.Write(x.buf)
	x.buf = x.buf[:0]
	x.flushed = time.Now()
	return err
}
