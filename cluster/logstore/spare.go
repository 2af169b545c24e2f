package logstore

import (
	"errors"
	"fmt"
	"sync"
	"syscall"
	"time"
)

// ErrNoSpace is answered when the disk has no space for another segment. Nothing
// was written; the log takes entries again when there is space.
var ErrNoSpace = errors.New("no space left on the disk for the log")

const (
	zeroWriteBytes = 1 << 20 // of zeros at once
	zeroSyncBytes  = 8 << 20 // of zeros between syncs, so that one does not take seconds
	retrySpare     = time.Second
	// reserveBytes of the last segment are kept for what the cluster itself has to
	// write, elections above all, when the disk is full.
	reserveBytes = 512 << 10
	// tightBytes of free space or less make the log count on nothing but the files it has.
	tightBytes = 256 << 20
	// shortShare of a segment's length is what the first segment of a log has, and one that begins where the log
	// was cut on purpose: each after it is twice as long, up to the whole. So a store at rest keeps no
	// megabytes of zeros. While the disk is nearly full all are whole.
	shortShare = 16
)

// spare is the segment that waits to be used next. It is made in the background
// when the last one is half full, so that an append rarely waits for zeros.
type spare struct {
	mu    sync.Mutex
	cond  *sync.Cond // of every change
	g     *segment
	want  bool   // it is time to have one
	seq   uint64 // number of the next segment to make
	bytes int64  // its length
	err   error  // why there is none: no space
	tight bool   // the disk is nearly full
	ended bool
}

// take returns the spare segment, nil if there is none.
func (p *spare) take() *segment {
	p.mu.Lock()
	defer p.mu.Unlock()
	g := p.g
	p.g = nil
	return g
}

// wakeSpare lets waiters see that the store failed or was closed.
func (s *Store) wakeSpare() {
	s.spare.mu.Lock()
	defer s.spare.mu.Unlock()
	s.spare.ended = true
	s.spare.cond.Broadcast()
}

// upkeep makes segments ahead and syncs the mark.
func (s *Store) upkeep() {
	defer s.done.Done()
	tick := time.NewTicker(markSyncEvery)
	defer tick.Stop()
	made := make(chan struct{})
	go func() {
		defer close(made)
		s.makeSpares()
	}()
	for {
		select {
		case <-s.stop:
			<-made
			return
		case <-tick.C:
			_ = s.syncMark() // its error ends the store
			s.lookAtSpace()
		}
	}
}

// lookAtSpace asks how full the disk is.
func (s *Store) lookAtSpace() {
	free, err := s.fs.FreeBytes(s.opts.Dir)
	p := &s.spare
	p.mu.Lock()
	defer p.mu.Unlock()
	if tight := err == nil && free < tightBytes; tight != p.tight {
		p.tight = tight
		p.cond.Broadcast()
	}
}

// wantSpare has a segment made if there is none ahead.
func (s *Store) wantSpare() {
	p := &s.spare
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.want {
		p.want = true
		p.cond.Broadcast()
	}
}

// makeSpares makes segments when they are wanted.
func (s *Store) makeSpares() {
	p := &s.spare
	for {
		p.mu.Lock()
		for !p.ended && (p.g != nil || !p.want && !p.tight) {
			p.cond.Wait()
		}
		ended, seq, bytes := p.ended, p.seq, p.bytes
		if p.tight { // what is made now is all that there may ever be
			bytes = s.opts.SegmentBytes
		}
		p.mu.Unlock()
		if ended {
			return
		}
		g, err := s.makeSegment(seq, bytes)
		if errors.Is(err, errClosed) {
			return
		}
		if err != nil && !errors.Is(err, syscall.ENOSPC) {
			_ = s.fail(err)
			return
		}
		p.mu.Lock()
		p.g, p.err = g, err
		if err == nil {
			p.seq++
			p.bytes = min(2*bytes, s.opts.SegmentBytes)
		}
		p.cond.Broadcast()
		p.mu.Unlock()
		s.lookAtSpace()
		if err != nil {
			s.log.Warn("the disk has no space for the next file of the log", "dir", s.opts.Dir, "error", err)
			select {
			case <-s.stop:
				return
			case <-time.After(retrySpare):
			}
		}
	}
}

// shortBytes is the length of a short segment.
func (s *Store) shortBytes() int64 { return max(MinSegmentBytes, s.opts.SegmentBytes/shortShare) }

// makeSegment makes a file of so many zeros with a durable name.
func (s *Store) makeSegment(seq uint64, bytes int64) (*segment, error) {
	g := newSegment(s.opts.Dir, s.cluster, seq)
	f, err := s.fs.Create(g.name)
	if err != nil {
		return nil, fmt.Errorf("make log segment: %w", err)
	}
	g.f = f
	if err = s.fillZeros(g, bytes); err == nil {
		err = s.watched("sync", s.opts.Dir, func() error { return s.fs.SyncDir(s.opts.Dir) })
	}
	if err != nil {
		_ = f.Close()
		_ = s.fs.Remove(g.name) // a part of it is found and removed at the next start
		return nil, fmt.Errorf("make log segment %s: %w", g.name, err)
	}
	return g, nil
}

func (s *Store) fillZeros(g *segment, bytes int64) error {
	b := make([]byte, min(zeroWriteBytes, bytes))
	for at := int64(0); at < bytes; {
		select {
		case <-s.stop:
			return errClosed
		default:
		}
		n := min(int64(len(b)), bytes-at)
		err := s.watched("write", g.name, func() error {
			_, err := g.f.WriteAt(b[:n], at)
			return err
		})
		if err != nil {
			return err
		}
		if at += n; at%zeroSyncBytes == 0 || at == bytes {
			if err := s.watched("sync", g.name, g.f.Sync); err != nil {
				return err
			}
		}
	}
	return nil
}

// room returns the segment that takes a write of size bytes.
func (s *Store) room(size int64, first uint64) (*segment, error) {
	if n := len(s.segments); n > 0 && !s.roll {
		if g := s.segments[n-1]; g.end+size <= g.f.Size() {
			return g, nil
		}
	}
	s.wantSpare()
	p := &s.spare
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.g == nil {
		if err := s.failed(); err != nil {
			return nil, err
		}
		if p.ended {
			return nil, fmt.Errorf("store log entry %d: %w", first, errClosed)
		}
		if p.err != nil {
			return nil, fmt.Errorf("store log entry %d: %w: %w", first, ErrNoSpace, p.err)
		}
		p.cond.Wait()
	}
	g := p.g
	p.g, p.want = nil, false
	p.cond.Broadcast()
	s.roll = false
	return g, nil
}

// Roll lets the next entry begin a short file, so that the files before it can be removed
// as a whole. It waits for the file that is made ahead; ErrNoSpace if there is no space for it.
func (s *Store) Roll() error {
	p := &s.spare
	p.mu.Lock()
	p.bytes = s.shortBytes() // of the next that is made, unless one is there already
	for p.g == nil && p.err == nil && !p.ended && s.failed() == nil {
		if !p.want { // again, where an append has taken the one that was made
			p.want = true
			p.cond.Broadcast()
		}
		p.cond.Wait()
	}
	err, ended, made := p.err, p.ended, p.g != nil
	p.mu.Unlock()
	switch {
	case s.failed() != nil:
		return s.failed()
	case ended:
		return errClosed
	case !made:
		return fmt.Errorf("begin a log file: %w: %w", ErrNoSpace, err)
	}
	s.write.Lock() // so that nobody takes the file
	defer s.write.Unlock()
	p.mu.Lock()
	g, tight := p.g, p.tight
	p.mu.Unlock()
	if g != nil && !tight {
		if err := s.shorten(g); err != nil {
			return s.fail(fmt.Errorf("begin a log file: %w", err))
		}
		p.mu.Lock()
		p.bytes = min(2*g.f.Size(), s.opts.SegmentBytes)
		p.mu.Unlock()
	}
	s.roll = true
	return nil
}

// shorten cuts a file of zeros that nothing was written to down to a short one.
func (s *Store) shorten(g *segment) error {
	if g.f.Size() <= s.shortBytes() {
		return nil
	}
	err := s.watched("truncate", g.name, func() error { return g.f.Truncate(s.shortBytes()) })
	if err == nil {
		err = s.watched("sync", g.name, g.f.Sync)
	}
	return err
}

// HasRoom tells whether so many bytes of entries surely fit. It is false only
// when the disk is full or nearly so, early enough that the cluster itself can go on.
func (s *Store) HasRoom(bytes int64) bool {
	p := &s.spare
	p.mu.Lock()
	tight, full := p.tight, p.err != nil
	var ahead int64
	if p.g != nil {
		ahead = p.g.f.Size() - segmentHeaderBytes
	}
	p.mu.Unlock()
	if !tight && !full {
		return true
	}
	s.view.RLock()
	defer s.view.RUnlock()
	if n := len(s.segments); n > 0 {
		g := s.segments[n-1]
		ahead += g.f.Size() - g.end
	}
	// At the end of one file a write may not fit any more.
	return bytes+min(reserveBytes, s.opts.SegmentBytes/4) <= ahead
}
