// Package logstore is the database's only write-ahead log: the log store and the
// stable store of the Raft library. An event that a client was told is stored
// lies here, checksummed and synced, from before the answer until a segment of
// the engine holds it.
//
// The log is a row of files that are filled one after the other. Every call of
// StoreLogs is one write and one fsync, however many entries it brings: the Raft
// library gathers what is proposed while the last call was at the disk, which is
// the group commit. Files are filled with zeros before they are used, so that an
// fsync has no length to make durable.
//
// What is read is verified. A record that is bad is either the rest of a write
// that was never acknowledged, which a power cut leaves and Open clears away, or
// damage, which Open refuses to start with; DESIGN.md in this directory draws the
// bytes and says how the two are told apart.
package logstore

import (
	"errors"
	"fmt"
	"log/slog"
	"math"
	"sort"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"spoor/internal/vfs"
)

// Bounds and defaults of Options.
const (
	DefaultSegmentBytes = 16 << 20
	MinSegmentBytes     = 4 << 10
	MaxSegmentBytes     = 1 << 30
	DefaultStallLimit   = 5 * time.Second

	// markSyncEvery bounds how far the synced high-water mark lags behind.
	markSyncEvery = time.Second
	// keepBufferBytes bounds what is kept between writes.
	keepBufferBytes = 8 << 20
)

// Options of a log.
type Options struct {
	FS  vfs.FS
	Dir string
	// Cluster is whose log is expected; the zero value accepts any.
	Cluster ClusterID
	// NewCluster is given to a log that is made because there is none. It may not be zero then.
	NewCluster ClusterID
	// SegmentBytes is how long a file gets at most, 0 for DefaultSegmentBytes: see shortShare. Files of any length are read alike.
	SegmentBytes int64
	// StallLimit is how long the disk may take for a call, 0 for DefaultStallLimit.
	StallLimit time.Duration
	// OnFatal is called once, at the first write that fails or hangs. The process
	// has to end: the store takes nothing any more. It is called from any goroutine.
	OnFatal func(error)
	Logger  *slog.Logger
}

// Store is an open log. Entries have consecutive indexes. All methods are safe
// for concurrent use; reads go on while a write is at the disk.
type Store struct {
	*poison
	opts    Options
	fs      vfs.FS
	log     *slog.Logger
	cluster ClusterID
	stable  *Stable

	// write is held by whoever changes the log.
	write sync.Mutex
	meta  meta
	buf   []byte
	roll  bool // the next entry begins a file

	// view guards what readers see.
	view     sync.RWMutex
	segments []*segment // ascending; the last one takes the appends
	first    uint64     // 0 if empty
	next     uint64     // index of the next entry, 0 if any index may come

	markMu   sync.Mutex
	mark     *mark
	markWant bool // the mark was written and not synced

	spare spare
	stop  chan struct{}
	done  sync.WaitGroup
	once  sync.Once
}

// StableStore returns where the Raft library keeps its term and vote.
func (s *Store) StableStore() *Stable { return s.stable }

// Cluster is whose log this is.
func (s *Store) Cluster() ClusterID { return s.cluster }

// Failed returns the error that ended the store, nil while it works.
func (s *Store) Failed() error { return s.failed() }

// IsMonotonic tells the Raft library that indexes have no gaps, so that it
// removes the old log when a snapshot takes its place.
func (s *Store) IsMonotonic() bool { return true }

// FirstIndex is the index of the oldest entry, 0 if there is none.
func (s *Store) FirstIndex() (uint64, error) {
	s.view.RLock()
	defer s.view.RUnlock()
	if s.first == s.next {
		return 0, nil
	}
	return s.first, nil
}

// LastIndex is the index of the newest entry, 0 if there is none.
func (s *Store) LastIndex() (uint64, error) {
	s.view.RLock()
	defer s.view.RUnlock()
	if s.first == s.next {
		return 0, nil
	}
	return s.next - 1, nil
}

// find returns the segment that holds an index.
func (s *Store) find(index uint64) (*segment, bool) {
	if index < s.first || index >= s.next {
		return nil, false
	}
	i := sort.Search(len(s.segments), func(i int) bool { return s.segments[i].next() > index })
	return s.segments[i], true
}

// GetLog reads an entry, verified. Its bytes belong to the caller.
func (s *Store) GetLog(index uint64, l *raft.Log) error {
	s.view.RLock()
	defer s.view.RUnlock()
	g, ok := s.find(index)
	if !ok {
		return raft.ErrLogNotFound
	}
	r, err := g.read(index)
	if err != nil {
		return err
	}
	r.entry(l)
	return nil
}

// Bytes is the length of the entries behind one index up to another, on disk and as far as they are in the log.
func (s *Store) Bytes(after, upTo uint64) int64 {
	s.view.RLock()
	defer s.view.RUnlock()
	return s.bytes(after, upTo)
}

func (s *Store) bytes(after, upTo uint64) int64 {
	if s.first == s.next {
		return 0
	}
	from, to := max(after+1, s.first), min(upTo, s.next-1)
	if from > to {
		return 0
	}
	a, _ := s.find(from)
	b, _ := s.find(to)
	return b.base + b.recordEnd(int(to-b.first)) - a.base - int64(a.offsets[from-a.first])
}

// EntriesWithin is how many of the newest entries take at most so many bytes.
func (s *Store) EntriesWithin(bytes int64) uint64 {
	s.view.RLock()
	defer s.view.RUnlock()
	if s.first == s.next {
		return 0
	}
	last := s.next - 1
	n := sort.Search(int(s.next-s.first), func(n int) bool { return s.bytes(last-uint64(n)-1, last) > bytes })
	return uint64(n)
}

// StoreLog is StoreLogs for one entry.
func (s *Store) StoreLog(l *raft.Log) error { return s.StoreLogs([]*raft.Log{l}) }

// StoreLogs appends entries and returns when they are durable. After an error of
// the disk the store is at its end, see ErrFailed; ErrNoSpace and an entry that is refused leave it
// as it was.
func (s *Store) StoreLogs(logs []*raft.Log) error {
	s.write.Lock()
	defer s.write.Unlock()
	if err := s.failed(); err != nil {
		return err
	}
	if len(logs) == 0 {
		return nil
	}
	size, want := int64(0), s.next
	for _, l := range logs {
		if err := checkEntry(l, want); err != nil {
			return err
		}
		want = l.Index + 1
		size += int64(recordBytes(l))
	}
	if size > math.MaxUint32/2 {
		return fmt.Errorf("store log entries %d to %d: %d bytes at once are too many", logs[0].Index, want-1, size)
	}
	g, err := s.room(size, logs[0].Index)
	if err != nil {
		return err
	}
	return s.append(g, logs, size)
}

// append writes entries to the end of g, which is the last segment or follows it.
func (s *Store) append(g *segment, logs []*raft.Log, size int64) error {
	b, start := s.buf[:0], g.end
	if int64(cap(b)) < size+segmentHeaderBytes {
		b = make([]byte, 0, size+segmentHeaderBytes)
	}
	if start == 0 {
		b = appendSegmentHeader(b, s.cluster, g.seq, logs[0].Index)
	}
	offsets := make([]uint32, 0, len(logs))
	for _, l := range logs {
		offsets = append(offsets, uint32(start)+uint32(len(b)))
		b = appendRecord(b, l, g.salt, uint32(start))
	}
	if s.buf = b; cap(b) > keepBufferBytes {
		s.buf = nil
	}
	err := s.watched("write", g.name, func() error {
		_, err := g.f.WriteAt(b, start)
		return err
	})
	if err == nil {
		err = s.watched("sync", g.name, g.f.Sync)
	}
	if err != nil {
		return s.fail(fmt.Errorf("store log entries from %d: %w", logs[0].Index, err))
	}
	s.publish(g, logs[0].Index, offsets, start+int64(len(b)))
	if g.end > g.f.Size()/2 {
		s.wantSpare()
	}
	return s.advanceMark(s.next - 1)
}

// publish shows readers what is durable now.
func (s *Store) publish(g *segment, first uint64, offsets []uint32, end int64) {
	s.view.Lock()
	defer s.view.Unlock()
	if g.end == 0 {
		g.first = first
		if n := len(s.segments); n > 0 {
			g.base = s.segments[n-1].base + s.segments[n-1].end
		}
		s.segments = append(s.segments, g)
	}
	if s.first == s.next { // the log was empty
		s.first = first
	}
	g.offsets = append(g.offsets, offsets...)
	g.end = end
	s.next = g.next()
}

func (s *Store) advanceMark(index uint64) error {
	s.markMu.Lock()
	defer s.markMu.Unlock()
	if err := s.mark.set(index); err != nil {
		return s.fail(fmt.Errorf("write %s: %w", s.mark.file.name, err))
	}
	s.markWant = true
	return nil
}

// syncMark makes the mark durable if it is not.
func (s *Store) syncMark() error {
	s.markMu.Lock()
	defer s.markMu.Unlock()
	if !s.markWant {
		return nil
	}
	if err := s.watched("sync", s.mark.file.name, s.mark.file.f.Sync); err != nil {
		return s.fail(fmt.Errorf("sync %s: %w", s.mark.file.name, err))
	}
	s.markWant = false
	return nil
}

// Close ends the store; entries are durable already. It closes a failed store too.
func (s *Store) Close() error {
	var err error
	s.once.Do(func() {
		close(s.stop)
		s.wakeSpare()
		s.done.Wait()
		s.write.Lock()
		defer s.write.Unlock()
		if s.failed() == nil {
			err = s.syncMark()
		}
		s.end()
		err = errors.Join(err, s.closeFiles())
	})
	return err
}

func (s *Store) closeFiles() error {
	s.view.Lock()
	defer s.view.Unlock()
	var errs []error
	for _, g := range s.segments {
		errs = append(errs, g.f.Close())
	}
	s.segments, s.first, s.next = nil, 0, 0
	if g := s.spare.take(); g != nil {
		errs = append(errs, g.f.Close())
	}
	return errors.Join(append(errs, s.mark.file.f.Close(), s.stable.close())...)
}
