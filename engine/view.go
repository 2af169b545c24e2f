package engine

import (
	"bytes"
	"fmt"
	"math"
	"sync"

	"spoor/engine/event"
	"spoor/engine/traits"
	"spoor/index"
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
	files    *version
}

// Empty tells whether no event was ever stored.
func (v *View) Empty() bool { return v.DataThrough == noEvents }

// noEvents is before the time of every event.
const noEvents = math.MinInt64

// Meaning changes whenever stored rows come to mean something else without being
// written anew: when persons were merged. What was computed of rows that are still there,
// under the same Meaning, is still true.
func (v *View) Meaning() uint64 { return v.Identity.v.merges }

// Identity is who is who in a view.
type Identity struct {
	x *identity
	v *identityView
	t *traits.Store
}

// Persons is the number of person ordinals.
func (i *Identity) Persons() int { return i.v.persons }

// Person is the person that an ordinal in a segment is now.
func (i *Identity) Person(p uint32) uint32 { return i.v.Person(p) }

// Name is a person's userId, or its first anonymousId when it has none.
func (i *Identity) Name(p uint32) string {
	i.x.mu.RLock()
	defer i.x.mu.RUnlock()
	return i.x.name(p)
}

// Identity is who is who now, for questions that need no events.
func (db *DB) Identity() *Identity { return &Identity{db.identity, db.identity.snapshot(), db.traits} }

// memorySegment is a run of the memtable as a segment, made once.
type memorySegment struct {
	once sync.Once
	r    *segment.Reader
	err  error
}

func (r *run) segment(x *identity) (*segment.Reader, error) {
	r.seg.once.Do(func() { r.seg.r, r.seg.err = inMemory(r.parts, x) })
	return r.seg.r, r.seg.err
}

// inMemory assembles parts as a segment that is never written to disk.
func inMemory(parts []*part, x *identity) (*segment.Reader, error) {
	inputs := make([]input, 0, len(parts))
	for _, p := range parts {
		inputs = append(inputs, newBatchInput(p))
	}
	var b bytes.Buffer
	if _, err := assemble(&b, inputs, x, segment.Meta{}); err != nil {
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
	var open []*part
	var openRun *run

	db.mem.RLock()
	v.AppliedIndex = db.applied.Load()
	v.LastReceived, v.DataThrough = db.lastReceived.Load(), db.maxTime.Load()
	v.files = db.files.acquire()
	for _, m := range append(db.mem.flushing[:len(db.mem.flushing):len(db.mem.flushing)], db.mem.active) {
		for i, r := range m.runs {
			if r.rows == 0 {
				continue
			}
			if m == db.mem.active && i == len(m.runs)-1 {
				openRun, open = r, r.parts[:len(r.parts):len(r.parts)]
				continue
			}
			runs = append(runs, r)
		}
	}
	db.mem.RUnlock()

	for _, f := range v.files.files {
		v.Segments = append(v.Segments, f.r)
	}
	for _, r := range runs {
		s, err := r.segment(db.identity)
		if err != nil {
			v.Release()
			return nil, fmt.Errorf("read the memtable: %w", err)
		}
		v.Segments = append(v.Segments, s)
	}
	if len(open) > 0 {
		s, err := db.tail(openRun, open)
		if err != nil {
			v.Release()
			return nil, fmt.Errorf("read the memtable: %w", err)
		}
		v.Segments = append(v.Segments, s)
	}
	// Taken last: it knows at least the persons of all rows above, and merges that
	// came since are part of the answer.
	v.Identity = db.Identity()
	return v, nil
}

// tailCache keeps the segment of the open run as it was last seen.
type tailCache struct {
	sync.Mutex
	run   *run
	parts int
	r     *segment.Reader
}

func (db *DB) tail(r *run, parts []*part) (*segment.Reader, error) {
	db.tailSeen.Lock()
	defer db.tailSeen.Unlock()
	if db.tailSeen.run == r && db.tailSeen.parts == len(parts) {
		return db.tailSeen.r, nil
	}
	s, err := inMemory(parts, db.identity)
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
	i.x.mu.RLock()
	defer i.x.mu.RUnlock()
	u, ok := i.x.user(person, ref)
	if !ok {
		return nil
	}
	return i.x.users.Text(u)
}

// AnonText is the anonymousId that a row of person refers to; nil for none.
func (i *Identity) AnonText(person, ref uint32) []byte {
	i.x.mu.RLock()
	defer i.x.mu.RUnlock()
	a, ok := i.x.anon(person, ref)
	if !ok {
		return nil
	}
	return i.x.anons.Text(a)
}

// Touched tells whether a section holds persons that were merged since it was written.
func (i *Identity) Touched(s *segment.Section) (bool, error) {
	if s.Reader().Meta().IdentityIndex >= i.v.merges {
		return false, nil // nobody was merged since
	}
	p, err := s.Persons()
	if err != nil {
		return false, err
	}
	return p.Intersects(index.PersonsOf(i.v.merged)), nil
}

// Find is the person that a userId, or else an anonymousId, stands for.
func (i *Identity) Find(id string) (person uint32, ok bool) { return i.x.find(id) }

// Trait is what everybody has at a path of user traits, per person as written in
// segments. It is as of the call: calls and merges that came since the view are part of it.
func (i *Identity) Trait(path string) *traits.Column {
	i.x.mu.RLock()
	defer i.x.mu.RUnlock()
	return i.t.Column(path, i.v.persons, i.x.canon)
}

// Traits are those of one person, ascending by path.
func (i *Identity) Traits(person uint32) []event.Leaf {
	i.x.mu.RLock()
	defer i.x.mu.RUnlock()
	return i.t.Person(i.x.canon[person])
}

// TraitPaths lists the paths that somebody has.
func (i *Identity) TraitPaths() []string { return i.t.Paths() }

// IDs are the userId of a person, nil for none, and its anonymousIds, oldest link first, at most limit.
func (i *Identity) IDs(person uint32, limit int) (userID []byte, anonymousIDs [][]byte) {
	i.x.mu.RLock()
	defer i.x.mu.RUnlock()
	person = i.x.canon[person]
	if u := i.x.personUser[person]; u != 0 {
		userID = i.x.users.Text(u - 1)
	}
	for e := i.x.personHead[person]; e != 0 && len(anonymousIDs) < limit; e = i.x.chain[e-1].next {
		anonymousIDs = append(anonymousIDs, i.x.anons.Text(i.x.chain[e-1].anon))
	}
	return userID, anonymousIDs
}

// Document returns a document that was committed through the log.
func (db *DB) Document(kind, name string) (Document, bool) { return db.docs.get(kind, name) }

// Documents lists the documents of a kind by name.
func (db *DB) Documents(kind string) []Document { return db.docs.list(kind) }

// DocumentsIndex is the log index of the last change of any document: what was
// made of documents is good while it stands.
func (db *DB) DocumentsIndex() uint64 { return db.docs.changed() }
