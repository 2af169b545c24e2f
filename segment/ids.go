package segment

import (
	"cmp"
	"encoding/binary"
	"slices"

	"spoor/index"
	"spoor/segment/batch"
	"spoor/segment/encoding"
)

// Ids are stored in blocks of idBlockRows rows. In a block they are sorted by the
// id's Lo word (of a version 4 or 7 UUID its random end, of any other text its
// hash), UUIDs and texts apart, and cut into pages of idPageIDs. So an id is
// found by its bytes alone, with one small page read, and a random id takes 16.4
// bytes: what the order of the ids saves pays for the places of the rows.
//
// The places of a block's rows, one region: for each row where its id stands,
// counted over the pages of UUIDs and then those of texts:
//
//	| place u16 of each row |
//
// A page of UUIDs, one region:
//
//	| Lo of the first u64 | patched lane of Lo gaps, n-1 | lane of Hi>>16 | lane of Hi&0xffff |
//
// A page of texts, one region:
//
//	| Lo of the first u64 | patched lane of Lo gaps, n-1 | text lane |
const (
	idBlockRows = 1 << 16
	idPageIDs   = 1 << 10
)

// filterBitsPerID sizes the filter of a file: about 2 % of strange ids pass it.
const filterBitsPerID = 8

// idDir locates the ids of up to idBlockRows rows.
type idDir struct {
	rows  int // of the block
	uuids int // how many of its ids are UUIDs
	place ref
	pages []idPage // those of UUIDs first
}

// idPage locates up to idPageIDs ids.
type idPage struct {
	firstLo uint64
	ref     ref
}

func (d *idDir) uuidPages() int { return (d.uuids + idPageIDs - 1) / idPageIDs }
func (d *idDir) textPages() int { return (d.rows - d.uuids + idPageIDs - 1) / idPageIDs }

// ids is the number of ids in page p.
func (d *idDir) ids(p int) int {
	if p < d.uuidPages() {
		return min(idPageIDs, d.uuids-p*idPageIDs)
	}
	return min(idPageIDs, d.rows-d.uuids-(p-d.uuidPages())*idPageIDs)
}

// pageOf finds the page of a place, and where in it.
func (d *idDir) pageOf(place int) (page, at int) {
	if place < d.uuids {
		return place / idPageIDs, place % idPageIDs
	}
	place -= d.uuids
	return d.uuidPages() + place/idPageIDs, place % idPageIDs
}

type idRow struct {
	id  batch.ID
	row uint16
}

// IDs writes the eventId of every row and the filter over them. isText and texts are
// as in batch.Batch; isText may be nil.
func (w *Writer) IDs(ids []batch.ID, isText []bool, texts []byte) {
	filter := index.NewBloom(len(ids), filterBitsPerID)
	var uuids, plain, spare []idRow
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
		uuids, spare = sortIDs(uuids, spare)
		plain, spare = sortIDs(plain, spare)
		dir := idDir{rows: to - from, uuids: len(uuids)}
		places := make([]byte, 2*(to-from))
		for i := range uuids {
			binary.LittleEndian.PutUint16(places[2*int(uuids[i].row):], uint16(i))
		}
		for i := range plain {
			binary.LittleEndian.PutUint16(places[2*int(plain[i].row):], uint16(len(uuids)+i))
		}
		dir.place = w.region(places)
		for at := 0; at < len(uuids); at += idPageIDs {
			page := uuids[at:min(at+idPageIDs, len(uuids))]
			dir.pages = append(dir.pages, idPage{page[0].id.Lo, w.region(w.appendUUIDs(w.block[:0], page))})
		}
		for at := 0; at < len(plain); at += idPageIDs {
			page := plain[at:min(at+idPageIDs, len(plain))]
			dir.pages = append(dir.pages, idPage{page[0].id.Lo, w.region(w.appendTextIDs(w.block[:0], page, texts))})
		}
		w.ids = append(w.ids, dir)
	}
	w.textIDs = isText != nil && slices.Contains(isText, true)
	w.filter = w.region(filter.AppendTo(nil))
}

// sortIDs sorts by Lo, then Hi and row: a counting sort by the top bits, which
// leaves next to nothing to do when Lo is random, and an insertion sort. It
// returns the sorted rows and the memory that became free.
func sortIDs(rows, spare []idRow) (sorted, free []idRow) {
	if len(rows) < 2 {
		return rows, spare
	}
	less := func(a, b *idRow) bool {
		if a.id.Lo != b.id.Lo {
			return a.id.Lo < b.id.Lo
		}
		return a.id.Hi < b.id.Hi || a.id.Hi == b.id.Hi && a.row < b.row
	}
	// The two bits that every UUID has alike at the top of Lo are passed over.
	const bits = 14
	bucket := func(lo uint64) uint64 { return lo << 2 >> (64 - bits) }
	if !isVariantOne(rows) {
		bucket = func(lo uint64) uint64 { return lo >> (64 - bits) }
	}
	var next [1<<bits + 1]uint32
	for i := range rows {
		next[bucket(rows[i].id.Lo)+1]++
	}
	most := uint32(0)
	for i := 1; i < len(next); i++ {
		most = max(most, next[i])
		next[i] += next[i-1]
	}
	if most > 64 { // not random at all
		slices.SortFunc(rows, func(a, b idRow) int {
			return cmp.Or(cmp.Compare(a.id.Lo, b.id.Lo), cmp.Compare(a.id.Hi, b.id.Hi), cmp.Compare(a.row, b.row))
		})
		return rows, spare
	}
	spare = grow(spare, len(rows))
	for i := range rows {
		b := bucket(rows[i].id.Lo)
		spare[next[b]] = rows[i]
		next[b]++
	}
	for i := 1; i < len(spare); i++ {
		for j := i; j > 0 && less(&spare[j], &spare[j-1]); j-- {
			spare[j], spare[j-1] = spare[j-1], spare[j]
		}
	}
	return spare, rows
}

// isVariantOne tells whether all ids have the variant bits of RFC 9562.
func isVariantOne(rows []idRow) bool {
	for i := range rows {
		if rows[i].id.Lo>>62 != 2 {
			return false
		}
	}
	return true
}

// appendGaps appends the first Lo and the gaps of the rest.
func (w *Writer) appendGaps(b []byte, rows []idRow) []byte {
	gaps := w.scratchGaps[:0]
	for i := 1; i < len(rows); i++ {
		gaps = append(gaps, rows[i].id.Lo-rows[i-1].id.Lo)
	}
	w.scratchGaps = gaps
	b = binary.LittleEndian.AppendUint64(b, rows[0].id.Lo)
	return encoding.AppendLane(b, gaps, true)
}

func (w *Writer) appendUUIDs(b []byte, rows []idRow) []byte {
	b = w.appendGaps(b, rows)
	words := w.scratchGaps[:0]
	for i := range rows {
		words = append(words, rows[i].id.Hi>>16)
	}
	b = encoding.AppendLane(b, words, false)
	words = words[:0]
	for i := range rows {
		// The version stands in the top four of these bits, alike in most ids.
		words = append(words, rows[i].id.Hi&0xffff)
	}
	w.scratchGaps = words
	return encoding.AppendLane(b, words, false)
}

func (w *Writer) appendTextIDs(b []byte, rows []idRow, texts []byte) []byte {
	b = w.appendGaps(b, rows)
	var lengths []uint32
	var bytes []byte
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

// ids is a decoded page: Lo of each, and Hi of UUIDs or the texts.
type idsOfPage struct {
	lo    []uint64
	hi    []uint64
	texts batch.Texts
}

func (r *Reader) decodeIDs(b []byte, n int, uuids bool) (*idsOfPage, error) {
	l := encoding.NewLane(b)
	first := l.Bytes(8)
	if first == nil {
		return nil, corrupt("ids: page of %d bytes", len(b))
	}
	p := &idsOfPage{lo: make([]uint64, n)}
	p.lo[0] = binary.LittleEndian.Uint64(first)
	if encoding.ReadInts(l, p.lo[1:]) != nil {
		return nil, corrupt("ids: gaps")
	}
	for i := 1; i < n; i++ {
		p.lo[i] += p.lo[i-1]
	}
	if uuids {
		p.hi = make([]uint64, n)
		low := make([]uint64, n)
		if encoding.ReadInts(l, p.hi) != nil || encoding.ReadInts(l, low) != nil {
			return nil, corrupt("ids: words")
		}
		for i := range p.hi {
			p.hi[i] = p.hi[i]<<16 | low[i]
		}
		return p, nil
	}
	off, bytes, err := r.comp.ReadTexts(l, n)
	if err != nil {
		return nil, corrupt("ids: texts")
	}
	p.texts = batch.Texts{Off: off, Bytes: bytes}
	return p, nil
}

// idsAt reads page p of block dir.
func (r *Reader) idsAt(dir *idDir, p int) (*idsOfPage, error) {
	b, err := r.cachedRegion(dir.pages[p].ref)
	if err != nil {
		return nil, err
	}
	return r.decodeIDs(b, dir.ids(p), p < dir.uuidPages())
}

// EachIDHash calls f with the hash of every id.
func (r *Reader) EachIDHash(f func(hash uint64)) error {
	for i := range r.ids {
		dir := &r.ids[i]
		for p := range dir.pages {
			page, err := r.idsAt(dir, p)
			if err != nil {
				return err
			}
			for j, lo := range page.lo {
				id := batch.ID{Lo: lo}
				if page.hi != nil {
					id.Hi = page.hi[j]
				}
				f(id.Hash(page.hi == nil))
			}
		}
	}
	return nil
}

// IDs are the ids of a range of rows.
type IDs struct {
	IDs   []batch.ID
	Texts [][]byte // nil where the id is a UUID; nil when all are
}

// AppendText appends the text of id i.
func (x *IDs) AppendText(dst []byte, i int) []byte {
	if x.Texts != nil && x.Texts[i] != nil {
		return append(dst, x.Texts[i]...)
	}
	return batch.AppendUUID(dst, x.IDs[i])
}

func (x *IDs) set(i int, page *idsOfPage, at int) {
	if page.hi != nil {
		x.IDs[i] = batch.ID{Hi: page.hi[at], Lo: page.lo[at]}
		return
	}
	if x.Texts == nil {
		x.Texts = make([][]byte, len(x.IDs))
	}
	x.Texts[i] = page.texts.At(at)
}

// IDs reads the ids of the rows [from, to) of the file, by Section.FirstRow.
func (r *Reader) IDs(from, to int) (IDs, error) {
	out := IDs{IDs: make([]batch.ID, to-from)}
	first := 0
	for i := range r.ids {
		dir := &r.ids[i]
		if first < to && first+dir.rows > from {
			if err := r.blockIDs(dir, max(from-first, 0), min(to-first, dir.rows), first-from, &out); err != nil {
				return IDs{}, err
			}
		}
		first += dir.rows
	}
	return out, nil
}

// AppendID appends the text of the id of one row of the file, of its page no more than it takes.
func (r *Reader) AppendID(dst []byte, row int) ([]byte, error) {
	for i := range r.ids {
		dir := &r.ids[i]
		if row < dir.rows {
			return r.appendID(dst, dir, row)
		}
		row -= dir.rows
	}
	return nil, corrupt("ids: no row %d behind the last", row)
}

func (r *Reader) appendID(dst []byte, dir *idDir, row int) ([]byte, error) {
	places, err := r.placesOf(dir)
	if err != nil {
		return nil, err
	}
	page, at, err := dir.placeOf(places, row)
	if err != nil {
		return nil, err
	}
	if page >= dir.uuidPages() {
		ids, err := r.idsAt(dir, page)
		if err != nil {
			return nil, err
		}
		return append(dst, ids.texts.At(at)...), nil
	}
	b, err := r.cachedRegion(dir.pages[page].ref)
	if err != nil {
		return nil, err
	}
	l := encoding.NewLane(b)
	first := l.Bytes(8)
	var gaps [idPageIDs]uint64
	n := dir.ids(page)
	if first == nil || encoding.ReadInts(l, gaps[:n-1]) != nil {
		return nil, corrupt("ids: gaps")
	}
	id := batch.ID{Lo: binary.LittleEndian.Uint64(first)}
	for _, gap := range gaps[:at] {
		id.Lo += gap
	}
	top, err := encoding.At[uint64](l, n, at)
	if err != nil {
		return nil, corrupt("ids: words")
	}
	low, err := encoding.At[uint64](l, n, at)
	if err != nil {
		return nil, corrupt("ids: words")
	}
	id.Hi = top<<16 | low
	return batch.AppendUUID(dst, id), nil
}

// placesOf reads where the ids of a block's rows are.
func (r *Reader) placesOf(dir *idDir) ([]byte, error) {
	places, err := r.cachedRegion(dir.place)
	if err == nil && len(places) != 2*dir.rows {
		err = corrupt("ids: %d bytes of places for %d rows", len(places), dir.rows)
	}
	return places, err
}

// placeOf is the page that holds the id of a row of a block, and where.
func (dir *idDir) placeOf(places []byte, row int) (page, at int, err error) {
	place := int(binary.LittleEndian.Uint16(places[2*row:]))
	if place >= dir.rows {
		return 0, 0, corrupt("ids: place %d of %d", place, dir.rows)
	}
	page, at = dir.pageOf(place)
	return page, at, nil
}

// blockIDs reads the ids of the rows [from, to) of a block into out, row r at r+shift.
func (r *Reader) blockIDs(dir *idDir, from, to, shift int, out *IDs) error {
	places, err := r.placesOf(dir)
	if err != nil {
		return err
	}
	pages := make([]*idsOfPage, len(dir.pages))
	for row := from; row < to; row++ {
		p, at, err := dir.placeOf(places, row)
		if err != nil {
			return err
		}
		if pages[p] == nil {
			if pages[p], err = r.idsAt(dir, p); err != nil {
				return err
			}
		}
		out.set(row+shift, pages[p], at)
	}
	return nil
}
