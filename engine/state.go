package engine

import (
	"fmt"
	"path"

	"spoor/engine/erasure"
	"spoor/engine/identity"
	"spoor/engine/letters"
	"spoor/engine/traits"
	"spoor/internal/vfs"
	"spoor/segment/batch"
)

// What the log says of persons is in two files: who is who, and their traits. A
// checkpoint appends what is new. Both may be ahead of the log index that the
// manifest covers, for entries that are applied again find what they did already
// there and change nothing.
//
// An erasure is the exception: an entry before it, applied again after it, would
// find an id of the erased person free or refused. So no manifest is written that
// covers less of the log than the last erasure, see flushTables and commitCovered.

// takePersons returns what the files of persons miss, both as of one moment.
func (db *DB) takePersons() (ops []byte, change *traits.Change) {
	x := db.live().identity
	x.Lock()
	defer x.Unlock()
	return x.Take(), db.live().traits.Take()
}

// savePersons writes what is new of persons and returns the file that this replaces, "" for
// none. What cannot be written waits for the next try. The caller holds manifestMu.
func (db *DB) savePersons() (old string, err error) {
	ops, change := db.takePersons()
	if err := db.saveIdentity(ops); err != nil {
		x := db.live().identity
		x.Lock()
		x.Back(ops)
		x.Unlock()
		db.live().traits.Back(change)
		return "", err
	}
	if change == nil {
		return "", nil
	}
	f, err := change.Write(db.fs, db.dir, db.traitsFile, func() string { return db.newStateName(traits.Suffix) })
	if err != nil {
		db.live().traits.Back(change)
		return "", err
	}
	if db.traitsFile.Name != f.Name {
		old = db.traitsFile.Name
	}
	db.traitsFile = f
	return old, nil
}

// newName names a new file.
func (db *DB) newName(suffix string) string {
	return fmt.Sprintf("%08d%s", db.nextFile.Add(1)-1, suffix)
}

// newStateName names a new file for a manifest that is being written. Until one names
// it, nobody knows of it but strays. The caller holds manifestMu.
func (db *DB) newStateName(suffix string) string {
	name := db.newName(suffix)
	db.strays = append(db.strays, name)
	return name
}

const identitySuffix = ".identity"

// saveIdentity appends operations to the identity file. The caller holds manifestMu.
func (db *DB) saveIdentity(ops []byte) error {
	if len(ops) == 0 {
		return nil
	}
	if db.identityFile == "" {
		name := db.newStateName(identitySuffix)
		head := identity.Head()
		if err := db.writeWhole(name, head); err != nil {
			return fmt.Errorf("write identity: %w", err)
		}
		db.identityFile, db.identityBytes = name, int64(len(head))
	}
	frame := identity.Frame(ops)
	f, err := db.fs.OpenReadWrite(db.pathOf(db.identityFile))
	if err != nil {
		return fmt.Errorf("write identity: %w", err)
	}
	_, err = f.WriteAt(frame, db.identityBytes)
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return fmt.Errorf("write identity: %w", err)
	}
	db.identityBytes += int64(len(frame))
	return nil
}

// rewriteIdentity writes the identity file anew without ids that were erased, and
// returns the file that this replaces. The caller holds manifestMu.
func (db *DB) rewriteIdentity() (old string, err error) {
	if db.identityFile == "" {
		return "", nil
	}
	b, err := readPrefix(db.fs, db.pathOf(db.identityFile), db.identityBytes)
	if err == nil {
		b, err = identity.Rewrite(b)
	}
	name := db.newStateName(identitySuffix)
	if err == nil {
		err = db.writeWhole(name, b)
	}
	if err != nil {
		return "", fmt.Errorf("rewrite identity: %w", err)
	}
	old, db.identityFile, db.identityBytes = db.identityFile, name, int64(len(b))
	return old, nil
}

// loadIdentity reads the operations that the manifest counts.
func loadIdentity(fsys vfs.FS, dir string, m *manifest) (*identity.Map, error) {
	x := identity.New(m.DedupeKey)
	if m.IdentityFile == "" {
		return x, nil
	}
	b, err := readPrefix(fsys, path.Join(dir, m.IdentityFile), m.IdentityBytes)
	if err != nil {
		return nil, fmt.Errorf("read identity: %w", err)
	}
	if err := x.Load(b); err != nil {
		return nil, fmt.Errorf("%s: %w", m.IdentityFile, err)
	}
	return x, nil
}

// loadTraits reads the traits that a manifest counts; persons is how many identity knows.
func loadTraits(fsys vfs.FS, dir string, m *manifest, persons int) (*traits.Store, error) {
	if m.Traits.Name == "" {
		return traits.New(), nil
	}
	b, err := readPrefix(fsys, path.Join(dir, m.Traits.Name), m.Traits.Bytes)
	if err != nil {
		return nil, fmt.Errorf("read traits: %w", err)
	}
	t, err := traits.Load(b, persons)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", m.Traits.Name, err)
	}
	return t, nil
}

// writeWhole writes a new file durably.
func (db *DB) writeWhole(name string, b []byte) error {
	return vfs.WriteFileAtomic(db.fs, db.pathOf(name), b)
}

// saveDocuments writes the documents to a new file when they changed, and
// returns the file that this replaces, "" for none. The caller holds manifestMu.
func (db *DB) saveDocuments() (old string, err error) {
	if !db.docsDirty.Swap(false) && db.docsFile != "" {
		return "", nil
	}
	b, err := db.live().docs.Marshal()
	name := db.newStateName(docsSuffix)
	if err == nil {
		err = db.writeWhole(name, b)
	}
	if err != nil {
		db.docsDirty.Store(true)
		return "", fmt.Errorf("write documents: %w", err)
	}
	old, db.docsFile = db.docsFile, name
	return old, nil
}

// DocumentsIndex is the log index of the last change of any document.
func (db *DB) DocumentsIndex() uint64 { return db.live().docs.Changed() }

// IdentifyEntry links ids and sets traits, call by call.
func IdentifyEntry(calls ...traits.Call) []byte {
	b := []byte{entryIdentifies}
	for i := range calls {
		b = traits.AppendCall(b, &calls[i])
	}
	return b
}

// IdentifyResult is what Apply answers for one identify call.
type IdentifyResult struct {
	// Linked is false where the anonymousId belongs to another user: the first link stands.
	Linked bool
	// LeftOut names the traits that the bounds left out.
	LeftOut []string
	// Refused: the ids are of a person who was erased. Nothing was done.
	Refused bool
}

// maxWaitingTraits is how many bytes of traits wait for a checkpoint, which else
// comes with the events: a flood of calls with few events brings one about.
const maxWaitingTraits = 32 << 20

// applyIdentify links the ids of calls and sets their traits.
func (db *DB) applyIdentify(index uint64, calls []traits.Call) []IdentifyResult {
	x := db.live().identity
	x.Lock()
	defer x.Unlock()
	fresh := db.live().traits.At(index)
	out := make([]IdentifyResult, len(calls))
	for i := range calls {
		c := &calls[i]
		if x.Refused(c.UserID, c.AnonymousID) {
			out[i].Refused = true
			continue
		}
		person, user, anon := x.Observe(c.UserID, c.AnonymousID)
		out[i].Linked = c.UserID == nil || c.AnonymousID == nil || x.Linked(anon, user)
		if fresh && len(c.Traits) > 0 {
			out[i].LeftOut = db.live().traits.Set(person, c.Time, i, c.Traits)
		}
	}
	return out
}

// RefuseEntry is the log entry that refuses ids which another store refused.
func RefuseEntry(r *identity.Refusals) []byte {
	return identity.AppendRefusals([]byte{entryRefuse}, r)
}

// applyRefuse answers an error where there are lists of too many stores; nothing is done then.
func (db *DB) applyRefuse(body []byte) (any, error) {
	r, _, err := identity.ReadRefusals(body)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrEntry, err)
	}
	x := db.live().identity
	x.Lock()
	defer x.Unlock()
	if err := x.Refuse(r); err != nil {
		return err, nil
	}
	return true, nil
}

// Refusals are all ids that are refused, as hashes.
func (db *DB) Refusals() []identity.Refusals {
	x := db.live().identity
	x.RLock()
	defer x.RUnlock()
	return x.Refusals()
}

// RefusedCount is how many ids are refused.
func (db *DB) RefusedCount() int {
	x := db.live().identity
	x.RLock()
	defer x.RUnlock()
	return x.RefusedCount()
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
func (db *DB) Letters() *letters.Store { return db.live().letters }

// maxWaitingLetters is how many bytes of letters wait for a checkpoint, which else comes with the events.
const maxWaitingLetters = 32 << 20

// applyLetters stores or removes dead letters. It answers how many.
func (db *DB) applyLetters(index uint64, kind byte, body []byte) (any, error) {
	change := db.live().letters.Put
	if kind == entryUnletter {
		change = db.live().letters.Remove
	}
	n, err := change(index, body)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrEntry, err)
	}
	if x := db.live().identity; kind == entryLetters {
		x.RLock()
		if x.RefusesAny() {
			var refused int
			refused, err = db.live().letters.Erase(index, index, func(l *letters.Letter) bool {
				user, anon := erasure.IDs(l.Event)
				return (user != nil || anon != nil) && x.Refused(user, anon)
			})
			n -= refused
		}
		x.RUnlock()
		if err != nil {
			return nil, err
		}
	}
	if db.live().letters.Waiting() >= maxWaitingLetters {
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
	f, err := db.live().letters.Save(db.fs, db.dir, db.lettersFile, func() string { return db.newStateName(letters.Suffix) })
	if err != nil {
		return "", err
	}
	if db.lettersFile.Name != f.Name {
		old = db.lettersFile.Name
	}
	db.lettersFile = f
	return old, nil
}

// loadLetters opens the letters that a manifest counts.
func loadLetters(fsys vfs.FS, dir string, m *manifest) (*letters.Store, error) {
	if m.Letters.Name == "" {
		return letters.New(), nil
	}
	return letters.Load(fsys, dir, m.Letters)
}

// Consent is what the person of an event said of a purpose; known is false where
// nothing was said. It finds the person as Apply will.
func (db *DB) Consent(userID, anonymousID []byte, path string) (granted, known bool) {
	now := db.live()
	person, ok := now.identity.Next(userID, anonymousID)
	if !ok {
		return false, false
	}
	l, known := now.traits.Value(person, path)
	return l.Bool, known && l.Kind == batch.KindBool
}
