package engine

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"path"
	"sync"

	"github.com/RoaringBitmap/roaring/v2"

	"spoor/engine/traits"
	"spoor/index"
	"spoor/internal/vfs"
)

// identity says who is who: it gives each person a dense ordinal, in the order
// of the log, and remembers which anonymousId belongs to which user.
//
// A person begins with the first event of a userId or of an anonymousId that
// is linked to nobody. A user who first appears together with an unlinked
// anonymousId takes over its person, so a login rewrites nothing. A user who
// had a person before absorbs the anonymous one: that leaves a merge, which
// queries apply to rows that were written before it and compaction erases. The
// first link of an anonymousId stands for ever; two users are never merged.
//
// Apply alone changes it; readers hold mu or use a view.
type identity struct {
	mu sync.RWMutex

	users      *index.Directory // userId -> user ordinal
	anons      *index.Directory // anonymousId -> anon ordinal
	userPerson []uint32         // per user: person
	anonPerson []uint32         // per anon: the person of its events, before merges
	anonUser   []uint32         // per anon: 1 + linked user, 0 for none

	personUser []uint32 // per person: 1 + user, 0 for none
	personHead []uint32 // per person: 1 + its first entry of chain, 0 for none
	personTail []uint32
	chain      []chainEntry // the anonymousIds of persons, in the order they joined

	canon  []uint32        // per person: the person it is now
	merged *roaring.Bitmap // persons that were absorbed
	merges uint64          // counts merges, so that views know whether theirs is current

	onMerge func(from, to uint32) // told of every merge, under mu; nil: nobody

	pending []byte // operations since the last checkpoint, see appendOp
	view    *identityView
}

type chainEntry struct {
	anon uint32
	next uint32 // 1 + entry, 0 for the end
}

func newIdentity() *identity {
	return &identity{users: index.NewDirectory(), anons: index.NewDirectory(), merged: roaring.New()}
}

// identityView is an immutable copy of the merges.
type identityView struct {
	persons int
	merges  uint64
	canon   []uint32
	merged  *roaring.Bitmap
}

// observe resolves an event's ids; either may be nil, not both. It returns the
// person and the ordinals of the ids. The caller holds mu.
func (x *identity) observe(userID, anonID []byte) (person, user, anon uint32) {
	before := len(x.pending)
	changed := false
	if anonID != nil {
		var added bool
		if anon, added = x.anons.GetOrAdd(anonID); added {
			x.anonPerson = append(x.anonPerson, noPerson)
			x.anonUser = append(x.anonUser, 0)
			changed = true
		}
	}
	if userID == nil {
		if x.anonPerson[anon] == noPerson {
			x.anonPerson[anon] = x.newPerson(0)
			x.join(x.anonPerson[anon], anon)
		}
		person = x.canon[x.anonPerson[anon]]
		if changed {
			x.appendOp(nil, anonID)
		}
		return person, 0, anon
	}
	user, added := x.users.GetOrAdd(userID)
	switch {
	case !added:
	case anonID != nil && x.anonUser[anon] == 0 && x.anonPerson[anon] != noPerson:
		// The user takes over the person of the anonymousId.
		p := x.canon[x.anonPerson[anon]]
		x.userPerson = append(x.userPerson, p)
		x.personUser[p] = user + 1
		changed = true
	default:
		x.userPerson = append(x.userPerson, x.newPerson(user+1))
		changed = true
	}
	person = x.canon[x.userPerson[user]]
	if anonID != nil && x.anonUser[anon] == 0 {
		x.link(anon, user, person)
		changed = true
	}
	if anonID != nil && x.anonPerson[anon] == noPerson { // linked to another user before its first event
		x.anonPerson[anon] = person
	}
	if changed {
		x.pending = x.pending[:before]
		x.appendOp(userID, anonID)
	}
	return person, user, anon
}

const noPerson = ^uint32(0)

func (x *identity) newPerson(user uint32) uint32 {
	p := uint32(len(x.canon))
	x.canon = append(x.canon, p)
	x.personUser = append(x.personUser, user)
	x.personHead = append(x.personHead, 0)
	x.personTail = append(x.personTail, 0)
	return p
}

// link binds an anonymousId to the user whose person is given.
func (x *identity) link(anon, user, person uint32) {
	x.anonUser[anon] = user + 1
	old := x.anonPerson[anon]
	if old == noPerson {
		x.anonPerson[anon] = person
		x.join(person, anon)
		return
	}
	if old = x.canon[old]; old != person {
		x.merge(old, person)
	}
}

// merge makes the events of person from those of person to. from was begun by
// one unlinked anonymousId, so it absorbed nobody before; to has a user, so it is
// never absorbed itself: one step leads from any person to the one it is now.
func (x *identity) merge(from, to uint32) {
	if x.personUser[from] != 0 || x.canon[to] != to {
		panic(fmt.Sprintf("identity: merge person %d with user %d into %d, which is %d", from, x.personUser[from], to, x.canon[to]))
	}
	x.canon[from] = to
	x.merged.Add(from)
	for e := x.personHead[from]; e != 0; e = x.chain[e-1].next {
		x.join(to, x.chain[e-1].anon)
	}
	x.merges++
	if x.onMerge != nil {
		x.onMerge(from, to)
	}
}

// join adds anon to the end of the person's chain.
func (x *identity) join(person, anon uint32) {
	x.chain = append(x.chain, chainEntry{anon: anon})
	e := uint32(len(x.chain))
	if x.personHead[person] == 0 {
		x.personHead[person] = e
	} else {
		x.chain[x.personTail[person]-1].next = e
	}
	x.personTail[person] = e
}

// References of a row to its ids, as segments store them: small numbers that
// are alike for most rows of a person.
//
// A userId: 0 none, 1 the person's user, else 2 + user ordinal.
// An anonymousId: 0 none, 1+2k the k-th of the person's chain, 2+2a anon ordinal a.
const maxChainRef = 32

// userRef and anonRef make references for rows of a person; the caller holds mu.
func (x *identity) userRef(person, user uint32) uint32 {
	if x.personUser[person] == user+1 {
		return 1
	}
	return user + 2
}

func (x *identity) anonRef(person, anon uint32) uint32 {
	e := x.personHead[person]
	for k := uint32(0); k < maxChainRef && e != 0; k++ {
		if x.chain[e-1].anon == anon {
			return 1 + 2*k
		}
		e = x.chain[e-1].next
	}
	return 2 + 2*anon
}

// user and anon resolve references of a row of person, as it was written.
func (x *identity) user(person, ref uint32) (user uint32, ok bool) {
	switch ref {
	case 0:
		return 0, false
	case 1:
		return x.personUser[person] - 1, true
	}
	return ref - 2, true
}

func (x *identity) anon(person, ref uint32) (anon uint32, ok bool) {
	if ref == 0 {
		return 0, false
	}
	if ref&1 == 0 {
		return ref/2 - 1, true
	}
	e := x.personHead[person]
	for k := ref / 2; k > 0 && e != 0; k-- {
		e = x.chain[e-1].next
	}
	if e == 0 {
		return 0, false
	}
	return x.chain[e-1].anon, true
}

// name is the person's userId if it has one, else its first anonymousId.
func (x *identity) name(person uint32) string {
	if int(person) >= len(x.canon) {
		return ""
	}
	person = x.canon[person]
	if u := x.personUser[person]; u != 0 {
		return string(x.users.Text(u - 1))
	}
	if e := x.personHead[person]; e != 0 {
		return string(x.anons.Text(x.chain[e-1].anon))
	}
	return ""
}

// find returns the person that a userId, or else an anonymousId, stands for.
func (x *identity) find(id string) (person uint32, ok bool) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	if u, ok := x.users.Get([]byte(id)); ok {
		return x.canon[x.userPerson[u]], true
	}
	a, ok := x.anons.Get([]byte(id))
	if !ok || x.anonPerson[a] == noPerson {
		return 0, false
	}
	if u := x.anonUser[a]; u != 0 {
		return x.canon[x.userPerson[u-1]], true
	}
	return x.canon[x.anonPerson[a]], true
}

// snapshot returns the merges as of now; the copy is made once per change.
func (x *identity) snapshot() *identityView {
	x.mu.Lock()
	defer x.mu.Unlock()
	if v := x.view; v != nil && v.merges == x.merges && v.persons == len(x.canon) {
		return v
	}
	v := &identityView{persons: len(x.canon), merges: x.merges}
	if prev := x.view; prev != nil && prev.merges == x.merges {
		v.canon, v.merged = prev.canon, prev.merged // newer persons are themselves
	} else {
		v.canon, v.merged = append([]uint32(nil), x.canon...), x.merged.Clone()
	}
	x.view = v
	return v
}

// Person is the person that p is now.
func (v *identityView) Person(p uint32) uint32 {
	if int(p) < len(v.canon) {
		return v.canon[p]
	}
	return p
}

// Operations are kept as the ids that caused them, because replaying them in
// order gives the same state. One is
//
//	| uvarint 1+len(userId), or 0 | userId | uvarint 1+len(anonymousId), or 0 | anonymousId |
func (x *identity) appendOp(userID, anonID []byte) {
	for _, id := range [2][]byte{userID, anonID} {
		if id == nil {
			x.pending = append(x.pending, 0)
			continue
		}
		x.pending = binary.AppendUvarint(x.pending, uint64(len(id))+1)
		x.pending = append(x.pending, id...)
	}
}

// replay applies operations that were kept by an earlier run.
func (x *identity) replay(ops []byte) error {
	for len(ops) > 0 {
		var ids [2][]byte
		for i := range ids {
			n, used := binary.Uvarint(ops)
			if used <= 0 || n > uint64(len(ops)-used)+1 {
				return fmt.Errorf("identity operations: %d bytes remain, %d claimed", len(ops), n)
			}
			ops = ops[used:]
			if n > 0 {
				ids[i] = ops[: n-1 : n-1]
				ops = ops[n-1:]
			}
		}
		if ids[0] == nil && ids[1] == nil {
			return fmt.Errorf("identity operations: one without ids")
		}
		x.observe(ids[0], ids[1])
	}
	x.pending = x.pending[:0]
	return nil
}

// The identity file is a list of frames, one per checkpoint that had news:
//
//	| length u32 | CRC32C of the operations u32 | operations, see identity.appendOp |
//
// The manifest says how many of its bytes count; what a crash left behind them
// is cut off before the next frame is appended.
const frameHead = 8

// saveIdentity appends the operations since the last checkpoint. The caller holds manifestMu.
func (db *DB) saveIdentity(ops []byte) (err error) {
	x := db.identity
	if len(ops) == 0 {
		return nil
	}
	defer func() {
		if err != nil { // they wait for the next try
			x.mu.Lock()
			x.pending = append(ops, x.pending...)
			x.mu.Unlock()
		}
	}()
	if db.identityFile == "" {
		name := fmt.Sprintf("%08d.identity", db.nextFile.Add(1)-1)
		if err := db.writeWhole(name, nil); err != nil {
			return fmt.Errorf("write identity: %w", err)
		}
		db.identityFile, db.identityBytes = name, 0
	}
	frame := binary.LittleEndian.AppendUint32(nil, uint32(len(ops)))
	frame = binary.LittleEndian.AppendUint32(frame, crc32.Checksum(ops, castagnoli))
	frame = append(frame, ops...)
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

// takePending returns what the files of identity and traits miss, both as of one moment.
func (db *DB) takePending() (ops []byte, change *traits.Change) {
	x := db.identity
	x.mu.Lock()
	defer x.mu.Unlock()
	ops, x.pending = x.pending, nil
	return ops, db.traits.Take()
}

// saveTraits writes what changed of the traits, and returns the file that this
// replaces, "" for none. The caller holds manifestMu.
func (db *DB) saveTraits(change *traits.Change) (old string, err error) {
	if change == nil {
		return "", nil
	}
	f, err := change.Write(db.fs, db.dir, db.traitsFile, func() string {
		return fmt.Sprintf("%08d%s", db.nextFile.Add(1)-1, traits.Suffix)
	})
	if err != nil {
		db.traits.Back(change)
		return "", err
	}
	if db.traitsFile.Name != f.Name {
		old = db.traitsFile.Name
	}
	db.traitsFile = f
	return old, nil
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

// loadIdentity reads the operations that the manifest counts into x.
func loadIdentity(fsys vfs.FS, dir string, m *manifest, x *identity) error {
	if m.IdentityFile == "" {
		return nil
	}
	b, err := vfs.ReadFile(fsys, path.Join(dir, m.IdentityFile))
	if err != nil {
		return fmt.Errorf("read identity: %w", err)
	}
	if int64(len(b)) < m.IdentityBytes {
		return fmt.Errorf("read identity: %s has %d bytes, the manifest counts %d", m.IdentityFile, len(b), m.IdentityBytes)
	}
	b = b[:m.IdentityBytes]
	for len(b) > 0 {
		if len(b) < frameHead {
			return fmt.Errorf("read identity: %d bytes remain", len(b))
		}
		n := int(binary.LittleEndian.Uint32(b))
		if n > len(b)-frameHead || crc32.Checksum(b[frameHead:frameHead+n], castagnoli) != binary.LittleEndian.Uint32(b[4:]) {
			return fmt.Errorf("read identity: %s: checksum of a frame of %d bytes", m.IdentityFile, n)
		}
		if err := x.replay(b[frameHead : frameHead+n]); err != nil {
			return err
		}
		b = b[frameHead+n:]
	}
	return nil
}

// writeWhole writes a new file durably.
func (db *DB) writeWhole(name string, b []byte) error {
	return vfs.WriteFileAtomic(db.fs, db.pathOf(name), b)
}
