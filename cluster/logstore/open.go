package logstore

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"spoor/internal/vfs"
)

// Open opens the log in a directory and makes one if there is none. It reads and
// verifies every record. It refuses with ErrDamaged what is not what was stored.
func Open(o Options) (*Store, error) {
	if o.SegmentBytes == 0 {
		o.SegmentBytes = DefaultSegmentBytes
	}
	if o.SegmentBytes < MinSegmentBytes || o.SegmentBytes > MaxSegmentBytes {
		return nil, fmt.Errorf("open log: a segment of %d bytes; it has to be from %d to %d", o.SegmentBytes, MinSegmentBytes, MaxSegmentBytes)
	}
	if o.StallLimit == 0 {
		o.StallLimit = DefaultStallLimit
	}
	if o.OnFatal == nil {
		return nil, errors.New("open log: OnFatal is not set, and a failed log must end the process")
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Store{opts: o, fs: o.FS, log: o.Logger, stop: make(chan struct{})}
	s.spare.cond = sync.NewCond(&s.spare.mu)
	s.poison = &poison{stall: o.StallLimit, onFatal: func(err error) {
		s.wakeSpare()
		o.OnFatal(err)
	}}
	if err := s.open(); err != nil {
		s.end()
		if s.mark != nil && s.stable != nil {
			_ = s.closeFiles()
		}
		return nil, fmt.Errorf("open log %s: %w", o.Dir, err)
	}
	if n := len(s.segments); n == 0 || s.segments[n-1].end > s.segments[n-1].f.Size()/2 {
		s.spare.want = true
	}
	s.done.Add(1)
	go s.upkeep()
	return s, nil
}

func (s *Store) open() error {
	if err := s.fs.MkdirAll(s.opts.Dir); err != nil {
		return err
	}
	found, err := exists(s.fs, s.opts.Dir)
	if err != nil {
		return err
	}
	if !found {
		if err := s.create(); err != nil {
			return err
		}
	}
	if s.meta, err = readMeta(s.fs, s.opts.Dir); err != nil {
		return err
	}
	s.cluster = s.meta.cluster
	if s.opts.Cluster != (ClusterID{}) && s.opts.Cluster != s.cluster {
		return fmt.Errorf("it belongs to cluster %s, not to %s", s.cluster, s.opts.Cluster)
	}
	if s.mark, err = openMark(s.fs, s.opts.Dir, s.cluster); err != nil {
		return err
	}
	if s.stable, err = openStable(s.fs, s.opts.Dir, s.cluster, s.poison); err != nil {
		_ = s.mark.file.f.Close()
		return err
	}
	files, err := s.listSegments()
	if err != nil {
		return err
	}
	return s.recover(files)
}

// create makes an empty log. The meta file comes last: without it there is none.
func (s *Store) create() error {
	entries, err := s.fs.ReadDir(s.opts.Dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if _, ok := segmentSeq(e.Name()); ok {
			return damage("%s is missing, but %s is there", filepath.Join(s.opts.Dir, metaName), e.Name())
		}
	}
	id := s.opts.Cluster
	if id == (ClusterID{}) {
		id = s.opts.NewCluster
	}
	if id == (ClusterID{}) {
		return errors.New("there is no log, and no cluster id to make one with")
	}
	if err := createMark(s.fs, s.opts.Dir, id); err != nil {
		return err
	}
	if err := createStable(s.fs, s.opts.Dir, id); err != nil {
		return err
	}
	return meta{cluster: id, firstSeq: 1}.write(s.fs, s.opts.Dir)
}

// listSegments removes what crashes left and returns the segment files, ascending.
func (s *Store) listSegments() ([]*segment, error) {
	entries, err := s.fs.ReadDir(s.opts.Dir)
	if err != nil {
		return nil, err
	}
	var files []*segment
	for _, e := range entries {
		seq, ok := segmentSeq(e.Name())
		switch {
		case ok && seq >= s.meta.firstSeq:
			files = append(files, newSegment(s.opts.Dir, s.cluster, seq))
		case ok || strings.HasSuffix(e.Name(), vfs.TempSuffix):
			if err := s.fs.Remove(filepath.Join(s.opts.Dir, e.Name())); err != nil {
				return nil, err
			}
		}
	}
	slices.SortFunc(files, func(a, b *segment) int { return int(int64(a.seq) - int64(b.seq)) })
	return files, nil
}

// recover reads the files and leaves the log ready for appends.
func (s *Store) recover(files []*segment) error {
	used, unused, err := s.openSegments(files)
	s.segments = used // so that they are closed
	defer func() {
		for _, g := range unused {
			_ = g.f.Close()
		}
	}()
	if err != nil {
		return err
	}
	var b []byte
	torn := false
	for i, g := range used {
		if b, err = readAll(g.f, b); err != nil {
			return fmt.Errorf("read %s: %w", g.name, err)
		}
		if i > 0 {
			if want := used[i-1].next(); g.first != want {
				return damage("%s begins with entry %d, but entry %d is the next one: a file is missing", g.name, g.first, want)
			}
			g.base = used[i-1].base + used[i-1].end
		}
		if torn, err = g.load(b, i+1 < len(used), s.mark.index); err != nil {
			return err
		}
	}
	if n := len(used); n > 0 && len(used[n-1].offsets) == 0 {
		// Its header survived the crash, the entries of the same write did not.
		g := used[n-1]
		used, unused, torn = used[:n-1], append(unused, g), false
		s.segments = used
	}
	if err := s.setBounds(); err != nil {
		return err
	}
	s.spare.seq, s.spare.bytes = s.meta.firstSeq, s.opts.SegmentBytes
	if len(used) == 0 {
		s.spare.bytes = s.shortBytes()
	} else {
		s.spare.seq = files[len(files)-1].seq + 1
	}
	if torn {
		g := used[len(used)-1]
		s.log.Warn("cleared the rest of a write that was never acknowledged", "file", g.name, "offset", g.end, "entry", g.next())
		if err := g.clearTorn(b); err != nil {
			return fmt.Errorf("clear the end of %s: %w", g.name, err)
		}
	}
	if unused, err = s.keepSpare(unused); err != nil {
		return err
	}
	for _, g := range unused {
		if err := s.fs.Remove(g.name); err != nil {
			return err
		}
	}
	if len(unused) > 0 {
		// If one came back after the next crash, the log might have gone on beside it.
		if err := s.fs.SyncDir(s.opts.Dir); err != nil {
			return err
		}
	}
	return s.settle()
}

// keepSpare keeps a file that was made ahead, if there is one, and returns the others.
func (s *Store) keepSpare(unused []*segment) ([]*segment, error) {
	for i, g := range unused {
		if !g.blank || len(s.segments) == 0 && g.seq != s.meta.firstSeq {
			continue
		}
		if err := errors.Join(g.f.Sync(), s.fs.SyncDir(s.opts.Dir)); err != nil {
			return unused, fmt.Errorf("sync %s: %w", g.name, err)
		}
		s.spare.g, s.spare.seq = g, max(s.spare.seq, g.seq+1)
		return slices.Delete(slices.Clone(unused), i, i+1), nil
	}
	return unused, nil
}

// openSegments separates the segments that were used from those made ahead. A
// file whose first write was torn counts as made ahead: nothing in it was acknowledged.
func (s *Store) openSegments(files []*segment) (used, unused []*segment, err error) {
	for _, g := range files {
		if g.f, err = s.fs.OpenReadWrite(g.name); err != nil {
			return used, unused, err
		}
		err = g.readHeader(s.cluster)
		if errors.Is(err, errEnvelope) {
			unused = append(unused, g)
			if err = s.checkUnused(g); err != nil {
				return used, unused, err
			}
			continue
		}
		used = append(used, g)
		if err != nil {
			return used, unused, err
		}
		if len(unused) > 0 {
			return used, unused, damage("the header of %s is damaged, and %s comes after it", unused[0].name, g.name)
		}
	}
	return used, unused, nil
}

// checkUnused refuses a file whose header was lost after entries in it had
// become durable. A file that is all zeros and whole gets blank.
func (s *Store) checkUnused(g *segment) error {
	b, err := readAll(g.f, nil)
	if err != nil {
		return fmt.Errorf("read %s: %w", g.name, err)
	}
	if isZero(b) {
		g.blank = int64(len(b)) == s.opts.SegmentBytes
		return nil
	}
	if laterWrite(b, 0, g.salt) {
		return damage("the header of %s is damaged, and entries behind it had been stored durably", g.name)
	}
	s.log.Warn("a file that was made ahead does not hold zeros alone and is replaced", "file", g.name)
	return nil
}

// setBounds finds where the log begins and ends, and compares that with what the
// meta file and the mark say.
func (s *Store) setBounds() error {
	if len(s.segments) > 0 {
		oldest, newest := s.segments[0], s.segments[len(s.segments)-1]
		if oldest.seq != s.meta.firstSeq {
			return damage("%s is missing", filepath.Join(s.opts.Dir, segmentName(s.meta.firstSeq)))
		}
		s.first, s.next = max(s.meta.first, oldest.first), newest.next()
		if s.meta.first != 0 && s.meta.first < oldest.first {
			return damage("it begins with entry %d, but entry %d should be there: a file is missing", oldest.first, s.meta.first)
		}
		if s.first > s.next {
			return damage("it ends with entry %d, but it should begin with %d", s.next-1, s.first)
		}
	}
	if s.meta.first != 0 && len(s.segments) == 0 {
		return damage("it should begin with entry %d, but there is no file", s.meta.first)
	}
	if last := max(s.next, 1) - 1; s.mark.index > last {
		return damage("it ends with entry %d, but entry %d had been stored durably: its end is missing", last, s.mark.index)
	}
	return nil
}

// settle makes durable what is counted as stored from now on: after a kill the
// last entries may be readable and yet not be on the disk.
func (s *Store) settle() error {
	if len(s.segments) == 0 {
		return nil
	}
	g := s.segments[len(s.segments)-1]
	if err := g.f.Sync(); err != nil {
		return err
	}
	if s.next-1 > s.mark.index {
		return s.moveMark(s.next - 1)
	}
	return nil
}

// readAll reads a file into b, which grows as needed.
func readAll(f vfs.File, b []byte) ([]byte, error) {
	if size := f.Size(); int64(cap(b)) < size {
		b = make([]byte, size)
	} else {
		b = b[:size]
	}
	n, err := f.ReadAt(b, 0)
	if n < len(b) {
		return nil, errors.Join(io.ErrUnexpectedEOF, err)
	}
	return b, nil
}
