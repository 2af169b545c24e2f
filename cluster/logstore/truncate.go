package logstore

import (
	"errors"
	"fmt"
	"io"
	"sort"
	"syscall"

	"spoor/internal/vfs"
)

// DeleteRange removes the entries from lowest to highest: a part at the head,
// which a snapshot has made superfluous, a part at the tail, which conflicts with
// the leader's, or all. It returns when the removed entries cannot come back.
func (s *Store) DeleteRange(lowest, highest uint64) error {
	s.write.Lock()
	defer s.write.Unlock()
	if err := s.failed(); err != nil {
		return err
	}
	if s.first == s.next || highest < s.first || lowest >= s.next || lowest > highest {
		return nil
	}
	var err error
	switch last := s.next - 1; {
	case lowest <= s.first && highest >= last:
		err = s.removeAll()
	case lowest <= s.first:
		err = s.removeHead(highest + 1)
	case highest >= last:
		err = s.removeTail(lowest)
	default:
		return fmt.Errorf("delete log entries %d to %d: they lie in the middle of %d to %d", lowest, highest, s.first, last)
	}
	if err == nil {
		return nil
	}
	err = fmt.Errorf("delete log entries %d to %d: %w", lowest, highest, err)
	if errors.Is(err, syscall.ENOSPC) {
		return err // every step leaves a whole log, and the next try goes on from there
	}
	return s.fail(err)
}

// removeHead lets the log begin at first. The meta file is what counts: files
// below are removed after it, and by the next start if a crash comes between.
func (s *Store) removeHead(first uint64) error {
	keep := sort.Search(len(s.segments), func(i int) bool { return s.segments[i].next() > first })
	m := s.meta
	m.first, m.firstSeq = first, s.segments[keep].seq
	if err := s.writeMeta(m); err != nil {
		return err
	}
	s.view.Lock()
	gone := s.segments[:keep]
	s.segments = append([]*segment(nil), s.segments[keep:]...)
	s.first = first
	s.view.Unlock()
	return s.discard(gone)
}

// removeAll leaves an empty log that may go on at any index.
func (s *Store) removeAll() error {
	if err := s.moveMark(0); err != nil {
		return err
	}
	m := s.meta
	m.first, m.firstSeq = 0, s.nextSeq()
	if err := s.writeMeta(m); err != nil {
		return err
	}
	s.view.Lock()
	gone := s.segments
	s.segments, s.first, s.next = nil, 0, 0
	s.view.Unlock()
	return s.discard(gone)
}

// nextSeq is the number of the segment that will be used next.
func (s *Store) nextSeq() uint64 {
	p := &s.spare
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.g != nil {
		return p.g.seq
	}
	return p.seq
}

// removeTail lets the log end before next. The mark is lowered first. Then files
// go one by one from the end, each durably, so that a crash leaves no gap, and the file
// in which the end lies is replaced as a whole: half of its tail put to zero
// would look like damage.
func (s *Store) removeTail(next uint64) error {
	if err := s.moveMark(next - 1); err != nil {
		return err
	}
	for {
		g := s.segments[len(s.segments)-1]
		if g.first < next {
			break
		}
		s.view.Lock()
		s.segments = s.segments[:len(s.segments)-1]
		s.next = g.first
		s.view.Unlock()
		if err := s.discard([]*segment{g}); err != nil {
			return err
		}
		if err := s.fs.SyncDir(s.opts.Dir); err != nil {
			return err
		}
	}
	g := s.segments[len(s.segments)-1]
	if g.next() == next {
		return nil
	}
	return s.cutSegment(g, int(next-g.first))
}

// cutSegment replaces the file of g by one that has only its first n entries.
func (s *Store) cutSegment(g *segment, n int) error {
	end, size := int64(g.offsets[n]), g.f.Size()
	kept := make([]byte, end)
	if got, err := g.f.ReadAt(kept, 0); got < len(kept) {
		return err
	}
	err := vfs.WriteAtomic(s.fs, g.name, func(w io.Writer) error {
		if _, err := w.Write(kept); err != nil {
			return err
		}
		for left := size - end; left > 0; left -= int64(len(zeros)) {
			if _, err := w.Write(zeros[:min(left, int64(len(zeros)))]); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	f, err := s.fs.OpenReadWrite(g.name)
	if err != nil {
		return err
	}
	s.view.Lock()
	defer s.view.Unlock()
	old := g.f
	g.f, g.offsets, g.end = f, g.offsets[:n:n], end
	s.next = g.next()
	return old.Close()
}

// moveMark sets the mark durably.
func (s *Store) moveMark(index uint64) error {
	s.markMu.Lock()
	defer s.markMu.Unlock()
	if err := s.mark.set(index); err != nil {
		return err
	}
	s.markWant = false
	return s.watched("sync", s.mark.file.name, s.mark.file.f.Sync)
}

func (s *Store) writeMeta(m meta) error {
	err := s.watched("write", s.opts.Dir, func() error { return m.write(s.fs, s.opts.Dir) })
	if err == nil {
		s.meta = m
	}
	return err
}

// discard removes files that are part of the log no more.
func (s *Store) discard(gone []*segment) error {
	for _, g := range gone {
		_ = g.f.Close()
		if err := s.fs.Remove(g.name); err != nil {
			return err
		}
	}
	return nil
}
