// Package engine is the database: it applies the entries of the log to a
// memtable, flushes the memtable into segments, merges segments, decides who is
// who and what is a duplicate, and gives queries a consistent view of all of it.
//
// The way of an event through this package: Apply decodes the batch, asks the
// filters and, where they say maybe, the memtables and segments whether an id
// was stored before, resolves persons, and appends the rest to the memtable.
// A flush writes the memtable as one level-0 segment that may span many days;
// compaction merges those into segments by day.
package engine

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"maps"
	"path"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"spoor/engine/document"
	"spoor/engine/erasure"
	"spoor/engine/identity"
	"spoor/engine/idkey"
	"spoor/engine/letters"
	"spoor/engine/traits"
	"spoor/index"
	"spoor/internal/vfs"
	"spoor/segment"
	"spoor/segment/batch"
)

// Options tune a store. The zero value is ready.
type Options struct {
	FS     vfs.FS       // default: the operating system's
	Logger *slog.Logger // default: discard

	// MemoryBytes bounds memtables and caches together; default 256 MiB.
	MemoryBytes int64
	// MergeRows bounds the rows of a day that a merge has in memory; a day with more is cut into pieces. Default: as
	// MemoryBytes allows, 700,000 at 256 MiB.
	MergeRows int
	// FlushRows closes the memtable at so many rows even when it is small; default 256 Ki.
	FlushRows int
	// FlushAge closes a memtable that has been open that long; default 10 minutes.
	FlushAge time.Duration
	// OnFatal is told the first error after which the store must not go on: a failed
	// write or fsync. The process is expected to end. Default: panic.
	OnFatal func(error)
	// CompactAfterIdle is how long nothing must arrive before days are merged into one file each; default 20 s.
	CompactAfterIdle time.Duration
	// EraseWithin is how long what was erased may stay in the bytes of files; default 24 h. It goes
	// earlier when nothing else is to be done, and at once by Compact. OnErased is called when it
	// has gone up to a log index, so that the log can be cut behind that.
	EraseWithin time.Duration
	OnErased    func(index uint64)
	// OnHash is handed the state as it is at a HashEntry, by Apply: it must not wait, and has to
	// release it. nil: nobody hashes.
	OnHash func(*HashPoint)
	// ManualCompaction leaves merging to calls of Compact.
	ManualCompaction bool
	// Random gives a new store its secret, see package idkey; default: the system's. No answer depends on it.
	Random io.Reader

	firstFilterKeys int // of the dedupe filters; 0: as index has it
	smallFileRows   int // below which days share a file; 0: as compaction has it
}

func (o *Options) setDefaults() {
	if o.FS == nil {
		o.FS = vfs.OS()
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.MemoryBytes == 0 {
		o.MemoryBytes = 256 << 20
	}
	if o.FlushRows == 0 {
		o.FlushRows = 256 << 10
	}
	if o.FlushAge == 0 {
		o.FlushAge = 10 * time.Minute
	}
	if o.CompactAfterIdle == 0 {
		o.CompactAfterIdle = 20 * time.Second
	}
	if o.EraseWithin == 0 {
		o.EraseWithin = 24 * time.Hour
	}
	if o.Random == nil {
		o.Random = rand.Reader
	}
	if o.OnFatal == nil {
		o.OnFatal = func(err error) { panic(err) }
	}
}

// DB is a store in one directory. Apply is called by one goroutine; everything
// else is safe for concurrent use.
type DB struct {
	opts  Options
	fs    vfs.FS
	dir   string
	log   *slog.Logger
	lock  io.Closer
	cache *segment.Cache

	files    fileSet
	nextFile atomic.Uint64
	content  atomic.Pointer[live]
	erasedAt uint64 // log index of the last erasure; changed under eraseGate and mem

	// mem guards the memtables: active takes appends, flushing ones are being written.
	mem struct {
		sync.RWMutex
		active   *memtable
		flushing []*memtable // oldest first
		closed   int64       // bytes of those in flushing
		room     sync.Cond   // of the lock: there may be room for more, see awaitRoom
	}
	applied      atomic.Uint64 // log index of the last entry that was applied
	durable      atomic.Uint64 // log index up to which everything is in files
	through      uint64        // log index up to which files beside segments may have known more than applied when they were read
	lastReceived atomic.Int64
	maxTime      atomic.Int64
	events       atomic.Int64 // accepted since the store was opened

	manifestMu    sync.Mutex // held while the manifest is changed
	identityBytes int64
	identityFile  string
	traitsFile    traits.File
	docsFile      string
	docsDirty     atomic.Bool
	erasedRows    map[string]int64 // by erasure, as the manifest has them
	forgotten     uint64           // of the manifest
	strays        []string         // files that a manifest named, or one that failed would have: the next that is written decides
	pinned        sync.RWMutex     // read-locked by whoever reads files that a manifest names but segments
	purged        purgeState
	lettersFile   letters.File

	flushMu   sync.Mutex // one flush at a time
	eraseGate sync.Mutex // taken after flushMu: held by an erasure, and by what must see none come
	compactMu sync.Mutex // one compaction at a time
	kick      chan struct{}
	merges    chan bool               // asks for the merges that are due; true when nothing arrives
	merging   atomic.Bool             // one is at work
	atWork    atomic.Pointer[merging] // the one; nil: none
	stuck     atomic.Bool             // Apply waits in awaitRoom
	diskFull  atomic.Bool             // the last flush found no space
	ctx       context.Context
	stop      context.CancelFunc
	wg        sync.WaitGroup
	failed    atomic.Pointer[error]
	tailSeen  tailCache
	filterMu  sync.Mutex // held while filters are written, and while others take their place
}

// live is what the log has made beside events. A state that is taken over from another
// replica comes in one of its own (see Swap), so whoever needs two parts of it takes both from one.
type live struct {
	identity *identity.Map
	traits   *traits.Store               // changed under the lock of identity, so that both are saved as of one moment
	erasures atomic.Pointer[erasure.Set] // nil: nothing is erased
	docs     *document.Store
	letters  *letters.Store
	filters  *index.Filters
	idKey    idkey.Key // of the hashes in filters and memtables
	// swaps counts the states that were taken over since the store was opened.
	swaps uint64
}

func (db *DB) live() *live { return db.content.Load() }

// lockName is the file that the one process locks that may write; the suffixes
// end the names of segments and of files of documents.
const (
	lockName      = "LOCK"
	segmentSuffix = ".seg"
	docsSuffix    = ".docs"
)

// ErrClosed is answered after Close.
var ErrClosed = errors.New("store is closed")

// Open opens the store in dir, which is made if it does not exist. Entries above
// DurableIndex must be applied again, in order, before queries see them.
func Open(dir string, opts Options) (*DB, error) {
	opts.setDefaults()
	db := &DB{
		opts: opts, fs: opts.FS, dir: dir, log: opts.Logger,
		kick: make(chan struct{}, 1), merges: make(chan bool),
	}
	db.content.Store(&live{docs: document.New()})
	db.mem.room.L = &db.mem
	db.cache = segment.NewCache(opts.MemoryBytes / 2)
	db.ctx, db.stop = context.WithCancel(context.Background())
	if err := db.open(); err != nil {
		db.stop()
		if db.files.current != nil {
			db.files.current.release()
		}
		db.live().close()
		if db.lock != nil {
			_ = db.lock.Close()
		}
		return nil, fmt.Errorf("open store %s: %w", dir, err)
	}
	if !opts.ManualCompaction {
		db.wg.Go(db.background)
		db.wg.Go(db.compactor)
	}
	return db, nil
}

func (db *DB) open() error {
	if err := db.fs.MkdirAll(db.dir); err != nil {
		return err
	}
	var err error
	if db.lock, err = db.fs.Lock(path.Join(db.dir, lockName)); err != nil {
		return err
	}
	m, err := readManifest(db.fs, db.dir)
	if err != nil {
		return err
	}
	if m.DedupeKey == nil {
		if err := db.create(m); err != nil {
			return err
		}
	}
	l, err := loadLive(db.fs, db.dir, m)
	if err != nil {
		return err
	}
	db.content.Store(l)
	db.nextFile.Store(m.NextFile)
	db.files.current = &version{}
	for _, fm := range m.Files {
		f, err := db.openFile(fm)
		if err != nil {
			return err
		}
		db.files.current.files = append(db.files.current.files, f)
	}
	if err := db.loadFilters(); err != nil {
		return err
	}
	db.mem.active = newMemtable()
	db.adopt(m)
	if set := l.erasures.Load(); set != nil {
		db.setErasures(set, 0)
	}
	return db.removeOrphans(m)
}

// loadLive reads what a manifest names beside segments. It has no dedupe filters yet.
func loadLive(fsys vfs.FS, dir string, m *manifest) (*live, error) {
	l := &live{docs: document.New()}
	if err := l.load(fsys, dir, m); err != nil {
		l.close()
		return nil, err
	}
	return l, nil
}

func (l *live) load(fsys vfs.FS, dir string, m *manifest) (err error) {
	if l.idKey, err = idkey.Parse(m.DedupeKey); err != nil {
		return err
	}
	if l.identity, err = loadIdentity(fsys, dir, m); err != nil {
		return err
	}
	if l.traits, err = loadTraits(fsys, dir, m, len(l.identity.Canon())); err != nil {
		return err
	}
	l.identity.OnMerge(l.traits.Join)
	if l.letters, err = loadLetters(fsys, dir, m); err != nil {
		return err
	}
	if m.Documents != "" {
		b, err := vfs.ReadFile(fsys, path.Join(dir, m.Documents))
		if err != nil {
			return err
		}
		if err := l.docs.Unmarshal(b); err != nil {
			return err
		}
	}
	return l.loadErasures()
}

// close closes the file of letters.
func (l *live) close() {
	if l.letters != nil {
		l.letters.Close()
	}
}

// adopt sets what the store remembers of its newest manifest.
func (db *DB) adopt(m *manifest) {
	db.identityFile, db.identityBytes, db.docsFile = m.IdentityFile, m.IdentityBytes, m.Documents
	db.traitsFile, db.lettersFile = m.Traits, m.Letters
	db.erasedRows, db.forgotten = maps.Clone(m.Erased), m.Forgotten
	if db.erasedRows == nil {
		db.erasedRows = map[string]int64{}
	}
	db.through = max(m.Applied, m.Through)
	db.applied.Store(m.Applied)
	db.durable.Store(m.Applied)
	db.lastReceived.Store(m.LastReceived)
	db.maxTime.Store(m.MaxTime)
	if m.MaxTime == 0 && len(m.Files) == 0 {
		db.maxTime.Store(noEvents) // there is no manifest, or one of a store without events
	}
}

// create writes the first manifest of a store, or the first with a key. Filters
// that were made without it would deny ids that are stored: they go before it comes.
func (db *DB) create(m *manifest) error {
	entries, err := db.fs.ReadDir(db.dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		switch name := e.Name(); {
		case strings.HasSuffix(name, ".bloom"):
			if err := db.fs.Remove(path.Join(db.dir, name)); err != nil {
				return err
			}
		case strings.HasSuffix(name, segmentSuffix) && m.Applied == 0 && len(m.Files) == 0:
			// The manifest comes before the first segment: it was lost, and opening would remove the data.
			return fmt.Errorf("%w: %s is missing in %s, which holds %s; restore it from a backup or replace this copy of the data",
				ErrManifest, manifestName, db.dir, name)
		}
	}
	if err := db.fs.SyncDir(db.dir); err != nil {
		return err
	}
	if m.DedupeKey, err = idkey.New(db.opts.Random); err != nil {
		return err
	}
	return writeManifest(db.fs, db.dir, m)
}

// removeOrphans removes what a crash left: files that no manifest names.
func (db *DB) removeOrphans(m *manifest) error {
	entries, err := db.fs.ReadDir(db.dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		name := e.Name()
		if isOrphan(name, m) {
			db.log.Info("removing a file that a crash left behind", "file", name)
			if err := db.fs.Remove(path.Join(db.dir, name)); err != nil {
				return err
			}
		}
	}
	return nil
}

// isOrphan tells whether a file is one that only a crash leaves behind.
func isOrphan(name string, m *manifest) bool {
	if strings.HasSuffix(name, vfs.TempSuffix) {
		return true
	}
	if name == m.IdentityFile || name == m.Documents || name == m.Traits.Name || name == m.Letters.Name || slices.ContainsFunc(m.Files, func(f fileMeta) bool { return f.Name == name }) {
		return false
	}
	return strings.HasSuffix(name, segmentSuffix) || strings.HasSuffix(name, identitySuffix) || strings.HasSuffix(name, docsSuffix) || strings.HasSuffix(name, traits.Suffix) || strings.HasSuffix(name, letters.Suffix)
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
	db.live().filters = filters
	return db.live().know(db.files.current.files, covered, segment.Day(db.lastReceived.Load()))
}

// know adds the ids of files to the filters, of which they cover those up to a log index. received
// is the day of the latest receipt.
func (l *live) know(files []*file, covered uint64, received int32) error {
	for _, f := range files {
		if f.meta.Last <= covered {
			continue
		}
		l.filters.Reach(max(f.meta.MaxDay, received))
		err := eachID(f.r, func(id batch.ID, text []byte) error {
			l.filters.Add(l.idKey.Hash(id, text))
			return nil
		})
		if err != nil {
			return fmt.Errorf("rebuild dedupe filters: %w", err)
		}
	}
	return nil
}

// AppliedIndex is the log index of the last applied entry.
func (db *DB) AppliedIndex() uint64 { return db.applied.Load() }

// DurableIndex is the log index up to which all entries are durable in the store's own files.
func (db *DB) DurableIndex() uint64 { return db.durable.Load() }

// broken is the error after which nothing may be promised any more, nil while all is well.
func (db *DB) broken() error {
	if err := db.failed.Load(); err != nil {
		return fmt.Errorf("the store stopped at an error: %w", *err)
	}
	return nil
}

// fatal reports the first error after which nothing may be promised any more.
func (db *DB) fatal(err error) {
	if db.failed.CompareAndSwap(nil, &err) {
		db.mem.room.Broadcast()
		db.opts.OnFatal(err)
	}
}

// Close stops background work and closes the files. It does not flush: what is
// not durable is in the log. Call Checkpoint first for a fast next start.
func (db *DB) Close() error {
	db.stop()
	db.mem.Lock()
	db.mem.room.Broadcast()
	db.mem.Unlock()
	db.wg.Wait()
	db.compactMu.Lock()
	defer db.compactMu.Unlock()
	db.flushMu.Lock()
	defer db.flushMu.Unlock()
	if db.broken() == nil {
		db.saveFilters(true) // the next start then reads no ids
	}
	db.files.mu.Lock()
	current := db.files.current
	db.files.current = &version{}
	db.files.mu.Unlock()
	current.release()
	db.live().close()
	return db.lock.Close()
}
