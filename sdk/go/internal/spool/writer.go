package spool

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"time"
)

const (
	headerPrefix = "spoor-spool "
	version      = "1"
	headerBytes  = len(headerPrefix) + len(version) + 1 + 16 + 1
	suffix       = ".spool"
)

// writeLoop is the only one that writes to segments. What is pushed while it
// writes and fsyncs goes with the next write, all at once.
func (s *Spool) writeLoop() {
	defer close(s.done)
	var timer <-chan time.Time // for the next fsync, where one is due
	for {
		select {
		case <-s.kick:
		case <-timer:
			timer = nil
			s.sync()
		}
		closed := s.writePending()
		if s.unsynced && timer == nil {
			timer = time.After(s.opts.Sync)
		}
		s.emptyTrash()
		if closed {
			s.sync()
			s.seal()
			s.emptyTrash()
			return
		}
	}
}

// writePending writes what was pushed, and answers it.
func (s *Spool) writePending() (closed bool) {
	s.mu.Lock()
	data, n, w := s.pending, s.pendingN, s.write
	closed = s.closed
	if n > 0 {
		s.pending, s.pendingN, s.write = s.spare[:0], 0, newWrite()
	}
	s.mu.Unlock()
	if n == 0 {
		return closed
	}
	s.spare = data
	w.Err = s.append(data, n)
	w.Kept = w.Err == nil
	if w.Err == nil && s.opts.Sync < 0 {
		w.Err = s.sync()
	}
	if !w.Kept {
		s.mu.Lock()
		s.waiting -= int64(n)
		s.bytes -= int64(len(data))
		s.unread -= int64(len(data))
		s.mu.Unlock()
	}
	close(w.Done)
	s.opts.Changed()
	return closed
}

// append writes the lines in data to the newest segment. After an error none
// of them is in the queue.
func (s *Spool) append(data []byte, events int) error {
	s.mu.Lock()
	full := s.active != nil && s.active.size+int64(len(data)) > s.segBytes && s.active.size > int64(headerBytes)
	s.mu.Unlock()
	if full {
		s.sync()
		s.seal()
	}
	if s.active == nil {
		if err := s.begin(); err != nil {
			return err
		}
	}
	if _, err := s.file.Write(data); err != nil {
		s.opts.Log.Error("the spool cannot be written", "file", s.active.path, "error", err)
		// Nothing is appended behind a line that may be half there.
		if terr := s.file.Truncate(s.active.size); terr != nil {
			s.opts.Log.Error("the spool cannot be cut behind a failed write", "file", s.active.path, "error", terr)
		}
		s.seal()
		return fmt.Errorf("write spool: %w", err)
	}
	s.unsynced = true
	s.mu.Lock()
	s.active.size += int64(len(data))
	s.active.events += events
	s.mu.Unlock()
	return nil
}

// begin makes the next segment.
func (s *Spool) begin() error {
	var id [8]byte
	rand.Read(id[:])
	s.mu.Lock()
	s.number++
	seg := &segment{id: hex.EncodeToString(id[:]), path: s.path(fmt.Sprintf("%016d%s", s.number, suffix))}
	s.mu.Unlock()
	f, err := os.OpenFile(seg.path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("begin a file of the spool: %w", err)
	}
	if _, err := fmt.Fprintf(f, "%s%s %s\n", headerPrefix, version, seg.id); err != nil {
		f.Close()
		os.Remove(seg.path)
		return fmt.Errorf("begin a file of the spool: %w", err)
	}
	if err := syncDir(s.opts.Dir); err != nil {
		s.opts.Log.Error("the directory of the spool cannot be fsynced", "dir", s.opts.Dir, "error", err)
	}
	seg.size, seg.read = int64(headerBytes), int64(headerBytes)
	s.file, s.active = f, seg
	s.mu.Lock()
	s.segments = append(s.segments, seg)
	s.bytes += seg.size
	s.mu.Unlock()
	return nil
}

// seal ends the newest segment; the next write begins another one.
func (s *Spool) seal() {
	if s.active == nil {
		return
	}
	if err := s.file.Close(); err != nil {
		s.opts.Log.Error("a file of the spool cannot be closed", "file", s.active.path, "error", err)
	}
	s.mu.Lock()
	s.active.sealed = true
	if s.active.read == s.active.size && s.flight.seg != s.active && s.segments[0] == s.active {
		s.remove(s.active)
	}
	s.mu.Unlock()
	s.active, s.file, s.unsynced = nil, nil, false
}

// sync fsyncs what was written. After a failure the file is left alone: the
// next fsync of it would answer success and mean nothing.
func (s *Spool) sync() error {
	if !s.unsynced {
		return nil
	}
	s.unsynced = false
	if err := s.file.Sync(); err != nil {
		s.opts.Log.Error("the spool cannot be fsynced", "file", s.active.path, "error", err)
		s.seal()
		return fmt.Errorf("fsync spool: %w", err)
	}
	return nil
}

// emptyTrash removes the files that are not needed any more. A file that
// resists is removed, or sent again, by the next process.
func (s *Spool) emptyTrash() {
	s.mu.Lock()
	paths := s.trash
	s.trash = nil
	s.mu.Unlock()
	for _, path := range paths {
		if err := os.Remove(path); err != nil {
			s.opts.Log.Warn("a file of the spool cannot be removed", "file", path, "error", err)
		}
	}
}

func (s *Spool) path(name string) string { return filepath.Join(s.opts.Dir, name) }

// syncDir makes the names in a directory durable.
func syncDir(dir string) error {
	if runtime.GOOS == "windows" {
		return nil // directories cannot be opened for that
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
