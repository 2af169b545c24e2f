package convert

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/go-json-experiment/json/jsontext"

	"spoor/server/rawtier/parquetfile"
)

// Form is how records stand in a file.
type Form string

// The forms.
const (
	NDJSON  Form = "ndjson"
	CSV     Form = "csv"
	Parquet Form = "parquet"
)

// maxRecord bounds a record in bytes.
const maxRecord = 8 << 20

// Source says how files of a kind become lines of events: nil if they are that already. from is a
// name of Known or a Form; mapping names a file, "" for none.
func Source(from, mapping string) (func(file, plain io.Reader) (io.Reader, error), error) {
	m := Known[from]
	form := Form(from)
	if m != nil || form == "" {
		form = NDJSON
	}
	if mapping != "" {
		text, err := os.ReadFile(mapping)
		if err != nil {
			return nil, fmt.Errorf("--mapping: %w", err)
		}
		if m, err = ReadMapping(text); err != nil {
			return nil, fmt.Errorf("--mapping %s: %w", mapping, err)
		}
	}
	if m == nil && form == CSV {
		return nil, errors.New("--from csv needs --mapping FILE, which says what the columns are")
	}
	if m == nil && form == NDJSON {
		return nil, nil
	}
	return func(file, plain io.Reader) (io.Reader, error) {
		if form == Parquet {
			f, ok := file.(*os.File)
			if !ok {
				return nil, errors.New("a Parquet file must be named: it cannot come by standard input")
			}
			return parquetLines(f, m), nil
		}
		return Lines(plain, form, m)
	}, nil
}

// Lines returns the events of plain text as lines. A record that the mapping passes by is none.
func Lines(in io.Reader, form Form, m *Mapping) (io.Reader, error) {
	r := &reader{next: lineRecords(in), mapping: m}
	if form == CSV {
		var err error
		if r.next, err = csvRecords(in); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// reader gives lines of events.
type reader struct {
	next    func() ([]byte, error)
	mapping *Mapping
	buf     []byte
	at      int
	number  int64
	err     error
}

// Read gives whole events, as far as they fit.
func (r *reader) Read(p []byte) (int, error) {
	for r.at == len(r.buf) {
		if r.err != nil {
			return 0, r.err
		}
		object, err := r.next()
		if err != nil {
			r.err = err
			continue
		}
		r.number++
		r.buf, r.at = r.buf[:0], 0
		if r.buf, err = line(r.buf, object, r.mapping); err != nil {
			r.err = fmt.Errorf("record %d: %w", r.number, err)
			r.buf = r.buf[:0]
		}
	}
	n := copy(p, r.buf[r.at:])
	r.at += n
	return n, nil
}

// line appends the event of a record as a line.
func line(dst, object []byte, m *Mapping) ([]byte, error) {
	if m == nil {
		return append(append(dst, object...), '\n'), nil
	}
	out, skipped, err := m.Append(dst, object)
	if err != nil || skipped {
		return dst, err
	}
	return append(out, '\n'), nil
}

func lineRecords(in io.Reader) func() ([]byte, error) {
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, maxRecord)
	return func() ([]byte, error) {
		for lines.Scan() {
			if b := bytes.TrimSpace(lines.Bytes()); len(b) > 0 {
				return b, nil
			}
		}
		if err := lines.Err(); err != nil {
			return nil, err
		}
		return nil, io.EOF
	}
}

// csvRecords makes an object of each record, by the names in the first. An empty cell is
// no value; what is a number, true or false in JSON is one, all else is text.
func csvRecords(in io.Reader) (func() ([]byte, error), error) {
	r := csv.NewReader(in)
	r.ReuseRecord = true
	head, err := r.Read()
	if err != nil {
		return nil, fmt.Errorf("read the names of the columns: %w", err)
	}
	names := make([][]byte, len(head))
	seen := map[string]bool{}
	for i, name := range head {
		if i == 0 {
			name = string(bytes.TrimPrefix([]byte(name), []byte("\xef\xbb\xbf")))
		}
		if seen[name] {
			return nil, fmt.Errorf("two columns are called %.100q", name)
		}
		seen[name] = true
		if names[i], err = jsontext.AppendQuote(nil, name); err != nil {
			return nil, fmt.Errorf("the name of column %d is no UTF-8", i+1)
		}
	}
	var buf []byte
	return func() ([]byte, error) {
		cells, err := r.Read()
		if err != nil {
			return nil, err
		}
		buf = append(buf[:0], '{')
		for i, cell := range cells {
			if cell == "" {
				continue
			}
			if len(buf) > 1 {
				buf = append(buf, ',')
			}
			buf = append(append(buf, names[i]...), ':')
			if isLiteral(cell) {
				buf = append(buf, cell...)
			} else if buf, err = jsontext.AppendQuote(buf, cell); err != nil {
				return nil, fmt.Errorf("column %s is no UTF-8", names[i])
			}
		}
		return append(buf, '}'), nil
	}, nil
}

// isLiteral tells whether a cell is a number or a boolean as JSON writes it.
func isLiteral(cell string) bool {
	if cell == "true" || cell == "false" {
		return true
	}
	v := jsontext.Value(cell)
	return v.Kind() == '0' && v.IsValid() && len(bytes.TrimSpace(v)) == len(v)
}

// parquetLines reads a Parquet file: of one of the raw tier or an export the events as they were sent, of
// another its rows by the names of its columns.
func parquetLines(f *os.File, m *Mapping) io.Reader {
	r, w := io.Pipe()
	go func() { // it ends with the file, or when nobody reads any more
		out := bufio.NewWriterSize(w, 256<<10)
		var buf []byte
		number := int64(0)
		err := parquetfile.EachRow(f, func(object []byte) error {
			number++
			var err error
			if buf, err = line(buf[:0], object, m); err != nil {
				return fmt.Errorf("row %d: %w", number, err)
			}
			_, err = out.Write(buf)
			return err
		})
		if err == nil {
			err = out.Flush()
		}
		_ = w.CloseWithError(err)
	}()
	return r
}
