package engine

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"syscall"
	"time"

	"spoor/segment"
)

// Compaction merges segments so that a query finds each day in few files, ideally one.
//
// Level-0 files come from flushes and may span any days. When there are
// level0Files of them they are merged, together with those level-1 files that
// they would outgrow, into files of whole days: a day with enough rows has a file
// of its own, small neighbours share one. A level-1 file joins a merge when the
// new rows in its days are at least a quarter of its own, so each row is rewritten a
// logarithmic number of times however many late events trickle in. When nothing
// has arrived for a while, days that are left in several files are merged too.
const (
	level0Files    = 4
	smallFileRows  = 64 << 10 // days below it share a file
	maxOverlap     = 4        // level-1 files that may hold one day before they are merged
	joinDenom      = 4
	maxMergedInput = 64 // files in one merge
)

// Compact merges until every day is in one file, and flushes first.
func (db *DB) Compact(ctx context.Context) error {
	if _, err := db.Checkpoint(ctx); err != nil {
		return err
	}
	for {
		done, err := db.compactOnce(ctx, true)
		if err != nil || done {
			return err
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
		db.mem.RLock()
		waiting := len(db.mem.flushing) > 0
		db.mem.RUnlock()
		if waiting { // flushing goes first
			db.wake()
			return nil
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
	picked := pick(v.files, all)
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
func pick(files []*file, all bool) []*file {
	var zero []*file
	for _, f := range files {
		if f.meta.Level == 0 {
			zero = append(zero, f)
		}
	}
	if len(zero) >= level0Files || all && len(zero) > 0 {
		return withOutgrown(files, zero)
	}
	limit := maxOverlap
	if all {
		limit = 1
	}
	return overlapping(files, limit)
}

// withOutgrown adds the level-1 files whose days receive many new rows.
func withOutgrown(files, zero []*file) []*file {
	fresh := map[int32]int{}
	for _, f := range zero {
		f.r.Days(func(day int32, sections []segment.Section) {
			for i := range sections {
				fresh[day] += sections[i].Rows()
			}
		})
	}
	var out []*file
	for _, f := range files {
		if f.meta.Level == 0 {
			out = append(out, f)
			continue
		}
		rows := 0
		for day := f.meta.MinDay; day <= f.meta.MaxDay; day++ {
			rows += fresh[day]
		}
		if rows*joinDenom >= f.meta.Rows {
			out = append(out, f)
		}
	}
	return out
}

// overlapping returns level-1 files that share days, when more than limit hold one day.
func overlapping(files []*file, limit int) []*file {
	ones := slices.DeleteFunc(slices.Clone(files), func(f *file) bool { return f.meta.Level == 0 })
	for _, f := range ones {
		var group []*file
		for _, g := range ones {
			if g.meta.MinDay <= f.meta.MaxDay && f.meta.MinDay <= g.meta.MaxDay {
				group = append(group, g)
			}
		}
		if len(group) > limit {
			return group[:min(len(group), maxMergedInput)]
		}
	}
	return nil
}

// outdated returns a file whose rows name persons that were merged since it was
// written: queries pay for it until it is rewritten.
func (db *DB) outdated(files []*file) ([]*file, error) {
	id := db.Identity()
	for _, f := range files {
		if f.r.Meta().IdentityIndex == id.v.merges {
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
	rows := map[int32]int{}
	first, last := picked[0].meta.First, picked[0].meta.Last
	for _, f := range picked {
		first, last = min(first, f.meta.First), max(last, f.meta.Last)
		f.r.Days(func(day int32, sections []segment.Section) {
			for i := range sections {
				rows[day] += sections[i].Rows()
			}
		})
	}
	db.identity.mu.RLock()
	merges := db.identity.merges
	db.identity.mu.RUnlock()
	var added []*file
	undo := func() {
		for _, f := range added {
			f.obsolete.Store(true)
			f.release()
		}
	}
	held := holding{}
	defer held.releaseBefore(math.MaxInt32)
	for _, g := range groupDays(rows) {
		if err := ctx.Err(); err != nil {
			undo()
			return fmt.Errorf("compact: %w", err)
		}
		held.releaseBefore(g.min)
		var inputs []input
		for _, f := range picked {
			if f.meta.MinDay <= g.max && g.min <= f.meta.MaxDay {
				if err := held.hold(f); err != nil {
					undo()
					return fmt.Errorf("compact: %w", err)
				}
				inputs = append(inputs, newSegmentInput(f.r, func(day int32) bool { return g.min <= day && day <= g.max }))
			}
		}
		f, err := db.writeFile(inputs, 1, segment.Meta{FirstIndex: first, LastIndex: last, IdentityIndex: merges})
		if err != nil {
			undo()
			return fmt.Errorf("compact: %w", err)
		}
		added = append(added, f)
	}
	if err := db.commit(picked, added, 0, func() { db.files.replace(picked, added) }); err != nil {
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

type dayGroup struct{ min, max int32 }

// groupDays gives each big day a file of its own and lets small neighbours share one.
func groupDays(rows map[int32]int) []dayGroup {
	days := make([]int32, 0, len(rows))
	for d := range rows {
		days = append(days, d)
	}
	slices.Sort(days)
	var groups []dayGroup
	sum := 0
	for _, d := range days {
		n := rows[d]
		if len(groups) > 0 && sum+n <= smallFileRows {
			groups[len(groups)-1].max = d
			sum += n
			continue
		}
		groups = append(groups, dayGroup{d, d})
		sum = n
	}
	return groups
}
