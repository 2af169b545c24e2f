package parquetfile

import (
	"errors"
	"fmt"
	"io"

	"github.com/parquet-go/parquet-go"
)

// Event is an event as a file has it. Its bytes are good until the next one.
type Event struct {
	JSON       []byte // as it was sent
	ID         []byte
	Name       []byte
	Source     []byte // nil: none
	Time       int64  // microseconds since the Unix epoch
	ReceivedAt int64
}

// ErrForeign is wrapped when a Parquet file is not one of the raw tier.
var ErrForeign = errors.New("not a file of the raw tier")

// maxGroupRows bounds what a row group may claim.
const maxGroupRows = 16 << 20

// Each calls f with the events of a file, in its order. It holds one row group. The
// caller has compared the checksum of the file: what a stranger wrote may cost any memory.
func Each(in io.ReaderAt, size int64, f func(*Event) error) error {
	file, err := open(in, size)
	if err != nil {
		return err
	}
	at := map[string]int{}
	for i, c := range file.Schema().Fields() {
		if c.Leaf() {
			at[c.Name()] = i
		}
	}
	for _, name := range []string{jsonColumn, eventIDColumn, eventNameColumn, receivedAtColumn, sourceColumn, timestampColumn} {
		if _, ok := at[name]; !ok {
			return fmt.Errorf("%w: it has no column %s", ErrForeign, name)
		}
	}
	for _, group := range file.RowGroups() {
		n := group.NumRows()
		if n < 0 || n > maxGroupRows {
			return fmt.Errorf("read Parquet: a row group of %d rows, at most %d", n, maxGroupRows)
		}
		if len(group.ColumnChunks()) != len(file.Schema().Fields()) {
			return fmt.Errorf("%w: it has nested columns", ErrForeign)
		}
		g := map[string][]parquet.Value{}
		for _, name := range []string{jsonColumn, eventIDColumn, eventNameColumn, receivedAtColumn, sourceColumn, timestampColumn} {
			if g[name], err = values(group.ColumnChunks()[at[name]], int(n)); err != nil {
				return fmt.Errorf("read column %s of Parquet: %w", name, err)
			}
		}
		for i := range int(n) {
			e := Event{
				JSON: g[jsonColumn][i].ByteArray(), ID: g[eventIDColumn][i].ByteArray(), Name: g[eventNameColumn][i].ByteArray(),
				Time: g[timestampColumn][i].Int64(), ReceivedAt: g[receivedAtColumn][i].Int64(),
			}
			if s := g[sourceColumn][i]; !s.IsNull() {
				e.Source = s.ByteArray()
			}
			if err := f(&e); err != nil {
				return err
			}
		}
	}
	return nil
}

// Rows is how many rows a file has, by its footer.
func Rows(in io.ReaderAt, size int64) (int64, error) {
	file, err := open(in, size)
	if err != nil {
		return 0, err
	}
	return file.NumRows(), nil
}

// open reads the footer. What is damaged is an error, also where the library panics.
func open(in io.ReaderAt, size int64) (file *parquet.File, err error) {
	defer recovered(&err)
	if file, err = parquet.OpenFile(in, size, parquet.SkipBloomFilters(true), parquet.SkipPageIndex(true)); err != nil {
		return nil, fmt.Errorf("read Parquet: %w", err)
	}
	return file, nil
}

func recovered(err *error) {
	if p := recover(); p != nil {
		*err = fmt.Errorf("read Parquet: it is damaged: %v", p)
	}
}

// values reads all values of a flat column of a row group.
func values(chunk parquet.ColumnChunk, n int) (out []parquet.Value, err error) {
	defer recovered(&err)
	out = make([]parquet.Value, 0, n)
	pages := chunk.Pages()
	defer pages.Close()
	var buf [512]parquet.Value
	for {
		page, err := pages.ReadPage()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		for in := page.Values(); ; {
			k, err := in.ReadValues(buf[:])
			for _, v := range buf[:k] {
				out = append(out, v.Clone())
			}
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				return nil, err
			}
			if len(out) > n {
				return nil, fmt.Errorf("more than %d values", n)
			}
		}
		parquet.Release(page)
	}
	if len(out) != n {
		return nil, fmt.Errorf("%d values for %d rows", len(out), n)
	}
	return out, nil
}
