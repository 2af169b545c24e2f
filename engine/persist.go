package engine

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"path"

	"spoor/index"
	"spoor/internal/vfs"
	"spoor/segment/batch"
)

// The identity file is a list of frames, one per checkpoint that had news:
//
//	| length u32 | CRC32C of the operations u32 | operations, see identity.appendOp |
//
// The manifest says how many of its bytes count; what a crash left behind them
// is cut off before the next frame is appended.
const frameHead = 8

// saveIdentity appends the operations since the last checkpoint. The caller holds manifestMu.
func (db *DB) saveIdentity() (err error) {
	x := db.identity
	x.mu.Lock()
	ops := x.pending
	x.pending = nil
	x.mu.Unlock()
	if len(ops) == 0 {
		return nil
	}
	defer func() {
		if err != nil { // they wait for the next try
			x.mu.Lock()
			x.pending = append(ops, x.pending...)
			x.mu.Unlock()
		}
	}()
	if db.identityFile == "" {
		name := fmt.Sprintf("%08d.identity", db.nextFile.Add(1)-1)
		if err := db.writeWhole(name, nil); err != nil {
			return fmt.Errorf("write identity: %w", err)
		}
		db.identityFile, db.identityBytes = name, 0
	}
	frame := binary.LittleEndian.AppendUint32(nil, uint32(len(ops)))
	frame = binary.LittleEndian.AppendUint32(frame, crc32.Checksum(ops, castagnoli))
	frame = append(frame, ops...)
	f, err := db.fs.OpenReadWrite(db.pathOf(db.identityFile))
	if err != nil {
		return fmt.Errorf("write identity: %w", err)
	}
	_, err = f.WriteAt(frame, db.identityBytes)
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return fmt.Errorf("write identity: %w", err)
	}
	db.identityBytes += int64(len(frame))
	return nil
}

// loadIdentity reads the operations that the manifest counts into x.
func loadIdentity(fsys vfs.FS, dir string, m *manifest, x *identity) error {
	if m.IdentityFile == "" {
		return nil
	}
	b, err := vfs.ReadFile(fsys, path.Join(dir, m.IdentityFile))
	if err != nil {
		return fmt.Errorf("read identity: %w", err)
	}
	if int64(len(b)) < m.IdentityBytes {
		return fmt.Errorf("read identity: %s has %d bytes, the manifest counts %d", m.IdentityFile, len(b), m.IdentityBytes)
	}
	b = b[:m.IdentityBytes]
	for len(b) > 0 {
		if len(b) < frameHead {
			return fmt.Errorf("read identity: %d bytes remain", len(b))
		}
		n := int(binary.LittleEndian.Uint32(b))
		if n > len(b)-frameHead || crc32.Checksum(b[frameHead:frameHead+n], castagnoli) != binary.LittleEndian.Uint32(b[4:]) {
			return fmt.Errorf("read identity: %s: checksum of a frame of %d bytes", m.IdentityFile, n)
		}
		if err := x.replay(b[frameHead : frameHead+n]); err != nil {
			return err
		}
		b = b[frameHead+n:]
	}
	return nil
}

// writeWhole writes a new file durably.
func (db *DB) writeWhole(name string, b []byte) error {
	return vfs.WriteFileAtomic(db.fs, db.pathOf(name), b)
}

// loadFilters opens the dedupe filters and adds the ids of files that they do
// not cover: those of the last flushes before a crash, or all of them when a
// filter is damaged or missing.
func (db *DB) loadFilters() error {
	open := index.OpenFilters
	if n := db.opts.firstFilterKeys; n > 0 {
		open = func(fsys vfs.FS, dir string) (*index.Filters, uint64, error) {
			return index.OpenFiltersSized(fsys, dir, n)
		}
	}
	filters, covered, err := open(db.fs, db.dir)
	if err != nil && (!errors.Is(err, fs.ErrNotExist) || len(db.files.current.files) > 0) {
		db.log.Warn("dedupe filters are rebuilt from the segments", "reason", err)
	}
	db.filters = filters
	for _, f := range db.files.current.files {
		if f.meta.Last <= covered {
			continue
		}
		err := eachID(f.r, func(id batch.ID, text []byte) error {
			filters.Add(db.idKey.hash(id, text))
			return nil
		})
		if err != nil {
			return fmt.Errorf("rebuild dedupe filters: %w", err)
		}
	}
	return nil
}
