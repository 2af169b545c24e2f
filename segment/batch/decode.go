package batch

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"slices"
	"unsafe"
)

// ErrCorrupt is what Decode returns for bytes that are no encoded batch.
var ErrCorrupt = errors.New("corrupt batch")

// The decoded batch takes at most so many bytes of memory per encoded byte.
const maxExpansion = 64

// Decode reads what AppendEncoded wrote. The batch shares nothing with data.
//
// Any bytes either give a batch that holds every invariant that Batch and
// Column state, or an error; memory is bounded by maxExpansion.
func Decode(data []byte) (*Batch, error) {
	if len(data) > MaxBytes {
		return nil, fmt.Errorf("%w: %d bytes, limit %d", ErrCorrupt, len(data), MaxBytes)
	}
	if len(data) < headerBytes {
		return nil, fmt.Errorf("%w: %d bytes are shorter than the header", ErrCorrupt, len(data))
	}
	le := binary.LittleEndian
	if sum := crc32.Checksum(data[4:], castagnoli); sum != le.Uint32(data) {
		return nil, fmt.Errorf("%w: checksum %08x, want %08x", ErrCorrupt, sum, le.Uint32(data))
	}
	if data[4] != formatVersion {
		return nil, fmt.Errorf("batch format version %d is unknown, this build reads %d: upgrade this node", data[4], formatVersion)
	}
	d := decoder{data: data, at: headerBytes}
	if err := d.header(); err != nil {
		return nil, err
	}
	d.body()
	if d.bad != "" {
		return nil, fmt.Errorf("%w: %s, near byte %d", ErrCorrupt, d.bad, d.at)
	}
	return d.b, nil
}

// decoder walks the body. The first thing that is wrong goes to bad; from then
// on every read gives zeros and lengths are zero, so that no caller must look.
type decoder struct {
	data []byte // all of it
	at   int
	end  int // of the body: where the paths begin
	bad  string

	b     *Batch
	paths string
	texts []byte // what is left of the text area, the decoder's own copy

	// Memory for the batch's slices, of the sizes that the header states.
	words []uint32
	longs []int64
	bools []bool

	zeros []uint32   // shared by the codes of all columns with one distinct text
	sets  [][]uint32 // row sets that later columns may share
}

func (d *decoder) header() error {
	le, h := binary.LittleEndian, d.data
	n, columns := int(le.Uint32(h[8:])), int(le.Uint32(h[12:]))
	paths, texts := int(le.Uint32(h[16:])), int(le.Uint32(h[20:]))
	words, longs, bools := int(le.Uint32(h[24:])), int(le.Uint32(h[28:])), int(le.Uint32(h[32:]))
	received := int64(le.Uint64(h[40:]))
	d.end = len(h) - paths - texts
	switch {
	case h[5]|h[6]|h[7]|h[36]|h[37]|h[38]|h[39] != 0:
		return fmt.Errorf("%w: reserved bytes are set", ErrCorrupt)
	case n > MaxRows || columns > MaxColumns:
		return fmt.Errorf("%w: %d rows (limit %d), %d columns (limit %d)", ErrCorrupt, n, MaxRows, columns, MaxColumns)
	case d.end < headerBytes:
		return fmt.Errorf("%w: %d bytes of text in %d", ErrCorrupt, paths+texts, len(h))
	case 16*n+4*words+8*longs+bools+columns*int(unsafe.Sizeof(Column{})) > maxExpansion*len(h):
		return fmt.Errorf("%w: %d bytes claim more values than they can hold", ErrCorrupt, len(h))
	case received%1000 != 0 || received < MinTime || received >= MaxTime:
		return fmt.Errorf("%w: received at %d", ErrCorrupt, received)
	}
	d.b = &Batch{N: n, ReceivedAt: received, IDs: make([]ID, n), Columns: make([]Column, columns)}
	d.paths = string(h[d.end : d.end+paths])
	d.texts = slices.Clone(h[d.end+paths:])
	d.words, d.longs, d.bools = make([]uint32, words), make([]int64, longs), make([]bool, bools)
	return nil
}

func (d *decoder) body() {
	b := d.b
	d.ids()
	d.codes(&b.Names)
	d.codes(&b.Users)
	d.codes(&b.Anons)
	d.codes(&b.Shapes)
	d.codes(&b.Sources)
	d.names()
	d.times()
	for i := range b.Columns {
		if d.bad != "" {
			return
		}
		d.column(&b.Columns[i])
		if i > 0 {
			d.order(&b.Columns[i-1], &b.Columns[i])
		}
	}
	d.onePerPath()
	if d.bad == "" && (d.at != d.end || len(d.paths) != 0 || len(d.texts) != 0 || len(d.words)+len(d.longs)+len(d.bools) != 0) {
		d.fail("bytes or memory are left over")
	}
}

func (d *decoder) fail(what string) {
	if d.bad == "" {
		d.bad = what
	}
}

// take returns the next n bytes and everything behind them: readers of packed
// values load past their end.
func (d *decoder) take(n int) []byte {
	if d.bad != "" || n < 0 || n > d.end-d.at {
		d.fail("the body ends early")
		return nil
	}
	src := d.data[d.at:]
	d.at += n
	return src
}

func (d *decoder) byte() byte {
	if src := d.take(1); src != nil {
		return src[0]
	}
	return 0
}

// uvarint reads a number of at most limit.
func (d *decoder) uvarint(limit int) int {
	if d.bad != "" {
		return 0
	}
	v, n := binary.Uvarint(d.data[d.at:d.end])
	if n <= 0 || v > uint64(limit) {
		d.fail("a number is out of range")
		return 0
	}
	d.at += n
	return int(v)
}

func (d *decoder) varint() int64 {
	if d.bad != "" {
		return 0
	}
	v, n := binary.Varint(d.data[d.at:d.end])
	if n <= 0 {
		d.fail("a number is cut off")
		return 0
	}
	d.at += n
	return v
}

func (d *decoder) takeWords(n int) []uint32 {
	if d.bad != "" || n > len(d.words) {
		d.fail("more values than the header states")
		return nil
	}
	out := d.words[:n:n]
	d.words = d.words[n:]
	return out
}

func (d *decoder) takeLongs(n int) []int64 {
	if d.bad != "" || n > len(d.longs) {
		d.fail("more values than the header states")
		return nil
	}
	out := d.longs[:n:n]
	d.longs = d.longs[n:]
	return out
}

func (d *decoder) takeBools(n int) []bool {
	if d.bad != "" || n > len(d.bools) {
		d.fail("more values than the header states")
		return nil
	}
	out := d.bools[:n:n]
	d.bools = d.bools[n:]
	return out
}

func (d *decoder) takeText(n int) []byte {
	if d.bad != "" || n > len(d.texts) {
		d.fail("the text area ends early")
		return nil
	}
	out := d.texts[:n:n]
	d.texts = d.texts[n:]
	return out
}

// packed reads len(out) values of the width that follows in the body.
func (d *decoder) packed(out []uint32, base uint32, width uint) (largest uint32) {
	if width > 32 {
		d.fail("a width above 32 bits")
		return 0
	}
	src := d.take(packedBytes(len(out), width))
	if src == nil {
		return 0
	}
	return unpack32(out, src, base, width)
}

func (d *decoder) ids() {
	b := d.b
	uuids := b.N
	switch d.byte() {
	case idsAllUUID:
	case idsMixed:
		b.IDIsText = d.takeBools(b.N)
		d.unpackBools(b.IDIsText)
		for _, isText := range b.IDIsText {
			if isText {
				uuids--
			}
		}
	default:
		d.fail("unknown form of ids")
	}
	src := d.take(16 * uuids)
	if src == nil {
		return
	}
	if b.IDIsText == nil {
		for i := range b.IDs {
			b.IDs[i] = ID{binary.BigEndian.Uint64(src[16*i:]), binary.BigEndian.Uint64(src[16*i+8:])}
		}
		return
	}
	d.textIDs(src, b.N-uuids)
}

// textIDs fills the ids of a batch where n of them are text; src has the others.
func (d *decoder) textIDs(src []byte, n int) {
	b := d.b
	if d.uvarint(b.N) != n || n == 0 {
		d.fail("the number of text ids is wrong")
		return
	}
	lo, width := d.uvarint(math.MaxUint16), uint(d.byte())
	if lo == 0 {
		d.fail("an empty id")
		return
	}
	lens := make([]uint32, n)
	if d.packed(lens, uint32(lo), width); d.bad != "" {
		return
	}
	total := 0
	for _, l := range lens {
		if l > math.MaxUint16 || l < uint32(lo) {
			d.fail("an id is too long")
			return
		}
		total += int(l)
	}
	b.IDBytes = d.takeText(total)
	if d.bad != "" {
		return
	}
	off, next := 0, 0
	for i, isText := range b.IDIsText {
		if !isText {
			b.IDs[i] = ID{binary.BigEndian.Uint64(src), binary.BigEndian.Uint64(src[8:])}
			src = src[16:]
			continue
		}
		text := b.IDBytes[off : off+int(lens[next])]
		if _, isUUID := ParseUUID(text); isUUID {
			d.fail("a UUID is stored as text") // it would not equal itself elsewhere
			return
		}
		b.IDs[i] = textID(text, off)
		off += len(text)
		next++
	}
}

// readTexts reads a list of at most limit texts.
func (d *decoder) readTexts(limit int) Texts {
	n := d.uvarint(limit)
	if n == 0 {
		return Texts{}
	}
	lo, width := d.uvarint(MaxBytes), uint(d.byte())
	if lo == 0 && width == 0 {
		d.fail("empty texts take no room")
		return Texts{}
	}
	off := d.takeWords(n + 1)
	if d.bad != "" {
		return Texts{}
	}
	d.packed(off[1:], uint32(lo), width)
	sum := uint64(0)
	for i := 1; i < len(off); i++ {
		sum += uint64(off[i])
		if sum > MaxBytes {
			d.fail("texts are longer than a batch")
			return Texts{}
		}
		off[i] = uint32(sum)
	}
	return Texts{Off: off, Bytes: d.takeText(int(sum))}
}

func (d *decoder) codes(c *Codes) {
	c.Dict = d.readTexts(d.b.N)
	lo, width := d.uvarint(d.b.N), uint(d.byte())
	c.Row = d.takeWords(d.b.N)
	largest := d.packed(c.Row, uint32(lo), width)
	if uint64(lo)+uint64(largest) > uint64(c.Dict.Len()) {
		d.fail("a code is beyond its dictionary")
	}
	for i := range c.Dict.Len() {
		if d.bad == "" && len(c.Dict.At(i)) == 0 {
			d.fail("an empty text")
		}
	}
}

func (d *decoder) names() {
	for _, code := range d.b.Names.Row {
		if code == 0 {
			d.fail("an event without a name")
			return
		}
	}
}

func (d *decoder) times() {
	d.b.Times = d.takeLongs(d.b.N)
	if d.b.N == 0 {
		return
	}
	unit := int64(1)
	switch d.byte() {
	case 0:
	case 3:
		unit = 1e3
	case 6:
		unit = 1e6
	default:
		d.fail("unknown unit of time")
	}
	d.ints(d.b.Times, unit, 0)
	for _, t := range d.b.Times {
		if t < MinTime || t >= MaxTime {
			d.fail("a time is out of range")
			return
		}
	}
}

func (d *decoder) ints(out []int64, unit int64, minWidth uint) {
	width, lo := uint(d.byte()), d.varint()
	if width < minWidth || width > maxPackedWidth && width != 64 {
		d.fail("a width is out of range")
		return
	}
	if src := d.take(packedBytes(len(out), width)); src != nil {
		unpack64(out, src, lo, unit, width)
	}
}

func (d *decoder) unpackBools(out []bool) {
	src := d.take((len(out) + 7) / 8)
	if src == nil {
		return
	}
	for i := range out {
		out[i] = src[i>>3]>>(i&7)&1 != 0
	}
}
