package engine

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"

	"spoor/index"
	"spoor/internal/vfs"
)

// The identity file is a list of frames, one per checkpoint that had news:
//
//	| length u32 | CRC32C of the operations u32 | operations, see identity.appendOp |
//
// The manifest says how many of its bytes count; what a crash left behind them
// is cut off before the next frame is appended.
const frameHead = 8

// saveIdentity appends the operations since the last checkpoint. The caller holds manifestMu.
func (db *DB) saveIdentity() error {
	x := db.identity
	x.mu.Lock()
	ops := x.pending
	x.pending = nil
	x.mu.Unlock()
	if len(ops) == 0 {
		return nil
	}
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

func (db *DB) loadIdentity() error {
	if db.identityFile == "" {
		return nil
	}
	b, err := vfs.ReadFile(db.fs, db.pathOf(db.identityFile))
	if err != nil {
		return fmt.Errorf("read identity: %w", err)
	}
	if int64(len(b)) < db.identityBytes {
		return fmt.Errorf("read identity: %s has %d bytes, the manifest counts %d", db.identityFile, len(b), db.identityBytes)
	}
	b = b[:db.identityBytes]
	for len(b) > 0 {
		if len(b) < frameHead {
			return fmt.Errorf("read identity: %d bytes remain", len(b))
		}
		n := int(binary.LittleEndian.Uint32(b))
		if n > len(b)-frameHead || crc32.Checksum(b[frameHead:frameHead+n], castagnoli) != binary.LittleEndian.Uint32(b[4:]) {
			return fmt.Errorf("read identity: %s: checksum of a frame of %d bytes", db.identityFile, n)
		}
		if err := db.identity.replay(b[frameHead : frameHead+n]); err != nil {
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
	filters, covered, err := index.OpenFilters(db.fs, db.dir)
	if err != nil && (!errors.Is(err, fs.ErrNotExist) || len(db.files.current.files) > 0) {
		db.log.Warn("dedupe filters are rebuilt from the segments", "reason", err)
	}
	db.filters = filters
	for _, f := range db.files.current.files {
		if f.meta.Last <= covered {
			continue
		}
		if err := f.r.EachIDHash(func(h uint64) { filters.Add(h) }); err != nil {
			return fmt.Errorf("rebuild dedupe filters: %w", err)
		}
	}
	return nil
}
