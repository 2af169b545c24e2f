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
	// pieceBytes is how much memory is asked for at a time.
	pieceBytes = 256 << 10
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

// Pool keeps decoders. As many as there are processors work at once: more would
// take memory and gain no time.
type Pool struct {
	workers chan *worker
	pieces  sync.Pool // *[pieceBytes]byte
}

// worker is what one body at a time is decompressed with. Decoders are made
// when they are needed first.
type worker struct {
	gzip gzip.Reader
	zstd *zstd.Decoder
}

// NewPool returns a pool.
func NewPool() *Pool {
	p := &Pool{workers: make(chan *worker, runtime.GOMAXPROCS(0))}
	p.pieces.New = func() any { return new([pieceBytes]byte) }
	for range cap(p.workers) {
		p.workers <- new(worker)
	}
	return p
}

// Close ends the decoders that are not at work. The pool must not be used afterwards.
func (p *Pool) Close() {
	for {
		select {
		case w := <-p.workers:
			if w.zstd != nil {
				w.zstd.Close()
			}
		default:
			return
		}
	}
}

// Append appends what body decompresses to, at most limit bytes. grow is asked
// before memory for so many further bytes is taken, and may refuse; at most
// twice the decompressed bytes and some are asked for.
func (p *Pool) Append(dst, body []byte, coding Coding, limit int, grow func(bytes int) error) ([]byte, error) {
	if len(body) == 0 {
		return dst, fmt.Errorf("%w: it is empty", ErrCorrupt)
	}
	if coding == Identity {
		return append(dst, body...), nil
	}
	s := sink{pieces: &p.pieces, limit: limit, in: len(body), grow: grow}
	defer s.release()
	w := <-p.workers
	var err error
	if coding == Gzip {
		err = w.gunzip(&s, body)
	} else {
		err = w.unzstd(&s, body)
	}
	p.workers <- w
	if err != nil {
		return dst, err
	}
	return s.appendTo(dst)
}

func (w *worker) gunzip(s *sink, body []byte) error {
	in := bytes.NewReader(body)
	defer in.Reset(nil) // the reader keeps it
	for member := 0; in.Len() > 0; member++ {
		if member == maxMembers {
			return fmt.Errorf("%w: it has more than %d gzip members", ErrRatio, maxMembers)
		}
		if err := w.gzip.Reset(in); err != nil {
			return corrupt(err, member)
		}
		w.gzip.Multistream(false)
		if err := s.readAll(&w.gzip); err != nil {
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

func (w *worker) unzstd(s *sink, body []byte) (err error) {
	if w.zstd == nil {
		// One goroutine, no prefetch: memory stays at one window and one block.
		w.zstd, err = zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
			zstd.WithDecoderMaxWindow(maxWindowBytes), zstd.WithDecoderMaxMemory(1<<30))
		if err != nil {
			return fmt.Errorf("make a zstd decoder: %w", err)
		}
	}
	if err = w.zstd.Reset(bytes.NewReader(body)); err == nil {
		err = s.readAll(w.zstd)
	}
	// Let go of the body.
	if rerr := w.zstd.Reset(nil); rerr != nil && err == nil {
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

// sink takes decompressed bytes within limits. They stay in pieces until the
// stream has ended well, so that a bomb leaves no garbage.
type sink struct {
	pieces *sync.Pool
	held   []*[pieceBytes]byte
	last   int // bytes in the last piece
	out    int // decompressed bytes
	limit  int // of out
	in     int // compressed bytes
	grow   func(int) error
}

func (s *sink) readAll(r io.Reader) error {
	for {
		if len(s.held) == 0 || s.last == pieceBytes {
			if err := s.take(pieceBytes); err != nil {
				return err
			}
			s.held = append(s.held, s.pieces.Get().(*[pieceBytes]byte))
			s.last = 0
		}
		n, err := r.Read(s.held[len(s.held)-1][s.last:])
		s.last += n
		s.out += n
		switch {
		case s.out > s.limit:
			return ErrTooLarge
		case s.out > freeBytes && s.out/maxRatio > s.in:
			return ErrRatio
		case err == io.EOF:
			return nil
		case err != nil:
			return err
		}
	}
}

func (s *sink) take(bytes int) error {
	if err := s.grow(bytes); err != nil {
		return fmt.Errorf("%w: %w", errGrow, err)
	}
	return nil
}

// appendTo appends what was decompressed to dst.
func (s *sink) appendTo(dst []byte) ([]byte, error) {
	if need := len(dst) + s.out; cap(dst) < need {
		if err := s.take(s.out); err != nil {
			return dst, err
		}
		dst = append(make([]byte, 0, need), dst...)
	}
	for i, piece := range s.held {
		n := pieceBytes
		if i == len(s.held)-1 {
			n = s.last
		}
		dst = append(dst, piece[:n]...)
	}
	return dst, nil
}

func (s *sink) release() {
	for _, piece := range s.held {
		s.pieces.Put(piece)
	}
	s.held = nil
}
