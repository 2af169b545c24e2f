package server

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/valyala/fasthttp"

	"spoor/server/inflate"
)

const (
	// bodyStep is how much of the budget a body takes before its bytes came; it
	// doubles as they do, so slow senders hold twice what they sent.
	bodyStep = 4 << 10
	// maxKeptBody is the largest buffer that is kept for the next request.
	maxKeptBody = 1 << 20
)

// body is the decompressed body of a request, and what it holds of the server's
// budget. Memory is taken as bytes arrive, not as they are announced.
type body struct {
	data   []byte
	packed []byte // as it came, where it was compressed
	taken  int64
	tenant string
	place  bool  // it holds one of s.places,
	room   int64 // so many of s.room
	turn   bool  // and one of s.turns
	s      *Server

	endTurnFunc func() // the method endTurn, bound once
}

var bodies = sync.Pool{New: func() any {
	b := new(body)
	b.endTurnFunc = b.endTurn
	return b
}}

// release gives memory and budget back. data must not be used afterwards.
func (b *body) release() {
	b.endTurn()
	if b.place {
		b.s.places.Give(b.tenant, 1)
	}
	b.s.room.Give(b.tenant, b.room)
	b.s.bytes.Give(b.tenant, b.taken)
	b.taken, b.room, b.tenant, b.place, b.s = 0, 0, "", false, nil
	if b.data = b.data[:0]; cap(b.data) > maxKeptBody {
		b.data = nil
	}
	if b.packed = b.packed[:0]; cap(b.packed) > maxKeptBody {
		b.packed = nil
	}
	bodies.Put(b)
}

func (b *body) take(bytes int) error {
	if !b.s.bytes.Take(context.Background(), b.tenant, int64(bytes), int64(bytes), b.s.opts.WaitTimeout) {
		b.s.metrics.overloaded.Inc()
		return fail(fasthttp.StatusServiceUnavailable, "overloaded", "the server holds as many request bodies as it may; nothing was stored, send it again").again().final()
	}
	b.taken += int64(bytes)
	return nil
}

// grow takes what decompressing needs. It does not wait: those who hold memory
// may wait for the turn that this body has. At most the bodies that are at work
// go beyond the budget so, each by twice its limit.
func (b *body) grow(bytes int) error {
	b.s.bytes.Force(b.tenant, int64(bytes))
	b.taken += int64(bytes)
	return nil
}

// takeTurn waits for a place in the collector, room before the log and a turn at
// a processor, for all of them together as long as may be waited.
func (b *body) takeTurn() error {
	s, none := b.s, context.Background()
	until := time.Now().Add(s.opts.WaitTimeout)
	size := int64(len(b.data))
	if inflate.Sniff(b.data) != inflate.Identity {
		size *= usualRatio
	}
	size = min(max(size, 1), logRoomBytes)
	if b.place = s.places.Take(none, b.tenant, 1, 1, time.Until(until)); b.place && s.room.Take(none, b.tenant, size, size+turnCost, time.Until(until)) {
		b.room = size
		b.turn = s.turns.Take(none, b.tenant, 1, size+turnCost, time.Until(until))
	}
	if !b.turn {
		s.metrics.overloaded.Inc()
		return ErrOverloaded
	}
	return nil
}

const (
	// turnCost is what a request costs beside its bytes, measured in those.
	turnCost = 512
	// usualRatio is how much larger events are before they are compressed, for want of knowing.
	usualRatio = 4
	// logRoomBytes of one key are decoded or wait for the log, and an eighth more of
	// others. What comes beyond waits before it is decoded, where keys take turns: behind,
	// all stand in one line. It is some 60 ms of what two processors take; a disk
	// that takes 100 ms to sync still stores 40 MB of JSON a second.
	logRoomBytes = 4 << 20
)

const (
	// sharedRoomBytes is the room of a key while other keys send, beside what the
	// processors take while the log takes an entry,
	sharedRoomBytes = 64 << 10
	// of so many bytes in a microsecond.
	bytesPerMicrosecond = 30
)

// sharedRoom is the room of one key while others send. Large bodies of one key
// would hold up the small ones of another behind the gate, where all share the
// processors and the entries of the log. The less of it one key may have, the sooner
// others come; but the log has to find enough to take, or all together pay for
// entries of few events. What a request costs beside its bytes does not count here:
// the collector sees to it that many small ones do not hold up others.
func (s *Server) sharedRoom() int64 {
	return sharedRoomBytes + bytesPerMicrosecond*s.collect.Took().Microseconds()
}

// endTurn gives the turn to the next.
func (b *body) endTurn() {
	if b.turn {
		b.turn = false
		b.s.turns.Give(b.tenant, 1)
	}
}

// readEvents is readBody for a body with events. What it returns holds a turn at
// a processor, which is to be ended as soon as the events are decoded: hand
// endTurnFunc to the collector as Request.Decoded.
func (s *Server) readEvents(ctx *fasthttp.RequestCtx) (*body, error) {
	return s.readBodyIn(ctx, s.opts.MaxBodyBytes, bodyKind{events: true, announced: true})
}

// readBody reads and decompresses the body of a request, at most limit bytes
// of it before and after.
func (s *Server) readBody(ctx *fasthttp.RequestCtx, limit int) (*body, error) {
	return s.readBodyIn(ctx, limit, bodyKind{announced: true})
}

// bodyKind is how a body is read.
type bodyKind struct {
	events    bool // it holds a turn when it is read, see readEvents
	announced bool // its compression stands in the headers, and not in its first bytes alone
}

func (s *Server) readBodyIn(ctx *fasthttp.RequestCtx, limit int, kind bodyKind) (*body, error) {
	var coding *inflate.Coding
	var err error
	if kind.announced {
		if coding, err = codingOf(&ctx.Request.Header); err != nil {
			return nil, err
		}
	}
	b := bodies.Get().(*body)
	b.s, b.tenant = s, callerOf(ctx).tenant()
	if err = b.read(ctx, limit); err == nil && kind.events {
		err = b.takeTurn()
	}
	if err != nil {
		b.release()
		return nil, err
	}
	sniffed := inflate.Sniff(b.data)
	if coding == nil && sniffed == inflate.Identity {
		return b, nil
	}
	if coding != nil && *coding != sniffed {
		b.release()
		return nil, fail(fasthttp.StatusBadRequest, "bad_encoding", "Content-Encoding announces a compressed body, but its first bytes show none; leave the header out or compress the body")
	}
	b.data, b.packed = b.packed, b.data
	b.data, err = s.inflate.Append(b.data[:0], b.packed, sniffed, limit, b.grow)
	if err != nil {
		b.release()
		return nil, s.inflateFailure(err, limit)
	}
	return b, nil
}

func (s *Server) inflateFailure(err error, limit int) error {
	var f *failure
	switch {
	case errors.As(err, &f):
		return f
	case errors.Is(err, inflate.ErrTooLarge), errors.Is(err, inflate.ErrRatio):
		return fail(fasthttp.StatusRequestEntityTooLarge, "too_large", "%v; the limit is %d bytes after decompression, send several smaller requests", err, limit)
	}
	return fail(fasthttp.StatusBadRequest, "bad_encoding", "%.200s; nothing was stored", err)
}

func (b *body) read(ctx *fasthttp.RequestCtx, limit int) error {
	stream := ctx.RequestBodyStream()
	length := ctx.Request.Header.ContentLength() // -1: in chunks
	switch {
	case length > limit:
		b.drain(ctx, stream)
		return tooLarge(limit).final()
	case stream == nil:
		return b.readAgain(ctx.Request.Body(), limit)
	case length == 0:
		b.data = b.data[:0]
		return nil
	}
	room := min(bodyStep, limit+1)
	if length > 0 {
		room = min(bodyStep, length)
	}
	if err := b.take(room); err != nil {
		return err
	}
	if cap(b.data) < room {
		b.data = make([]byte, 0, room)
	}
	b.data = b.data[:0]
	for {
		if len(b.data) == room {
			if room == length {
				return nil
			}
			more := min(room, limit+1-room)
			if length > 0 {
				more = min(more, length-room)
			}
			if err := b.take(more); err != nil {
				return err
			}
			room += more
			if cap(b.data) < room {
				b.data = append(make([]byte, 0, room), b.data...)
			}
		}
		n, err := stream.Read(b.data[len(b.data):room])
		b.data = b.data[:len(b.data)+n]
		switch {
		case len(b.data) > limit:
			b.drain(ctx, stream)
			return tooLarge(limit).final()
		case err == io.EOF && length > len(b.data):
			return fail(fasthttp.StatusBadRequest, "incomplete_body", "the body ended after %d of %d bytes; nothing was stored", len(b.data), length).final()
		case err == io.EOF:
			return nil
		case err != nil:
			return readFailure(err)
		}
	}
}

// readAgain takes a body that was read whole before, to be sent to a leader that this
// node has become meanwhile.
func (b *body) readAgain(whole []byte, limit int) error {
	if len(whole) > limit {
		return tooLarge(limit)
	}
	if err := b.take(len(whole)); err != nil {
		return err
	}
	b.data = append(b.data[:0], whole...)
	return nil
}

const (
	// maxDrained is how much of a refused body is read and forgotten,
	maxDrained = 64 << 20
	// maxDrainPause as long as it comes without a longer pause than this.
	maxDrainPause = 250 * time.Millisecond
)

// drain reads what a client is about to send of a body that is refused: one
// that is busy sending would not see an answer on a connection that closes.
func (b *body) drain(ctx *fasthttp.RequestCtx, stream io.Reader) {
	const piece = 16 << 10
	if cap(b.data) < piece {
		b.data = make([]byte, piece)
	}
	buf := b.data[:piece]
	conn := ctx.Conn()
	last := time.Now().Add(b.s.opts.BodyTimeout)
	for drained := 0; drained < maxDrained; {
		pause := time.Now().Add(maxDrainPause)
		if pause.After(last) || conn.SetReadDeadline(pause) != nil {
			return
		}
		n, err := stream.Read(buf)
		if err != nil {
			return
		}
		drained += n
	}
}

func tooLarge(limit int) *failure {
	return fail(fasthttp.StatusRequestEntityTooLarge, "too_large", "the body has more than %d bytes; send several smaller requests", limit)
}

func readFailure(err error) *failure {
	var netErr net.Error
	if errors.Is(err, os.ErrDeadlineExceeded) || errors.As(err, &netErr) && netErr.Timeout() {
		return fail(fasthttp.StatusRequestTimeout, "slow_body", "the body did not arrive in time; nothing was stored").final()
	}
	return fail(fasthttp.StatusBadRequest, "bad_body", "the body could not be read as HTTP frames it; nothing was stored").final()
}

// codingOf reads Content-Encoding and the charset of Content-Type; nil where no
// coding is announced. What kind of body it is shows in the body itself, for
// clients announce all kinds of types.
func codingOf(h *fasthttp.RequestHeader) (*inflate.Coding, error) {
	if charset := charsetOf(string(h.ContentType())); charset != "" && charset != "utf-8" && charset != "utf8" && charset != "us-ascii" {
		return nil, fail(fasthttp.StatusUnsupportedMediaType, "bad_charset", "the charset %q is not understood; send UTF-8", quoted(charset))
	}
	header := h.Peek(fasthttp.HeaderContentEncoding)
	if len(header) == 0 {
		return nil, nil
	}
	var coding inflate.Coding
	switch name := strings.ToLower(strings.TrimSpace(string(header))); name {
	case "", "identity":
		return nil, nil
	case "gzip", "x-gzip":
		coding = inflate.Gzip
	case "zstd":
		coding = inflate.Zstd
	default:
		return nil, fail(fasthttp.StatusUnsupportedMediaType, "bad_encoding", "the Content-Encoding %q is not understood; use gzip or zstd, once, or none", quoted(name))
	}
	return &coding, nil
}

func charsetOf(contentType string) string {
	_, params, ok := strings.Cut(contentType, ";")
	for ok {
		var param string
		param, params, ok = strings.Cut(params, ";")
		name, value, _ := strings.Cut(param, "=")
		if strings.EqualFold(strings.TrimSpace(name), "charset") {
			return strings.ToLower(strings.Trim(strings.TrimSpace(value), `"'`))
		}
	}
	return ""
}
