package importer

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"sync/atomic"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// Source is one stream of events, one a line: plain, gzip or zstd, told by its
// first bytes.
type Source struct {
	Name string // for messages
	Size int64  // bytes of In; 0 where it is not known
	In   io.Reader
	// Convert makes lines of events of what the source holds, decompressed; nil: it holds them.
	Convert func(plain io.Reader) (io.Reader, error)
}

// Stdin names standard input in the list of files.
const Stdin = "-"

// Open opens a file, or standard input for "-". The caller closes In if it is an io.Closer.
func Open(path string, stdin io.Reader) (Source, error) {
	if path == Stdin {
		return Source{Name: "standard input", In: io.NopCloser(stdin)}, nil
	}
	f, err := os.Open(path)
	if err != nil {
		return Source{}, err
	}
	info, err := f.Stat()
	if err != nil {
		_ = f.Close()
		return Source{}, err
	}
	if info.IsDir() {
		_ = f.Close()
		return Source{}, fmt.Errorf("%s is a directory; name the files in it", path)
	}
	source := Source{Name: path, In: f}
	if info.Mode().IsRegular() {
		source.Size = info.Size()
	}
	return source, nil
}

// Bounds of what is read at once.
const (
	readBytes = 256 << 10
	// MaxLineBytes bounds an event; a longer line is rejected and passed over.
	MaxLineBytes = 8 << 20
)

var (
	gzipMagic     = []byte{0x1f, 0x8b}
	zstdMagic     = []byte{0x28, 0xb5, 0x2f, 0xfd}
	byteOrderMark = []byte{0xef, 0xbb, 0xbf}
)

// errLineTooLong is a line beyond MaxLineBytes; the next one can be read.
var errLineTooLong = errors.New("line too long")

// lineReader gives the lines of a source with their numbers.
type lineReader struct {
	text   *bufio.Reader
	close  func()
	number int64 // of the line given last, from 1
	long   []byte
}

func newLineReader(s Source, read *atomic.Int64) (*lineReader, error) {
	raw := bufio.NewReaderSize(&counter{s.In, read}, readBytes)
	magic, err := raw.Peek(len(zstdMagic))
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("read %s: %w", s.Name, err)
	}
	r := &lineReader{text: raw, close: func() {}}
	switch {
	case bytes.HasPrefix(magic, gzipMagic):
		d, err := gzip.NewReader(raw)
		if err != nil {
			return nil, fmt.Errorf("read %s as gzip: %w", s.Name, err)
		}
		r.text = bufio.NewReaderSize(d, readBytes)
	case bytes.HasPrefix(magic, zstdMagic):
		d, err := zstd.NewReader(raw, zstd.WithDecoderConcurrency(1))
		if err != nil {
			return nil, fmt.Errorf("read %s as zstd: %w", s.Name, err)
		}
		r.text = bufio.NewReaderSize(d, readBytes)
		r.close = d.Close
	}
	if s.Convert != nil {
		lines, err := s.Convert(r.text)
		if err != nil {
			r.close()
			return nil, fmt.Errorf("read %s: %w", s.Name, err)
		}
		if c, ok := lines.(io.Closer); ok {
			plain := r.close
			r.close = func() { _ = c.Close(); plain() }
		}
		r.text = bufio.NewReaderSize(lines, readBytes)
	}
	if start, _ := r.text.Peek(len(byteOrderMark)); bytes.Equal(start, byteOrderMark) {
		_, _ = r.text.Discard(len(byteOrderMark))
	}
	return r, nil
}

// next returns the next line that is not blank, without white space around it.
// It is valid until the next call. The end is io.EOF.
func (r *lineReader) next() ([]byte, error) {
	for {
		r.number++
		line, err := r.text.ReadSlice('\n')
		if errors.Is(err, bufio.ErrBufferFull) {
			line, err = r.rest(line)
		}
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, err
		}
		if line = bytes.TrimSpace(line); len(line) > 0 {
			return line, nil
		}
		if err != nil {
			return nil, err
		}
	}
}

// rest reads on in a line that is longer than the buffer.
func (r *lineReader) rest(start []byte) (line []byte, err error) {
	r.long = append(r.long[:0], start...)
	tooLong := false
	for {
		more, err := r.text.ReadSlice('\n')
		if len(r.long)+len(more) > MaxLineBytes {
			tooLong = true
		} else {
			r.long = append(r.long, more...)
		}
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
		case tooLong && (err == nil || errors.Is(err, io.EOF)):
			return nil, errLineTooLong
		default:
			return r.long, err
		}
	}
}

// counter adds up what is read.
type counter struct {
	in   io.Reader
	read *atomic.Int64
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.in.Read(p)
	c.read.Add(int64(n))
	return n, err
}
