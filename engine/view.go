package engine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"
	"sync/atomic"

	"spoor/engine/document"
	"spoor/engine/erasure"
	"spoor/engine/event"
	"spoor/engine/identity"
	"spoor/engine/query/scan"
	"spoor/engine/statehash"
	"spoor/engine/traits"
	"spoor/segment"
)

// View is the store at one moment: every query reads one and sees one state. It
// holds files open until Release.
type View struct {
	// Segments are the files and the closed runs of the memtable, oldest arrival first.
	Segments []*segment.Reader
	// AppliedIndex is the log index that the view includes.
	AppliedIndex uint64
	// LastReceived is the latest receivedAt in the view, microseconds; 0 when it is empty.
	LastReceived int64
	// DataThrough is the latest event time in the view, microseconds; noEvents when it is empty.
	DataThrough int64

	Identity *Identity
	erased   erasedIn
	files    *version
	swaps    uint64 // see live
}

// Empty tells whether no event was ever stored.
func (v *View) Empty() bool { return v.DataThrough == noEvents }

// noEvents is before the time of every event.
const noEvents = math.MinInt64

// Meaning changes whenever stored rows come to mean something else without being
// written anew: when persons were merged or something was erased. What was computed of rows that are
// still there, under the same Meaning, is still true.
func (v *View) Meaning() string {
	m := fmt.Sprintf("%d %d", v.Identity.v.Merges, v.erased.set.Last())
	if v.swaps > 0 {
		m += fmt.Sprintf(" swap %d", v.swaps)
	}
	if s := v.erased.set; s != nil && s.Cutoffs != nil {
		m += fmt.Sprintf(" %d %v", s.Cutoffs.Default, s.Cutoffs.Events) // in the order of names
	}
	return m
}

// Identity is who is who in a view.
type Identity struct {
	x *identity.Map
	v *identity.View
	t *traits.Store
}

// Persons is the number of person ordinals.
func (i *Identity) Persons() int { return i.v.Persons }

// Person is the person that an ordinal in a segment is now.
func (i *Identity) Person(p uint32) uint32 { return i.v.Person(p) }

// Name is a person's userId, or its first anonymousId when it has none.
func (i *Identity) Name(p uint32) string {
	i.x.RLock()
	defer i.x.RUnlock()
	return i.x.Name(p)
}

// Identity is who is who now, for questions that need no events.
func (db *DB) Identity() *Identity { return db.live().persons() }

func (l *live) persons() *Identity { return &Identity{l.identity, l.identity.Snapshot(), l.traits} }

// memorySegment is a run of the memtable as a segment, made once.
type memorySegment struct {
	once sync.Once
	made atomic.Pointer[segment.Reader]
	err  error
}

func (r *run) segment(x *identity.Map) (*segment.Reader, error) {
	r.seg.once.Do(func() {
		s, err := inMemory(r.parts, x)
		r.seg.made.Store(s)
		r.seg.err = err
	})
	return r.seg.made.Load(), r.seg.err
}

// inMemory assembles parts as a segment that is never written to disk.
func inMemory(parts []*part, x *identity.Map) (*segment.Reader, error) {
	inputs := make([]input, 0, len(parts))
	for _, p := range parts {
		inputs = append(inputs, newBatchInput(p))
	}
	var b bytes.Buffer
	if _, _, err := assemble(&b, inputs, x, x.Snapshot(), segment.Meta{}); err != nil {
		return nil, err
	}
	return segment.Open(bytes.NewReader(b.Bytes()), int64(b.Len()), inMemoryName, nil)
}

const inMemoryName = "memtable"

// IsFile tells whether a segment of a view is a file: its name is that of no other,
// now or later. Segments of the memtable share one.
func IsFile(r *segment.Reader) bool { return r.Name() != inMemoryName }

// View takes a view of everything that was applied.
func (db *DB) View() (*View, error) {
	v := &View{}
	var runs []*run
	var last []uint64 // per run: log index that its memtable goes up to
	var open []*part
	var openRun *run
	var openLast uint64

	db.mem.RLock()
	l := db.live()
	v.AppliedIndex, v.swaps = db.applied.Load(), l.swaps
	v.LastReceived, v.DataThrough = db.lastReceived.Load(), db.maxTime.Load()
	v.files = db.files.acquire()
	for _, m := range append(db.mem.flushing[:len(db.mem.flushing):len(db.mem.flushing)], db.mem.active) {
		for i, r := range m.runs {
			if r.rows == 0 {
				continue
			}
			if m == db.mem.active && i == len(m.runs)-1 {
				openRun, open, openLast = r, r.parts[:len(r.parts):len(r.parts)], m.last
				continue
			}
			runs, last = append(runs, r), append(last, m.last)
		}
	}
	v.erased.set = l.erasures.Load()
	db.mem.RUnlock()

	if v.erased.set != nil {
		v.erased.files = map[*segment.Reader]erasure.File{}
	}
	add := func(r *segment.Reader, f erasure.File) {
		v.Segments = append(v.Segments, r)
		if v.erased.set != nil {
			v.erased.files[r] = f
		}
	}
	for _, f := range v.files.files {
		add(f.r, f.behind())
	}
	for i, r := range runs {
		s, err := r.segment(l.identity)
		if err != nil {
			v.Release()
			return nil, fmt.Errorf("read the memtable: %w", err)
		}
		db.hide(s, erasure.File{Last: last[i]}, 0)
		add(s, erasure.File{Last: last[i]})
	}
	if len(open) > 0 {
		s, err := db.tail(openRun, open, l.identity)
		if err != nil {
			v.Release()
			return nil, fmt.Errorf("read the memtable: %w", err)
		}
		db.hide(s, erasure.File{Last: openLast}, 0)
		add(s, erasure.File{Last: openLast})
	}
	// Taken last: it knows at least the persons of all rows above, and merges that
	// came since are part of the answer.
	v.Identity = l.persons()
	return v, nil
}

// tailCache keeps the segment of the open run as it was last seen.
type tailCache struct {
	sync.Mutex
	run   *run
	parts int
	r     *segment.Reader
}

func (db *DB) tail(r *run, parts []*part, x *identity.Map) (*segment.Reader, error) {
	db.tailSeen.Lock()
	defer db.tailSeen.Unlock()
	if db.tailSeen.run == r && db.tailSeen.parts == len(parts) {
		return db.tailSeen.r, nil
	}
	s, err := inMemory(parts, x)
	if err != nil {
		return nil, err
	}
	db.tailSeen.run, db.tailSeen.parts, db.tailSeen.r = r, len(parts), s
	return s, nil
}

// Release lets go of the view's files.
func (v *View) Release() { v.files.release() }

// UserText is the userId that a row of person refers to; nil for none.
func (i *Identity) UserText(person, ref uint32) []byte {
	i.x.RLock()
	defer i.x.RUnlock()
	return i.x.UserText(person, ref)
}

// AnonText is the anonymousId that a row of person refers to; nil for none.
func (i *Identity) AnonText(person, ref uint32) []byte {
	i.x.RLock()
	defer i.x.RUnlock()
	return i.x.AnonText(person, ref)
}

// Touched tells whether a section holds persons that were merged since it was written.
func (i *Identity) Touched(s *segment.Section) (bool, error) {
	if s.Reader().Meta().IdentityIndex >= i.v.Merges || s.Erased() {
		return false, nil // nobody was merged since
	}
	p, err := s.Persons()
	if err != nil {
		return false, err
	}
	return p.Intersects(i.v.Merged), nil
}

// Find is the person that a userId, or else an anonymousId, stands for.
func (i *Identity) Find(id string) (person uint32, ok bool) { return i.x.Find(id) }

// Trait is what everybody has at a path of user traits, per person as written in
// segments. It is as of the call: calls and merges that came since the view are part of it.
func (i *Identity) Trait(path string) *traits.Column {
	i.x.RLock()
	defer i.x.RUnlock()
	return i.t.Column(path, i.v.Persons, i.x.Canon())
}

// Traits are those of one person, ascending by path.
func (i *Identity) Traits(person uint32) []event.Leaf {
	i.x.RLock()
	defer i.x.RUnlock()
	return i.t.Person(i.x.Canon()[person])
}

// TraitPaths lists the paths that somebody has.
func (i *Identity) TraitPaths() []string { return i.t.Paths() }

// IDs are the userId of a person, nil for none, and its anonymousIds, oldest link first, at most limit.
func (i *Identity) IDs(person uint32, limit int) (userID []byte, anonymousIDs [][]byte) {
	i.x.RLock()
	defer i.x.RUnlock()
	return i.x.IDs(person, limit)
}

// Ordinals are all that the rows of a person may have been written with, ascending.
func (i *Identity) Ordinals(person uint32) []uint32 {
	i.x.RLock()
	defer i.x.RUnlock()
	return i.x.Ordinals(i.x.Canon()[person])
}

// Document returns a document that was committed through the log.
func (db *DB) Document(kind, name string) (document.Document, bool) {
	return db.live().docs.Get(kind, name)
}

// Documents lists the documents of a kind by name.
func (db *DB) Documents(kind string) []document.Document { return db.live().docs.List(kind) }

// erasedIn is what a query leaves out of the segments of a view.
type erasedIn struct {
	set   *erasure.Set
	files map[*segment.Reader]erasure.File
}

// Mask says what a query leaves out of a section of the view. It must be asked
// about every section whose rows count.
func (v *View) Mask(s *segment.Section) (erasure.Mask, error) {
	return v.erased.set.Mask(s, v.erased.files[s.Reader()])
}

// Whole tells whether nothing was ever erased.
func (v *View) Whole() bool { return v.erased.set == nil }

// Gone tells whether all rows of a section are erased; Mask says so too, and takes longer.
func (v *View) Gone(s *segment.Section) bool {
	return v.erased.set.GoneAsAWhole(s, v.erased.files[s.Reader()])
}

// HasPath tells whether an event of a segment of the view may have a value at a path.
func (v *View) HasPath(r *segment.Reader, path string) bool {
	return r.HasPath(path) && !v.erased.set.Lost(path, v.erased.files[r])
}

// Left are the rows of a section that are not erased, nil for all of them; n is how many.
func (v *View) Left(s *segment.Section) (rows scan.Bits, n int, err error) {
	m, err := v.Mask(s)
	if err != nil || m.All {
		return nil, 0, err
	}
	if m.Where == nil {
		return nil, s.Rows(), nil
	}
	rows, err = scan.NewWorker(scan.Persons{}, v.Identity).Rows(m.Where, s)
	return rows, rows.Count(), err
}

// Erasures is the log index of the last erasure that the view knows, 0 for none.
func (v *View) Erasures() uint64 { return v.erased.set.Last() }

// Expired tells whether the events of a name on a day are older than the retention allows.
func (v *View) Expired(name string, day int32) bool { return v.erased.set.Expired(name, day) }

// StateHash reads every event. Replicas whose AppliedIndex is equal have equal Days; the other
// hashes are as of the end of the call: compare them while nothing is applied.
func (db *DB) StateHash(ctx context.Context) (*statehash.State, error) {
	v, err := db.View()
	if err != nil {
		return nil, err
	}
	defer v.Release()
	out := &statehash.State{AppliedIndex: v.AppliedIndex}
	return out, v.hash(ctx, db.live(), out)
}

// hash fills in everything but the index.
func (v *View) hash(ctx context.Context, l *live, out *statehash.State) (err error) {
	if out.Days, err = statehash.NewRows(v.Identity.x, v.Left).SumDays(ctx, v.Segments); err != nil {
		return err
	}
	for _, d := range out.Days {
		out.Rows += d.Rows
	}
	l.hash(out)
	return nil
}

// hash fills in what the rest of the state sums up to.
func (l *live) hash(out *statehash.State) {
	out.Identity, out.Traits = statehash.Persons(l.identity), statehash.Traits(l.traits)
	out.Documents, out.Letters = statehash.Documents(l.docs), statehash.Letters(l.letters)
}

// HashEntry asks every replica for the hash of its state as it is at the entry's place in the log.
func HashEntry() []byte { return []byte{entryHash} }

// HashPoint is the state at a HashEntry. It holds files open until Release.
type HashPoint struct {
	db   *DB
	view *View
	live *live
	set  *erasure.Set
	sum  statehash.State
}

// hashAt takes what the state is at an entry: the events as a view, for Sum to read; the rest,
// which is in memory and changes in place, is summed at once.
func (db *DB) hashAt(index uint64) error {
	// What was read from files may know of entries behind this one.
	if db.opts.OnHash == nil || index <= db.through {
		return nil
	}
	v, err := db.View()
	if err != nil {
		return err
	}
	p := &HashPoint{db: db, view: v, live: db.live(), set: v.erased.set, sum: statehash.State{AppliedIndex: index}}
	p.live.hash(&p.sum)
	db.opts.OnHash(p)
	return nil
}

// Index is the log index of the entry.
func (p *HashPoint) Index() uint64 { return p.sum.AppliedIndex }

// ErrDisturbed is answered by Sum when something was erased, or another state came, after the
// entry and before all was read: texts of what was erased are gone, on this replica sooner than on others.
var ErrDisturbed = errors.New("the state was erased from while it was hashed")

// Sum reads every event that was there at the entry. rest is called now and then, to let
// others have the processor.
func (p *HashPoint) Sum(ctx context.Context, rest func()) (*statehash.State, error) {
	rows := statehash.NewRows(p.view.Identity.x, p.view.Left)
	rows.Rest = rest
	segments, err := p.view.pastCache()
	if err != nil {
		return nil, err
	}
	far, err := p.view.sumCold(ctx, rows)
	if err != nil {
		return nil, err
	}
	days, err := rows.SumDays(ctx, segments)
	days = statehash.AddDays(days, far)
	if p.db.live() != p.live || p.live.erasures.Load() != p.set {
		return nil, ErrDisturbed
	}
	if err != nil {
		return nil, err
	}
	out := p.sum
	out.Days = days
	for _, d := range days {
		out.Rows += d.Rows
	}
	return &out, nil
}

// pastCache are the segments of the view, of which those in files are read from the disk: damage
// there must be seen, and what is read once is no use to queries. Cold ones are left out.
func (v *View) pastCache() (segments []*segment.Reader, err error) {
	for _, f := range v.files.files { // they come first
		if f.isCold() {
			continue
		}
		r, err := segment.Open(f.f, f.meta.Bytes, f.meta.Name, nil)
		if err != nil {
			return nil, err
		}
		if v.erased.set != nil {
			hideErased(v.erased.set, r, f.behind(), 0)
			v.erased.files[r] = f.behind()
		}
		segments = append(segments, r)
	}
	return append(segments, v.Segments[len(v.files.files):]...), nil
}

// Release lets go of the files.
func (p *HashPoint) Release() { p.view.Release() }

// coldSums are what the rows of a file sum up to, as long as no erasure comes and nothing in it expires.
type coldSums struct {
	erasures uint64
	days     []statehash.Day
}

// sumFile sums the rows of a file that is about to become cold.
func (db *DB) sumFile(ctx context.Context, f *file) (*coldSums, error) {
	v, err := db.View()
	if err != nil {
		return nil, err
	}
	defer v.Release()
	if !slices.Contains(v.files.files, f) {
		return nil, nil // it was written anew: swap will tell
	}
	return v.sumFile(ctx, statehash.NewRows(v.Identity.x, v.Left), f)
}

func (v *View) sumFile(ctx context.Context, rows *statehash.Rows, f *file) (*coldSums, error) {
	days, err := rows.SumDays(ctx, []*segment.Reader{f.r})
	if err != nil {
		return nil, err
	}
	return &coldSums{v.erased.set.Last(), days}, nil
}

// sumCold sums the rows of cold files. It remembers: the store is read again only when something was erased.
func (v *View) sumCold(ctx context.Context, rows *statehash.Rows) (days []statehash.Day, err error) {
	for _, f := range v.files.files {
		if !f.isCold() {
			continue
		}
		sums := f.sums.Load()
		expires, _ := f.expired(v.erased.set)
		if sums == nil || sums.erasures != v.erased.set.Last() || expires {
			if sums, err = v.sumFile(ctx, rows, f); err != nil {
				return nil, err
			}
			if !expires {
				f.sums.Store(sums)
			}
		}
		days = statehash.AddDays(days, sums.days)
	}
	return days, nil
}
