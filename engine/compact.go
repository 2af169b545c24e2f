package engine

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"syscall"
	"time"

	"spoor/engine/compaction"
	"spoor/engine/erasure"
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
		Rows:  max(int(db.opts.MemoryBytes/2/assembledRowBytes), compaction.SmallFileRows),
		Bytes: max(db.opts.MemoryBytes/4, minMergedBytes),
		Small: db.opts.smallFileRows,
	}
}

// Compact merges until every day is in one file and nothing that was erased is
// left in any, and flushes first.
func (db *DB) Compact(ctx context.Context) error {
	l := db.live()
	set := l.erasures.Load()
	if _, err := db.Checkpoint(ctx); err != nil {
		return err
	}
	for {
		done, err := db.compactOnce(ctx, true)
		if err != nil {
			return err
		}
		if done {
			return db.purge(ctx, l, set, true)
		}
	}
}

// compactSome does the merges that are due.
func (db *DB) compactSome(ctx context.Context, idle bool) error {
	for {
		done, err := db.compactOnce(ctx, idle)
		if err != nil || done {
			return err
		}
	}
}

// compactOnce does one merge; done is true when none was due.
func (db *DB) compactOnce(ctx context.Context, all bool) (done bool, err error) {
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
	picked := db.pick(v.files, all)
	if len(picked) == 0 && all {
		if picked, err = db.outdated(v.files); err != nil {
			return false, err
		}
	}
	if len(picked) == 0 {
		return true, nil
	}
	return false, db.merge(ctx, picked)
}

// pick chooses files to merge, oldest arrival first; nil when nothing is due.
func (db *DB) pick(files []*file, all bool) []*file {
	var picked []*file
	for _, i := range compaction.Pick(shapes(files), db.mergeLimits(), all) {
		picked = append(picked, files[i])
	}
	return picked
}

// groups are the days that share a file when picked are merged.
func (db *DB) groups(picked []*file) []compaction.Group {
	v := db.files.acquire()
	defer v.release()
	var at []int
	for i, f := range v.files {
		if slices.Contains(picked, f) {
			at = append(at, i)
		}
	}
	return compaction.Groups(shapes(v.files), at, db.mergeLimits())
}

func shapes(files []*file) []compaction.File {
	out := make([]compaction.File, len(files))
	for i, f := range files {
		out[i] = *f.days()
	}
	return out
}

// days is what compaction wants to know of a file.
func (f *file) days() *compaction.File {
	f.shape.once.Do(func() {
		f.shape.File = compaction.File{Level: f.meta.Level, Bytes: f.meta.Bytes}
		f.r.Days(func(day int32, sections []segment.Section) {
			rows := 0
			for i := range sections {
				rows += sections[i].Rows()
			}
			f.shape.Days = append(f.shape.Days, compaction.DayRows{Day: day, Rows: rows})
		})
	})
	return &f.shape.File
}

// outdated returns a file whose rows name persons that were merged since it was
// written: queries pay for it until it is rewritten.
func (db *DB) outdated(files []*file) ([]*file, error) {
	id := db.Identity()
	for _, f := range files {
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
				return []*file{f}, nil
			}
		}
	}
	return nil, nil
}

// merge replaces picked by files of whole days.
func (db *DB) merge(ctx context.Context, picked []*file) error {
	start := time.Now()
	set := db.live().erasures.Load()
	counts := map[string]int64{}
	worker := scan.NewWorker(scan.Persons{}, db.Identity())
	first, last := picked[0].meta.First, picked[0].meta.Last
	for _, f := range picked {
		first, last = min(first, f.meta.First), max(last, f.meta.Last)
	}
	merges := db.live().identity.Merges()
	var added []*file
	undo := func() {
		for _, f := range added {
			f.obsolete.Store(true)
			f.release()
		}
	}
	held := holding{}
	defer held.releaseBefore(math.MaxInt32)
	for _, g := range db.groups(picked) {
		if err := ctx.Err(); err != nil {
			undo()
			return fmt.Errorf("compact: %w", err)
		}
		held.releaseBefore(g.Min)
		var inputs []input
		for _, f := range picked {
			if f.meta.MinDay <= g.Max && g.Min <= f.meta.MaxDay {
				if err := held.hold(f); err != nil {
					undo()
					return fmt.Errorf("compact: %w", err)
				}
				inputs = append(inputs, newSegmentInput(f.r, func(day int32) bool { return g.Min <= day && day <= g.Max }, func(s *segment.Section) (*erasure.Drop, error) {
					d, err := set.Drop(s, f.behind(), worker)
					if err == nil {
						addCounts(counts, d.Counts)
					}
					return d, err
				}))
			}
		}
		f, err := db.writeFile(inputs, 1, segment.Meta{FirstIndex: first, LastIndex: last, IdentityIndex: merges}, set.Last())
		if err != nil {
			undo()
			return fmt.Errorf("compact: %w", err)
		}
		if f != nil {
			added = append(added, f)
		}
	}
	edit := edit{gone: picked, added: added, erased: counts}
	if err := db.commitCovered(edit, func() { db.files.replace(picked, added) }); err != nil {
		if errors.Is(err, errBefore) {
			undo()
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
	db.log.Debug("merged", "from", len(picked), "to", len(added), "first", first, "seconds", time.Since(start).Seconds())
	return nil
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
