package engine

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"path"
	"slices"
	"syscall"
	"time"

	"spoor/engine/erasure"
	"spoor/engine/query/scan"
	"spoor/segment"
)

// Checkpoint makes everything that was applied durable in the store's own files
// and returns the log index up to which that holds. The log may be cut behind it.
func (db *DB) Checkpoint(ctx context.Context) (uint64, error) {
	db.mem.Lock()
	db.rotate()
	db.mem.Unlock()
	if err := db.flush(ctx); err != nil {
		return 0, err
	}
	db.saveFilters(true)
	return db.durable.Load(), db.broken()
}

// flushesBetweenMerges bounds the files that come before the next merge, when
// memtables are closed faster than they are written.
const flushesBetweenMerges = 16

// flush writes the closed memtables, oldest first, and then the manifest.
func (db *DB) flush(ctx context.Context) error { return db.flushAtMost(ctx, math.MaxInt) }

// flushAtMost writes at most so many memtables, and wakes the background if some are left.
func (db *DB) flushAtMost(ctx context.Context, atMost int) error {
	db.flushMu.Lock()
	defer db.flushMu.Unlock()
	for ; ; atMost-- {
		if err := errors.Join(db.broken(), ctx.Err()); err != nil {
			return fmt.Errorf("flush: %w", err)
		}
		tables, covered := db.closed(0)
		if len(tables) == 0 && covered <= db.durable.Load() {
			return nil
		}
		if atMost == 0 {
			db.wake()
			return nil
		}
		if err := db.flushError(db.flushTables(tables, covered)); err != nil {
			return err
		}
	}
}

// closed are the memtables behind the first done ones that are flushed next, oldest
// first, and the log index that is covered then. It is one alone, unless erasures closed
// several: no manifest covers less of the log than the last of them.
func (db *DB) closed(done int) (tables []*memtable, covered uint64) {
	db.mem.RLock()
	defer db.mem.RUnlock()
	n := done
	for n < len(db.mem.flushing) && (n == 0 || db.mem.flushing[n-1].last < db.erasedAt) {
		n++
	}
	switch {
	case n < len(db.mem.flushing):
		covered = db.mem.flushing[n-1].last
	case db.mem.active.rows == 0: // everything that was applied is in files or in what commit writes
		covered = db.applied.Load()
	case n > 0 || db.erasedAt > db.durable.Load():
		covered = db.mem.active.first - 1
	}
	return slices.Clone(db.mem.flushing[done:n]), covered
}

// flushError makes a failed flush fatal. A full disk is not: nothing was promised,
// the events are in the log and in memory, and the next flush tries again.
func (db *DB) flushError(err error) error {
	full := errors.Is(err, syscall.ENOSPC)
	db.diskFull.Store(full)
	if err == nil {
		return nil
	}
	err = fmt.Errorf("flush: %w", err)
	if !full {
		db.fatal(err)
	}
	return err
}

// DiskFull tells that Apply waits for memory that only a flush gives back, and that the disk
// has no space for one: what is proposed now would be in the log and wait with it.
func (db *DB) DiskFull() bool { return db.stuck.Load() && db.diskFull.Load() }

// flushTables writes memtables as one segment and commits it; without any, the
// manifest alone. The caller holds flushMu.
func (db *DB) flushTables(tables []*memtable, covered uint64) error {
	start := time.Now()
	var added []*file
	erased := map[string]int64{}
	write := func(tables []*memtable) error {
		if len(tables) == 0 {
			return nil
		}
		f, err := db.writeTables(tables, erased)
		if f != nil {
			added = append(added, f)
		}
		return err
	}
	err := write(tables)
	// From here on no erasure comes; what came in the meantime closed few rows.
	db.eraseGate.Lock()
	defer db.eraseGate.Unlock()
	if err == nil && db.erasedAt > covered {
		var more []*memtable
		more, covered = db.closed(len(tables))
		tables = append(tables, more...)
		err = write(more)
	}
	if err != nil {
		for _, f := range added {
			f.obsolete.Store(true)
			f.release()
		}
		return err
	}
	err = db.commit(edit{added: added, applied: covered, erased: erased}, func() {
		// At once, under both locks: views see the events in one of the two, see view.go.
		db.mem.Lock()
		db.files.replace(nil, added)
		db.mem.flushing = db.mem.flushing[len(tables):]
		for _, m := range tables {
			db.mem.closed -= m.bytes
		}
		db.mem.room.Broadcast()
		db.mem.Unlock()
	})
	if err != nil {
		for _, f := range added {
			f.release() // the file stays: the manifest that names it may have reached the disk
		}
		return err
	}
	if len(added) == 0 {
		return nil
	}
	db.saveFilters(false)
	db.askForMerges(false)
	db.log.Debug("flushed", "file", added[0].meta.Name, "rows", added[0].meta.Rows, "bytes", added[0].meta.Bytes, "seconds", time.Since(start).Seconds())
	return nil
}

// writeTables writes memtables as one segment. Where rules came between their rows, those
// are carried out on the way, and counted in erased.
func (db *DB) writeTables(tables []*memtable, erased map[string]int64) (*file, error) {
	view := db.live().identity.Snapshot()
	meta := segment.Meta{FirstIndex: tables[0].first, LastIndex: tables[len(tables)-1].last, IdentityIndex: view.Merges}
	if !slices.ContainsFunc(tables[:len(tables)-1], func(m *memtable) bool { return m.apart }) {
		var inputs []input
		for _, p := range partsOf(tables) {
			inputs = append(inputs, newBatchInput(p))
		}
		return db.writeFile(inputs, view, 0, meta, 0)
	}
	// A file says by its last log index which rules are about it. So what stands between two rules
	// becomes a segment in memory, and these are merged as files are.
	set := db.live().erasures.Load()
	worker := scan.NewWorker(scan.Persons{}, db.Identity())
	var inputs []input
	for from, to := 0, 1; from < len(tables); from, to = to, to+1 {
		for to < len(tables) && !tables[to-1].apart {
			to++
		}
		r, err := inMemory(partsOf(tables[from:to]), db.live().identity)
		if err != nil {
			return nil, err
		}
		last := tables[to-1].last
		inputs = append(inputs, newSegmentInput(r, nil, piece{}, func(s *segment.Section) (*erasure.Drop, error) {
			d, err := set.Drop(s, erasure.File{Last: last}, worker)
			if err == nil {
				addCounts(erased, d.Counts)
			}
			return d, err
		}))
	}
	return db.writeFile(inputs, view, 0, meta, set.Last())
}

func partsOf(tables []*memtable) (parts []*part) {
	for _, m := range tables {
		for _, r := range m.runs {
			parts = append(parts, r.parts...)
		}
	}
	return parts
}

// commitCovered is commit for an edit that covers no more of the log. Where an erasure
// is not covered yet it flushes first. An error that wraps errBefore left everything as it was.
func (db *DB) commitCovered(e edit, install func()) error {
	db.flushMu.Lock()
	defer db.flushMu.Unlock()
	for {
		db.eraseGate.Lock()
		if db.erasedAt <= db.durable.Load() {
			break
		}
		db.eraseGate.Unlock()
		tables, covered := db.closed(0)
		if err := db.flushError(db.flushTables(tables, covered)); err != nil {
			return fmt.Errorf("%w: %w", errBefore, err)
		}
	}
	defer db.eraseGate.Unlock()
	return db.commit(e, install)
}

// commitAlone is commitCovered for a round of the tier: after an error of which nobody knows what the disk
// has, the store ends, unless the disk is full.
func (db *DB) commitAlone(e edit, install func()) error {
	err := db.commitCovered(e, install)
	if err != nil && !errors.Is(err, errBefore) && !errors.Is(err, syscall.ENOSPC) {
		db.fatal(err)
	}
	return err
}

var errBefore = errors.New("nothing was committed")

// saveFilters writes the dedupe filters if that is worth it, or all is set. That
// they are not written costs the next start some reading, and no more.
func (db *DB) saveFilters(all bool) {
	db.filterMu.Lock()
	defer db.filterMu.Unlock()
	l := db.live()
	// What the durable state forgets need not be asked for; what a later entry does may be applied again.
	if set := l.erasures.Load(); set != nil && set.Cutoffs != nil && db.erasuresDurable() {
		l.filters.Forget(set.Cutoffs.Dedupe)
	}
	err := l.filters.Save(db.durable.Load(), all)
	switch {
	case err == nil:
	case errors.Is(err, syscall.ENOSPC):
		db.log.Warn("dedupe filters could not be saved; the next start reads ids from the segments", "error", err)
	default:
		db.fatal(err)
	}
}

// erasuresDurable tells whether the manifest covers the last erasure and the last cutoffs.
func (db *DB) erasuresDurable() bool {
	db.mem.RLock()
	defer db.mem.RUnlock()
	return db.erasedAt <= db.durable.Load()
}

// edit is a change of the manifest: it names added instead of gone, and covers
// the log up to applied when that is above what it covered.
type edit struct {
	gone, added []*file
	applied     uint64
	// erased adds to the rows that each erasure took out of files; done are files that
	// were found to hold nothing erased up to a log index.
	erased map[string]int64
	done   map[*file]uint64
	// forget writes the files of persons anew, without what was erased.
	forget bool
}

// commit writes an edited manifest. Then install changes the version, before
// another commit can list the files. The caller holds eraseGate. After an error it is not known which
// manifest the disk has: files that either names are strays, which stay until another commit succeeds.
func (db *DB) commit(e edit, install func()) error {
	db.manifestMu.Lock()
	defer db.manifestMu.Unlock()
	if err := db.broken(); err != nil {
		return err
	}
	applied := max(e.applied, db.durable.Load())
	if db.erasedAt > applied {
		panic(fmt.Sprintf("engine: a manifest that covers the log up to %d, with an erasure at %d", applied, db.erasedAt))
	}
	for _, f := range e.added {
		db.strays = append(db.strays, f.meta.local())
	}
	oldTraits, err := db.savePersons()
	if err != nil {
		return err
	}
	db.strays = append(db.strays, oldTraits)
	if e.forget {
		old, err := db.rewriteIdentity()
		if err != nil {
			return err
		}
		db.strays = append(db.strays, old)
	}
	oldDocs, err := db.saveDocuments()
	if err != nil {
		return err
	}
	db.strays = append(db.strays, oldDocs)
	oldLetters, err := db.saveLetters()
	if err != nil {
		return err
	}
	db.strays = append(db.strays, oldLetters)
	erased := maps.Clone(db.erasedRows)
	addCounts(erased, e.erased)
	maps.DeleteFunc(erased, func(id string, _ int64) bool { // of requests that the log of them no longer has
		_, ok := db.live().docs.Get(erasureDocument, id)
		return !ok
	})
	m := &manifest{
		Applied: applied, LastReceived: db.lastReceived.Load(), MaxTime: db.maxTime.Load(), NextFile: db.nextFile.Load(),
		IdentityFile: db.identityFile, IdentityBytes: db.identityBytes, Documents: db.docsFile, Traits: db.traitsFile, Letters: db.lettersFile,
		DedupeKey: db.live().idKey.Bytes(), Erased: erased, Forgotten: db.forgotten, Cold: db.coldKey,
	}
	if e.forget {
		m.Forgotten = min(db.live().erasures.Load().Last(), applied)
	}
	if through := db.applied.Load(); through > applied {
		m.Through = through
	}
	for f, index := range e.done {
		f.done.Store(index)
	}
	db.files.mu.Lock()
	for _, f := range db.files.current.after(e.gone, e.added) {
		m.Files = append(m.Files, f.described())
	}
	db.files.mu.Unlock()
	if err := writeManifest(db.fs, db.dir, m); err != nil {
		return err
	}
	db.durable.Store(applied)
	db.erasedRows, db.forgotten = erased, m.Forgotten
	for _, f := range e.added {
		db.hide(f.r, f.behind(), 0) // what was erased while it was written
	}
	install()
	for _, name := range db.strays {
		if isOrphan(name, m) {
			_ = db.fs.Remove(db.pathOf(name)) // what stays is removed by the next start
		}
	}
	db.strays = nil
	return nil
}

// background flushes closed memtables and asks for merges until Close.
func (db *DB) background() {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	lastEvents, quiet := int64(0), time.Now()
	lastErasures := db.live().erasures.Load()
	opened := time.Now()
	for {
		select {
		case <-db.ctx.Done():
			return
		case <-db.kick:
		case <-tick.C:
		}
		now := time.Now()
		if n := db.events.Load(); n != lastEvents {
			if lastEvents == 0 {
				opened = now
			}
			lastEvents, quiet = n, now
		}
		if set := db.live().erasures.Load(); set != lastErasures { // many requests in a row are carried out together
			lastErasures, quiet = set, now
		}
		db.mem.Lock()
		db.mem.room.Broadcast() // whoever waits looks again at what nobody told of
		if db.mem.active.rows == 0 {
			opened = now
		} else if now.Sub(opened) >= db.opts.FlushAge {
			db.rotate()
			opened = now
		}
		db.mem.Unlock()
		if err := db.flushAtMost(db.ctx, flushesBetweenMerges); err != nil && !errors.Is(err, context.Canceled) {
			if db.broken() != nil {
				return
			}
			db.log.Error("flush failed; it will be tried again", "error", err)
		}
		db.askForMerges(now.Sub(quiet) >= db.opts.CompactAfterIdle)
	}
}

// askForMerges has the merges done that are due, unless one is at work: then the
// next flush or tick asks again.
func (db *DB) askForMerges(idle bool) {
	select {
	case db.merges <- idle:
	default:
	}
}

// compactor merges segments until Close, beside flushing: a merge may take seconds.
func (db *DB) compactor() {
	for {
		select {
		case <-db.ctx.Done():
			return
		case idle := <-db.merges:
			db.merging.Store(true)
			err := db.compactSome(db.ctx, idle)
			db.merging.Store(false)
			if err != nil && !errors.Is(err, context.Canceled) {
				db.log.Error("compaction failed; it will be tried again", "error", err)
			}
			if err := db.purgeDue(db.ctx, time.Now(), idle); err != nil && !errors.Is(err, context.Canceled) {
				db.log.Error("erasing failed; it will be tried again", "error", err)
			}
		}
	}
}

func (db *DB) pathOf(name string) string { return path.Join(db.dir, name) }
