package parquetfile

import (
	"fmt"
	"io"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/compress/zstd"

	"spoor/engine/event"
	"spoor/segment/batch"
)

// A row group ends at so many rows or bytes of JSON: it is what a writer holds in memory.
const (
	groupRows  = 128 << 10
	groupBytes = 32 << 20
	pageBytes  = 1 << 20
)

// createdBy names the program in the footer. It carries no version: equal events
// give equal files, whichever build wrote them.
const createdBy = "spoor"

// Writer writes one file. Equal rows in equal order give equal bytes.
type Writer struct {
	s    *Schema
	w    *parquet.GenericWriter[any]
	row  parquet.Row
	buf  []byte
	rows int
	held int // bytes of JSON in the open row group
}

// NewWriter begins a file.
func NewWriter(out io.Writer, s *Schema) *Writer {
	return &Writer{s: s, row: make(parquet.Row, s.n), w: parquet.NewGenericWriter[any](out, s.schema,
		parquet.Compression(&zstd.Codec{Level: zstd.SpeedDefault}),
		parquet.PageBufferSize(pageBytes),
		parquet.MaxRowsPerRowGroup(groupRows),
		parquet.DataPageStatistics(true),
		parquet.CreatedBy(createdBy, "1", ""),
		parquet.SkipPageBounds(jsonColumn),
	)}
}

// Rows is how many rows were added.
func (w *Writer) Rows() int { return w.rows }

// AppendEvent appends the event as it was sent, without what the store adds.
func AppendEvent(dst []byte, row *event.Row) []byte {
	sent := *row
	sent.ReceivedAt, sent.Person, sent.Source = 0, nil, nil
	return event.AppendJSON(dst, &sent)
}

// Add adds an event. Nothing of it is kept.
func (w *Writer) Add(row *event.Row) error {
	for i := range w.row {
		w.row[i] = parquet.NullValue().Level(0, 0, i)
	}
	w.buf = AppendEvent(w.buf[:0], row)
	must := func(name string, v parquet.Value) { w.row[w.s.fixed[name]] = v.Level(0, 0, w.s.fixed[name]) }
	may := func(at int, v parquet.Value) { w.row[at] = v.Level(0, 1, at) }
	must(jsonColumn, parquet.ByteArrayValue(w.buf))
	must(eventIDColumn, parquet.ByteArrayValue(row.ID))
	must(eventNameColumn, parquet.ByteArrayValue(row.Name))
	must(receivedAtColumn, parquet.Int64Value(row.ReceivedAt))
	must(timestampColumn, parquet.Int64Value(row.Time))
	for _, t := range []struct {
		name string
		text []byte
	}{{anonymousIDColumn, row.AnonymousID}, {sourceColumn, row.Source}, {userIDColumn, row.UserID}} {
		if t.text != nil {
			may(w.s.fixed[t.name], parquet.ByteArrayValue(t.text))
		}
	}
	for i := range row.Leaves {
		l := &row.Leaves[i]
		at, ok := w.s.column(l)
		if !ok {
			continue
		}
		switch l.Kind {
		case batch.KindString:
			may(at, parquet.ByteArrayValue(l.Text))
		case batch.KindNumber:
			may(at, parquet.DoubleValue(l.Num))
		case batch.KindBool:
			may(at, parquet.BooleanValue(l.Bool))
		}
	}
	if _, err := w.w.WriteRows([]parquet.Row{w.row}); err != nil {
		return fmt.Errorf("write an event as Parquet: %w", err)
	}
	w.rows++
	if w.held += len(w.buf); w.held >= groupBytes {
		w.held = 0
		if err := w.w.Flush(); err != nil {
			return fmt.Errorf("write a row group of Parquet: %w", err)
		}
	}
	return nil
}

// Close writes the footer.
func (w *Writer) Close() error {
	if err := w.w.Close(); err != nil {
		return fmt.Errorf("write the footer of Parquet: %w", err)
	}
	return nil
}
