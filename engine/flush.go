package engine

import (
	"context"
	"errors"
	"fmt"
	"path"
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
	return db.durable.Load(), nil
}

// flush writes the closed memtables, oldest first, and then the manifest.
func (db *DB) flush(ctx context.Context) error {
	db.flushMu.Lock()
	defer db.flushMu.Unlock()
	for {
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
				return db.commit(nil, nil, applied)
			}
			return nil
		}
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("flush: %w", err)
		}
		if err := db.flushOne(m); err != nil {
			err = fmt.Errorf("flush: %w", err)
			db.fatal(err)
			return err
		}
	}
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
	if err := db.commit(nil, []*file{f}, m.last); err != nil {
		f.obsolete.Store(true)
		f.release()
		return err
	}
	db.mem.RLock() // Apply, which adds to the filters, waits
	err = db.filters.Save(m.last, false)
	db.mem.RUnlock()
	if err != nil {
		return err
	}
	// The file is in the version and the memtable still in the list: views taken
	// under both locks see the events once, see view.go.
	db.mem.Lock()
	db.files.replace(nil, []*file{f})
	db.mem.flushing = db.mem.flushing[1:]
	db.mem.Unlock()
	db.log.Debug("flushed", "file", f.meta.Name, "rows", f.meta.Rows, "bytes", f.meta.Bytes, "seconds", time.Since(start).Seconds())
	return nil
}

// commit makes the manifest name added instead of gone, and covers the log up
// to applied when that is above what it covered. The caller then changes the version.
func (db *DB) commit(gone, added []*file, applied uint64) error {
	db.manifestMu.Lock()
	defer db.manifestMu.Unlock()
	if err := db.saveIdentity(); err != nil {
		return err
	}
	if err := db.saveDocuments(); err != nil {
		return err
	}
	applied = max(applied, db.durable.Load())
	m := &manifest{
		Applied: applied, LastReceived: db.lastReceived.Load(), MaxTime: db.maxTime.Load(), NextFile: db.nextFile.Load(),
		IdentityFile: db.identityFile, IdentityBytes: db.identityBytes, Documents: db.docsFile,
	}
	db.files.mu.Lock()
	m.Files = metasAfter(db.files.current, gone, added)
	db.files.mu.Unlock()
	if err := writeManifest(db.fs, db.dir, m); err != nil {
		return err
	}
	db.durable.Store(applied)
	return nil
}

// metasAfter lists the files as fileSet.replace will leave them.
func metasAfter(v *version, gone, added []*file) []fileMeta {
	s := fileSet{current: &version{}}
	placed := false
	for _, f := range v.files {
		isGone := false
		for _, g := range gone {
			isGone = isGone || g == f
		}
		if !isGone {
			s.current.files = append(s.current.files, f)
		} else if !placed {
			s.current.files = append(s.current.files, added...)
			placed = true
		}
	}
	if !placed {
		s.current.files = append(s.current.files, added...)
	}
	metas := make([]fileMeta, 0, len(s.current.files))
	for _, f := range s.current.files {
		metas = append(metas, f.meta)
	}
	return metas
}

// saveDocuments writes the documents to a new file when they changed.
func (db *DB) saveDocuments() error {
	if !db.docsDirty.Swap(false) && db.docsFile != "" {
		return nil
	}
	b, err := db.docs.marshal()
	if err != nil {
		return err
	}
	name := fmt.Sprintf("%08d.docs", db.nextFile.Add(1)-1)
	if err := db.writeWhole(name, b); err != nil {
		return fmt.Errorf("write documents: %w", err)
	}
	old := db.docsFile
	db.docsFile = name
	if old != "" {
		// The manifest still names it until the next one is written; removing it is the next start's business.
		db.log.Debug("documents moved", "from", old, "to", name)
	}
	return nil
}

// background flushes closed memtables and merges segments until Close.
func (db *DB) background() {
	defer db.wg.Done()
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
		if db.mem.active.rows == 0 {
			opened = now
		} else if now.Sub(opened) >= db.opts.FlushAge {
			db.rotate()
			opened = now
		}
		db.mem.Unlock()
		if err := db.flush(db.ctx); err != nil && !errors.Is(err, context.Canceled) {
			return // fatal was called
		}
		idle := now.Sub(quiet) >= db.opts.CompactAfterIdle
		if err := db.compactSome(db.ctx, idle); err != nil && !errors.Is(err, context.Canceled) {
			db.log.Error("compaction failed; it will be tried again", "error", err)
		}
	}
}

func (db *DB) pathOf(name string) string { return path.Join(db.dir, name) }
