package engine

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"spoor/engine/document"
	"spoor/engine/erasure"
	"spoor/engine/identity"
	"spoor/engine/idkey"
	"spoor/engine/letters"
	"spoor/engine/statehash"
	"spoor/engine/traits"
	"spoor/index"
	"spoor/internal/vfs"
	"spoor/segment"
	"spoor/segment/batch"
)

// Report is what Verify found. A store without Problems answers every query as
// it would have on the day its events came.
type Report struct {
	AppliedIndex uint64 `json:"applied_index"`
	Files        int    `json:"files"`
	Bytes        int64  `json:"bytes"` // of all files that were read
	Rows         int64  `json:"events"`
	Persons      int    `json:"persons"`
	Documents    int    `json:"documents"`
	// Problems are what is wrong, at most MaxProblems; More counts the others.
	Problems []Problem `json:"problems"`
	More     int       `json:"more_problems"`
	// Notes are what is unusual and does no harm.
	Notes []string `json:"notes"`
}

// Problem is one thing that is wrong with a file.
type Problem struct {
	File string `json:"file"`
	Text string `json:"problem"`
}

// MaxProblems bounds the list in a Report.
const MaxProblems = 1000

func (r *Report) problem(file, format string, args ...any) {
	if len(r.Problems) == MaxProblems {
		r.More++
		return
	}
	r.Problems = append(r.Problems, Problem{file, fmt.Sprintf(format, args...)})
}

// Err is nil if there are no problems, else an error that names the first.
func (r *Report) Err() error {
	if len(r.Problems) == 0 {
		return nil
	}
	p := r.Problems[0]
	return fmt.Errorf("%w: %s: %s (%d problems)", ErrDamaged, p.File, p.Text, len(r.Problems)+r.More)
}

// ErrDamaged is wrapped when Verify found problems.
var ErrDamaged = errors.New("the store is damaged")

// Progress is told how many of all bytes are done. It may be nil.
type Progress func(done, total int64)

// Verify checks the store in dir, which no process may have open: the manifest
// against the files, every byte and every value of every segment, that each eventId is there
// once, that the dedupe filters know it, who is who, and the documents. It changes nothing.
// The error says that it could not be done; what is wrong with the store stands in the report.
func Verify(ctx context.Context, fsys vfs.FS, dir string, progress Progress) (*Report, error) {
	lock, err := fsys.Lock(path.Join(dir, lockName))
	if err != nil {
		return nil, fmt.Errorf("verify %s: %w", dir, err)
	}
	defer func() { _ = lock.Close() }()
	c := &checker{fsys: fsys, dir: dir, progress: progress, report: &Report{}}
	m, err := readManifest(fsys, dir)
	if err != nil {
		c.report.problem(manifestName, "%v", err)
		return c.report, nil
	}
	c.m = m
	if m.DedupeKey == nil {
		c.missingManifest()
		return c.report, nil
	}
	if c.key, err = idkey.Parse(m.DedupeKey); err != nil {
		c.report.problem(manifestName, "%v", err)
		return c.report, nil
	}
	if m.Documents != "" {
		c.docs, c.docsErr = vfs.ReadFile(fsys, path.Join(dir, m.Documents))
	}
	if m.Traits.Name != "" {
		if c.traits, err = readPrefix(fsys, path.Join(dir, m.Traits.Name), m.Traits.Bytes); err != nil {
			c.report.problem(m.Traits.Name, "%v", err)
		}
	}
	if m.Letters.Name != "" {
		if c.letters, err = fsys.Open(path.Join(dir, m.Letters.Name)); err != nil {
			c.report.problem(m.Letters.Name, "%v", err)
			c.letters = nil
		} else {
			defer func() { _ = c.letters.Close() }()
		}
	}
	var covered uint64
	if c.filters, covered, err = index.OpenFilters(fsys, dir); err != nil {
		c.filters = nil
		if len(m.Files) > 0 && m.Backup == nil { // a backup has none
			c.note("the dedupe filters cannot be used and will be built again at the next start: %v", err)
		}
	}
	c.covered = covered
	c.orphans()
	return c.run(ctx)
}

// Verify checks the files of a store that is in use. Those of the moment of the
// call are read, past the caches; writing and queries go on.
func (db *DB) Verify(ctx context.Context, progress Progress) (*Report, error) {
	c := &checker{db: db, fsys: db.fs, dir: db.dir, progress: progress, report: &Report{}, covered: ^uint64(0)}
	pinned, m, err := db.pin()
	if err != nil {
		return nil, fmt.Errorf("verify %s: %w", db.dir, err)
	}
	defer pinned.release()
	c.cold = pinned.cold()
	c.m, c.docs, c.traits, c.letters = m, pinned.docs, pinned.traits, pinned.letters
	c.key, c.filters = pinned.live.idKey, pinned.live.filters
	return c.run(ctx)
}

// pin is a manifest with the files that it names, which stay while it is held.
type pin struct {
	db      *DB
	live    *live
	files   *version
	docs    []byte
	traits  []byte   // a later checkpoint may replace the file
	letters vfs.File // as well
}

func (p *pin) release() {
	if p.letters != nil {
		_ = p.letters.Close()
	}
	if p.files != nil {
		p.files.release()
	}
	p.db.pinned.RUnlock()
}

// pin reads the manifest at a moment when nobody changes it.
func (db *DB) pin() (p *pin, m *manifest, err error) {
	db.pinned.RLock()
	p = &pin{db: db}
	defer func() {
		if err != nil {
			p.release()
			p = nil
		}
	}()
	db.manifestMu.Lock()
	defer db.manifestMu.Unlock()
	if m, err = readManifest(db.fs, db.dir); err != nil {
		return p, nil, err
	}
	p.live = db.live()
	if m.Documents != "" {
		if p.docs, err = vfs.ReadFile(db.fs, db.pathOf(m.Documents)); err != nil {
			return p, nil, err
		}
	}
	if m.Letters.Name != "" {
		if p.letters, err = db.fs.Open(db.pathOf(m.Letters.Name)); err != nil {
			p.letters = nil
			return p, nil, err
		}
	}
	if m.Traits.Name != "" {
		if p.traits, err = readPrefix(db.fs, db.pathOf(m.Traits.Name), m.Traits.Bytes); err != nil {
			return p, nil, err
		}
	}
	p.files = db.files.acquire()
	if len(p.files.files) != len(m.Files) {
		return p, nil, fmt.Errorf("%w: it names %d files, the store has %d", ErrManifest, len(m.Files), len(p.files.files))
	}
	return p, m, nil
}

// checker does one verification.
type checker struct {
	db       *DB              // nil where no process has it open
	cold     map[string]*file // of db, by name
	fsys     vfs.FS
	dir      string
	m        *manifest
	key      idkey.Key
	docs     []byte
	docsErr  error
	traits   []byte
	letters  vfs.File       // nil: there is none, or it cannot be opened
	filters  *index.Filters // nil: not checked
	covered  uint64         // files up to it have their ids in filters
	progress Progress
	report   *Report

	identity    *identity.Map // nil if its file is damaged
	expired     *erasure.Set  // whose cutoffs say which events do not count: they may be sent and stored again
	done, total int64
}

func (c *checker) note(format string, args ...any) {
	c.report.Notes = append(c.report.Notes, fmt.Sprintf(format, args...))
}

func (c *checker) missingManifest() {
	entries, err := c.fsys.ReadDir(c.dir)
	if err != nil {
		c.report.problem(manifestName, "%v", err)
		return
	}
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), segmentSuffix) {
			c.report.problem(manifestName, "it is missing, and the directory holds %s", e.Name())
			return
		}
	}
	c.note("the directory holds no store")
}

// orphans notes files that the next start removes.
func (c *checker) orphans() {
	entries, err := c.fsys.ReadDir(c.dir)
	if err != nil {
		c.report.problem(c.dir, "%v", err)
		return
	}
	for _, e := range entries {
		if isOrphan(e.Name(), c.m) {
			c.note("%s is left from a crash and will be removed at the next start", e.Name())
		}
	}
}

func (c *checker) run(ctx context.Context) (*Report, error) {
	r, m := c.report, c.m
	r.AppliedIndex, r.Files = m.Applied, len(m.Files)
	c.total = m.IdentityBytes + m.Traits.Bytes + m.Letters.Bytes
	for i := range m.Files {
		c.total += m.Files[i].Bytes
	}
	c.checkIdentity()
	c.checkDocuments()
	seen := map[string]bool{}
	var readable []*segment.Reader
	for i := range m.Files {
		fm := &m.Files[i]
		if seen[fm.Name] {
			r.problem(manifestName, "%s is listed twice", fm.Name)
			continue
		}
		seen[fm.Name] = true
		if fm.Cold != "" {
			if err := c.checkCold(ctx, fm); err != nil {
				return nil, fmt.Errorf("verify %s: %w", c.dir, err)
			}
			continue
		}
		h, err := c.fsys.Open(path.Join(c.dir, fm.Name))
		if err != nil {
			r.problem(fm.Name, "%v", err)
			continue
		}
		defer func() { _ = h.Close() }()
		if s := c.checkFile(ctx, fm, h); s != nil {
			readable = append(readable, s)
		}
		if err := ctx.Err(); err != nil {
			return nil, fmt.Errorf("verify %s: %w", c.dir, err)
		}
	}
	if err := c.checkUnique(ctx, readable); err != nil {
		return nil, fmt.Errorf("verify %s: %w", c.dir, err)
	}
	return r, nil
}

func (c *checker) step(n int64) {
	c.done += n
	c.report.Bytes += n
	if c.progress != nil {
		c.progress(c.done, c.total)
	}
}

func (c *checker) checkIdentity() {
	m := c.m
	x, err := loadIdentity(c.fsys, c.dir, m)
	if err != nil {
		c.report.problem(m.IdentityFile, "%v", err)
		return
	}
	c.step(m.IdentityBytes)
	persons := len(x.Canon())
	c.identity, c.report.Persons = x, persons
	if c.traits != nil {
		if _, err := traits.Load(c.traits, persons); err != nil {
			c.report.problem(m.Traits.Name, "%v", err)
			return
		}
		c.step(m.Traits.Bytes)
	}
}

func (c *checker) checkDocuments() {
	if c.letters != nil {
		if err := letters.Check(c.letters, c.m.Letters.Bytes); err != nil {
			c.report.problem(c.m.Letters.Name, "%v", err)
		} else {
			c.step(c.m.Letters.Bytes)
		}
	}
	if c.m.Documents == "" {
		return
	}
	d, err := document.New(), c.docsErr
	if err == nil {
		err = d.Unmarshal(c.docs)
	}
	if err != nil {
		c.report.problem(c.m.Documents, "%v", err)
		return
	}
	c.report.Documents = d.Len()
	cutoffs, err := cutoffsIn(d)
	if err != nil {
		c.report.problem(c.m.Documents, "%v", err)
	}
	c.expired = (*erasure.Set)(nil).Until(cutoffs)
}

// checkFile reads a segment to the last value. It returns nil if its ids cannot be read.
func (c *checker) checkFile(ctx context.Context, fm *fileMeta, h vfs.File) *segment.Reader {
	s := c.checkDirectory(fm, h)
	if s == nil {
		return nil
	}
	if err := c.checkBytes(ctx, s); err != nil && ctx.Err() == nil {
		c.report.problem(fm.Name, "%v", err)
		return nil
	}
	c.step(fm.Bytes)
	return s
}

// checkDirectory holds what a segment says of itself against the manifest. It returns nil if it cannot be read.
func (c *checker) checkDirectory(fm *fileMeta, h segmentBytes) *segment.Reader {
	r := c.report
	s, err := segment.Open(h, h.Size(), fm.Name, nil)
	if err != nil {
		r.problem(fm.Name, "%v", err)
		return nil
	}
	for i := range s.Sections() { // of erased events the ids are left
		if section := &s.Sections()[i]; !section.Erased() {
			r.Rows += int64(section.Rows())
		}
	}
	if s.Rows() != fm.Rows || s.Size() != fm.Bytes {
		r.problem(fm.Name, "it has %d rows in %d bytes, the manifest says %d in %d", s.Rows(), s.Size(), fm.Rows, fm.Bytes)
	}
	if meta := s.Meta(); meta.FirstIndex != fm.First || meta.LastIndex != fm.Last {
		r.problem(fm.Name, "it covers the log from %d to %d, the manifest says %d to %d", meta.FirstIndex, meta.LastIndex, fm.First, fm.Last)
	}
	if sections := s.Sections(); len(sections) > 0 && (sections[0].Day() != fm.MinDay || sections[len(sections)-1].Day() != fm.MaxDay) {
		r.problem(fm.Name, "its days are %d to %d, the manifest says %d to %d", sections[0].Day(), sections[len(sections)-1].Day(), fm.MinDay, fm.MaxDay)
	}
	if fm.Last > c.m.Applied {
		r.problem(fm.Name, "it has events up to log index %d, the manifest covers %d", fm.Last, c.m.Applied)
	}
	return s
}

// checkBytes reads all there is in a segment, and that its rows name ids that exist.
func (c *checker) checkBytes(ctx context.Context, s *segment.Reader) error {
	if c.identity != nil {
		if err := statehash.NewRows(c.identity, nil).Each(ctx, s, func(int32, uint64) {}); err != nil {
			return err
		}
	}
	_, err := s.Verify(ctx)
	return err
}

// maxIDsAtOnce bounds the memory of the search for ids that are there twice: 128 MiB.
const maxIDsAtOnce = 16 << 20

// checkUnique looks for ids that are there twice, and for ids that the filters deny.
func (c *checker) checkUnique(ctx context.Context, files []*segment.Reader) error {
	rows := 0
	for _, s := range files {
		rows += s.Rows()
	}
	passes := uint64(rows/maxIDsAtOnce + 1)
	hashes := make([]uint64, 0, min(rows, maxIDsAtOnce+maxIDsAtOnce/4))
	twice := map[uint64][]string{}
	for pass := range passes {
		hashes = hashes[:0]
		for _, s := range files {
			if err := ctx.Err(); err != nil {
				return err
			}
			missing := 0
			known := c.filters == nil || pass > 0 || s.Meta().LastIndex > c.covered
			err := eachKeptID(s, c.expired, func(id batch.ID, text []byte) error {
				hash := c.key.Hash(id, text)
				if hash>>32*passes>>32 == pass {
					hashes = append(hashes, hash)
				}
				if !known && !c.filters.Has(hash) {
					missing++
				}
				return nil
			})
			if err != nil {
				c.report.problem(s.Name(), "%v", err)
			}
			if missing > 0 && !c.forgets(c.filters.Forgot()) {
				c.report.problem(s.Name(), "the dedupe filters deny %d of its ids: resends of those events would be stored again; stop the store, remove dedupe-*.bloom and start it", missing)
			}
		}
		slices.Sort(hashes)
		for i := 1; i < len(hashes); i++ {
			if hashes[i] == hashes[i-1] && len(twice) < MaxProblems {
				twice[hashes[i]] = nil
			}
		}
	}
	if len(twice) == 0 {
		return nil
	}
	first := map[string]string{} // id -> file
	for _, s := range files {
		_ = eachKeptID(s, c.expired, func(id batch.ID, text []byte) error {
			if _, ok := twice[c.key.Hash(id, text)]; !ok {
				return nil
			}
			name := string(text)
			if text == nil {
				name = string(batch.AppendUUID(nil, id))
			}
			if other, ok := first[name]; ok {
				c.report.problem(s.Name(), "the event %q is also in %s", name, other)
			}
			first[name] = s.Name()
			return nil
		})
	}
	return nil
}

// forgets tells whether filters have forgotten, meanwhile, more than the manifest says.
func (c *checker) forgets(day int32) bool {
	return day > 0 && (c.expired == nil || c.expired.Cutoffs == nil || day > c.expired.Cutoffs.Dedupe)
}

// eachID calls f with every id of a segment; text is nil for a UUID.
func eachID(r *segment.Reader, f func(id batch.ID, text []byte) error) error {
	const step = 1 << 16
	for from := 0; from < r.Rows(); from += step {
		ids, err := r.IDs(from, min(from+step, r.Rows()))
		if err != nil {
			return err
		}
		for i, id := range ids.IDs {
			var text []byte
			if ids.Texts != nil {
				text = ids.Texts[i]
			}
			if err := f(id, text); err != nil {
				return err
			}
		}
	}
	return nil
}
