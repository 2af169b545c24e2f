package batch

import (
	"encoding/binary"
	"math/bits"
	"math/rand/v2"
)

// dictionary gives equal texts one code. Codes are dense and in the order of
// first appearance, so they depend on the texts alone and never on the hash.
//
// The table is open addressing with linear probing. Entries leave only in the
// reverse order of their arrival (truncate), for which clearing the slot is
// enough: no entry that remains was ever pushed past it.
type dictionary struct {
	texts  Texts
	first  []uint32 // per code: the row that brought it
	hashes []uint32 // per code
	slots  []uint64 // hash<<32 | code+1; 0 is free; a power of two of them
	seed   [2]uint64
}

const (
	minSlots = 64
	// A table with more slots than this, and mostly empty at a reset, shrinks,
	// so that one large batch does not make every later small one clear it.
	shrinkSlots = 1 << 10
)

// newSeed keeps clients from choosing texts that fall into one slot.
func newSeed() [2]uint64 { return [2]uint64{rand.Uint64() | 1, rand.Uint64() | 1} }

// hashText mixes 16 bytes at a time by a 128-bit product under a secret seed.
// Most texts have at most 16 bytes; that case is small enough to be inlined.
func hashText(text []byte, seed *[2]uint64) uint32 {
	n := len(text)
	if n < 8 || n > 16 {
		return hashOther(text, seed)
	}
	hi, lo := bits.Mul64(seed[0]^binary.LittleEndian.Uint64(text), seed[1]^uint64(n)^binary.LittleEndian.Uint64(text[n-8:]))
	lo ^= hi
	return uint32(lo ^ lo>>32)
}

func hashOther(text []byte, seed *[2]uint64) uint32 {
	a, b := seed[0], seed[1]^uint64(len(text))
	for len(text) > 16 {
		hi, lo := bits.Mul64(binary.LittleEndian.Uint64(text)^a, binary.LittleEndian.Uint64(text[8:])^b)
		a, b = a+hi, b^lo
		text = text[16:]
	}
	switch n := len(text); {
	case n >= 8:
		a ^= binary.LittleEndian.Uint64(text)
		b ^= binary.LittleEndian.Uint64(text[n-8:])
	case n >= 4:
		a ^= uint64(binary.LittleEndian.Uint32(text))
		b ^= uint64(binary.LittleEndian.Uint32(text[n-4:]))
	case n > 0:
		a ^= uint64(text[0]) | uint64(text[n>>1])<<8 | uint64(text[n-1])<<16
	}
	hi, lo := bits.Mul64(a, b)
	lo ^= hi
	return uint32(lo ^ lo>>32)
}

// code returns the code of text, and whether row brought it.
func (d *dictionary) code(text []byte, row uint32) (code uint32, isNew bool) {
	if len(d.slots) == 0 {
		d.slots = make([]uint64, minSlots)
	}
	h := hashText(text, &d.seed)
	mask := uint32(len(d.slots) - 1)
	i := h & mask
	for {
		slot := d.slots[i]
		if slot == 0 {
			break
		}
		if uint32(slot>>32) == h {
			c := uint32(slot) - 1
			if string(d.texts.Bytes[d.texts.Off[c]:d.texts.Off[c+1]]) == string(text) {
				return c, false
			}
		}
		i = (i + 1) & mask
	}
	code = uint32(d.texts.Append(text))
	d.first = append(d.first, row)
	d.hashes = append(d.hashes, h)
	d.slots[i] = uint64(h)<<32 | uint64(code+1)
	if (len(d.hashes)+1)*4 > len(d.slots)*3 {
		d.grow()
	}
	return code, true
}

func (d *dictionary) grow() {
	n := 2 * len(d.slots)
	if cap(d.slots) >= n {
		d.slots = d.slots[:n]
		clear(d.slots)
	} else {
		d.slots = make([]uint64, n)
	}
	mask := uint32(n - 1)
	for code, h := range d.hashes {
		i := h & mask
		for d.slots[i] != 0 {
			i = (i + 1) & mask
		}
		d.slots[i] = uint64(h)<<32 | uint64(code+1)
	}
}

// truncate forgets the texts that row or a later one brought.
func (d *dictionary) truncate(row uint32) {
	n := len(d.first)
	mask := uint32(len(d.slots) - 1)
	for n > 0 && d.first[n-1] >= row {
		n--
		i := d.hashes[n] & mask
		for uint32(d.slots[i]) != uint32(n+1) {
			i = (i + 1) & mask
		}
		d.slots[i] = 0
	}
	d.first, d.hashes = d.first[:n], d.hashes[:n]
	d.texts.truncate(n)
}

func (d *dictionary) reset() {
	if len(d.slots) > shrinkSlots && len(d.hashes)*16 < len(d.slots) {
		d.slots = d.slots[:len(d.slots)/2]
	}
	if len(d.hashes) > 0 {
		clear(d.slots)
	}
	d.first, d.hashes = d.first[:0], d.hashes[:0]
	d.texts.Reset()
}

// truncate keeps the first n texts.
func (t *Texts) truncate(n int) {
	if n >= t.Len() {
		return
	}
	t.Off = t.Off[:n+1]
	t.Bytes = t.Bytes[:t.Off[n]]
}

// codesBuilder fills Codes: one text or none per row.
type codesBuilder struct {
	rows []uint32
	dict dictionary
	last []byte // text of the row before, in the dictionary's memory or nil
	code uint32 // its code plus one
}

// add appends row's text; an empty text is an absent one. It returns how many
// bytes the dictionary grew.
func (c *codesBuilder) add(text []byte, row uint32) int {
	if len(text) == 0 {
		c.rows = append(c.rows, 0)
		return 0
	}
	if string(text) == string(c.last) {
		c.rows = append(c.rows, c.code)
		return 0
	}
	code, isNew := c.dict.code(text, row)
	c.last, c.code = c.dict.texts.At(int(code)), code+1
	c.rows = append(c.rows, code+1)
	if isNew {
		return len(text) + 1
	}
	return 0
}

func (c *codesBuilder) truncate(rows int) {
	c.rows = c.rows[:rows]
	c.dict.truncate(uint32(rows))
	c.last = nil
}

func (c *codesBuilder) reset() {
	c.rows, c.last = c.rows[:0], nil
	c.dict.reset()
}

func (c *codesBuilder) codes() Codes { return Codes{Row: c.rows, Dict: c.dict.texts} }
