package segment

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"slices"
	"sort"
	"sync"
	"sync/atomic"

	"spoor/index"
	"spoor/segment/batch"
	"spoor/segment/encoding"
)

// Reader reads a segment. It is safe for concurrent use. What it returns is
// shared and must not be changed.
type Reader struct {
	src   io.ReaderAt
	size  int64
	name  string // for errors
	cache *Cache
	file  uint64 // in the cache
	comp  *encoding.Compressor

	version  uint32
	meta     Meta
	textIDs  bool
	paths    []string
	pathIdx  map[string]uint32
	sections []Section
	days     []dayDir
	persons  []atomic.Pointer[index.Persons] // of days
	dicts    map[dictKey]ref
	ids      []idDir
	filter   ref
	rows     int

	footerLen uint32

	bloom atomic.Pointer[index.Bloom]
	held  atomic.Pointer[held] // set while the whole file is in memory

	bytesRead atomic.Int64
}

type dictKey struct {
	path uint32
	kind batch.Kind
}

var readCompressor = sync.OnceValue(encoding.NewCompressor)

// Open reads the directory of a segment of size bytes. name stands in errors.
func Open(src io.ReaderAt, size int64, name string, cache *Cache) (*Reader, error) {
	r := &Reader{src: src, size: size, name: name, cache: cache, file: fileNumber(), comp: readCompressor()}
	if err := r.open(); err != nil {
		return nil, fmt.Errorf("open segment %s: %w", name, err)
	}
	return r, nil
}

func (r *Reader) open() error {
	if r.size < headerSize+trailerSize {
		return corrupt("%d bytes are too few", r.size)
	}
	var head [headerSize]byte
	if _, err := r.src.ReadAt(head[:], 0); err != nil {
		return err
	}
	var err error
	if r.version, err = parseHeader(head[:]); err != nil {
		return err
	}
	var tail [trailerSize]byte
	if _, err := r.src.ReadAt(tail[:], r.size-trailerSize); err != nil {
		return err
	}
	footer, err := parseTrailer(tail[:], r.size, r.version)
	if err != nil {
		return err
	}
	b, err := r.region(footer)
	if err != nil {
		return err
	}
	r.footerLen = footer.len
	return r.parseFooter(b)
}

// region reads and checks a region. Pad readable bytes follow what is returned.
func (r *Reader) region(ref ref) ([]byte, error) { return r.regionIn(r.held.Load(), ref) }

// regionIn takes it from memory where the file is held.
func (r *Reader) regionIn(h *held, ref ref) ([]byte, error) {
	if ref.off+uint64(ref.len) > uint64(r.size) {
		return nil, corrupt("%d bytes at %d of %d", ref.len, ref.off, r.size)
	}
	if h != nil {
		return h.region(ref)
	}
	b := make([]byte, int(ref.len)+encoding.Pad)
	if _, err := r.src.ReadAt(b[:ref.len], int64(ref.off)); err != nil {
		return nil, err
	}
	r.bytesRead.Add(int64(ref.len))
	if checksum(b[:ref.len]) != ref.crc {
		return nil, corrupt("checksum of %d bytes at %d", ref.len, ref.off)
	}
	return b[:ref.len], nil
}

func (r *Reader) readStrings(l *encoding.Lane) []string {
	n := l.Count(1 << 24)
	if l.Err() != nil || n > len(l.Rest())*256 {
		return nil
	}
	off, b, err := r.comp.ReadTexts(l, n)
	if err != nil {
		return nil
	}
	out := make([]string, n)
	for i := range out {
		out[i] = string(b[off[i]:off[i+1]])
	}
	return out
}

func readRef(l *encoding.Lane) ref {
	var x ref
	x.off = l.Uvarint()
	x.len = uint32(l.Count(math.MaxInt32))
	if b := l.Bytes(4); b != nil {
		x.crc = binary.LittleEndian.Uint32(b)
	}
	return x
}

func (r *Reader) parseFooter(b []byte) error {
	l := encoding.NewLane(b)
	r.meta = Meta{FirstIndex: l.Uvarint(), LastIndex: l.Uvarint(), IdentityIndex: l.Uvarint()}
	r.textIDs = l.Byte() == 1
	names := r.readStrings(l)
	r.paths = r.readStrings(l)
	r.pathIdx = make(map[string]uint32, len(r.paths))
	for i, p := range r.paths {
		r.pathIdx[p] = uint32(i)
	}
	r.sections = make([]Section, l.Count(len(b)))
	day := int32(0)
	for i := range r.sections {
		s := &r.sections[i]
		s.r = r
		day += int32(l.Varint())
		s.day = day
		if name := l.Uvarint(); name < uint64(len(names)) {
			s.name = names[name]
		} else {
			return corrupt("footer: event name %d of %d", name, len(names))
		}
		s.rows = l.Count(math.MaxInt32)
		s.distinct = l.Count(s.rows)
		s.minTime = l.Varint()
		s.maxTime = s.minTime + int64(l.Uvarint())
		s.unit = l.Uvarint()
		s.personsRef = readRef(l)
		s.dirRef = readRef(l)
		s.first = r.rows
		r.rows += s.rows
		if l.Err() != nil || s.rows == 0 || s.unit == 0 || s.unit > MicrosPerDay {
			return corrupt("footer: section %d", i)
		}
	}
	r.days = make([]dayDir, l.Count(len(r.sections)))
	r.persons = make([]atomic.Pointer[index.Persons], len(r.days))
	day = 0
	for i := range r.days {
		d := &r.days[i]
		day += int32(l.Varint())
		d.day = day
		d.from = l.Count(len(r.sections))
		d.to = d.from + l.Count(len(r.sections)-d.from)
		rows := 0
		for s := d.from; s < d.to; s++ {
			rows += r.sections[s].rows
		}
		readColumn(l, &d.timeline, rows)
		d.persons = readRef(l)
		if l.Err() != nil || d.timeline.present != rows || d.from == d.to {
			return corrupt("footer: day %d", i)
		}
	}
	r.dicts = make(map[dictKey]ref)
	for range l.Count(len(b)) {
		k := dictKey{path: uint32(l.Count(len(r.paths))), kind: batch.Kind(l.Byte())}
		r.dicts[k] = readRef(l)
	}
	r.ids = make([]idDir, l.Count(len(b)))
	rows := 0
	for i := range r.ids {
		d := &r.ids[i]
		d.rows = l.Count(idBlockRows)
		d.uuids = l.Count(d.rows)
		d.place = readRef(l)
		d.pages = make([]idPage, d.uuidPages()+d.textPages())
		for p := range d.pages {
			if lo := l.Bytes(8); lo != nil {
				d.pages[p].firstLo = binary.LittleEndian.Uint64(lo)
			}
			d.pages[p].ref = readRef(l)
		}
		if l.Err() != nil || d.rows == 0 {
			return corrupt("footer: id block %d", i)
		}
		rows += d.rows
	}
	r.filter = readRef(l)
	if l.Err() != nil || rows != r.rows {
		return corrupt("footer: %d ids of %d rows", rows, r.rows)
	}
	return nil
}

// Name is what the segment was opened as; Size its bytes; Rows its events.
func (r *Reader) Name() string { return r.name }

// Size is the file's size in bytes.
func (r *Reader) Size() int64 { return r.size }

// Rows is the number of events.
func (r *Reader) Rows() int { return r.rows }

// Meta is what the engine wrote into the footer.
func (r *Reader) Meta() Meta { return r.meta }

// Paths are the column paths of the file.
func (r *Reader) Paths() []string { return r.paths }

// HasPath tells whether an event of the file may have a value at a path.
func (r *Reader) HasPath(path string) bool {
	_, ok := r.pathIdx[path]
	return ok
}

// BytesRead counts the bytes that were read from the file.
func (r *Reader) BytesRead() int64 { return r.bytesRead.Load() }

// Sections are sorted by day and event name.
func (r *Reader) Sections() []Section { return r.sections }

// Days calls f for each day of the file with its sections.
func (r *Reader) Days(f func(day int32, sections []Section)) {
	for i := range r.days {
		f(r.days[i].day, r.sections[r.days[i].from:r.days[i].to])
	}
}

// Persons is the set of persons of a day, as they were written.
func (r *Reader) Persons(day int32) (*index.Persons, error) {
	i := sort.Search(len(r.days), func(i int) bool { return r.days[i].day >= day })
	if i == len(r.days) || r.days[i].day != day {
		return nil, fmt.Errorf("read segment %s: no day %d", r.name, day)
	}
	return r.personSet(r.days[i].persons, &r.persons[i])
}

// personSet reads a set of persons once.
func (r *Reader) personSet(ref ref, kept *atomic.Pointer[index.Persons]) (*index.Persons, error) {
	if p := kept.Load(); p != nil {
		return p, nil
	}
	b, err := r.region(ref)
	if err == nil {
		var p *index.Persons
		if p, err = index.ParsePersons(b); err == nil {
			kept.Store(p)
			return p, nil
		}
		err = corrupt("persons at %d: %v", ref.off, err)
	}
	return nil, fmt.Errorf("read segment %s: %w", r.name, err)
}

// Find returns the section of a day and event name, nil if there is none.
func (r *Reader) Find(day int32, name string) *Section {
	i := sort.Search(len(r.sections), func(i int) bool {
		s := &r.sections[i]
		return s.day > day || s.day == day && s.name >= name
	})
	if i < len(r.sections) && r.sections[i].day == day && r.sections[i].name == name {
		return &r.sections[i]
	}
	return nil
}

// Extent is a range of bytes of a file.
type Extent struct{ Off, Len int64 }

// Directory lists, ascending and apart, the bytes of the file that say what is in it without any row: header,
// directories of sections, sets of persons, footer and trailer. Whoever has them can open the
// file, and tell which of its sections can matter to a question.
func (r *Reader) Directory() []Extent {
	all := []Extent{{0, headerSize}, {r.size - trailerSize - int64(r.footerLen), int64(r.footerLen) + trailerSize}}
	add := func(x ref) { all = append(all, Extent{int64(x.off), int64(x.len)}) }
	for i := range r.sections {
		add(r.sections[i].personsRef)
		add(r.sections[i].dirRef)
	}
	for i := range r.days {
		add(r.days[i].persons)
	}
	slices.SortFunc(all, func(a, b Extent) int { return cmp.Compare(a.Off, b.Off) })
	out := all[:1]
	for _, e := range all[1:] {
		if last := &out[len(out)-1]; e.Off <= last.Off+last.Len {
			last.Len = max(last.Len, e.Off+e.Len-last.Off)
		} else {
			out = append(out, e)
		}
	}
	return out
}

// page returns a verified page: its blocks start at the returned offsets.
func (r *Reader) page(off uint64, size uint32) ([]byte, error) {
	k := cacheKey{r.file, off}
	if v, ok := r.cache.get(k); ok {
		return v.page, nil
	}
	if size < 4 || off+uint64(size) > uint64(r.size) {
		return nil, corrupt("page of %d bytes at %d of %d", size, off, r.size)
	}
	if h := r.held.Load(); h != nil {
		b, err := h.page(off, size)
		if err != nil {
			return nil, fmt.Errorf("read segment %s: %w", r.name, err)
		}
		return b, nil
	}
	b := make([]byte, int(size)+encoding.Pad)
	if _, err := r.src.ReadAt(b[:size], int64(off)); err != nil {
		return nil, fmt.Errorf("read segment %s: %w", r.name, err)
	}
	r.bytesRead.Add(int64(size))
	if binary.LittleEndian.Uint32(b[size-4:]) != checksum(b[:size-4]) {
		return nil, fmt.Errorf("read segment %s: %w", r.name, corrupt("checksum of the page at %d", off))
	}
	r.cache.set(k, cached{page: b, bytes: uint32(len(b))})
	return b, nil
}

// eachBlock calls f with the blocks of c that overlap the rows [from, to) of a
// column of rows rows: block holds the bytes from the block's start to the
// page's end, first is its first row and n its rows.
func (r *Reader) eachBlock(c *column, rows, from, to int, f func(block []byte, first, n int) error) error {
	off := c.off
	var sizes [pageBlocks]uint32
	for p, size := range c.pages {
		first := p * pageBlocks * blockRows
		if first >= to {
			return nil
		}
		last := min(first+pageBlocks*blockRows, rows)
		if last <= from {
			off += uint64(size)
			continue
		}
		page, err := r.page(off, size)
		if err != nil {
			return err
		}
		off += uint64(size)
		l := encoding.NewLane(page)
		n := l.Count(pageBlocks)
		if n != blocksOf(last-first) || encoding.ReadInts(l, sizes[:n]) != nil {
			return fmt.Errorf("read segment %s: %w", r.name, corrupt("page of %d blocks", n))
		}
		body := l.Rest()
		for _, size := range sizes[:n] {
			end := min(first+blockRows, last)
			if int(size) > len(body) {
				return fmt.Errorf("read segment %s: %w", r.name, corrupt("block of %d bytes", size))
			}
			if end > from && first < to {
				if err := f(body, first, end-first); err != nil {
					return fmt.Errorf("read segment %s: %w", r.name, err)
				}
			}
			body = body[size:]
			first = end
		}
	}
	return nil
}

// dict returns the file's dictionary of a path and kind.
func (r *Reader) dict(path uint32, kind batch.Kind) (*batch.Texts, error) {
	ref, ok := r.dicts[dictKey{path, kind}]
	if !ok {
		return nil, corrupt("no dictionary for %s", r.paths[path])
	}
	k := cacheKey{r.file, ref.off}
	if v, ok := r.cache.get(k); ok {
		return v.decoded.(*batch.Texts), nil
	}
	h := r.held.Load()
	if h != nil {
		if t, ok := h.texts.Load(ref.off); ok {
			return t.(*batch.Texts), nil
		}
	}
	b, err := r.regionIn(h, ref)
	if err != nil {
		return nil, fmt.Errorf("read segment %s: %w", r.name, err)
	}
	l := encoding.NewLane(b)
	n := l.Count(r.rows)
	off, bytes, err := r.comp.ReadTexts(l, n)
	if err != nil {
		return nil, fmt.Errorf("read segment %s: %w", r.name, corrupt("dictionary of %s", r.paths[path]))
	}
	t := &batch.Texts{Off: off, Bytes: bytes}
	if h != nil {
		h.texts.Store(ref.off, t)
		return t, nil
	}
	r.cache.set(k, cached{decoded: t, bytes: uint32(4*len(off) + len(bytes))})
	return t, nil
}

// cachedRegion reads a region through the cache.
func (r *Reader) cachedRegion(ref ref) ([]byte, error) {
	k := cacheKey{r.file, ref.off}
	if v, ok := r.cache.get(k); ok {
		return v.page, nil
	}
	h := r.held.Load()
	b, err := r.regionIn(h, ref)
	if err != nil {
		return nil, fmt.Errorf("read segment %s: %w", r.name, err)
	}
	if h == nil { // else the cache would keep the whole file
		r.cache.set(k, cached{page: b, bytes: uint32(cap(b))})
	}
	return b, nil
}
