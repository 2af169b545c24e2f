package batch

import (
	"fmt"
	"slices"

	"github.com/cespare/xxhash/v2"
)

// Builder fills a Batch row by row: AddRow, then a value in each column that
// the row has. It keeps its columns, dictionaries and buffers over Reset, so a
// builder that has seen a few batches allocates nothing. Not for concurrent use.
type Builder struct {
	n     int
	bytes int // see Size

	ids      []ID
	idIsText []bool // as long as ids once a text id came, else empty
	idBytes  []byte
	names    codesBuilder
	users    codesBuilder
	anons    codesBuilder
	shapes   codesBuilder
	sources  codesBuilder
	times    []int64
	columns  map[columnKey]*ColumnBuilder
	order    []*ColumnBuilder // all columns, by (path, kind) when sorted
	sorted   bool
	epoch    int
	seed     [2]uint64
	out      Batch // what Batch returns
}

type columnKey struct {
	path string
	kind Kind
}

const (
	// Beyond these a Reset lets all columns go: a client that invents names
	// must not make a builder hold, sort and clear them for ever.
	maxKeptColumns = 4096
	maxKeptBytes   = 64 << 20

	rowBytes   = 28 // estimate per row of the encoded form without its values
	valueBytes = 2  // estimate per value without its text or number
)

// NewBuilder returns an empty builder.
func NewBuilder() *Builder {
	b := &Builder{columns: map[columnKey]*ColumnBuilder{}, sorted: true, seed: newSeed()}
	for _, c := range []*codesBuilder{&b.names, &b.users, &b.anons, &b.shapes, &b.sources} {
		c.dict.seed = b.seed
	}
	return b
}

// Head is a row without its columns. The bytes are copied by AddRow.
type Head struct {
	ID     ID     // eventId, where it is a UUID
	IDText []byte // eventId, where it is none (see ID); nil otherwise
	Name   []byte // never empty
	User   []byte // empty: absent, here and below
	Anon   []byte
	Shape  []byte
	Source []byte
	Time   int64 // within MinTime and MaxTime
	Values int   // how many column values will follow, for Size
}

// AddRow begins the next row and returns its number. It panics beyond MaxRows;
// whoever fills a builder seals it before.
func (b *Builder) AddRow(h *Head) int {
	row := b.n
	if row >= MaxRows || len(h.Name) == 0 {
		panic(fmt.Sprintf("batch: row %d of %d, name %q", row, MaxRows, h.Name))
	}
	r := uint32(row)
	id := h.ID
	size := rowBytes + valueBytes*h.Values
	if h.IDText != nil {
		for len(b.idIsText) < row {
			b.idIsText = append(b.idIsText, false)
		}
		b.idIsText = append(b.idIsText, true)
		id = textID(h.IDText, len(b.idBytes))
		b.idBytes = append(b.idBytes, h.IDText...)
		size += len(h.IDText)
	} else if len(b.idIsText) > 0 {
		b.idIsText = append(b.idIsText, false)
	}
	b.ids = append(b.ids, id)
	b.times = append(b.times, h.Time)
	size += b.names.add(h.Name, r)
	size += b.users.add(h.User, r)
	size += b.anons.add(h.Anon, r)
	size += b.shapes.add(h.Shape, r)
	size += b.sources.add(h.Source, r)
	b.bytes += size
	b.n++
	return row
}

func textID(text []byte, off int) ID {
	return ID{Hi: uint64(off)<<16 | uint64(len(text)), Lo: xxhash.Sum64(text)}
}

// SetTime changes row's time.
func (b *Builder) SetTime(row int, time int64) { b.times[row] = time }

// Column finds or makes the column of path and kind. The pointer is good until
// Epoch changes.
func (b *Builder) Column(path string, kind Kind) *ColumnBuilder {
	key := columnKey{path, kind}
	c := b.columns[key]
	if c == nil {
		if len(path) > MaxPathBytes || len(b.order) >= MaxColumns {
			panic(fmt.Sprintf("batch: column %d of %d, path of %d bytes", len(b.order), MaxColumns, len(path)))
		}
		c = &ColumnBuilder{owner: b, path: path, kind: kind}
		c.dict.seed = b.seed
		b.columns[key] = c
		b.order = append(b.order, c)
		b.sorted = false
	}
	return c
}

// Epoch counts how often the builder has let its columns go.
func (b *Builder) Epoch() int { return b.epoch }

// Rows is the number of rows so far.
func (b *Builder) Rows() int { return b.n }

// Columns is how many columns the builder holds, used in this batch or not.
func (b *Builder) Columns() int { return len(b.order) }

// Size is about how many bytes the encoded batch will have. It may be three
// times as many, where every value is an odd one, and is less where numbers are tame.
func (b *Builder) Size() int { return b.bytes }

// IDText appends the eventId of row to dst.
func (b *Builder) IDText(dst []byte, row int) []byte {
	view := Batch{IDs: b.ids, IDBytes: b.idBytes}
	if len(b.idIsText) > 0 {
		view.IDIsText = b.idIsText
	}
	return view.IDText(dst, row)
}

// Rollback forgets every row from rows on, with their values and texts.
func (b *Builder) Rollback(rows int) {
	if rows < 0 || rows > b.n {
		panic(fmt.Sprintf("batch: rollback to %d of %d rows", rows, b.n))
	}
	if rows == b.n {
		return
	}
	if len(b.idIsText) > 0 {
		if i := slices.Index(b.idIsText[rows:], true); i >= 0 {
			b.idBytes = b.idBytes[:b.ids[rows+i].Hi>>16]
		}
		b.idIsText = b.idIsText[:rows]
		if !slices.Contains(b.idIsText, true) {
			b.idIsText = b.idIsText[:0]
		}
	}
	b.n, b.ids, b.times = rows, b.ids[:rows], b.times[:rows]
	for _, c := range b.codes() {
		c.truncate(rows)
	}
	for _, c := range b.order {
		if c.n > 0 {
			c.truncate(rows)
		}
	}
	b.bytes = b.estimate()
}

// estimate counts Size anew.
func (b *Builder) estimate() int {
	size := rowBytes*b.n + len(b.idBytes)
	for _, c := range b.codes() {
		size += len(c.dict.texts.Bytes) + c.dict.texts.Len()
	}
	for _, c := range b.order {
		if c.n > 0 {
			size += len(c.path) + columnBytes + valueBytes*c.n + wideBytes*(len(c.nums)+len(c.ints)) + len(c.dict.texts.Bytes) + len(c.texts.Bytes)
		}
	}
	return size
}

func (b *Builder) codes() [5]*codesBuilder {
	return [5]*codesBuilder{&b.names, &b.users, &b.anons, &b.shapes, &b.sources}
}

// Batch shows the rows as a batch that the leader received at receivedAt. It
// shares the builder's memory: nothing may be added before its last reader is
// done, and the next AddRow, Rollback or Reset ends it. Encode or Clone what
// must live longer; nearly every batch is only encoded, and then nothing of it
// becomes garbage.
func (b *Builder) Batch(receivedAt int64) *Batch {
	if !b.sorted {
		slices.SortFunc(b.order, compareColumns)
		b.sorted = true
	}
	columns := b.out.Columns[:0]
	for _, c := range b.order {
		if c.n > 0 {
			columns = append(columns, c.column(b.n))
		}
	}
	b.out = Batch{
		N: b.n, ReceivedAt: receivedAt,
		IDs: b.ids, IDBytes: b.idBytes, Times: b.times,
		Names: b.names.codes(), Users: b.users.codes(), Anons: b.anons.codes(),
		Shapes: b.shapes.codes(), Sources: b.sources.codes(),
		Columns: columns,
	}
	if len(b.idIsText) > 0 {
		b.out.IDIsText = b.idIsText
	}
	return &b.out
}

// Reset empties the builder and keeps its memory within bounds.
func (b *Builder) Reset() {
	b.n, b.bytes = 0, 0
	b.ids, b.idIsText, b.idBytes, b.times = b.ids[:0], b.idIsText[:0], b.idBytes[:0], b.times[:0]
	for _, c := range b.codes() {
		c.reset()
	}
	retained := 0
	for _, c := range b.order {
		c.reset()
		retained += c.retained()
	}
	if len(b.order) > maxKeptColumns || retained > maxKeptBytes {
		b.columns, b.order, b.sorted = map[columnKey]*ColumnBuilder{}, nil, true
		b.out = Batch{}
		b.epoch++
	}
}
