package engine

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"path"
	"slices"
	"sort"
	"strings"
	"sync"
	"sync/atomic"

	"spoor/engine/cold"
	"spoor/engine/compaction"
	"spoor/engine/erasure"
	"spoor/engine/identity"
	"spoor/engine/letters"
	"spoor/engine/traits"
	"spoor/internal/frame"
	"spoor/internal/vfs"
	"spoor/segment"
	"spoor/segment/batch"
)

// manifestName names the live files of a store. It is written whole to another
// name, fsynced and renamed, so there is always one that is complete: JSON in a frame.
const (
	manifestName    = "MANIFEST"
	manifestMagic   = "SPOORMAN"
	manifestVersion = 1
)

// manifest is the durable state of a store at one log index.
type manifest struct {
	// Applied is the log index up to which every event is in the files below.
	Applied uint64 `json:"applied"`
	// Through is the log index up to which the files beside segments may know what was done, if that
	// is more than Applied.
	Through uint64 `json:"through,omitempty"`
	// LastReceived is the latest receivedAt among them, in microseconds.
	LastReceived int64 `json:"lastReceived"`
	// MaxTime is the latest event time among them, in microseconds.
	MaxTime int64 `json:"maxTime"`
	// NextFile numbers the next file.
	NextFile uint64 `json:"nextFile"`
	// Files are the segments, oldest arrival first.
	Files []fileMeta `json:"files"`
	// IdentityFile and IdentityBytes say how much of which file is valid.
	IdentityFile  string `json:"identityFile"`
	IdentityBytes int64  `json:"identityBytes"`
	// Traits says how much of which file is valid, if anybody has traits.
	Traits traits.File `json:"traits,omitzero"`
	// Letters says how much of which file is valid, if there are dead letters.
	Letters letters.File `json:"letters,omitzero"`
	// DedupeKey is the store's secret, see package idkey.
	DedupeKey []byte `json:"dedupeKey,omitempty"`
	// Backup lists the files with their sums; nil in the manifest of a store, never nil in that of a backup.
	Backup []backupFile `json:"backup"`
	// Erased counts for each erasure the rows that it took out of files so far.
	Erased map[string]int64 `json:"erased,omitempty"`
	// Forgotten is the log index of the last erasure whose ids the identity file is without.
	Forgotten uint64 `json:"forgotten,omitempty"`
	// Documents is the file that holds the documents, "" for none.
	Documents string `json:"documents,omitempty"`
	// Cold is below what key the objects of cold segments are, "" as long as there are none: a name that
	// no other store has. Snapshots and backups have no cold segments.
	Cold string `json:"cold,omitempty"`
}

// fileMeta describes a segment file.
type fileMeta struct {
	Name string `json:"name"`
	// Level 0 files come from flushes; level 1 from compaction.
	Level  int    `json:"level"`
	Rows   int    `json:"rows"`
	Bytes  int64  `json:"bytes"`
	MinDay int32  `json:"minDay"`
	MaxDay int32  `json:"maxDay"`
	First  uint64 `json:"first"` // log index of the oldest and newest batch in it
	Last   uint64 `json:"last"`
	// Erased is the log index of the last erasure that was carried out in the file's bytes.
	Erased uint64 `json:"erased,omitempty"`
	// Cold is the SHA-256, in hexadecimal, of the bytes of a segment that is in the object store, of
	// which a stub is here; "" of one that is here.
	Cold string `json:"cold,omitempty"`
}

// local is the file of the store's directory that there is of a segment.
func (fm *fileMeta) local() string {
	if fm.Cold != "" {
		return strings.TrimSuffix(fm.Name, segmentSuffix) + cold.Suffix
	}
	return fm.Name
}

// ErrManifest is wrapped when the manifest is damaged or was written by a newer program.
var ErrManifest = errors.New("manifest cannot be read")

func readManifest(fsys vfs.FS, dir string) (*manifest, error) {
	name := path.Join(dir, manifestName)
	b, err := vfs.ReadFile(fsys, name)
	if errors.Is(err, fs.ErrNotExist) {
		return &manifest{NextFile: 1}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	body, err := frame.Unwrap(b, manifestMagic, manifestVersion)
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrManifest, name, err)
	}
	m := &manifest{}
	if err := json.Unmarshal(body, m); err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrManifest, name, err)
	}
	return m, nil
}

func writeManifest(fsys vfs.FS, dir string, m *manifest) error {
	body, err := json.Marshal(m)
	if err != nil {
		return fmt.Errorf("write manifest: %w", err)
	}
	if err := vfs.WriteFileAtomic(fsys, path.Join(dir, manifestName), frame.Wrap(manifestMagic, manifestVersion, body)); err != nil {
		return fmt.Errorf("write manifest: %w", err)
	}
	return nil
}

// file is an open segment of the store. It is closed when the last reader lets
// go, and removed then if compaction replaced it.
type file struct {
	meta     fileMeta
	fsys     vfs.FS
	path     string
	f        segmentBytes
	r        *segment.Reader
	refs     atomic.Int32
	obsolete atomic.Bool
	done     atomic.Uint64          // log index of the last erasure that was carried out in it
	sum      atomic.Pointer[string] // SHA-256 of its bytes, nil until somebody asked
	shape    struct {
		once sync.Once
		compaction.File
	}
	received atomic.Pointer[int32]    // day of the latest receipt of its rows, nil until somebody asked
	sums     atomic.Pointer[coldSums] // of a cold file, nil until somebody summed it
}

// segmentBytes are those of a segment, in a file or of a cold one.
type segmentBytes interface {
	io.ReaderAt
	io.Closer
	Size() int64
}

// isCold tells whether the rows of the file are in the object store.
func (f *file) isCold() bool { return f.meta.Cold != "" }

// behind is what erasures ask of a file.
func (f *file) behind() erasure.File { return erasure.File{Last: f.meta.Last, Done: f.done.Load()} }

// described is the file as the manifest has it.
func (f *file) described() fileMeta {
	m := f.meta
	m.Erased = f.done.Load()
	return m
}

func (f *file) acquire() { f.refs.Add(1) }

func (f *file) release() {
	if f.refs.Add(-1) > 0 {
		return
	}
	_ = f.f.Close()
	if f.obsolete.Load() {
		// A file that cannot be removed is an orphan that the next start removes.
		_ = f.fsys.Remove(f.path)
	}
}

// openFile opens a segment with one reference, the store's.
func (db *DB) openFile(meta fileMeta) (*file, error) {
	name := path.Join(db.dir, meta.local())
	h, err := db.openBytes(&meta)
	if err != nil {
		return nil, fmt.Errorf("open segment %s: %w", name, err)
	}
	r, err := segment.Open(h, h.Size(), meta.Name, db.cache)
	if err != nil {
		_ = h.Close()
		return nil, err
	}
	if r.Rows() != meta.Rows || r.Size() != meta.Bytes {
		_ = h.Close()
		return nil, fmt.Errorf("open segment %s: %w: %d rows in %d bytes, the manifest says %d in %d", meta.Name, segment.ErrCorrupt, r.Rows(), r.Size(), meta.Rows, meta.Bytes)
	}
	f := &file{meta: meta, fsys: db.fs, path: name, f: h, r: r}
	f.refs.Store(1)
	f.done.Store(meta.Erased)
	return f, nil
}

// writeBytes are written to a segment file at a time.
const writeBytes = 256 << 10

// writeFile assembles inputs into a new durable segment file and opens it; it is
// nil if they have no rows. erased is the log index of the last erasure that they leave out.
func (db *DB) writeFile(inputs []input, view *identity.View, level int, meta segment.Meta, erased uint64) (*file, error) {
	name := db.newName(segmentSuffix)
	tmp := path.Join(db.dir, name+".tmp")
	h, err := db.fs.Create(tmp)
	if err != nil {
		return nil, fmt.Errorf("write segment %s: %w", name, err)
	}
	buf := bufio.NewWriterSize(h, writeBytes)
	size, rows, err := assemble(buf, inputs, db.live().identity, view, meta)
	if err == nil && rows == 0 {
		_ = h.Close()
		return nil, db.fs.Remove(tmp)
	}
	if err == nil {
		err = buf.Flush()
	}
	if err == nil {
		err = h.Sync()
	}
	if cerr := h.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = db.fs.Rename(tmp, path.Join(db.dir, name))
	}
	if err == nil {
		if err = db.fs.SyncDir(db.dir); err != nil {
			tmp = path.Join(db.dir, name) // as it is called by now
		}
	}
	if err != nil {
		_ = db.fs.Remove(tmp)
		return nil, fmt.Errorf("write segment %s: %w", name, err)
	}
	fm := fileMeta{Name: name, Level: level, Bytes: size, First: meta.FirstIndex, Last: meta.LastIndex, Erased: erased}
	return db.openWritten(fm)
}

// openWritten opens a file that was just written and reads what the manifest keeps of it.
func (db *DB) openWritten(fm fileMeta) (*file, error) {
	h, err := db.fs.Open(path.Join(db.dir, fm.Name))
	if err != nil {
		return nil, fmt.Errorf("open segment %s: %w", fm.Name, err)
	}
	r, err := segment.Open(h, h.Size(), fm.Name, db.cache)
	if err != nil {
		_ = h.Close()
		return nil, err
	}
	fm.Rows = r.Rows()
	sections := r.Sections()
	fm.MinDay, fm.MaxDay = sections[0].Day(), sections[len(sections)-1].Day()
	f := &file{meta: fm, fsys: db.fs, path: path.Join(db.dir, fm.Name), f: h, r: r}
	f.refs.Store(1)
	f.done.Store(fm.Erased)
	db.hide(r, f.behind(), 0)
	return f, nil
}

// version is an immutable list of the live files, oldest arrival first.
type version struct {
	files []*file
}

// files is the current version; readers take it with references.
type fileSet struct {
	mu      sync.Mutex
	current *version
	kept    []*file // that were replaced, while somebody reads them
}

func (s *fileSet) acquire() *version {
	s.mu.Lock()
	defer s.mu.Unlock()
	v := &version{files: slices.Clone(s.current.files)}
	for _, f := range v.files {
		f.acquire()
	}
	return v
}

func (v *version) release() {
	for _, f := range v.files {
		f.release()
	}
}

// level0 counts the files that no merge has had yet.
func (s *fileSet) level0() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, f := range s.current.files {
		if f.meta.Level == 0 {
			n++
		}
	}
	return n
}

// after lists the files of a version as they are when added has taken the place of gone.
func (v *version) after(gone, added []*file) []*file {
	return compaction.Place(v.files, gone, added, (*file).days)
}

// replace swaps gone for added.
func (s *fileSet) replace(gone, added []*file) {
	s.mu.Lock()
	s.current = &version{files: s.current.after(gone, added)}
	s.mu.Unlock()
	for _, f := range gone {
		f.obsolete.Store(true)
		f.release()
	}
	s.mu.Lock()
	s.kept = slices.DeleteFunc(append(s.kept, gone...), (*file).closed)
	s.mu.Unlock()
}

// keptWith counts the files that were replaced, still have their bytes because
// somebody reads them, and in which an erasure was not carried out.
func (s *fileSet) keptWith(erasure uint64) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.kept = slices.DeleteFunc(s.kept, (*file).closed)
	for _, f := range s.kept {
		if f.holds(erasure) {
			n++
		}
	}
	return n
}

// closed tells whether the last reader has let go.
func (f *file) closed() bool { return f.refs.Load() <= 0 }

// holds tells whether the file may hold something of an erasure.
func (f *file) holds(erasure uint64) bool { return f.done.Load() < erasure && f.meta.First <= erasure }

// isKept tells whether an event with an id that a file holds counts: it is younger than the
// retention demands, and its id is not forgotten. What does not count is as good as never
// stored, whether this replica has dropped its bytes or not.
func (db *DB) isKept(f *file, id batch.ID, text []byte) (kept bool, err error) {
	set := db.live().erasures.Load()
	if set == nil || set.Cutoffs == nil || f.meta.MinDay >= max(set.Cutoffs.Last(), set.Cutoffs.Dedupe) {
		return true, nil
	}
	sections := f.r.Sections()
	err = f.r.EachRowOf(id, text, func(row int) error {
		s := &sections[sort.Search(len(sections), func(i int) bool { return sections[i].FirstRow() > row })-1]
		if kept || isExpired(s, set) {
			return nil
		}
		if s.Day() >= set.Cutoffs.Dedupe {
			kept = true
			return nil
		}
		received, err := s.ReceivedAt(row - s.FirstRow())
		kept = !set.Forgets(s.Day(), segment.Day(received))
		return err
	})
	return kept, err
}

// eachKeptID is eachID without the events that do not count, see isKept.
func eachKeptID(r *segment.Reader, set *erasure.Set, f func(id batch.ID, text []byte) error) error {
	sections := r.Sections()
	var x segment.Scratch
	var received []int64 // of the section, if its ids may be forgotten
	row, at := 0, -1
	return eachID(r, func(id batch.ID, text []byte) error {
		for at < 0 || row >= sections[at].FirstRow()+sections[at].Rows() {
			at++
			received = received[:0]
			if s := &sections[at]; set.Forgets(s.Day(), s.Day()) {
				received = slices.Grow(received, s.Rows())[:s.Rows()]
				if err := s.Received(received, 0, s.Rows(), &x); err != nil {
					return err
				}
			}
		}
		s := &sections[at]
		in := row - s.FirstRow()
		row++
		if isExpired(s, set) || len(received) > 0 && set.Forgets(s.Day(), segment.Day(received[in])) {
			return nil
		}
		return f(id, text)
	})
}

// isExpired tells whether the events of a section are older than the retention allows, erased ones too.
func isExpired(s *segment.Section, set *erasure.Set) bool {
	return set.Expired(strings.TrimPrefix(s.Event(), segment.ErasedPrefix), s.Day())
}

// openBytes opens the bytes of a segment, wherever they are.
func (db *DB) openBytes(fm *fileMeta) (segmentBytes, error) {
	if fm.Cold != "" {
		return db.cold.OpenFile(db.pathOf(fm.local()), db.objectKey(fm.Name))
	}
	return db.fs.Open(db.pathOf(fm.Name))
}

func (db *DB) objectKey(name string) string {
	db.manifestMu.Lock()
	defer db.manifestMu.Unlock()
	return path.Join(db.coldKey, name)
}

// warm makes a manifest one whose segments are all there.
func (m *manifest) warm() {
	m.Cold = ""
	for i := range m.Files {
		m.Files[i].Cold = ""
	}
}

// lastReceived is the day of the latest receipt of a row, erased ones too.
func (f *file) lastReceived() (int32, error) {
	if day := f.received.Load(); day != nil {
		return *day, nil
	}
	last := int32(math.MinInt32)
	var x segment.Scratch
	buf := make([]int64, segment.BlockRows)
	sections := f.r.Sections()
	for i := range sections {
		s := &sections[i]
		for from := 0; from < s.Rows(); from += segment.BlockRows {
			b := buf[:min(segment.BlockRows, s.Rows()-from)]
			if err := s.Received(b, from, from+len(b), &x); err != nil {
				return 0, err
			}
			last = max(last, segment.Day(slices.Max(b)))
		}
	}
	f.received.Store(&last)
	return last, nil
}

// expired tells whether some of the sections are older than the retention allows, and whether all are.
func (f *file) expired(set *erasure.Set) (some, all bool) {
	all = true
	sections := f.r.Sections()
	for i := range sections {
		gone := isExpired(&sections[i], set)
		some, all = some || gone, all && gone
	}
	return some, all
}

// cold are the keys of the objects that somebody may read.
func (s *fileSet) cold() map[string]bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	keys := map[string]bool{}
	for _, f := range slices.Concat(s.current.files, s.kept) {
		if f.isCold() && !f.closed() {
			keys[f.f.(*cold.File).Key()] = true
		}
	}
	return keys
}
