package index

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"path/filepath"
	"slices"
	"sync"

	"spoor/internal/vfs"
)

const (
	firstFilterKeys = 4 << 20  // capacity of the first generation
	maxFilterKeys   = 64 << 20 // of the largest one: 96 MiB
	filterKeyBits   = 12

	// saveShare is the part of its capacity by which the newest generation must
	// have grown for Save to write it again: 12 bytes of writing per event at most, and
	// at a start so many ids at most are read from segments again.
	saveShare = 8

	// saveChunk blocks are copied at a time while additions wait: 256 KiB, some tens of microseconds.
	saveChunk = 4096
)

// Filters is the filter over every eventId that is stored: generations of
// growing capacity, of which the newest takes additions. A full generation is
// written once more and never again; the newest is written now and then with the log
// index that it covers. A filter that is lost costs reading ids from segments, never an answer:
// Has does not deny an id that was added.
//
// One goroutine adds. Everything else may run beside it.
type Filters struct {
	fsys  vfs.FS
	dir   string
	first int // capacity of the first generation

	mu     sync.Mutex
	gens   []*generation // oldest first, never empty
	reach  int32         // the until of ids that are added now
	forgot int32         // the latest day of Forget

	saveMu sync.Mutex // held over the writing of files
	stale  []string   // files of earlier sets that a save makes superfluous
	// patched is set when an older generation was read from a file that lacks its
	// last ids. The caller adds them to the newest, whose own file claims them
	// already: it must be written before the older one may be called final.
	patched bool
	shrunk  bool // generations were let go: the newest must say so before their files go
}

// generation is one filter. Its number, and the first number of the set it
// belongs to, are part of its file.
type generation struct {
	number, first uint32
	capacity      int
	bloom         *Bloom

	until   int32  // the last day on which one of its ids may be asked for
	keys    int    // that were added
	saved   int    // that were added when its file was written
	covered uint64 // log index of its file
	onDisk  bool   // it has a file
	sealed  bool   // its file says that a newer generation exists; the file is final
}

// OpenFilters reads the filters in dir and tells up to which log index they know
// every id; the caller adds the ids of later entries before it asks. On an error
// the filters are empty and usable, covered is 0, and the caller adds all ids
// that are stored. The error wraps fs.ErrNotExist if dir has no filter, and ErrCorrupt
// if one is damaged or missing among others.
func OpenFilters(fsys vfs.FS, dir string) (f *Filters, covered uint64, err error) {
	return openFilters(fsys, dir, firstFilterKeys)
}

// OpenFiltersSized is OpenFilters with room for firstKeys ids in the first
// generation of a new set; the others grow from there.
func OpenFiltersSized(fsys vfs.FS, dir string, firstKeys int) (f *Filters, covered uint64, err error) {
	return openFilters(fsys, dir, firstKeys)
}

// NewFilters makes empty filters whose files will be in dir, which must have none when they are
// saved. firstKeys is as in OpenFiltersSized, 0 for what OpenFilters has.
func NewFilters(fsys vfs.FS, dir string, firstKeys int) *Filters {
	if firstKeys == 0 {
		firstKeys = firstFilterKeys
	}
	return &Filters{fsys: fsys, dir: dir, first: firstKeys, gens: []*generation{newGeneration(1, 1, firstKeys)}}
}

func openFilters(fsys vfs.FS, dir string, firstKeys int) (*Filters, uint64, error) {
	f := &Filters{fsys: fsys, dir: dir, first: firstKeys}
	numbers, err := f.list()
	if err == nil {
		var covered uint64
		if covered, err = f.load(numbers); err == nil {
			return f, covered, nil
		}
	}
	next := uint32(1)
	for _, n := range numbers {
		next = max(next, n+1)
		f.stale = append(f.stale, f.path(n))
	}
	f.gens = []*generation{newGeneration(next, next, firstKeys)}
	return f, 0, fmt.Errorf("open dedupe filters in %s: %w", dir, err)
}

func newGeneration(number, first uint32, capacity int) *generation {
	return &generation{number: number, first: first, capacity: capacity, bloom: NewBloom(capacity, filterKeyBits)}
}

func (f *Filters) path(number uint32) string {
	return filepath.Join(f.dir, fmt.Sprintf("dedupe-%d.bloom", number))
}

// list returns the numbers of the filter files, ascending.
func (f *Filters) list() ([]uint32, error) {
	entries, err := f.fsys.ReadDir(f.dir)
	if err != nil {
		return nil, err
	}
	var numbers []uint32
	for _, e := range entries {
		var n uint32
		if _, err := fmt.Sscanf(e.Name(), "dedupe-%d.bloom", &n); err == nil && filepath.Base(f.path(n)) == e.Name() {
			numbers = append(numbers, n)
		}
	}
	if len(numbers) == 0 {
		return nil, fs.ErrNotExist
	}
	slices.Sort(numbers)
	return numbers, nil
}

// load reads the newest generation and those before it. What they cover together
// is what the least of the unsealed covers: a generation that was not sealed in its file
// may have taken ids after that.
func (f *Filters) load(numbers []uint32) (covered uint64, err error) {
	newest, err := f.read(numbers[len(numbers)-1])
	if err != nil {
		return 0, err
	}
	if newest.sealed {
		return 0, corrupt("dedupe filter %d is missing", newest.number+1)
	}
	covered = newest.covered
	f.gens = nil
	for n := newest.first; n < newest.number; n++ {
		g, err := f.read(n)
		if errors.Is(err, fs.ErrNotExist) {
			return 0, corrupt("dedupe filter %d is missing", n)
		}
		if err != nil {
			return 0, err
		}
		if g.first > newest.first {
			return 0, corrupt("dedupe filter %d belongs to set %d, filter %d to set %d", n, g.first, newest.number, newest.first)
		}
		if !g.sealed {
			covered = min(covered, g.covered)
			f.patched = true
		}
		f.gens = append(f.gens, g)
	}
	f.gens = append(f.gens, newest)
	for _, n := range numbers {
		if n < newest.first {
			f.stale = append(f.stale, f.path(n))
		}
	}
	return covered, nil
}

// Has tells whether an id may have been added; false is certain.
func (f *Filters) Has(hash uint64) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i := len(f.gens) - 1; i >= 0; i-- {
		if f.gens[i].bloom.Has(hash) {
			return true
		}
	}
	return false
}

// HasAll sets maybe[i] to Has(hashes[i]), many at a time, so that their cache
// misses overlap. Both slices have one length.
func (f *Filters) HasAll(hashes []uint64, maybe []bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	clear(maybe[:len(hashes)])
	for _, g := range f.gens {
		g.bloom.orAll(hashes, maybe)
	}
}

// Reach says on which day the ids that are added from now on are asked for last: after it
// they may be forgotten. Days are counted as the caller likes.
func (f *Filters) Reach(day int32) {
	f.mu.Lock()
	f.reach = day
	g := f.gens[len(f.gens)-1]
	g.until = max(g.until, day)
	f.mu.Unlock()
}

// Forget lets generations go that hold no id which is asked for on a day from day on. Their memory is
// free at once, their files with the next Save: until then OpenFilters may bring them back.
func (f *Filters) Forget(day int32) {
	f.saveMu.Lock()
	defer f.saveMu.Unlock()
	f.mu.Lock()
	defer f.mu.Unlock()
	f.forgot = max(f.forgot, day)
	for len(f.gens) > 1 && f.gens[0].until < day {
		f.stale = append(f.stale, f.path(f.gens[0].number))
		f.gens = f.gens[1:]
		f.shrunk = true
	}
	for _, g := range f.gens {
		g.first = f.gens[0].number
	}
}

// Forgot is the latest day of Forget.
func (f *Filters) Forgot() int32 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.forgot
}

// Add adds an id. It tells whether that changed the newest generation; if not, the id
// may have been added to it before.
func (f *Filters) Add(hash uint64) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.add(hash)
}

// AddAll adds ids.
func (f *Filters) AddAll(hashes []uint64) {
	f.mu.Lock()
	for _, h := range hashes {
		f.add(h)
	}
	f.mu.Unlock()
}

func (f *Filters) add(hash uint64) bool {
	g := f.gens[len(f.gens)-1]
	if g.keys >= g.capacity {
		g = newGeneration(g.number+1, g.first, max(g.capacity, min(2*g.capacity, maxFilterKeys)))
		g.until = f.reach
		f.gens = append(f.gens, g)
	}
	changed := g.bloom.Add(hash)
	if changed {
		g.keys++
	}
	return changed
}

// FilterStats describes the filters.
type FilterStats struct {
	Generations int
	Keys        int // that were added, less those that passed for others
	Bytes       int // of memory
}

// Stats describes the filters as they are now.
func (f *Filters) Stats() FilterStats {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := FilterStats{Generations: len(f.gens)}
	for _, g := range f.gens {
		s.Keys += g.keys
		s.Bytes += g.bloom.Bytes()
	}
	return s
}

// Save writes what must be written so that a later OpenFilters knows every id of
// the log entries up to covered, all of which were added before. Unless all is set it
// leaves the newest generation alone until that has grown enough to be worth it; with all the file is packed too, which takes
// longer than to write it.
func (f *Filters) Save(covered uint64, all bool) error {
	f.saveMu.Lock()
	defer f.saveMu.Unlock()
	f.mu.Lock()
	gens := slices.Clone(f.gens)
	newest := gens[len(gens)-1]
	grown := newest.keys - newest.saved
	f.mu.Unlock()

	written := false
	if f.patched || f.shrunk || grown >= newest.capacity/saveShare || all && (grown > 0 || newest.covered < covered) {
		if err := f.write(newest, covered, false, all); err != nil {
			return err
		}
		written, f.patched, f.shrunk = true, false, false
	}
	// A generation says that it is sealed only after its successor has a file:
	// a sealed one without a successor means that the successor was lost.
	for i := len(gens) - 2; i >= 0; i-- {
		if g := gens[i]; !g.sealed && gens[i+1].onDisk {
			if err := f.write(g, covered, true, false); err != nil {
				return err
			}
			written = true
		}
	}
	if !written {
		return nil
	}
	for len(f.stale) > 0 {
		if err := f.fsys.Remove(f.stale[0]); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove an old dedupe filter: %w", err)
		}
		f.stale = f.stale[1:]
	}
	return nil
}

// write writes a generation's file while additions go on between its chunks: an
// id more than covered asks for does no harm. pack packs it where that saves something.
func (f *Filters) write(g *generation, covered uint64, sealed, pack bool) error {
	f.mu.Lock()
	keys, until := g.keys, g.until
	f.mu.Unlock()
	err := vfs.WriteAtomic(f.fsys, f.path(g.number), func(w io.Writer) (failed error) {
		head := fileHead{
			number: g.number, first: g.first, sealed: sealed, packed: pack && keys < g.capacity/packShare && g.capacity <= maxPackedKeys,
			capacity: uint64(g.capacity), keys: uint64(keys), covered: covered, until: until,
		}
		if _, err := w.Write(head.append(nil)); err != nil {
			return err
		}
		if head.packed {
			p, err := newPacker(w)
			if err != nil {
				return err
			}
			defer func() { failed = errors.Join(failed, p.Close()) }()
			w = p
		}
		buf := g.bloom.appendHead(make([]byte, 0, saveChunk*blockBytes))
		sum := uint32(0)
		for rest := g.bloom.blocks; ; {
			sum = crc32.Update(sum, castagnoli, buf)
			if len(rest) == 0 {
				buf = appendSum(buf, sum)
			}
			if _, err := w.Write(buf); err != nil || len(rest) == 0 {
				return err
			}
			n := min(saveChunk, len(rest))
			f.mu.Lock()
			buf = appendBlocks(buf[:0], rest[:n])
			f.mu.Unlock()
			rest = rest[n:]
		}
	})
	if err != nil {
		return fmt.Errorf("save dedupe filter: %w", err)
	}
	g.saved, g.covered, g.onDisk, g.sealed = keys, covered, true, sealed
	return nil
}
