package engine

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"path"
	"slices"
	"sync"
	"sync/atomic"

	"spoor/engine/letters"
	"spoor/internal/vfs"
	"spoor/segment/batch"
)

// documents are small things that are committed through the log and kept whole
// in memory: saved queries, cohorts, settings. A document is found by kind and name.
type documents struct {
	mu   sync.RWMutex
	docs map[docKey]Document
	// last is the log index of the last change. Files may be ahead of the index that
	// the manifest covers: what is replayed up to last is in docs already.
	last    uint64
	changed atomic.Uint64 // last, for readers without the lock; set after docs
}

const (
	documentsMagic   = "SPOORDOC"
	documentsVersion = 1
)

// documentsFile is the JSON of a file of documents, which stands in a frame.
type documentsFile struct {
	Last      uint64     `json:"last"`
	Documents []Document `json:"documents"`
}

type docKey struct{ kind, name string }

// Document is a small value under a kind and a name.
type Document struct {
	Kind  string `json:"kind"`
	Name  string `json:"name"`
	Value []byte `json:"value"`
	// Index is the log index that stored it; it tells versions apart.
	Index uint64 `json:"index"`
}

// Limits of documents; proposals beyond them are refused before the log.
const (
	MaxDocumentBytes     = 256 << 10
	MaxDocumentNameBytes = 256
	MaxDocuments         = 100_000
)

// DocumentsIndex is the log index of the last change of any document.
func (db *DB) DocumentsIndex() uint64 { return db.docs.changed.Load() }

func newDocuments() *documents { return &documents{docs: map[docKey]Document{}} }

func (d *documents) put(doc Document) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if doc.Index <= d.last {
		return
	}
	d.last = doc.Index
	k := docKey{doc.Kind, doc.Name}
	if _, ok := d.docs[k]; !ok && len(d.docs) >= MaxDocuments {
		return // as the proposer was told: every replica decides alike
	}
	d.docs[k] = doc
	d.changed.Store(d.last)
}

func (d *documents) remove(kind, name string, index uint64) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if index <= d.last {
		return true // it was removed before the store was opened again
	}
	d.last = index
	_, ok := d.docs[docKey{kind, name}]
	delete(d.docs, docKey{kind, name})
	d.changed.Store(d.last)
	return ok
}

func (d *documents) get(kind, name string) (Document, bool) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	doc, ok := d.docs[docKey{kind, name}]
	return doc, ok
}

// list returns the documents of a kind by name.
func (d *documents) list(kind string) []Document {
	d.mu.RLock()
	defer d.mu.RUnlock()
	var out []Document
	for k, doc := range d.docs {
		if k.kind == kind {
			out = append(out, doc)
		}
	}
	slices.SortFunc(out, func(a, b Document) int { return cmp.Compare(a.Name, b.Name) })
	return out
}

// marshal writes all documents in a fixed order.
func (d *documents) marshal() ([]byte, error) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	all := slices.SortedFunc(maps.Values(d.docs), func(a, b Document) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Name, b.Name))
	})
	body, err := json.Marshal(documentsFile{d.last, all})
	return frame(documentsMagic, documentsVersion, body), err
}

func (d *documents) unmarshal(b []byte) error {
	body, err := unframe(b, documentsMagic, documentsVersion)
	if err != nil {
		return fmt.Errorf("documents: %w", err)
	}
	var file documentsFile
	if err := json.Unmarshal(body, &file); err != nil {
		return fmt.Errorf("documents: %w", err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.last = file.Last
	for _, doc := range file.Documents {
		d.docs[docKey{doc.Kind, doc.Name}] = doc
	}
	d.changed.Store(d.last)
	return nil
}

// LettersEntry is the log entry that stores dead letters, each as letters.Append has it.
func LettersEntry(b letters.Bounds, encoded []byte) []byte {
	return append(letters.AppendBounds([]byte{entryLetters}, b), encoded...)
}

// UnletterEntry is the log entry that removes dead letters and expires others.
func UnletterEntry(b letters.Bounds, ids []string) []byte {
	entry := letters.AppendBounds([]byte{entryUnletter}, b)
	for _, id := range ids {
		entry = letters.AppendText(entry, id)
	}
	return entry
}

// Letters are the dead letters; they change by log entries alone.
func (db *DB) Letters() *letters.Store { return db.letters }

// maxWaitingLetters is how many bytes of letters wait for a checkpoint, which else comes with the events.
const maxWaitingLetters = 32 << 20

// applyLetters stores or removes dead letters. It answers how many.
func (db *DB) applyLetters(index uint64, kind byte, body []byte) (any, error) {
	change := db.letters.Put
	if kind == entryUnletter {
		change = db.letters.Remove
	}
	n, err := change(index, body)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrEntry, err)
	}
	if db.letters.Waiting() >= maxWaitingLetters {
		db.mem.Lock()
		if len(db.mem.flushing) == 0 { // else one is on its way
			db.rotate()
		}
		db.mem.Unlock()
	}
	return n, nil
}

// saveLetters writes the letters that the file misses, and returns the file that
// this replaces, "" for none. The caller holds manifestMu.
func (db *DB) saveLetters() (old string, err error) {
	f, err := db.letters.Save(db.fs, db.dir, db.lettersFile, func() string {
		return fmt.Sprintf("%08d%s", db.nextFile.Add(1)-1, letters.Suffix)
	})
	if err != nil {
		return "", err
	}
	if db.lettersFile.Name != f.Name {
		old = db.lettersFile.Name
	}
	db.lettersFile = f
	return old, nil
}

// loadLetters reads the letters that a manifest counts.
func loadLetters(fsys vfs.FS, dir string, m *manifest) (*letters.Store, error) {
	if m.Letters.Name == "" {
		return letters.New(), nil
	}
	b, err := readPrefix(fsys, path.Join(dir, m.Letters.Name), m.Letters.Bytes)
	if err != nil {
		return nil, fmt.Errorf("read dead letters: %w", err)
	}
	s, err := letters.Load(b)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", m.Letters.Name, err)
	}
	return s, nil
}

// Consent is what the person of an event said of a purpose; known is false where
// nothing was said. It finds the person as Apply will.
func (db *DB) Consent(userID, anonymousID []byte, path string) (granted, known bool) {
	person := db.identity.personOf(userID, anonymousID)
	if person == noPerson {
		return false, false
	}
	l, known := db.traits.Value(person, path)
	return l.Bool, known && l.Kind == batch.KindBool
}

// personOf is whom the next event with these ids would belong to, noPerson for a new one.
func (x *identity) personOf(userID, anonymousID []byte) uint32 {
	x.mu.RLock()
	defer x.mu.RUnlock()
	if len(userID) > 0 {
		if user, ok := x.users.Get(userID); ok {
			return x.canon[x.userPerson[user]]
		}
	}
	anon, ok := x.anons.Get(anonymousID)
	switch {
	case len(anonymousID) == 0 || !ok:
		return noPerson
	case x.anonUser[anon] != 0 && len(userID) > 0: // another user's device
		return noPerson
	case x.anonUser[anon] != 0:
		return x.canon[x.userPerson[x.anonUser[anon]-1]]
	case x.anonPerson[anon] == noPerson:
		return noPerson
	}
	return x.canon[x.anonPerson[anon]]
}
