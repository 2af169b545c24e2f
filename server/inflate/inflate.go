// Package inflate undoes the compression of request bodies without trusting
// them: it stops at a number of bytes, at a ratio and at a window, and a stream
// that is cut off, damaged or followed by anything else yields nothing.
//
// On the way of an event it stands between the socket and the JSON decoder.
package inflate

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"runtime"
	"sync"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// Coding is how a body is compressed.
type Coding uint8

// The codings that are understood.
const (
	Identity Coding = iota
	Gzip
	Zstd
)

// Errors that a caller tells apart; all others are wrapped in ErrCorrupt.
var (
	ErrTooLarge = errors.New("the decompressed body is too large")
	ErrRatio    = errors.New("the body is compressed more than any honest one")
	ErrCorrupt  = errors.New("the compressed body is damaged")
)

const (
	// maxWindowBytes bounds what a zstd frame makes the decoder hold.
	maxWindowBytes = 8 << 20
	// maxRatio applies to what exceeds freeBytes: repetitive events reach about 60.
	maxRatio  = 250
	freeBytes = 1 << 20
	// maxMembers bounds the members of one gzip body; log shippers concatenate a few.
	maxMembers = 1024
	// step is how much memory is asked for at a time.
	step = 256 << 10
)

// Sniff tells a body's coding by its first bytes.
func Sniff(body []byte) Coding {
	switch {
	case len(body) >= 2 && body[0] == 0x1f && body[1] == 0x8b:
		return Gzip
	case len(body) >= 4 && body[0] == 0x28 && body[1] == 0xb5 && body[2] == 0x2f && body[3] == 0xfd:
		return Zstd
	}
	return Identity
}

// Pool keeps decoders. At most as many as there are processors work at once.
type Pool struct {
	gzip sync.Pool
	zstd chan *zstd.Decoder
}

// NewPool returns a pool whose decoders are made when they are needed.
func NewPool() *Pool {
	p := &Pool{zstd: make(chan *zstd.Decoder, runtime.GOMAXPROCS(0))}
	for range cap(p.zstd) {
		p.zstd <- nil
	}
	return p
}

// Close ends the decoders that are not at work. The pool must not be used afterwards.
func (p *Pool) Close() {
	for {
		select {
		case d := <-p.zstd:
			if d != nil {
				d.Close()
			}
		default:
			return
		}
	}
}

// Append appends what body decompresses to, at most limit bytes. grow is asked
// before memory for so many further bytes is taken, and may refuse.
func (p *Pool) Append(dst, body []byte, coding Coding, limit int, grow func(bytes int) error) ([]byte, error) {
	if len(body) == 0 {
		return dst, fmt.Errorf("%w: it is empty", ErrCorrupt)
	}
	s := sink{dst: dst, base: len(dst), limit: limit, in: len(body), grow: grow}
	var err error
	switch coding {
	case Gzip:
		err = p.gunzip(&s, body)
	case Zstd:
		err = p.unzstd(&s, body)
	default:
		return append(dst, body...), nil
	}
	return s.dst, err
}

func (p *Pool) gunzip(s *sink, body []byte) error {
	in := bytes.NewReader(body)
	r, _ := p.gzip.Get().(*gzip.Reader)
	if r == nil {
		r = new(gzip.Reader)
	}
	defer p.gzip.Put(r)
	for member := 0; in.Len() > 0; member++ {
		if member == maxMembers {
			return fmt.Errorf("%w: it has more than %d gzip members", ErrRatio, maxMembers)
		}
		if err := r.Reset(in); err != nil {
			return corrupt(err, member)
		}
		r.Multistream(false)
		if err := s.readAll(r); err != nil {
			return corrupt(err, member)
		}
	}
	return nil
}

// corrupt names what a decoder found wrong.
func corrupt(err error, member int) error {
	switch {
	case errors.Is(err, ErrTooLarge), errors.Is(err, ErrRatio), errors.Is(err, errGrow):
		return err
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("%w: it is cut off", ErrCorrupt)
	case member > 0 && errors.Is(err, gzip.ErrHeader):
		return fmt.Errorf("%w: something else follows the end of the stream", ErrCorrupt)
	}
	return fmt.Errorf("%w: %w", ErrCorrupt, err)
}

func (p *Pool) unzstd(s *sink, body []byte) (err error) {
	d := <-p.zstd
	defer func() { p.zstd <- d }()
	if d == nil {
		// One goroutine, no prefetch: memory stays at one window and one block.
		d, err = zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
			zstd.WithDecoderMaxWindow(maxWindowBytes), zstd.WithDecoderMaxMemory(1<<30))
		if err != nil {
			return fmt.Errorf("make a zstd decoder: %w", err)
		}
	}
	if err = d.Reset(bytes.NewReader(body)); err == nil {
		err = s.readAll(d)
	}
	// Let go of the body.
	if rerr := d.Reset(nil); rerr != nil && err == nil {
		err = rerr
	}
	switch {
	case errors.Is(err, zstd.ErrWindowSizeExceeded), errors.Is(err, zstd.ErrDecoderSizeExceeded):
		return fmt.Errorf("%w: its zstd window is above %d MiB", ErrTooLarge, maxWindowBytes>>20)
	case err != nil:
		return corrupt(err, 0)
	}
	return nil
}

var errGrow = errors.New("memory was refused")

// sink takes decompressed bytes within limits.
type sink struct {
	dst   []byte
	base  int // length of dst before
	limit int // decompressed bytes
	in    int // compressed bytes
	grow  func(int) error
}

func (s *sink) readAll(r io.Reader) error {
	for {
		if len(s.dst) == cap(s.dst) {
			more := min(max(step, len(s.dst)), s.limit+1)
			if err := s.grow(more); err != nil {
				return fmt.Errorf("%w: %w", errGrow, err)
			}
			bigger := make([]byte, len(s.dst), cap(s.dst)+more)
			copy(bigger, s.dst)
			s.dst = bigger
		}
		n, err := r.Read(s.dst[len(s.dst):cap(s.dst)])
		s.dst = s.dst[:len(s.dst)+n]
		out := len(s.dst) - s.base
		switch {
		case out > s.limit:
			return ErrTooLarge
		case out > freeBytes && out/maxRatio > s.in:
			return ErrRatio
		case err == io.EOF:
			return nil
		case err != nil:
			return err
		}
	}
}
