package segment

import (
	"cmp"
	"encoding/binary"
	"slices"

	"spoor/index"
	"spoor/segment/batch"
	"spoor/segment/encoding"
)

// Ids are stored in blocks of idBlockRows rows, each sorted by the id's Lo word
// (for a version 4 or 7 UUID its random end, for another text its hash), so that
// an id is found by its bytes alone and a block costs 16 bytes an id and no
// index. The first 16 bits of Lo are a unary bit map: for each id in order a one
// bit, after as many zero bits as its Lo>>48 is above the previous one.
//
//	| uvarint UUIDs | uvarint texts |
//	| UUIDs:  uvarint words, unary bit map | Lo, the low 48 bits, 6 bytes each | lane of Hi>>12 | Hi low 12 bits, lane |
//	|         row in the block u16 each |
//	| texts:  Lo, 8 bytes each | row in the block u16 each | text lane |
const idBlockRows = 1 << 16

// filterBitsPerID sizes the filter of a file: about 2 % of strange ids pass it.
const filterBitsPerID = 8

type idRow struct {
	id  batch.ID
	row uint16
}

// IDs writes the eventId of every row and the filter over them. isText and texts are
// as in batch.Batch; isText may be nil.
func (w *Writer) IDs(ids []batch.ID, isText []bool, texts []byte) {
	filter := index.NewBloom(len(ids), filterBitsPerID)
	var uuids, plain []idRow
	for from := 0; from < len(ids); from += idBlockRows {
		to := min(from+idBlockRows, len(ids))
		uuids, plain = uuids[:0], plain[:0]
		for i := from; i < to; i++ {
			text := isText != nil && isText[i]
			filter.Add(ids[i].Hash(text))
			if text {
				plain = append(plain, idRow{ids[i], uint16(i - from)})
			} else {
				uuids = append(uuids, idRow{ids[i], uint16(i - from)})
			}
		}
		w.textIDs = w.textIDs || len(plain) > 0
		b := binary.AppendUvarint(nil, uint64(len(uuids)))
		b = binary.AppendUvarint(b, uint64(len(plain)))
		if len(uuids) > 0 {
			b = appendUUIDs(b, uuids)
		}
		if len(plain) > 0 {
			b = w.appendTextIDs(b, plain, texts)
		}
		w.ids = append(w.ids, idDir{rows: to - from, ref: w.region(b)})
	}
	w.filter = w.region(filter.AppendTo(nil))
}

func sortIDs(rows []idRow) {
	slices.SortFunc(rows, func(a, b idRow) int {
		return cmp.Or(cmp.Compare(a.id.Lo, b.id.Lo), cmp.Compare(a.id.Hi, b.id.Hi), cmp.Compare(a.row, b.row))
	})
}

func appendUUIDs(b []byte, rows []idRow) []byte {
	sortIDs(rows)
	bits := make([]uint64, (len(rows)+1<<16)/64+1)
	at, high := 0, uint64(0)
	for i := range rows {
		h := rows[i].id.Lo >> 48
		at += int(h - high)
		high = h
		bits[at/64] |= 1 << (at % 64)
		at++
	}
	words := bits[:(at+63)/64]
	b = binary.AppendUvarint(b, uint64(len(words)))
	for _, word := range words {
		b = binary.LittleEndian.AppendUint64(b, word)
	}
	for i := range rows {
		lo := rows[i].id.Lo
		b = append(b, byte(lo), byte(lo>>8), byte(lo>>16), byte(lo>>24), byte(lo>>32), byte(lo>>40))
	}
	top, low := make([]uint64, len(rows)), make([]uint32, len(rows))
	for i := range rows {
		// Bits 12 to 15 are the version, alike in all: the lanes split around them.
		hi := rows[i].id.Hi
		top[i] = hi >> 16
		low[i] = uint32(hi & 0xffff)
	}
	b = encoding.AppendLane(b, top, false)
	b = encoding.AppendLane(b, low, false)
	for i := range rows {
		b = binary.LittleEndian.AppendUint16(b, rows[i].row)
	}
	return b
}

func (w *Writer) appendTextIDs(b []byte, rows []idRow, texts []byte) []byte {
	sortIDs(rows)
	var lengths []uint32
	var bytes []byte
	for i := range rows {
		b = binary.LittleEndian.AppendUint64(b, rows[i].id.Lo)
	}
	for i := range rows {
		b = binary.LittleEndian.AppendUint16(b, rows[i].row)
	}
	for i := range rows {
		t := idText(rows[i].id, texts)
		lengths = append(lengths, uint32(len(t)))
		bytes = append(bytes, t...)
	}
	return w.comp.AppendTexts(b, lengths, bytes)
}

func idText(id batch.ID, texts []byte) []byte {
	off := id.Hi >> 16
	return texts[off : off+id.Hi&0xffff]
}

// idBlock is a decoded block of ids.
type idBlock struct {
	first int // the block's first row in the file
	rows  int
	uuids []batch.ID // sorted by Lo
	row   []uint16   // of uuids
	texts batch.Texts
	hash  []uint64 // of texts, sorted
	trow  []uint16 // of texts
}

func (r *Reader) decodeIDs(b []byte, first, rows int) (*idBlock, error) {
	l := encoding.NewLane(b)
	blk := &idBlock{first: first, rows: rows}
	uuids := l.Count(rows)
	texts := l.Count(rows - uuids)
	if l.Err() != nil || uuids+texts != rows {
		return nil, corrupt("ids: %d and %d of %d rows", uuids, texts, rows)
	}
	if uuids > 0 && !blk.readUUIDs(l, uuids) {
		return nil, corrupt("ids: bad block")
	}
	if texts > 0 {
		hashes, at := l.Bytes(8*texts), l.Bytes(2*texts)
		off, bytes, err := r.comp.ReadTexts(l, texts)
		if err != nil || hashes == nil || at == nil {
			return nil, corrupt("ids: bad texts")
		}
		blk.texts = batch.Texts{Off: off, Bytes: bytes}
		blk.hash, blk.trow = make([]uint64, texts), make([]uint16, texts)
		for i := range blk.hash {
			blk.hash[i] = binary.LittleEndian.Uint64(hashes[8*i:])
			blk.trow[i] = binary.LittleEndian.Uint16(at[2*i:])
			if int(blk.trow[i]) >= rows {
				return nil, corrupt("ids: row %d of %d", blk.trow[i], rows)
			}
		}
	}
	return blk, nil
}

func (blk *idBlock) readUUIDs(l *encoding.Lane, n int) bool {
	words := l.Bytes(8 * l.Count((n+1<<16)/64+1))
	low := l.Bytes(6 * n)
	if l.Err() != nil {
		return false
	}
	top, rest := make([]uint64, n), make([]uint32, n)
	if encoding.ReadInts(l, top) != nil || encoding.ReadInts(l, rest) != nil {
		return false
	}
	at := l.Bytes(2 * n)
	if l.Err() != nil {
		return false
	}
	blk.uuids, blk.row = make([]batch.ID, n), make([]uint16, n)
	pos := 0 // in the bit map
	high := uint64(0)
	for i := range blk.uuids {
		for pos>>3 < len(words) && words[pos>>3]>>(pos&7)&1 == 0 {
			pos++
			high++
		}
		if pos>>3 >= len(words) || high > 0xffff {
			return false
		}
		pos++
		p := low[6*i:]
		lo := uint64(p[0]) | uint64(p[1])<<8 | uint64(p[2])<<16 | uint64(p[3])<<24 | uint64(p[4])<<32 | uint64(p[5])<<40
		blk.uuids[i] = batch.ID{Hi: top[i]<<16 | uint64(rest[i]), Lo: high<<48 | lo}
		blk.row[i] = binary.LittleEndian.Uint16(at[2*i:])
		if int(blk.row[i]) >= blk.rows {
			return false
		}
	}
	return true
}

// find returns the row of an id, -1 if the block does not hold it. text is the
// id's text when it is no UUID.
func (blk *idBlock) find(id batch.ID, text []byte) int {
	if text == nil {
		i, _ := slices.BinarySearchFunc(blk.uuids, id.Lo, func(a batch.ID, lo uint64) int { return cmp.Compare(a.Lo, lo) })
		for ; i < len(blk.uuids) && blk.uuids[i].Lo == id.Lo; i++ {
			if blk.uuids[i].Hi == id.Hi {
				return blk.first + int(blk.row[i])
			}
		}
		return -1
	}
	i, _ := slices.BinarySearch(blk.hash, id.Lo)
	for ; i < len(blk.hash) && blk.hash[i] == id.Lo; i++ {
		if string(blk.texts.At(i)) == string(text) {
			return blk.first + int(blk.trow[i])
		}
	}
	return -1
}

// EachIDHash calls f with the hash of every id.
func (r *Reader) EachIDHash(f func(hash uint64)) error {
	first := 0
	for i := range r.ids {
		blk, err := r.loadIDs(i, first)
		if err != nil {
			return err
		}
		for _, id := range blk.uuids {
			f(id.Hash(false))
		}
		for _, h := range blk.hash {
			f(batch.ID{Lo: h}.Hash(true))
		}
		first += blk.rows
	}
	return nil
}
