package batch

import (
	"encoding/binary"
	"math"
	mathbits "math/bits"
	"unsafe"
)

func (d *decoder) column(c *Column) {
	n := d.uvarint(MaxPathBytes)
	if n > len(d.paths) {
		d.fail("the paths end early")
		return
	}
	c.Path, d.paths = d.paths[:n], d.paths[n:]
	c.Kind = Kind(d.byte())
	c.Rows = d.rows()
	values := c.Len(d.b.N)
	if d.bad != "" || values == 0 {
		d.fail("a column without values")
		return
	}
	switch c.Kind {
	case KindString, KindNumText, KindJSON:
		d.textColumn(c, values)
	case KindNumber:
		d.numbers(c, values)
	case KindInt:
		c.Ints = d.takeLongs(values)
		d.ints(c.Ints, 1, minNumberWidth)
	case KindBool:
		c.Bools = d.takeBools(values)
		d.unpackBools(c.Bools)
	case KindNull:
	default:
		d.fail("unknown kind of column")
	}
}

func (d *decoder) textColumn(c *Column, values int) {
	switch d.byte() {
	case textsPlain:
		c.Dict = d.readTexts(values)
		if c.Dict.Len() != values {
			d.fail("a text is missing")
		}
	case textsDict:
		c.Dict = d.readTexts(values)
		n := c.Dict.Len()
		switch n {
		case 0:
			d.fail("an empty dictionary")
		case 1:
			if d.zeros == nil {
				d.zeros = make([]uint32, d.b.N)
			}
			c.Codes = d.zeros[:values:values]
		default:
			c.Codes = d.takeWords(values)
			if largest := d.packed(c.Codes, 0, uint(mathbits.Len32(uint32(n-1)))); int(largest) >= n {
				d.fail("a code is beyond its dictionary")
			}
		}
	default:
		d.fail("unknown form of texts")
	}
}

func (d *decoder) numbers(c *Column, values int) {
	ints := d.takeLongs(values)
	form := d.byte()
	if d.bad != "" {
		return
	}
	// A float64 takes the room of the int64 it is made from.
	c.Nums = unsafe.Slice((*float64)(unsafe.Pointer(unsafe.SliceData(ints))), len(ints))
	switch form {
	case numsRaw:
		src := d.take(8 * values)
		if src == nil {
			return
		}
		for i := range c.Nums {
			v := math.Float64frombits(binary.LittleEndian.Uint64(src[8*i:]))
			if math.IsNaN(v) || math.IsInf(v, 0) || v == 0 && math.Signbit(v) {
				d.fail("a number is not finite")
				return
			}
			c.Nums[i] = v
		}
	case numsScaled:
		power := d.byte()
		if int(power) >= len(powersOfTen) {
			d.fail("a scale is out of range")
			return
		}
		d.ints(ints, 1, minNumberWidth)
		by := powersOfTen[power]
		for i, v := range ints {
			c.Nums[i] = float64(v) / by
		}
	default:
		d.fail("unknown form of numbers")
	}
}

// rows returns nil where every row has a value.
func (d *decoder) rows() []uint32 {
	form := d.byte()
	if form == rowsAll || d.bad != "" {
		return nil
	}
	if form == rowsShared {
		i := d.uvarint(MaxColumns)
		if i >= len(d.sets) {
			d.fail("no such earlier rows")
			return nil
		}
		return d.sets[i]
	}
	n := d.uvarint(d.b.N)
	if n == 0 || n == d.b.N {
		d.fail("rows are stored that need not be")
		return nil
	}
	rows := d.takeWords(n)
	switch form {
	case rowsDeltas:
		last := -1
		for i := range rows {
			last += 1 + d.uvarint(d.b.N)
			if last >= d.b.N {
				d.fail("a row is out of range")
				return nil
			}
			rows[i] = uint32(last)
		}
	case rowsBitmap:
		d.bitmap(rows)
	default:
		d.fail("unknown form of rows")
	}
	d.sets = append(d.sets, rows)
	return rows
}

// bitmap fills rows from a bit per row of the batch.
func (d *decoder) bitmap(rows []uint32) {
	size := (d.b.N + 7) / 8
	src := d.take(size)
	if src == nil {
		return
	}
	next := 0
	for i := 0; i < size; i += 8 {
		var word uint64
		if i+8 <= size {
			word = binary.LittleEndian.Uint64(src[i:])
		} else {
			var tail [8]byte
			copy(tail[:], src[i:size])
			word = binary.LittleEndian.Uint64(tail[:])
		}
		if next+mathbits.OnesCount64(word) > len(rows) {
			d.fail("more rows than stated")
			return
		}
		for ; word != 0; word &= word - 1 {
			rows[next] = uint32(8*i + mathbits.TrailingZeros64(word))
			next++
		}
	}
	if next != len(rows) || int(rows[next-1]) >= d.b.N {
		d.fail("rows are missing or out of range")
	}
}

// order checks that columns ascend by (path, kind).
func (d *decoder) order(a, b *Column) {
	if a.Path > b.Path || a.Path == b.Path && a.Kind >= b.Kind {
		d.fail("columns are out of order")
	}
}

// onePerPath checks that no row is in two columns of a path.
func (d *decoder) onePerPath() {
	var seen []bool
	columns := d.b.Columns
	for i := 0; i < len(columns) && d.bad == ""; {
		j := i + 1
		for j < len(columns) && columns[j].Path == columns[i].Path {
			j++
		}
		if j > i+1 {
			if seen == nil {
				seen = make([]bool, d.b.N)
			}
			clear(seen)
			for k := i; k < j; k++ {
				for v := range columns[k].Len(d.b.N) {
					row := columns[k].Row(v)
					if seen[row] {
						d.fail("a row has two values of one path")
						return
					}
					seen[row] = true
				}
			}
		}
		i = j
	}
}
