package batch

import (
	"fmt"
	"slices"
	"strings"
)

// ColumnBuilder collects the values of one path and kind. Values arrive in
// the order of their rows, at most one per row.
type ColumnBuilder struct {
	owner *Builder
	path  string
	kind  Kind

	n      int      // values
	sparse bool     // some row before the last value has none; rows holds every value's row
	rows   []uint32 // only when sparse

	// A column of texts starts with a dictionary. Where that does not pay, the
	// values so far are written out and the batch goes on without one, and so do
	// the next ones; every plainBatches batches it tries again.
	plain     bool
	plainLeft int
	dict      dictionary
	codes     []uint32
	texts     Texts // when plain: value i

	nums  []float64
	ints  []int64
	bools []bool
}

const (
	// A dictionary is judged from this many texts on: it goes if three in four
	// values brought a new one.
	judgeDictTexts = 192
	plainBatches   = 64
	// What a column costs in the encoded form beside its path and values.
	columnBytes = 12
	// What a number may take beyond valueBytes, where it is stored as it is.
	wideBytes = 7
)

// place notes that the next value belongs to row.
func (c *ColumnBuilder) place(row int) {
	if c.n == 0 {
		c.owner.bytes += len(c.path) + columnBytes
	}
	switch {
	case c.sparse:
		if c.n > 0 && int(c.rows[c.n-1]) >= row {
			c.outOfOrder(row)
		}
		c.rows = append(c.rows, uint32(row))
	case c.n != row:
		if c.n > row {
			c.outOfOrder(row)
		}
		c.makeSparse()
		c.rows = append(c.rows, uint32(row))
	}
	c.n++
}

func (c *ColumnBuilder) outOfOrder(row int) {
	panic(fmt.Sprintf("batch: column %q %s: row %d after %d values is out of order", c.path, c.kind, row, c.n))
}

func (c *ColumnBuilder) makeSparse() {
	c.sparse = true
	c.rows = slices.Grow(c.rows[:0], c.n+1)
	for i := range c.n {
		c.rows = append(c.rows, uint32(i))
	}
}

// Text adds row's value of a kind with text. The bytes are copied.
func (c *ColumnBuilder) Text(row int, text []byte) {
	c.place(row)
	if c.plain {
		c.texts.Append(text)
		c.owner.bytes += len(text)
		return
	}
	code, isNew := c.dict.code(text, uint32(row))
	c.codes = append(c.codes, code)
	if isNew {
		c.owner.bytes += len(text)
		if n := len(c.dict.hashes); n >= judgeDictTexts && n*4 > c.n*3 {
			c.writeOut()
		}
	}
}

// writeOut turns the values so far into plain texts.
func (c *ColumnBuilder) writeOut() {
	for _, code := range c.codes {
		c.texts.Append(c.dict.texts.At(int(code)))
	}
	c.codes = c.codes[:0]
	c.dict.reset()
	c.plain, c.plainLeft = true, plainBatches
}

// Number adds row's value of KindNumber. Minus zero becomes zero.
func (c *ColumnBuilder) Number(row int, v float64) {
	c.place(row)
	c.nums = append(c.nums, v+0)
	c.owner.bytes += wideBytes
}

// Int adds row's value of KindInt.
func (c *ColumnBuilder) Int(row int, v int64) {
	c.place(row)
	c.ints = append(c.ints, v)
	c.owner.bytes += wideBytes
}

// Bool adds row's value of KindBool.
func (c *ColumnBuilder) Bool(row int, v bool) {
	c.place(row)
	c.bools = append(c.bools, v)
}

// Null marks row as one with an explicit null, for KindNull.
func (c *ColumnBuilder) Null(row int) { c.place(row) }

// truncate forgets the values of row rows and later ones.
func (c *ColumnBuilder) truncate(rows int) {
	n := min(c.n, rows)
	if c.sparse {
		n, _ = slices.BinarySearch(c.rows, uint32(rows))
		c.rows = c.rows[:n]
	}
	if n == c.n {
		return
	}
	c.n = n
	switch {
	case c.kind.HasText() && c.plain:
		c.texts.truncate(n)
	case c.kind.HasText():
		c.codes = c.codes[:n]
		c.dict.truncate(uint32(rows))
	case c.kind == KindNumber:
		c.nums = c.nums[:n]
	case c.kind == KindInt:
		c.ints = c.ints[:n]
	case c.kind == KindBool:
		c.bools = c.bools[:n]
	}
}

func (c *ColumnBuilder) reset() {
	if c.n == 0 {
		return
	}
	c.n, c.sparse, c.rows = 0, false, c.rows[:0]
	if c.plain {
		c.texts.Reset()
		c.plainLeft--
		c.plain = c.plainLeft > 0
	} else {
		c.codes = c.codes[:0]
		c.dict.reset()
	}
	c.nums, c.ints, c.bools = c.nums[:0], c.ints[:0], c.bools[:0]
}

// column shows the values, in a batch of n rows. It shares the builder's memory.
func (c *ColumnBuilder) column(n int) Column {
	if !c.sparse && c.n < n {
		c.makeSparse()
	}
	col := Column{Path: c.path, Kind: c.kind}
	if c.n < n {
		col.Rows = c.rows
	}
	switch {
	case c.kind.HasText() && c.plain:
		col.Dict = c.texts
	case c.kind.HasText():
		col.Codes, col.Dict = c.codes, c.dict.texts
	case c.kind == KindNumber:
		col.Nums = c.nums
	case c.kind == KindInt:
		col.Ints = c.ints
	case c.kind == KindBool:
		col.Bools = c.bools
	}
	return col
}

// retained is about how many bytes of memory the column keeps over a reset.
func (c *ColumnBuilder) retained() int {
	words := cap(c.rows) + cap(c.codes) + cap(c.dict.first) + cap(c.dict.hashes) + cap(c.dict.texts.Off) + cap(c.texts.Off)
	return 4*words + 8*(cap(c.dict.slots)+cap(c.nums)+cap(c.ints)) + cap(c.bools) + cap(c.dict.texts.Bytes) + cap(c.texts.Bytes)
}

func compareColumns(a, b *ColumnBuilder) int {
	if c := strings.Compare(a.path, b.path); c != 0 {
		return c
	}
	return int(a.kind) - int(b.kind)
}
