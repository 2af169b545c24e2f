package export

import (
	"time"

	"spoor/server/stream"
)

const (
	// flushBytes is how much is gathered before it is sent,
	flushBytes = 32 << 10
	// flushAge unless that takes longer than this.
	flushAge = 100 * time.Millisecond
)

// Stream is the body of an export.
type Stream struct {
	*stream.Body
	lines   Format
	buf     []byte
	flushed time.Time
}

// NewStream makes a stream. extend is called before each piece is written to the client.
func NewStream(lines Format, extend func() error) *Stream {
	return &Stream{Body: stream.New(extend), lines: lines, flushed: time.Now()}
}

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
	}
	x.End(err)
}

func (x *Stream) flush() error {
	if _, err := x.Write(x.buf); err != nil || len(x.buf) == 0 {
		return err
	}
	x.buf = x.buf[:0]
	x.flushed = time.Now()
	return nil
}
