package segment

import (
	"fmt"
	"math"
	"slices"
	"sync/atomic"

	"spoor/index"
	"spoor/segment/batch"
	"spoor/segment/encoding"
)

// Section is the rows of one day and one event name, sorted by person and time.
type Section struct {
	r                *Reader
	day              int32
	name             string
	rows, distinct   int
	first            int
	minTime, maxTime int64
	unit             uint64
	personsRef       ref
	dirRef           ref

	dir     atomic.Pointer[sectionDir]
	persons atomic.Pointer[index.Persons]
	hidden  atomic.Pointer[[]string]
}

// Day is the section's UTC day.
func (s *Section) Day() int32 { return s.day }

// Event is the section's event name.
func (s *Section) Event() string { return s.name }

// Rows is the number of events.
func (s *Section) Rows() int { return s.rows }

// BlockRows is the number of rows of a block, the unit of decoding.
const BlockRows = blockRows

// Blocks is the number of blocks.
func (s *Section) Blocks() int { return blocksOf(s.rows) }

// DistinctPersons is the number of persons as they were written, before later merges.
func (s *Section) DistinctPersons() int { return s.distinct }

// FirstRow is the section's first row in the file.
func (s *Section) FirstRow() int { return s.first }

// MinTime and MaxTime bound the times of the events, inclusive.
func (s *Section) MinTime() int64 { return s.minTime }

// MaxTime is the latest time of an event.
func (s *Section) MaxTime() int64 { return s.maxTime }

// Reader is the file that holds the section.
func (s *Section) Reader() *Reader { return s.r }

// Persons is the set of persons, as they were written.
func (s *Section) Persons() (*index.Persons, error) {
	return s.r.personSet(s.personsRef, &s.persons)
}

// directory loads the columns and block index.
func (s *Section) directory() (*sectionDir, error) {
	if d := s.dir.Load(); d != nil {
		return d, nil
	}
	b, err := s.r.region(s.dirRef)
	if err != nil {
		return nil, fmt.Errorf("read segment %s: %w", s.r.name, err)
	}
	l := encoding.NewLane(b)
	d := &sectionDir{firstKeys: make([]uint64, blocksOf(s.rows))}
	_ = encoding.ReadInts(l, d.firstKeys)
	d.columns = make([]column, l.Count(len(b)))
	for i := range d.columns {
		c := &d.columns[i]
		readColumn(l, c, s.rows)
		if s.r.version > 1 && counted(c.kind, c.form) {
			readValues(l, c, s.rows)
		}
		if l.Err() == nil && (len(c.pages) != pagesOf(s.rows) || c.kind < kindReceived && int(c.path) >= len(s.r.paths)) {
			return nil, fmt.Errorf("read segment %s: %w", s.r.name, corrupt("column %d of %s", i, s.name))
		}
	}
	if l.Err() != nil || len(d.columns) == 0 || d.columns[0].kind != kindKeys {
		return nil, fmt.Errorf("read segment %s: %w", s.r.name, corrupt("columns of %s", s.name))
	}
	s.dir.Store(d)
	return d, nil
}

// Keys reads the keys of the rows [from, to) into dst, which has that length.
func (s *Section) Keys(dst []uint64, from, to int, x *Scratch) error {
	d, err := s.directory()
	if err != nil {
		return err
	}
	if held := x.held.rows(s, from, to); held != nil {
		copy(dst, held)
		return nil
	}
	return s.r.eachBlock(&d.columns[0], s.rows, from, to, func(b []byte, first, n int) error {
		x.KeyBlocks++
		out := into(dst, &x.block, from, to, first, n)
		if err := x.keys.readBlock(out, b, s.unit); err != nil {
			return err
		}
		back(dst, out, from, to, first, n)
		return nil
	})
}

// into returns where a block of n rows that starts at row first is decoded: in
// place if the rows [from, to) hold it whole, else in spare.
func into[T any](dst []T, spare *[]T, from, to, first, n int) []T {
	if first >= from && first+n <= to {
		return dst[first-from : first-from+n]
	}
	*spare = grow(*spare, n)
	return *spare
}

// back copies from spare what belongs to [from, to).
func back[T any](dst, block []T, from, to, first, n int) {
	if first >= from && first+n <= to {
		return
	}
	lo, hi := max(first, from), min(first+n, to)
	copy(dst[lo-from:hi-from], block[lo-first:hi-first])
}

// meta finds a column that is not of the event's JSON, nil if no row has it.
func (s *Section) meta(kind batch.Kind) (*column, error) {
	d, err := s.directory()
	if err != nil {
		return nil, err
	}
	for i := range d.columns {
		if d.columns[i].kind == kind {
			return &d.columns[i], nil
		}
	}
	return nil, nil
}

// Received reads receivedAt of the rows [from, to).
func (s *Section) Received(dst []int64, from, to int, x *Scratch) error {
	c, err := s.meta(kindReceived)
	if err != nil || c == nil {
		return err
	}
	return s.r.eachBlock(c, s.rows, from, to, func(b []byte, first, n int) error {
		l := encoding.NewLane(b)
		unit := int64(1)
		if l.Byte() == 1 {
			unit = 1000
		}
		x.Blocks++
		out := into(dst, &x.ints, from, to, first, n)
		if err := encoding.ReadInts(l, out); err != nil {
			return corrupt("receivedAt")
		}
		for i := range out {
			out[i] *= unit
		}
		back(dst, out, from, to, first, n)
		return nil
	})
}

// Users reads the references to the userId of the rows [from, to), 0 for none.
func (s *Section) Users(dst []uint32, from, to int, x *Scratch) error {
	return s.metaCodes(kindUser, dst, from, to, x)
}

// Anons reads the references to the anonymousId of the rows [from, to), 0 for none.
func (s *Section) Anons(dst []uint32, from, to int, x *Scratch) error {
	return s.metaCodes(kindAnon, dst, from, to, x)
}

func (s *Section) metaCodes(kind batch.Kind, dst []uint32, from, to int, x *Scratch) error {
	c, err := s.meta(kind)
	if err != nil || c == nil {
		clear(dst)
		return err
	}
	return s.codes(c, dst, from, to, x)
}

func (s *Section) codes(c *column, dst []uint32, from, to int, x *Scratch) error {
	return s.r.eachBlock(c, s.rows, from, to, func(b []byte, first, n int) error {
		x.Blocks++
		out := into(dst, &x.codes, from, to, first, n)
		if err := encoding.ReadInts(encoding.NewLane(b), out); err != nil {
			return corrupt("codes of column %d", c.path)
		}
		back(dst, out, from, to, first, n)
		return nil
	})
}

// Sources is the column of where events came from.
func (s *Section) Sources() (Column, bool, error) { return s.metaColumn(kindSource) }

// Shapes is the column of how events were written, for giving them back.
func (s *Section) Shapes() (Column, bool, error) { return s.metaColumn(kindShape) }

func (s *Section) metaColumn(kind batch.Kind) (Column, bool, error) {
	c, err := s.meta(kind)
	return Column{s, c}, c != nil, err
}

// Columns returns the columns of a path: one for each kind that a row has.
func (s *Section) Columns(path string) ([]Column, error) {
	if s.isHidden(path) {
		return nil, nil
	}
	return s.StoredColumns(path)
}

// StoredColumns is Columns for whoever decides what is erased: it returns hidden columns, too.
func (s *Section) StoredColumns(path string) ([]Column, error) {
	d, err := s.directory()
	if err != nil {
		return nil, err
	}
	idx, ok := s.r.pathIdx[path]
	if !ok {
		return nil, nil
	}
	var out []Column
	for i := range d.columns {
		if c := &d.columns[i]; c.kind < kindReceived && c.path == idx {
			out = append(out, Column{s, c})
		}
	}
	return out, nil
}

// AllColumns returns the columns of all paths.
func (s *Section) AllColumns() ([]Column, error) {
	all, err := s.AllStoredColumns()
	return slices.DeleteFunc(all, func(c Column) bool { return s.isHidden(c.Path()) }), err
}

// AllStoredColumns is AllColumns with those that are hidden.
func (s *Section) AllStoredColumns() ([]Column, error) {
	d, err := s.directory()
	if err != nil {
		return nil, err
	}
	out := make([]Column, 0, len(d.columns))
	for i := range d.columns {
		if c := &d.columns[i]; c.kind < kindReceived {
			out = append(out, Column{s, c})
		}
	}
	return out, nil
}

// Column is one column of a section.
type Column struct {
	s *Section
	c *column
}

// Path is the column's path.
func (c Column) Path() string { return c.s.r.paths[c.c.path] }

// Kind is the type of its values.
func (c Column) Kind() batch.Kind { return c.c.kind }

// Present is the number of rows with a value.
func (c Column) Present() int { return c.c.present }

// Bounds are the least and greatest value of a column of numbers.
func (c Column) Bounds() (lo, hi float64) { return c.c.min, c.c.max }

// Dict is the dictionary of a column with text that is stored by dictionary; nil
// when its texts stand in place.
func (c Column) Dict() (*batch.Texts, error) {
	if c.c.form != formDict {
		return nil, nil
	}
	return c.s.r.dict(c.c.path, c.c.kind)
}

// Codes reads the rows [from, to): for text 0 for a row without a value, else 1 +
// index into the returned texts; for booleans 0, 1 false, 2 true; for nulls 0, 1.
func (c Column) Codes(dst []uint32, from, to int, x *Scratch) (*batch.Texts, error) {
	switch c.c.form {
	case formCodes:
		return nil, c.s.codes(c.c, dst, from, to, x)
	case formDict:
		dict, err := c.Dict()
		if err != nil {
			return nil, err
		}
		if err := c.s.codes(c.c, dst, from, to, x); err != nil {
			return nil, err
		}
		limit, most := uint32(dict.Len()), greatest(dst[:to-from])
		if most > limit {
			return nil, fmt.Errorf("read segment %s: %w", c.s.r.name, corrupt("code %d of %d", most, limit))
		}
		return dict, nil
	case formPlain:
		return c.plain(dst, from, to, x)
	}
	return nil, corrupt("column of form %d has no codes", c.c.form)
}

func (c Column) plain(dst []uint32, from, to int, x *Scratch) (*batch.Texts, error) {
	texts := &batch.Texts{Off: []uint32{0}}
	err := c.s.r.eachBlock(c.c, c.s.rows, from, to, func(b []byte, first, n int) error {
		x.Blocks++
		l := encoding.NewLane(b)
		x.codes = grow(x.codes, n)
		if encoding.ReadInts(l, x.codes) != nil {
			return corrupt("presence of column %d", c.c.path)
		}
		present := 0
		for _, has := range x.codes {
			present += int(has & 1)
		}
		off, bytes, err := c.s.r.comp.ReadTexts(l, present)
		if err != nil {
			return corrupt("texts of column %d", c.c.path)
		}
		at := 0
		for i, has := range x.codes {
			row := first + i
			if row >= from && row < to {
				dst[row-from] = 0
			}
			if has&1 == 0 {
				continue
			}
			if row >= from && row < to {
				texts.Append(bytes[off[at]:off[at+1]])
				dst[row-from] = uint32(texts.Len())
			}
			at++
		}
		return nil
	})
	return texts, err
}

// Numbers reads the rows [from, to) of a column of numbers; NaN for a row without one.
func (c Column) Numbers(dst []float64, from, to int, x *Scratch) error {
	if c.c.form != formNumbers {
		return corrupt("column of form %d has no numbers", c.c.form)
	}
	return c.s.r.eachBlock(c.c, c.s.rows, from, to, func(b []byte, first, n int) error {
		l := encoding.NewLane(b)
		x.Blocks++
		out := into(dst, &x.floats, from, to, first, n)
		present, err := readPresence(l, n, x)
		if err != nil {
			return err
		}
		if encoding.ReadFloats(l, out[:present], &x.ints) != nil {
			return corrupt("numbers of column %d", c.c.path)
		}
		if present < n {
			spread(out, x.codes, present, math.NaN())
		}
		back(dst, out, from, to, first, n)
		return nil
	})
}

// Ints reads the rows [from, to) of a column of big integers and which rows have one.
func (c Column) Ints(dst []int64, has []bool, from, to int, x *Scratch) error {
	if c.c.form != formInts {
		return corrupt("column of form %d has no integers", c.c.form)
	}
	var spare []int64
	return c.s.r.eachBlock(c.c, c.s.rows, from, to, func(b []byte, first, n int) error {
		l := encoding.NewLane(b)
		x.Blocks++
		out := into(dst, &spare, from, to, first, n)
		present, err := readPresence(l, n, x)
		if err != nil {
			return err
		}
		if encoding.ReadInts(l, out[:present]) != nil {
			return corrupt("integers of column %d", c.c.path)
		}
		if present < n {
			spread(out, x.codes, present, 0)
		}
		for i := max(first, from); i < min(first+n, to); i++ {
			has[i-from] = x.codes[i-first] != 0
		}
		back(dst, out, from, to, first, n)
		return nil
	})
}

// readPresence reads which of n rows have a value into x.codes.
func readPresence(l *encoding.Lane, n int, x *Scratch) (present int, err error) {
	x.codes = grow(x.codes, n)
	if encoding.ReadInts(l, x.codes) != nil {
		return 0, corrupt("presence")
	}
	for _, has := range x.codes {
		if has > 1 {
			return 0, corrupt("presence %d", has)
		}
		present += int(has)
	}
	return present, nil
}

// spread moves the first present values of out to the rows that has marks, last first.
func spread[T any](out []T, has []uint32, present int, missing T) {
	at := present
	for i := len(out) - 1; i >= 0; i-- {
		if has[i] != 0 {
			at--
			out[i] = out[at]
		} else {
			out[i] = missing
		}
	}
}

// BlockPersons returns the first person of each block of rows: a sample of how
// the rows spread over persons.
func (s *Section) BlockPersons() ([]uint32, error) {
	d, err := s.directory()
	if err != nil {
		return nil, err
	}
	out := make([]uint32, len(d.firstKeys))
	for i, k := range d.firstKeys {
		out[i] = KeyPerson(k)
	}
	return out, nil
}

// Bytes is what the column takes in the file, its dictionary not counted.
func (c Column) Bytes() int64 {
	n := int64(0)
	for _, size := range c.c.pages {
		n += int64(size)
	}
	return n
}
