package workload

import "io"

// Reader gives a stream as NDJSON: every event on a line of its own.
type Reader struct {
	generator *Generator
	line      []byte // made and not yet read
	rest      []byte // of line
}

// NewReader returns a reader of what the generator has still to give.
func NewReader(g *Generator) *Reader { return &Reader{generator: g} }

// Read implements io.Reader.
func (r *Reader) Read(p []byte) (int, error) {
	n := 0
	for n < len(p) {
		if len(r.rest) == 0 {
			line, ok := r.generator.Next(r.line[:0])
			if !ok {
				if n == 0 {
					return 0, io.EOF
				}
				return n, nil
			}
			r.line = append(line, '\n')
			r.rest = r.line
		}
		copied := copy(p[n:], r.rest)
		r.rest = r.rest[copied:]
		n += copied
	}
	return n, nil
}

// WriteTo implements io.WriterTo, without the copy.
func (r *Reader) WriteTo(w io.Writer) (int64, error) {
	var written int64
	if len(r.rest) > 0 {
		n, err := w.Write(r.rest)
		r.rest = r.rest[n:]
		if written += int64(n); err != nil {
			return written, err
		}
	}
	chunk := make([]byte, 0, chunkBytes)
	for {
		var more bool
		for more = true; more && len(chunk) < chunkBytes-maxLineBytes; {
			if chunk, more = r.generator.Next(chunk); more {
				chunk = append(chunk, '\n')
			}
		}
		n, err := w.Write(chunk)
		if written += int64(n); err != nil || !more {
			return written, err
		}
		chunk = chunk[:0]
	}
}

// Sizes of what WriteTo writes at once and of the longest line it expects; a
// longer one costs an allocation.
const (
	chunkBytes   = 256 << 10
	maxLineBytes = 1 << 10
)
