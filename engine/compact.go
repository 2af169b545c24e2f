package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync/atomic"
	"syscall"
	"time"

	"spoor/engine/compaction"
	"spoor/engine/erasure"
	"spoor/engine/identity"
	"spoor/engine/query/scan"
	"spoor/segment"
)

// assembledRowBytes is about what a row takes in memory while a segment is assembled.
const assembledRowBytes = 192

// minMergedBytes is what a merge may have in memory of files, however little memory there is.
const minMergedBytes = 8 << 20

// mergeLimits let a merge have half of the memory; beside it stand memtables and the cache.
func (db *DB) mergeLimits() compaction.Limits {
	return compaction.Limits{
		Rows:  cmp.Or(db.opts.MergeRows, max(int(db.opts.MemoryBytes/2/assembledRowBytes), compaction.SmallFileRows)),
		Bytes: max(db.opts.MemoryBytes/4, minMergedBytes),
		Small: db.opts.smallFileRows,
	}
}

// Compact merges until every day is in one file, or in pieces that share no person, and nothing that
// was erased is left in any, and flushes first.
func (db *DB) Compact(ctx context.Context) error {
	l := db.live()
	set := l.erasures.Load()
	if _, err := db.Checkpoint(ctx); err != nil {
		return err
	}
	for {
		done, err := db.compactOnce(ctx, wholeDays)
		if err != nil {
			return err
		}
		if done {
			return db.purge(ctx, l, set, true)
		}
	}
}

// effort says which merges are to be done.
type effort int

const (
	whatIsDue effort = iota // while events come
	whenIdle                // what makes queries faster, unless it is too little for too much writing
	wholeDays               // all that makes a day stand in fewer files
)

// compactSome does the merges that are due.
func (db *DB) compactSome(ctx context.Context, idle bool) error {
	e := whatIsDue
	if idle {
		e = whenIdle
	}
	for {
		done, err := db.compactOnce(ctx, e)
		if err != nil || done {
			return err
		}
	}
}

// compactOnce does one merge; done is true when none was due.
func (db *DB) compactOnce(ctx context.Context, e effort) (done bool, err error) {
	db.compactMu.Lock()
	defer db.compactMu.Unlock()
	if err := ctx.Err(); err != nil {
		return false, fmt.Errorf("compact: %w", err)
	}
	if err := db.broken(); err != nil {
		return false, fmt.Errorf("compact: %w", err)
	}
	v := db.files.acquire()
	defer v.release()
	picked, err := db.pick(v.files, e)
	if err == nil && len(picked) == 0 && e > whatIsDue {
		picked, err = db.outdated(v.files)
	}
	if err != nil {
		return false, fmt.Errorf("compact: %w", err)
	}
	if len(picked) == 0 {
		return true, nil
	}
	return false, db.merge(ctx, picked)
}

// pick chooses files to merge, oldest arrival first; nil when nothing is due.
func (db *DB) pick(files []*file, e effort) (picked []*file, err error) {
	of, err := shapes(files)
	if err != nil {
		return nil, err
	}
	limits := db.mergeLimits()
	limits.Whole = e == wholeDays
	for _, i := range compaction.Pick(of, limits, e > whatIsDue) {
		picked = append(picked, files[i])
	}
	return picked, nil
}

// groups are the days that share a file when picked are merged.
func (db *DB) groups(picked []*file) ([]compaction.Group, error) {
	v := db.files.acquire()
	defer v.release()
	var at []int
	for i, f := range v.files {
		if slices.Contains(picked, f) {
			at = append(at, i)
		}
	}
	of, err := shapes(v.files)
	return compaction.Groups(of, at, db.mergeLimits()), err
}

// shapes are what compaction wants to know of files. The persons of a day matter, and are
// read, where several files of level 1 hold it.
func shapes(files []*file) ([]compaction.File, error) {
	out := make([]compaction.File, len(files))
	holders := map[int32]int{}
	for i, f := range files {
		out[i] = *f.days()
		out[i].Days = slices.Clone(out[i].Days)
		for _, d := range out[i].Days {
			if f.meta.Level > 0 {
				holders[d.Day]++
			}
		}
	}
	for i, f := range files {
		for d := range out[i].Days {
			if f.meta.Level > 0 && holders[out[i].Days[d].Day] > 1 {
				if err := f.personsOf(&out[i].Days[d]); err != nil {
					return nil, err
				}
			}
		}
	}
	return out, nil
}

// personsOf fills in the range of persons of a day. The caller holds compactMu.
func (f *file) personsOf(d *compaction.DayRows) error {
	p, err := f.r.Persons(d.Day)
	if err != nil {
		return err
	}
	d.First, d.Last = 1, 0
	if last, some := p.Max(); some {
		first, _ := p.Min()
		d.First, d.Last = first, last
	}
	return nil
}

// days is what compaction wants to know of a file, persons apart.
func (f *file) days() *compaction.File {
	f.shape.once.Do(func() {
		f.shape.File = compaction.File{Level: f.meta.Level, Bytes: f.meta.Bytes}
		f.r.Days(func(day int32, sections []segment.Section) {
			rows := 0
			for i := range sections {
				rows += sections[i].Rows()
			}
			f.shape.Days = append(f.shape.Days, compaction.DayRows{Day: day, Rows: rows, Last: math.MaxUint32})
		})
	})
	return &f.shape.File
}

// outdated returns a file whose rows name persons that were merged since it was
// written, with those that its rows may belong to now: queries pay for it until it is rewritten.
func (db *DB) outdated(files []*file) ([]*file, error) {
	id := db.Identity()
	for n, f := range files {
		if f.r.Meta().IdentityIndex == id.v.Merges {
			continue
		}
		sections := f.r.Sections()
		for i := range sections {
			touched, err := id.Touched(&sections[i])
			if err != nil {
				return nil, err
			}
			if touched {
				return together(files, n)
			}
		}
	}
	return nil, nil
}

// together are the files of level 1 in whose pieces rows of file n may belong.
func together(files []*file, n int) (picked []*file, err error) {
	if files[n].meta.Level == 0 {
		return files[n : n+1], nil
	}
	of, err := shapes(files)
	if err != nil {
		return nil, err
	}
	for _, i := range compaction.Together(of, n) {
		picked = append(picked, files[i])
	}
	return picked, nil
}

// merge replaces picked by files of whole days, and of pieces of large ones.
func (db *DB) merge(ctx context.Context, picked []*file) error {
	m := db.newMerging(picked)
	db.atWork.Store(m)
	defer db.atWork.Store(nil)
	defer m.held.releaseBefore(math.MaxInt32)
	added, err := m.write(ctx)
	if err != nil {
		m.undo(added)
		return fmt.Errorf("compact: %w", err)
	}
	edit := edit{gone: picked, added: added, erased: m.counts}
	if err := db.commitCovered(edit, func() { db.files.replace(picked, added) }); err != nil {
		if errors.Is(err, errBefore) {
			m.undo(added)
			return fmt.Errorf("compact: %w", err)
		}
		for _, f := range added {
			f.release() // the files stay: the manifest that names them may have reached the disk
		}
		err = fmt.Errorf("compact: %w", err)
		if !errors.Is(err, syscall.ENOSPC) {
			db.fatal(err)
		}
		return err
	}
	db.log.Debug("merged", "from", len(picked), "to", len(added), "first", m.first, "seconds", time.Since(m.began).Seconds())
	return nil
}

// merging is one merge while its files are written.
type merging struct {
	db          *DB
	picked      []*file
	first, last uint64 // log indexes
	set         *erasure.Set
	view        *identity.View // of all pieces: a person that is merged meanwhile must not move from one to the next
	worker      *scan.Worker
	drops       map[*segment.Section]*erasure.Drop
	counts      map[string]int64 // rows that each erasure took out
	held        holding
	began       time.Time
	bytes       int64        // of picked
	done        atomic.Int64 // of these, in files that were written
}

// Merge is a merge that is at work.
type Merge struct {
	Files       int   // that it reads
	Bytes, Done int64 // that they have, and how many of them stand in new files
	First, Last int32 // days
	Began       time.Time
}

// Merging is the merge that is at work; false: there is none.
func (db *DB) Merging() (w Merge, running bool) {
	m := db.atWork.Load()
	if m == nil {
		return Merge{}, false
	}
	w = Merge{Files: len(m.picked), Bytes: m.bytes, Done: min(m.done.Load(), m.bytes), First: m.picked[0].meta.MinDay, Last: m.picked[0].meta.MaxDay, Began: m.began}
	for _, f := range m.picked {
		w.First, w.Last = min(w.First, f.meta.MinDay), max(w.Last, f.meta.MaxDay)
	}
	return w, true
}

func (db *DB) newMerging(picked []*file) *merging {
	m := &merging{
		db: db, picked: picked, set: db.live().erasures.Load(), view: db.live().identity.Snapshot(), held: holding{},
		worker: scan.NewWorker(scan.Persons{}, db.Identity()), drops: map[*segment.Section]*erasure.Drop{}, counts: map[string]int64{},
		began: time.Now(), // it is told, and decides nothing
	}
	m.first, m.last = picked[0].meta.First, picked[0].meta.Last
	for _, f := range picked {
		m.first, m.last = min(m.first, f.meta.First), max(m.last, f.meta.Last)
		m.bytes += f.meta.Bytes
	}
	return m
}

// undo removes files that were written.
func (m *merging) undo(added []*file) {
	for _, f := range added {
		f.obsolete.Store(true)
		f.release()
	}
}

// write writes the files. With an error it returns those that it had written.
func (m *merging) write(ctx context.Context) (added []*file, err error) {
	groups, err := m.db.groups(m.picked)
	if err != nil {
		return nil, err
	}
	limits := m.db.mergeLimits()
	for _, g := range groups {
		m.held.releaseBefore(g.Min)
		var files []*file
		rows, bytes, share := 0, int64(0), 0.0 // share is the part of bytes that belongs to the rows
		for _, f := range m.picked {
			if f.meta.MaxDay < g.Min || g.Max < f.meta.MinDay {
				continue
			}
			files = append(files, f)
			bytes += f.meta.Bytes
			for _, d := range f.days().Days {
				if g.Min <= d.Day && d.Day <= g.Max {
					rows += d.Rows
					share += float64(f.meta.Bytes) * float64(d.Rows) / float64(max(f.meta.Rows, 1))
				}
			}
		}
		pieces, atMost := []piece{{}}, limits.Rows
		if share > float64(limits.Bytes) { // events that are wide
			atMost = min(atMost, int(float64(rows)*float64(limits.Bytes)/share)+1)
		}
		if rows > atMost && g.Min == g.Max {
			if pieces, err = m.pieces(files, g.Min, rows, atMost); err != nil {
				return added, err
			}
		}
		for _, p := range pieces {
			if err := ctx.Err(); err != nil {
				return added, err
			}
			var inputs []input
			for _, f := range files {
				if len(pieces) == 1 || bytes <= limits.Bytes { // else it is read page by page
					if err := m.held.hold(f); err != nil {
						return added, err
					}
				}
				inputs = append(inputs, newSegmentInput(f.r, func(day int32) bool { return g.Min <= day && day <= g.Max }, p, func(s *segment.Section) (*erasure.Drop, error) {
					return m.drop(f, s)
				}))
			}
			f, err := m.db.writeFile(inputs, m.view, 1, segment.Meta{FirstIndex: m.first, LastIndex: m.last, IdentityIndex: m.view.Merges}, m.set.Last())
			if err != nil {
				return added, err
			}
			if f != nil {
				added = append(added, f)
			}
			m.done.Add(int64(share / float64(len(pieces))))
		}
	}
	return added, nil
}

// drop is what a section loses, worked out once for all pieces.
func (m *merging) drop(f *file, s *segment.Section) (*erasure.Drop, error) {
	if d := m.drops[s]; d != nil {
		return d, nil
	}
	d, err := m.set.Drop(s, f.behind(), m.worker)
	if err != nil {
		return nil, err
	}
	addCounts(m.counts, d.Counts)
	m.drops[s] = d
	return d, nil
}

// personBuckets are counted to find where a day is cut.
const personBuckets = 1 << 16

// pieces cuts a day into ranges of persons of at most so many rows each, unless a few persons
// have more: those of one are never apart.
func (m *merging) pieces(files []*file, day int32, rows, atMost int) ([]piece, error) {
	persons := uint32(max(m.view.Persons, 1))
	width := (persons + personBuckets - 1) / personBuckets
	counts := make([]int, persons/width+1)
	var x segment.Scratch
	keys := make([]uint64, segment.BlockRows)
	for _, f := range files {
		sections := f.r.Sections()
		for i := range sections {
			s := &sections[i]
			if s.Day() != day || s.Erased() {
				continue
			}
			for from := 0; from < s.Rows(); from += segment.BlockRows {
				block := keys[:min(segment.BlockRows, s.Rows()-from)]
				if err := s.Keys(block, from, from+len(block), &x); err != nil {
					return nil, err
				}
				for _, k := range block {
					counts[min(m.view.Person(segment.KeyPerson(k)), persons-1)/width]++
				}
			}
		}
	}
	share := rows/((rows+atMost-1)/atMost) + 1 // of equal pieces
	pieces := []piece{{view: m.view, hi: segment.MaxPersons}}
	sum := 0
	for b, n := range counts {
		if open := &pieces[len(pieces)-1]; sum > 0 && (sum+n > atMost || sum >= share) {
			cut := uint32(b) * width
			open.hi = cut
			pieces = append(pieces, piece{view: m.view, lo: cut, hi: segment.MaxPersons})
			sum = 0
		}
		sum += n
	}
	return pieces, nil
}

// holding are the files that a merge has in memory, from the first of their days to the last.
type holding map[*file]func()

func (h holding) hold(f *file) error {
	if h[f] != nil {
		return nil
	}
	release, err := f.r.Hold()
	if err != nil {
		return err
	}
	h[f] = release
	return nil
}

// releaseBefore releases the files that end before a day.
func (h holding) releaseBefore(day int32) {
	for f, release := range h {
		if f.meta.MaxDay < day {
			release()
			delete(h, f)
		}
	}
}
