package engine

import (
	"context"
	"errors"
	"fmt"
	"path"
	"syscall"
	"time"

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

// flush writes the closed memtables, oldest first, and then the manifest.
func (db *DB) flush(ctx context.Context) error {
	db.flushMu.Lock()
	defer db.flushMu.Unlock()
	for {
		if err := db.broken(); err != nil {
			return fmt.Errorf("flush: %w", err)
		}
		db.mem.RLock()
		var m *memtable
		if len(db.mem.flushing) > 0 {
			m = db.mem.flushing[0]
		}
		// With no events that wait, everything that was applied is in files or in
		// what commit writes below.
		applied := db.applied.Load()
		idle := m == nil && db.mem.active.rows == 0
		db.mem.RUnlock()
		if m == nil {
			if idle && applied > db.durable.Load() {
				return db.flushError(db.commit(nil, nil, applied, func() {}))
			}
			return nil
		}
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("flush: %w", err)
		}
		if err := db.flushError(db.flushOne(m)); err != nil {
			return err
		}
	}
}

// flushError makes a failed flush fatal. A full disk is not: nothing was promised,
// the events are in the log and in memory, and the next flush tries again.
func (db *DB) flushError(err error) error {
	if err == nil {
		return nil
	}
	err = fmt.Errorf("flush: %w", err)
	if !errors.Is(err, syscall.ENOSPC) {
		db.fatal(err)
	}
	return err
}

func (db *DB) flushOne(m *memtable) error {
	start := time.Now()
	inputs := make([]input, 0, len(m.parts))
	for _, r := range m.runs {
		for _, p := range r.parts {
			inputs = append(inputs, newBatchInput(p))
		}
	}
	db.identity.mu.RLock()
	merges := db.identity.merges
	db.identity.mu.RUnlock()
	f, err := db.writeFile(inputs, 0, segment.Meta{FirstIndex: m.first, LastIndex: m.last, IdentityIndex: merges})
	if err != nil {
		return err
	}
	err = db.commit(nil, []*file{f}, m.last, func() {
		// At once, under both locks: views see the events in one of the two, see view.go.
		db.mem.Lock()
		db.files.replace(nil, []*file{f})
		db.mem.flushing = db.mem.flushing[1:]
		db.mem.closed -= m.bytes
		db.mem.room.Broadcast()
		db.mem.Unlock()
	})
	if err != nil {
		f.release() // the file stays: the manifest that names it may have reached the disk
		return err
	}
	db.saveFilters(false)
	db.askForMerges(false)
	db.log.Debug("flushed", "file", f.meta.Name, "rows", f.meta.Rows, "bytes", f.meta.Bytes, "seconds", time.Since(start).Seconds())
	return nil
}

// saveFilters writes the dedupe filters if that is worth it, or all is set. That
// they are not written costs the next start some reading, and no more.
func (db *DB) saveFilters(all bool) {
	err := db.filters.Save(db.durable.Load(), all)
	switch {
	case err == nil:
	case errors.Is(err, syscall.ENOSPC):
		db.log.Warn("dedupe filters could not be saved; the next start reads ids from the segments", "error", err)
	default:
		db.fatal(err)
	}
}

// commit makes the manifest name added instead of gone, and covers the log up
// to applied when that is above what it covered. Then install changes the version,
// before another commit can list the files. After an error it is not known which
// manifest the disk has: files that either names must stay until the next start.
func (db *DB) commit(gone, added []*file, applied uint64, install func()) error {
	db.manifestMu.Lock()
	defer db.manifestMu.Unlock()
	if err := db.broken(); err != nil {
		return err
	}
	ops, change := db.takePending()
	if err := db.saveIdentity(ops); err != nil {
		db.traits.Back(change)
		return err
	}
	oldTraits, err := db.saveTraits(change)
	if err != nil {
		return err
	}
	oldDocs, err := db.saveDocuments()
	if err != nil {
		return err
	}
	applied = max(applied, db.durable.Load())
	m := &manifest{
		Applied: applied, LastReceived: db.lastReceived.Load(), MaxTime: db.maxTime.Load(), NextFile: db.nextFile.Load(),
		IdentityFile: db.identityFile, IdentityBytes: db.identityBytes, Documents: db.docsFile, Traits: db.traitsFile,
		DedupeKey: db.idKey.Bytes(),
	}
	db.files.mu.Lock()
	for _, f := range db.files.current.after(gone, added) {
		m.Files = append(m.Files, f.meta)
	}
	db.files.mu.Unlock()
	if err := writeManifest(db.fs, db.dir, m); err != nil {
		return err
	}
	db.durable.Store(applied)
	install()
	for _, name := range []string{oldDocs, oldTraits} {
		if name != "" {
			_ = db.fs.Remove(db.pathOf(name)) // what stays is removed by the next start
		}
	}
	return nil
}

// saveDocuments writes the documents to a new file when they changed, and
// returns the file that this replaces, "" for none. The caller holds manifestMu.
func (db *DB) saveDocuments() (old string, err error) {
	if !db.docsDirty.Swap(false) && db.docsFile != "" {
		return "", nil
	}
	b, err := db.docs.marshal()
	name := fmt.Sprintf("%08d.docs", db.nextFile.Add(1)-1)
	if err == nil {
		err = db.writeWhole(name, b)
	}
	if err != nil {
		db.docsDirty.Store(true)
		return "", fmt.Errorf("write documents: %w", err)
	}
	old, db.docsFile = db.docsFile, name
	return old, nil
}

// background flushes closed memtables and asks for merges until Close.
func (db *DB) background() {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	lastEvents, quiet := int64(0), time.Now()
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
		db.mem.Lock()
		db.mem.room.Broadcast() // whoever waits looks again at what nobody told of
		if db.mem.active.rows == 0 {
			opened = now
		} else if now.Sub(opened) >= db.opts.FlushAge {
			db.rotate()
			opened = now
		}
		db.mem.Unlock()
		if err := db.flush(db.ctx); err != nil && !errors.Is(err, context.Canceled) {
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
		}
	}
}

func (db *DB) pathOf(name string) string { return path.Join(db.dir, name) }
