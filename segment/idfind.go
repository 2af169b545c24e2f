package segment

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"

	"spoor/index"
	"spoor/segment/batch"
	"spoor/segment/encoding"
)

// Finding an id by its bytes, see ids.go: of a block one page is read, of that page the gaps.

// HasID tells whether the file holds an event with this id; text is its text
// when it is no UUID, else nil. A filter answers most questions; what passes
// it is compared in full.
func (r *Reader) HasID(id batch.ID, text []byte) (bool, error) {
	if text != nil && !r.textIDs {
		return false, nil
	}
	bloom := r.bloom.Load()
	if bloom == nil {
		b, err := r.region(r.filter)
		if err != nil {
			return false, fmt.Errorf("read segment %s: %w", r.name, err)
		}
		if bloom, err = index.ParseBloom(b); err != nil {
			return false, fmt.Errorf("read segment %s: filter: %w", r.name, err)
		}
		r.bloom.Store(bloom)
	}
	if !bloom.Has(id.Hash(text != nil)) {
		return false, nil
	}
	for i := range r.ids {
		more, err := r.findID(&r.ids[i], id, text, func(int, int) bool { return false })
		if err != nil {
			return false, err
		}
		if !more {
			return true, nil
		}
	}
	return false, nil
}

// findIn calls f with the places of an id among the n of page b, until f returns false. Of the
// page's lanes only the gaps are decoded; a UUID's other word is read where Lo is equal.
func (r *Reader) findIn(b []byte, n int, id batch.ID, text []byte, f func(at int) bool) (more bool, err error) {
	l := encoding.NewLane(b)
	first := l.Bytes(8)
	if first == nil {
		return false, corrupt("ids: page of %d bytes", len(b))
	}
	var gaps [idPageIDs]uint64
	if encoding.ReadInts(l, gaps[:n-1]) != nil {
		return false, corrupt("ids: gaps")
	}
	lo := binary.LittleEndian.Uint64(first)
	at := 0
	for ; at < n-1 && lo < id.Lo; at++ {
		lo += gaps[at]
	}
	rest := l.Rest()
	for ; lo == id.Lo; at++ {
		same, err := r.sameID(rest, n, at, id, text)
		if err != nil || same && !f(at) {
			return false, err
		}
		if at == n-1 {
			break
		}
		lo += gaps[at]
	}
	return true, nil
}

// sameID compares id at of a page, whose Lo is equal, in full.
func (r *Reader) sameID(rest []byte, n, at int, id batch.ID, text []byte) (bool, error) {
	l := encoding.NewLane(rest)
	if text != nil {
		off, bytes, err := r.comp.ReadTexts(l, n)
		if err != nil {
			return false, corrupt("ids: texts")
		}
		return string(bytes[off[at]:off[at+1]]) == string(text), nil
	}
	top, err := encoding.At[uint64](l, n, at)
	if err != nil {
		return false, corrupt("ids: words")
	}
	low, err := encoding.At[uint64](l, n, at)
	if err != nil {
		return false, corrupt("ids: words")
	}
	return top<<16|low == id.Hi, nil
}

// findID calls f with the pages of a block that hold an id, and its place in each, until f returns false.
func (r *Reader) findID(dir *idDir, id batch.ID, text []byte, f func(page, at int) bool) (more bool, err error) {
	lo, hi := 0, dir.uuidPages()
	if text != nil {
		lo, hi = hi, len(dir.pages)
	}
	pages := dir.pages[lo:hi]
	// The last page that begins below the id, and those that begin with it.
	i, _ := slices.BinarySearchFunc(pages, id.Lo, func(p idPage, lo uint64) int { return cmp.Compare(p.firstLo, lo) })
	for i = max(i-1, 0); i < len(pages) && pages[i].firstLo <= id.Lo; i++ {
		b, err := r.cachedRegion(dir.pages[lo+i].ref)
		if err != nil {
			return false, err
		}
		if more, err := r.findIn(b, dir.ids(lo+i), id, text, func(at int) bool { return f(lo+i, at) }); !more || err != nil {
			return false, err
		}
	}
	return true, nil
}

// EachRowOf calls f with the rows of the file whose id this is, by Section.FirstRow: one at most, unless
// the engine stored it again. An error of f ends it.
func (r *Reader) EachRowOf(id batch.ID, text []byte, f func(row int) error) error {
	first := 0
	for i := range r.ids {
		dir := &r.ids[i]
		var found []int
		if _, err := r.findID(dir, id, text, func(page, at int) bool {
			place := page*idPageIDs + at
			if uuids := dir.uuidPages(); page >= uuids {
				place = dir.uuids + (page-uuids)*idPageIDs + at
			}
			found = append(found, place)
			return true
		}); err != nil {
			return err
		}
		if len(found) > 0 {
			places, err := r.placesOf(dir)
			if err != nil {
				return err
			}
			for row := range dir.rows {
				if slices.Contains(found, int(binary.LittleEndian.Uint16(places[2*row:]))) {
					if err := f(first + row); err != nil {
						return err
					}
				}
			}
		}
		first += dir.rows
	}
	return nil
}
