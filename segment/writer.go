package segment

import (
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"strings"

	"spoor/index"
	"spoor/segment/batch"
	"spoor/segment/encoding"
)

// Writer writes one segment: the keys at once, then each column of all rows,
// then the ids, then Finish. Vectors that are given have one element per row, in
// the order of the layout; they are not kept. After an error every call does nothing, and
// Finish returns it.
type Writer struct {
	w      io.Writer
	off    uint64
	err    error
	layout *Layout

	comp  *encoding.Compressor
	keys  keyCoder
	page  []byte   // the page being built
	block []byte   // the block being built
	sizes []uint32 // of the blocks of page

	paths    []string
	pathIdx  map[string]uint32
	sections []sectionDir
	persons  []*index.Persons // of sections
	days     []dayDir
	dicts    []dictDir
	ids      []idDir
	filter   ref
	textIDs  bool

	scratchInts   []int64
	scratchGaps   []uint64
	scratchFloats []float64
	scratchCodes  []uint32
	tally         tally
}

// NewWriter starts a segment with the rows of layout on w.
func NewWriter(w io.Writer, layout *Layout) *Writer {
	wr := &Writer{w: w, layout: layout, comp: encoding.NewCompressor(), pathIdx: map[string]uint32{}}
	wr.write(appendHeader(nil))
	wr.sections = make([]sectionDir, len(layout.Sections))
	wr.persons = make([]*index.Persons, len(layout.Sections))
	for s := range layout.Sections {
		wr.writeKeys(s)
	}
	for d := range layout.Days {
		wr.writeDay(&layout.Days[d])
	}
	return wr
}

func (w *Writer) write(b []byte) {
	if w.err != nil {
		return
	}
	if _, err := w.w.Write(b); err != nil {
		w.err = err
		return
	}
	w.off += uint64(len(b))
}

// region writes b as one region under a checksum of its own.
func (w *Writer) region(b []byte) ref {
	r := ref{off: w.off, len: uint32(len(b)), crc: checksum(b)}
	w.write(b)
	return r
}

// endBlock takes over w.block as the page's next block.
func (w *Writer) endBlock() {
	w.sizes = append(w.sizes, uint32(len(w.block)))
	w.page = append(w.page, w.block...)
	w.block = w.block[:0]
}

// endPage writes the page and returns its size in the file:
//
//	| uvarint blocks | lane of block sizes | blocks | CRC32C u32 |
func (w *Writer) endPage() uint32 {
	head := binary.AppendUvarint(nil, uint64(len(w.sizes)))
	head = encoding.AppendLane(head, w.sizes, false)
	sum := checksum(head)
	sum = crc32Update(sum, w.page)
	w.page = binary.LittleEndian.AppendUint32(w.page, sum)
	w.write(head)
	w.write(w.page)
	size := uint32(len(head) + len(w.page))
	w.page, w.sizes = w.page[:0], w.sizes[:0]
	return size
}

// pages writes the rows [from, to) in blocks and pages; block fills w.block.
func (w *Writer) pages(from, to int, block func(from, to int)) column {
	c := column{off: w.off}
	for at := from; at < to && w.err == nil; at += blockRows {
		block(at, min(at+blockRows, to))
		w.endBlock()
		if len(w.sizes) == pageBlocks || at+blockRows >= to {
			c.pages = append(c.pages, w.endPage())
		}
	}
	return c
}

func (w *Writer) writeKeys(s int) {
	span := &w.layout.Sections[s]
	dir := &w.sections[s]
	keys := w.layout.Keys[span.From:span.To]
	dir.day, dir.name, dir.rows = span.Day, span.Name, len(keys)
	dir.unit = timeUnit(keys)
	dir.minTime, dir.maxTime = math.MaxInt64, math.MinInt64
	var persons []uint32
	for i, k := range keys {
		if p := KeyPerson(k); i == 0 || p != persons[len(persons)-1] {
			persons = append(persons, p)
		}
		t := KeyTime(k, span.Day)
		dir.minTime, dir.maxTime = min(dir.minTime, t), max(dir.maxTime, t)
	}
	c := w.pages(0, len(keys), func(from, to int) {
		dir.firstKeys = append(dir.firstKeys, keys[from])
		w.block = w.keys.appendBlock(w.block, keys[from:to], dir.unit)
	})
	c.kind, c.present = kindKeys, len(keys)
	dir.columns = append(dir.columns, c)
	w.persons[s] = index.NewPersons(persons)
	dir.persons = w.region(w.persons[s].AppendTo(nil))
	dir.distinct = len(persons)
}

func (w *Writer) writeDay(d *DaySpan) {
	dir := dayDir{day: d.Day, from: d.From, to: d.To}
	dir.timeline = w.pages(0, len(d.Timeline), func(from, to int) {
		w.block = encoding.AppendLane(w.block, d.Timeline[from:to], false)
	})
	dir.timeline.present = len(d.Timeline)
	sets := make([]*index.Persons, 0, d.To-d.From)
	for s := d.From; s < d.To; s++ {
		if !strings.HasPrefix(w.sections[s].name, ErasedPrefix) {
			sets = append(sets, w.persons[s])
		}
	}
	dir.persons = w.region(index.Union(sets...).AppendTo(nil))
	w.days = append(w.days, dir)
}

// section appends a column to section s unless it holds nothing.
func (w *Writer) section(s int, c column) {
	if c.present > 0 {
		w.sections[s].columns = append(w.sections[s].columns, c)
	}
}

func (w *Writer) path(path string) uint32 {
	i, ok := w.pathIdx[path]
	if !ok {
		i = uint32(len(w.paths))
		w.pathIdx[path] = i
		w.paths = append(w.paths, path)
	}
	return i
}

// Received writes receivedAt of every row.
func (w *Writer) Received(micros []int64) {
	for s, span := range w.layout.Sections {
		c := w.pages(span.From, span.To, func(from, to int) {
			w.block = appendScaled(w.block, micros[from:to], &w.scratchInts)
		})
		c.kind, c.present = kindReceived, span.To-span.From
		w.section(s, c)
	}
}

// appendScaled appends times as a unit byte (1: milliseconds) and a lane.
func appendScaled(dst []byte, micros []int64, scratch *[]int64) []byte {
	v := (*scratch)[:0]
	for _, t := range micros {
		if t%1000 != 0 {
			return encoding.AppendLane(append(dst, 0), micros, false)
		}
		v = append(v, t/1000)
	}
	*scratch = v
	return encoding.AppendLane(append(dst, 1), v, false)
}

// Users writes the engine's reference to each row's userId, 0 for none.
func (w *Writer) Users(refs []uint32) { w.codes("", kindUser, refs, formCodes) }

// Anons writes the engine's reference to each row's anonymousId, 0 for none.
func (w *Writer) Anons(refs []uint32) { w.codes("", kindAnon, refs, formCodes) }

// Sources writes each row's source: 0 for none, else 1 + index into dict.
func (w *Writer) Sources(codes []uint32, dict *batch.Texts) { w.text("", kindSource, codes, dict) }

// Shapes writes each row's shape likewise.
func (w *Writer) Shapes(codes []uint32, dict *batch.Texts) { w.text("", kindShape, codes, dict) }

// Text writes a column of a kind with text: 0 for a row without a value, else 1
// + index into dict. It is stored by dictionary where that is smaller.
func (w *Writer) Text(path string, kind batch.Kind, codes []uint32, dict *batch.Texts) {
	w.text(path, kind, codes, dict)
}

// Bools writes a column of booleans: 0 for a row without a value, 1 false, 2 true.
func (w *Writer) Bools(path string, codes []uint32) { w.codes(path, batch.KindBool, codes, formCodes) }

// Nulls writes the rows with an explicit null as 1, others as 0.
func (w *Writer) Nulls(path string, codes []uint32) { w.codes(path, batch.KindNull, codes, formCodes) }

func (w *Writer) codes(path string, kind batch.Kind, codes []uint32, form byte) {
	for s, span := range w.layout.Sections {
		present, values := w.tally.count(codes[span.From:span.To])
		if present == 0 {
			continue
		}
		c := w.pages(span.From, span.To, func(from, to int) {
			if counted(kind, form) {
				w.block = encoding.AppendCodes(w.block, codes[from:to])
			} else {
				w.block = encoding.AppendLane(w.block, codes[from:to], false)
			}
		})
		c.path, c.kind, c.form, c.present, c.values = w.path(path), kind, form, present, values
		w.section(s, c)
	}
}

func (w *Writer) text(path string, kind batch.Kind, codes []uint32, dict *batch.Texts) {
	present, distinct := 0, 0
	remap := make([]uint32, dict.Len()+1) // given code -> code in the file, by first use
	for _, c := range codes {
		if c == 0 {
			continue
		}
		present++
		if remap[c] == 0 {
			distinct++
			remap[c] = uint32(distinct)
		}
	}
	if present == 0 {
		return
	}
	if distinct > 64 && distinct*2 > present {
		w.plain(path, kind, codes, dict)
		return
	}
	used := make([]uint32, distinct)
	for given, c := range remap {
		if c != 0 {
			used[c-1] = uint32(given - 1)
		}
	}
	lengths := make([]uint32, distinct)
	var bytes []byte
	for i, d := range used {
		t := dict.At(int(d))
		lengths[i] = uint32(len(t))
		bytes = append(bytes, t...)
	}
	body := binary.AppendUvarint(nil, uint64(distinct))
	body = w.comp.AppendTexts(body, lengths, bytes)
	w.dicts = append(w.dicts, dictDir{path: w.path(path), kind: kind, ref: w.region(body)})
	mapped := grow(w.scratchCodes, len(codes))
	w.scratchCodes = mapped
	for i, c := range codes {
		mapped[i] = remap[c]
	}
	w.codes(path, kind, mapped, formDict)
}

// plain writes texts that hardly repeat:
//
//	| lane of 0 absent, 1 present | lane of lengths | blob |
func (w *Writer) plain(path string, kind batch.Kind, codes []uint32, dict *batch.Texts) {
	var has, lengths []uint32
	var bytes []byte
	for s, span := range w.layout.Sections {
		present := 0
		for _, c := range codes[span.From:span.To] {
			if c != 0 {
				present++
			}
		}
		if present == 0 {
			continue
		}
		c := w.pages(span.From, span.To, func(from, to int) {
			has, lengths, bytes = has[:0], lengths[:0], bytes[:0]
			for _, c := range codes[from:to] {
				if c == 0 {
					has = append(has, 0)
					continue
				}
				t := dict.At(int(c - 1))
				has = append(has, 1)
				lengths = append(lengths, uint32(len(t)))
				bytes = append(bytes, t...)
			}
			w.block = encoding.AppendLane(w.block, has, false)
			w.block = w.comp.AppendTexts(w.block, lengths, bytes)
		})
		c.path, c.kind, c.form, c.present = w.path(path), kind, formPlain, present
		w.section(s, c)
	}
}

// Numbers writes a column of numbers; NaN is a row without a value.
//
//	| lane of 0 absent, 1 present | float lane of the present |
func (w *Writer) Numbers(path string, vals []float64) {
	var has []uint32
	for s, span := range w.layout.Sections {
		present := 0
		lo, hi := math.Inf(1), math.Inf(-1)
		for _, v := range vals[span.From:span.To] {
			if v == v {
				present++
				lo, hi = min(lo, v), max(hi, v)
			}
		}
		if present == 0 {
			continue
		}
		c := w.pages(span.From, span.To, func(from, to int) {
			has = has[:0]
			dense := w.scratchFloats[:0]
			for _, v := range vals[from:to] {
				if v == v {
					has = append(has, 1)
					dense = append(dense, v)
				} else {
					has = append(has, 0)
				}
			}
			w.scratchFloats = dense
			w.block = encoding.AppendLane(w.block, has, false)
			w.block = encoding.AppendFloats(w.block, dense, &w.scratchInts)
		})
		c.path, c.kind, c.form, c.present, c.min, c.max = w.path(path), batch.KindNumber, formNumbers, present, lo, hi
		w.section(s, c)
	}
}

// Ints writes a column of integers beyond 2^53, present says which rows have one.
func (w *Writer) Ints(path string, vals []int64, present []bool) {
	var has []uint32
	for s, span := range w.layout.Sections {
		count := 0
		for _, p := range present[span.From:span.To] {
			if p {
				count++
			}
		}
		if count == 0 {
			continue
		}
		c := w.pages(span.From, span.To, func(from, to int) {
			has = has[:0]
			dense := w.scratchInts[:0]
			for i := from; i < to; i++ {
				if present[i] {
					has = append(has, 1)
					dense = append(dense, vals[i])
				} else {
					has = append(has, 0)
				}
			}
			w.scratchInts = dense
			w.block = encoding.AppendLane(w.block, has, false)
			w.block = encoding.AppendLane(w.block, dense, false)
		})
		c.path, c.kind, c.form, c.present = w.path(path), batch.KindInt, formInts, count
		w.section(s, c)
	}
}

// Meta is what the engine wants to find again in the file's footer.
type Meta struct {
	// FirstIndex and LastIndex bound the log entries whose rows the file holds.
	FirstIndex, LastIndex uint64
	// IdentityIndex counts the merges of persons that the file's persons reflect.
	IdentityIndex uint64
}

// Finish writes the directory. It returns the file's size.
func (w *Writer) Finish(meta Meta) (int64, error) {
	footer := w.appendFooter(nil, meta)
	r := w.region(footer)
	w.write(appendTrailer(nil, r))
	if w.err != nil {
		return 0, fmt.Errorf("write segment: %w", w.err)
	}
	return int64(w.off), nil
}
