package segment

import (
	"encoding/binary"
	"hash/crc32"
	"math"

	"spoor/segment/batch"
	"spoor/segment/encoding"
)

// Forms of a column.
const (
	formCodes   = 0 // lanes of codes that mean what the kind says
	formDict    = 1 // lanes of codes: 0 absent, else 1 + index into the file's dictionary of the path and kind
	formPlain   = 2 // texts in place
	formNumbers = 3
	formInts    = 4
)

func crc32Update(sum uint32, b []byte) uint32 { return crc32.Update(sum, castagnoli, b) }

// column locates one column of one section.
type column struct {
	path     uint32 // index into the file's paths
	kind     batch.Kind
	form     byte
	present  int // rows with a value
	off      uint64
	pages    []uint32 // sizes of its pages, one after the other from off
	min, max float64  // of formNumbers
	values   values
}

// sectionDir is the directory entry of a section; its columns and block index
// stand in a page of their own that is read when the section is first used.
type sectionDir struct {
	day              int32
	name             string
	rows             int
	distinct         int // persons
	minTime, maxTime int64
	unit             uint64
	persons          ref

	dir       ref // page with what follows
	firstKeys []uint64
	columns   []column
}

type dayDir struct {
	day      int32
	from, to int // sections
	timeline column
	persons  ref // of all sections
}

type dictDir struct {
	path uint32
	kind batch.Kind
	ref  ref
}

// appendColumns appends a section's block index and columns:
//
//	| lane of first keys, one per block | uvarint columns | columns |
//
// with a column
//
//	| kind u8 | form u8 | uvarint path | uvarint present | uvarint offset | uvarint pages | lane of page sizes |
//	| min f64 | max f64 (numbers alone) | values (of columns that are counted, see values.append) |
func appendColumns(dst []byte, s *sectionDir) []byte {
	dst = encoding.AppendLane(dst, s.firstKeys, false)
	dst = binary.AppendUvarint(dst, uint64(len(s.columns)))
	for i := range s.columns {
		dst = s.columns[i].append(dst)
		if c := &s.columns[i]; counted(c.kind, c.form) {
			dst = c.values.append(dst)
		}
	}
	return dst
}

func (c *column) append(dst []byte) []byte {
	dst = append(dst, byte(c.kind), c.form)
	dst = binary.AppendUvarint(dst, uint64(c.path))
	dst = binary.AppendUvarint(dst, uint64(c.present))
	dst = binary.AppendUvarint(dst, c.off)
	dst = binary.AppendUvarint(dst, uint64(len(c.pages)))
	dst = encoding.AppendLane(dst, c.pages, false)
	if c.form == formNumbers {
		dst = binary.LittleEndian.AppendUint64(dst, math.Float64bits(c.min))
		dst = binary.LittleEndian.AppendUint64(dst, math.Float64bits(c.max))
	}
	return dst
}

func readColumn(l *encoding.Lane, c *column, rows int) {
	c.kind, c.form = batch.Kind(l.Byte()), l.Byte()
	c.path = uint32(l.Count(math.MaxInt32))
	c.present = l.Count(rows)
	c.off = l.Uvarint()
	c.pages = make([]uint32, l.Count(pagesOf(rows)))
	_ = encoding.ReadInts(l, c.pages)
	if c.form == formNumbers {
		if b := l.Bytes(16); b != nil {
			c.min = math.Float64frombits(binary.LittleEndian.Uint64(b))
			c.max = math.Float64frombits(binary.LittleEndian.Uint64(b[8:]))
		}
	}
}

func blocksOf(rows int) int { return (rows + blockRows - 1) / blockRows }
func pagesOf(rows int) int  { return (rows + blockRows*pageBlocks - 1) / (blockRows * pageBlocks) }

// The footer:
//
//	| first, last, identity index uvarint | min, max receivedAt: in the engine's manifest |
//	| text ids u8 | names: uvarint count, text lane | paths likewise |
//	| uvarint sections, each: varint day gap, uvarint name, rows, persons, varint min time, uvarint
//	|   max-min time, unit, ref persons, ref columns |
//	| uvarint days, each: varint day gap, uvarint first section, sections, column timeline, ref persons |
//	| uvarint dictionaries, each: uvarint path, kind u8, ref |
//	| uvarint id blocks, each: uvarint rows, uvarint UUIDs, ref places, pages: first Lo u64, ref | ref filter |
func (w *Writer) appendFooter(dst []byte, meta Meta) []byte {
	for i := range w.sections {
		w.sections[i].dir = w.region(appendColumns(nil, &w.sections[i]))
	}
	dst = binary.AppendUvarint(dst, meta.FirstIndex)
	dst = binary.AppendUvarint(dst, meta.LastIndex)
	dst = binary.AppendUvarint(dst, meta.IdentityIndex)
	textIDs := byte(0)
	if w.textIDs {
		textIDs = 1
	}
	dst = append(dst, textIDs)
	nameIdx := map[string]uint64{}
	var names []string
	for i := range w.sections {
		if _, ok := nameIdx[w.sections[i].name]; !ok {
			nameIdx[w.sections[i].name] = uint64(len(names))
			names = append(names, w.sections[i].name)
		}
	}
	dst = w.appendStrings(dst, names)
	dst = w.appendStrings(dst, w.paths)
	dst = binary.AppendUvarint(dst, uint64(len(w.sections)))
	day := int32(0)
	for i := range w.sections {
		s := &w.sections[i]
		dst = binary.AppendVarint(dst, int64(s.day-day))
		day = s.day
		dst = binary.AppendUvarint(dst, nameIdx[s.name])
		dst = binary.AppendUvarint(dst, uint64(s.rows))
		dst = binary.AppendUvarint(dst, uint64(s.distinct))
		dst = binary.AppendVarint(dst, s.minTime)
		dst = binary.AppendUvarint(dst, uint64(s.maxTime-s.minTime))
		dst = binary.AppendUvarint(dst, s.unit)
		dst = s.dir.append(s.persons.append(dst))
	}
	dst = binary.AppendUvarint(dst, uint64(len(w.days)))
	day = 0
	for i := range w.days {
		d := &w.days[i]
		dst = binary.AppendVarint(dst, int64(d.day-day))
		day = d.day
		dst = binary.AppendUvarint(dst, uint64(d.from))
		dst = binary.AppendUvarint(dst, uint64(d.to-d.from))
		dst = d.persons.append(d.timeline.append(dst))
	}
	dst = binary.AppendUvarint(dst, uint64(len(w.dicts)))
	for _, d := range w.dicts {
		dst = binary.AppendUvarint(dst, uint64(d.path))
		dst = d.ref.append(append(dst, byte(d.kind)))
	}
	dst = binary.AppendUvarint(dst, uint64(len(w.ids)))
	for _, d := range w.ids {
		dst = binary.AppendUvarint(dst, uint64(d.rows))
		dst = binary.AppendUvarint(dst, uint64(d.uuids))
		dst = d.place.append(dst)
		for _, p := range d.pages {
			dst = p.ref.append(binary.LittleEndian.AppendUint64(dst, p.firstLo))
		}
	}
	return w.filter.append(dst)
}

func (w *Writer) appendStrings(dst []byte, texts []string) []byte {
	lengths := make([]uint32, len(texts))
	var bytes []byte
	for i, t := range texts {
		lengths[i] = uint32(len(t))
		bytes = append(bytes, t...)
	}
	dst = binary.AppendUvarint(dst, uint64(len(texts)))
	return w.comp.AppendTexts(dst, lengths, bytes)
}
