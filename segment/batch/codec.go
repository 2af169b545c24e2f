package batch

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math"
	"math/bits"
	"slices"
)

// The encoded form is drawn in DESIGN.md. Numbers that decode.go checks and
// this file writes stand here.
const (
	formatVersion = 1
	headerBytes   = 48

	idsAllUUID = 0
	idsMixed   = 1

	rowsAll    = 0 // every row has a value
	rowsBitmap = 1
	rowsDeltas = 2
	rowsShared = 3 // the same rows as an earlier column

	textsPlain = 0 // one text per value
	textsDict  = 1 // distinct texts, and a code per value

	numsRaw    = 0 // 8 bytes each
	numsScaled = 1 // integers, to be divided by a power of ten

	// A column of numbers spends at least this many bits per value, so that a
	// few bytes cannot ask a decoder for much memory.
	minNumberWidth = 2

	// A row set is compared with so many earlier ones of its length. Columns of
	// one event name have the same rows, and stand close in path order.
	sharedRowsLookback = 16
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

var powersOfTen = [...]float64{1, 10, 100, 1000, 10000}

// AppendEncoded appends the batch's bytes to dst.
func (b *Batch) AppendEncoded(dst []byte) []byte {
	start := len(dst)
	dst = slices.Grow(dst, headerBytes+24*b.N)
	dst = append(dst, make([]byte, headerBytes)...)
	e := encoder{dst: dst, b: b}
	e.ids()
	e.codes(&b.Names)
	e.codes(&b.Users)
	e.codes(&b.Anons)
	e.codes(&b.Shapes)
	e.codes(&b.Sources)
	e.times()
	paths := 0
	for i := range b.Columns {
		paths += len(b.Columns[i].Path)
		e.column(&b.Columns[i])
	}
	dst = e.dst

	texts := len(dst)
	for i := range b.Columns {
		dst = append(dst, b.Columns[i].Path...)
	}
	dst = append(dst, b.IDBytes...)
	for _, c := range []*Codes{&b.Names, &b.Users, &b.Anons, &b.Shapes, &b.Sources} {
		dst = append(dst, c.Dict.Bytes...)
	}
	for i := range b.Columns {
		if c := &b.Columns[i]; c.Kind.HasText() {
			dst = append(dst, c.Dict.Bytes...)
		}
	}

	h := dst[start:]
	h[4] = formatVersion
	le := binary.LittleEndian
	le.PutUint32(h[8:], uint32(b.N))
	le.PutUint32(h[12:], uint32(len(b.Columns)))
	le.PutUint32(h[16:], uint32(paths))
	le.PutUint32(h[20:], uint32(len(dst)-texts-paths))
	le.PutUint32(h[24:], uint32(e.words))
	le.PutUint32(h[28:], uint32(e.longs))
	le.PutUint32(h[32:], uint32(e.bools))
	le.PutUint64(h[40:], uint64(b.ReceivedAt))
	le.PutUint32(h, crc32.Checksum(h[4:], castagnoli))
	return dst
}

// encoder writes the body and counts what the decoder will allocate: elements
// of 4, 8 and 1 bytes.
type encoder struct {
	dst                 []byte
	b                   *Batch
	words, longs, bools int
	scaled              []int64
	sets                [sharedRowsLookback][]uint32 // the latest row sets, set i at i%len
	nsets               int
}

func (e *encoder) uvarint(v int) { e.dst = binary.AppendUvarint(e.dst, uint64(v)) }

func (e *encoder) ids() {
	b := e.b
	if b.IDIsText == nil {
		e.dst = append(e.dst, idsAllUUID)
		e.uuids()
		return
	}
	e.dst = append(e.dst, idsMixed)
	e.appendBools(b.IDIsText)
	e.uuids()
	lens := make([]uint32, 0, b.N)
	for i, isText := range b.IDIsText {
		if isText {
			lens = append(lens, uint32(b.IDs[i].Hi&0xffff))
		}
	}
	e.uvarint(len(lens))
	e.lengths(lens)
	e.bools += b.N
}

func (e *encoder) uuids() {
	e.dst = slices.Grow(e.dst, 16*e.b.N)
	out := e.dst[len(e.dst) : len(e.dst)+16*e.b.N]
	pos := 0
	for i := range e.b.IDs {
		if e.b.IDIsText != nil && e.b.IDIsText[i] {
			continue
		}
		binary.BigEndian.PutUint64(out[pos:], e.b.IDs[i].Hi)
		binary.BigEndian.PutUint64(out[pos+8:], e.b.IDs[i].Lo)
		pos += 16
	}
	e.dst = e.dst[:len(e.dst)+pos]
}

// lengths stores the lengths of texts that are not empty as a whole list:
// smallest and width, then the differences.
func (e *encoder) lengths(lens []uint32) {
	if len(lens) == 0 {
		return
	}
	lo, hi := lens[0], lens[0]
	for _, n := range lens {
		lo, hi = min(lo, n), max(hi, n)
	}
	width := uint(bits.Len32(hi - lo))
	if lo == 0 {
		width = max(width, 1)
	}
	e.uvarint(int(lo))
	e.dst = append(e.dst, byte(width))
	e.dst = appendPacked32(e.dst, lens, lo, width)
}

// texts stores how many there are and how long each is; the bytes go to the
// text area.
func (e *encoder) texts(t *Texts) {
	n := t.Len()
	e.uvarint(n)
	if n == 0 {
		return
	}
	off := t.Off[:n+1]
	lo, hi := off[1]-off[0], uint32(0)
	for i := 1; i < len(off); i++ {
		l := off[i] - off[i-1]
		lo, hi = min(lo, l), max(hi, l)
	}
	width := uint(bits.Len32(hi - lo))
	if lo == 0 {
		width = max(width, 1)
	}
	e.uvarint(int(lo))
	e.dst = append(e.dst, byte(width))
	e.words += n + 1
	if width == 0 {
		return
	}
	size := packedBytes(n, width)
	e.dst = slices.Grow(e.dst, size+8)
	out := e.dst[len(e.dst) : len(e.dst)+size+8]
	var acc uint64
	var fill uint
	pos := 0
	for i := 1; i < len(off); i++ {
		acc |= uint64(off[i]-off[i-1]-lo) << (fill & 63)
		fill += width
		if fill >= 32 {
			binary.LittleEndian.PutUint32(out[pos:], uint32(acc))
			pos += 4
			acc >>= 32
			fill -= 32
		}
	}
	binary.LittleEndian.PutUint64(out[pos:], acc)
	e.dst = e.dst[:len(e.dst)+size]
}

// codes stores a code per row, from the smallest on, and the dictionary.
func (e *encoder) codes(c *Codes) {
	e.texts(&c.Dict)
	lo, hi := uint32(0), uint32(0)
	if len(c.Row) > 0 {
		lo = c.Row[0]
	}
	for _, v := range c.Row {
		lo, hi = min(lo, v), max(hi, v)
	}
	width := uint(bits.Len32(hi - lo))
	e.uvarint(int(lo))
	e.dst = append(e.dst, byte(width))
	e.dst = appendPacked32(e.dst, c.Row, lo, width)
	e.words += len(c.Row)
}

// times stores them in the largest of second, millisecond and microsecond that
// divides the distance of each to the smallest.
func (e *encoder) times() {
	t := e.b.Times
	e.longs += len(t)
	if len(t) == 0 {
		return
	}
	lo := t[0]
	for _, v := range t {
		lo = min(lo, v)
	}
	unit, code := int64(1e6), byte(6)
	for _, v := range t {
		for (v-lo)%unit != 0 {
			unit /= 1000
			code -= 3
		}
	}
	e.dst = append(e.dst, code)
	e.dst = appendInts(e.dst, t, unit, 0)
}

func (e *encoder) column(c *Column) {
	e.uvarint(len(c.Path))
	e.dst = append(e.dst, byte(c.Kind))
	e.rows(c.Rows)
	n := c.Len(e.b.N)
	switch {
	case c.Kind.HasText():
		if c.Codes == nil {
			e.dst = append(e.dst, textsPlain)
			e.texts(&c.Dict)
			return
		}
		e.dst = append(e.dst, textsDict)
		e.texts(&c.Dict)
		width := uint(bits.Len32(uint32(c.Dict.Len() - 1)))
		e.dst = appendPacked32(e.dst, c.Codes, 0, width)
		if width > 0 {
			e.words += n
		}
	case c.Kind == KindNumber:
		e.numbers(c.Nums)
		e.longs += n
	case c.Kind == KindInt:
		e.dst = appendInts(e.dst, c.Ints, 1, minNumberWidth)
		e.longs += n
	case c.Kind == KindBool:
		e.appendBools(c.Bools)
		e.bools += n
	}
}

// rows stores which rows have a value: as an earlier column, as a bitmap, or
// as distances, whichever is shorter.
func (e *encoder) rows(rows []uint32) {
	if rows == nil {
		e.dst = append(e.dst, rowsAll)
		return
	}
	for back := 1; back <= min(e.nsets, sharedRowsLookback); back++ {
		set := e.sets[(e.nsets-back)%sharedRowsLookback]
		if len(set) == len(rows) && set[0] == rows[0] && set[len(set)-1] == rows[len(rows)-1] && slices.Equal(set, rows) {
			e.dst = append(e.dst, rowsShared)
			e.uvarint(e.nsets - back)
			return
		}
	}
	e.sets[e.nsets%sharedRowsLookback] = rows
	e.nsets++
	e.words += len(rows)
	bitmap := (e.b.N + 7) / 8
	if len(rows) < bitmap {
		e.dst = append(e.dst, rowsDeltas)
		e.uvarint(len(rows))
		last := -1
		for _, r := range rows {
			e.uvarint(int(r) - last - 1)
			last = int(r)
		}
		return
	}
	e.dst = append(e.dst, rowsBitmap)
	e.uvarint(len(rows))
	at := len(e.dst)
	e.dst = append(e.dst, make([]byte, bitmap)...)
	out := e.dst[at:]
	for _, r := range rows {
		out[r>>3] |= 1 << (r & 7)
	}
}

func (e *encoder) appendBools(vals []bool) {
	at := len(e.dst)
	e.dst = append(e.dst, make([]byte, (len(vals)+7)/8)...)
	out := e.dst[at:]
	for i, v := range vals {
		if v {
			out[i>>3] |= 1 << (i & 7)
		}
	}
}

// numbers stores decimals as integers where every value has at most four
// places behind the point.
func (e *encoder) numbers(vals []float64) {
	for power := 0; power < len(powersOfTen); power += 2 {
		if e.scale(vals, powersOfTen[power]) {
			e.dst = append(e.dst, numsScaled, byte(power))
			e.dst = appendInts(e.dst, e.scaled, 1, minNumberWidth)
			return
		}
	}
	e.dst = append(e.dst, numsRaw)
	e.dst = slices.Grow(e.dst, 8*len(vals))
	for _, v := range vals {
		e.dst = binary.LittleEndian.AppendUint64(e.dst, math.Float64bits(v+0))
	}
}

// scale fills e.scaled, unless a value is no multiple of 1/by or too large.
func (e *encoder) scale(vals []float64, by float64) bool {
	if cap(e.scaled) < len(vals) {
		e.scaled = make([]int64, max(len(vals), e.b.N))
	}
	e.scaled = e.scaled[:len(vals)]
	for i, v := range vals {
		x := math.RoundToEven(v * by)
		if x/by != v || math.Abs(x) > 1<<53 {
			return false
		}
		e.scaled[i] = int64(x)
	}
	return true
}

// Clone returns a batch that shares nothing with b.
func (b *Batch) Clone() *Batch {
	c, err := Decode(b.AppendEncoded(nil))
	if err != nil {
		panic(fmt.Sprintf("batch: clone of %d rows: %v", b.N, err))
	}
	return c
}
