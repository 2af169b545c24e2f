package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// Compression is how bodies travel.
type Compression string

// The codings that a server accepts.
const (
	Zstd         Compression = "zstd"
	Gzip         Compression = "gzip"
	Uncompressed Compression = "none"
)

// Ingested is what became of some events.
type Ingested struct {
	Accepted   int64
	Duplicates int64
	Rejected   []Reject
}

// Reject is one event that the server did not take.
type Reject struct {
	Index   int    `json:"index"` // of the event among those sent
	EventID string `json:"eventId"`
	Code    string `json:"code"`
	Message string `json:"message"`
}

// Sender posts events over one connection and reuses its buffers. It is not
// safe for use by several goroutines.
type Sender struct {
	client      *Client
	compression Compression
	path        string
	plain       []byte
	zstd        *zstd.Encoder
	packed      bytes.Buffer
	gzip        *gzip.Writer
}

// NewSender returns a sender of the client.
func (c *Client) NewSender(compression Compression) (*Sender, error) {
	s := &Sender{client: c, compression: compression, path: "/api/events/batch"}
	switch compression {
	case Zstd:
		encoder, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1))
		if err != nil {
			return nil, fmt.Errorf("start zstd: %w", err)
		}
		s.zstd = encoder
	case Gzip:
		writer, err := gzip.NewWriterLevel(&s.packed, gzip.BestSpeed)
		if err != nil {
			return nil, fmt.Errorf("start gzip: %w", err)
		}
		s.gzip = writer
	case Uncompressed:
	default:
		return nil, fmt.Errorf("compression %q is none of zstd, gzip and none", compression)
	}
	return s, nil
}

// To makes the sender post to another path, which answers alike.
func (s *Sender) To(path string) *Sender {
	s.path = path
	return s
}

// Send posts lines, each one event, and returns when every one of them has an
// answer. Where the server refuses the whole, the lines that caused it are found and
// reported as rejects, and the others are sent. The lines are not kept.
func (s *Sender) Send(ctx context.Context, lines [][]byte) (Ingested, error) {
	var sum Ingested
	err := s.send(ctx, lines, 0, &sum)
	return sum, err
}

// send posts lines whose first has the index from. It halves what is refused as
// a whole, so that its depth is the logarithm of the lines.
func (s *Sender) send(ctx context.Context, lines [][]byte, from int, sum *Ingested) error {
	if len(lines) == 0 {
		return nil
	}
	answer, err := s.post(ctx, lines)
	if err != nil {
		return err
	}
	if counted, err := add(sum, answer, from, len(lines)); counted || err != nil {
		return err
	}

	refusal := errorOf(answer)
	if answer.status != http.StatusBadRequest && answer.status != http.StatusRequestEntityTooLarge {
		return refusal
	}
	if len(lines) == 1 {
		code, message := "refused", refusal.Error()
		var e *Error
		if errors.As(refusal, &e) && e.Code != "" {
			code, message = e.Code, e.Message
		}
		sum.Rejected = append(sum.Rejected, Reject{Index: from, Code: code, Message: message})
		return nil
	}
	if answer.status == http.StatusBadRequest {
		if bad, err := invalidLine(lines); err != nil {
			if err := s.send(ctx, lines[:bad], from, sum); err != nil {
				return err
			}
			sum.Rejected = append(sum.Rejected, Reject{Index: from + bad, Code: "invalid_json", Message: err.Error()})
			return s.send(ctx, lines[bad+1:], from+bad+1, sum)
		}
	}
	half := len(lines) / 2
	if err := s.send(ctx, lines[:half], from, sum); err != nil {
		return err
	}
	return s.send(ctx, lines[half:], from+half, sum)
}

// add adds an answer that counts events. counted is false for one that refuses them all.
func add(sum *Ingested, answer reply, from, sent int) (counted bool, err error) {
	var shape struct {
		Accepted   int64    `json:"accepted"`
		Duplicates int64    `json:"duplicates"`
		Rejected   []Reject `json:"rejected"`
	}
	if answer.status != http.StatusOK && answer.status != http.StatusBadRequest {
		return false, nil
	}
	if err := json.Unmarshal(answer.body, &shape); err != nil {
		if answer.status != http.StatusOK {
			return false, nil
		}
		return false, fmt.Errorf("read the server's answer: %w", err)
	}
	total := shape.Accepted + shape.Duplicates + int64(len(shape.Rejected))
	if answer.status != http.StatusOK && total != int64(sent) {
		return false, nil
	}
	if total != int64(sent) {
		return false, fmt.Errorf("the server answered for %d events of %d; is it a Spoor server?", total, sent)
	}
	for _, r := range shape.Rejected {
		if r.Index < 0 || r.Index >= sent {
			return false, fmt.Errorf("the server rejected event %d of %d", r.Index, sent)
		}
		r.Index += from
		sum.Rejected = append(sum.Rejected, r)
	}
	sum.Accepted += shape.Accepted
	sum.Duplicates += shape.Duplicates
	return true, nil
}

// invalidLine finds the first line that is no JSON.
func invalidLine(lines [][]byte) (index int, err error) {
	for i, line := range lines {
		decoder := jsontext.NewDecoder(bytes.NewReader(line))
		if err := decoder.SkipValue(); err != nil {
			return i, err
		}
		if rest := bytes.TrimSpace(line[decoder.InputOffset():]); len(rest) > 0 {
			return i, fmt.Errorf("text after the event at byte %d: one event a line", decoder.InputOffset())
		}
	}
	return 0, nil
}

func (s *Sender) post(ctx context.Context, lines [][]byte) (reply, error) {
	s.plain = s.plain[:0]
	for _, line := range lines {
		s.plain = append(append(s.plain, line...), '\n')
	}
	// The body is not reused: net/http may still be reading it after an early answer.
	m := message{method: http.MethodPost, path: s.path, contentType: "application/x-ndjson"}
	switch s.compression {
	case Zstd:
		m.body, m.encoding = s.zstd.EncodeAll(s.plain, nil), "zstd"
	case Gzip:
		s.packed.Reset()
		s.gzip.Reset(&s.packed)
		if _, err := s.gzip.Write(s.plain); err != nil {
			return reply{}, fmt.Errorf("compress events: %w", err)
		}
		if err := s.gzip.Close(); err != nil {
			return reply{}, fmt.Errorf("compress events: %w", err)
		}
		m.body, m.encoding = bytes.Clone(s.packed.Bytes()), "gzip"
	default:
		m.body = bytes.Clone(s.plain)
	}
	return s.client.send(ctx, m)
}
