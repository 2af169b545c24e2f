// Package identity says who is who: it gives each person a dense ordinal, in the
// order of the log, and remembers which anonymousId belongs to which user.
//
// On the way of an event it stands between dedupe and the memtable: Apply asks it
// for the person of each row. A person begins with the first event of a userId or of
// an anonymousId that is linked to nobody. A user who first appears together with
// an unlinked anonymousId takes over its person, so a login rewrites nothing. A user
// who had a person before absorbs the anonymous one: that leaves a merge, which
// queries apply to rows that were written before it and compaction erases. The
// first link of an anonymousId stands for ever; two users are never merged.
//
// A person that is erased leaves its ordinal behind, see erase.go.
package identity

import (
	"fmt"
	"sync"

	"github.com/RoaringBitmap/roaring/v2"

	"spoor/index"
)

// Map is who is who. Apply alone changes it. Methods whose comment says so want
// the lock held; the others take it.
type Map struct {
	sync.RWMutex

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

	erased

	onMerge func(from, to uint32) // told of every merge, under the lock; nil: nobody

	pending []byte // operations since the last checkpoint, see ops.go
	view    *View
}

type chainEntry struct {
	anon uint32
	next uint32 // 1 + entry, 0 for the end
}

// New makes an empty map. The secret keys the hashes of refused ids; it is the store's own.
func New(secret []byte) *Map {
	return &Map{users: index.NewDirectory(), anons: index.NewDirectory(), merged: roaring.New(), erased: newErased(secret)}
}

// OnMerge sets what is told of every merge, under the lock.
func (x *Map) OnMerge(f func(from, to uint32)) { x.onMerge = f }

// Observe resolves an event's ids; either may be nil, not both. It returns the
// person and the ordinals of the ids. The caller holds the lock.
func (x *Map) Observe(userID, anonID []byte) (person, user, anon uint32) {
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

func (x *Map) newPerson(user uint32) uint32 {
	p := uint32(len(x.canon))
	x.canon = append(x.canon, p)
	x.personUser = append(x.personUser, user)
	x.personHead = append(x.personHead, 0)
	x.personTail = append(x.personTail, 0)
	return p
}

// link binds an anonymousId to the user whose person is given.
func (x *Map) link(anon, user, person uint32) {
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
func (x *Map) merge(from, to uint32) {
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
func (x *Map) join(person, anon uint32) {
	x.chain = append(x.chain, chainEntry{anon: anon})
	e := uint32(len(x.chain))
	if x.personHead[person] == 0 {
		x.personHead[person] = e
	} else {
		x.chain[x.personTail[person]-1].next = e
	}
	x.personTail[person] = e
}

// Linked tells whether an anonymousId belongs to a user. The caller holds the lock.
func (x *Map) Linked(anon, user uint32) bool { return x.anonUser[anon] == user+1 }

// Canon is, per person as written, the person it is now. The caller holds the lock as long as it reads.
func (x *Map) Canon() []uint32 { return x.canon }

// Merges counts the merges so far.
func (x *Map) Merges() uint64 {
	x.RLock()
	defer x.RUnlock()
	return x.merges
}

// Name is the person's userId if it has one, else its first anonymousId. The caller holds the lock.
func (x *Map) Name(person uint32) string {
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
	if x.nameless.Contains(person) {
		return anonymisedName(person)
	}
	return ""
}

// Find returns the person that a userId, or else an anonymousId, stands for.
func (x *Map) Find(id string) (person uint32, ok bool) {
	x.RLock()
	defer x.RUnlock()
	return x.find([]byte(id))
}

func (x *Map) find(id []byte) (person uint32, ok bool) {
	if u, ok := x.users.Get(id); ok {
		return x.canon[x.userPerson[u]], true
	}
	a, ok := x.anons.Get(id)
	if !ok || x.anonPerson[a] == noPerson {
		return 0, false
	}
	if u := x.anonUser[a]; u != 0 {
		return x.canon[x.userPerson[u-1]], true
	}
	return x.canon[x.anonPerson[a]], true
}

// Next is whom the next event with these ids, either of which may be nil, would belong to; ok is false for a new person.
func (x *Map) Next(userID, anonymousID []byte) (person uint32, ok bool) {
	x.RLock()
	defer x.RUnlock()
	if len(userID) > 0 {
		if user, ok := x.users.Get(userID); ok {
			return x.canon[x.userPerson[user]], true
		}
	}
	anon, ok := x.anons.Get(anonymousID)
	switch {
	case len(anonymousID) == 0 || !ok:
		return 0, false
	case x.anonUser[anon] != 0 && len(userID) > 0: // another user's device
		return 0, false
	case x.anonUser[anon] != 0:
		return x.canon[x.userPerson[x.anonUser[anon]-1]], true
	case x.anonPerson[anon] == noPerson:
		return 0, false
	}
	return x.canon[x.anonPerson[anon]], true
}

// IDs are the userId of a person, nil for none, and its anonymousIds, oldest link first, at most limit.
// The caller holds the lock.
func (x *Map) IDs(person uint32, limit int) (userID []byte, anonymousIDs [][]byte) {
	person = x.canon[person]
	if u := x.personUser[person]; u != 0 {
		userID = x.users.Text(u - 1)
	}
	for e := x.personHead[person]; e != 0 && len(anonymousIDs) < limit; e = x.chain[e-1].next {
		anonymousIDs = append(anonymousIDs, x.anons.Text(x.chain[e-1].anon))
	}
	return userID, anonymousIDs
}

// Each calls f with every id ('u' for a userId, 'a' for an anonymousId) and the
// name of the person that it stands for. The caller holds the lock.
func (x *Map) Each(f func(kind byte, id []byte, name string)) {
	add := func(kind byte, id []byte, person uint32) {
		if person != noPerson && len(id) > 0 {
			f(kind, id, x.Name(person))
		}
	}
	for u, p := range x.userPerson {
		add('u', x.users.Text(uint32(u)), p)
	}
	for a, p := range x.anonPerson {
		if u := x.anonUser[a]; u != 0 {
			p = x.userPerson[u-1]
		}
		add('a', x.anons.Text(uint32(a)), p)
	}
}

// View is an immutable copy of what queries ask about rows: merges and erased persons.
type View struct {
	// Persons is the number of ordinals.
	Persons int
	// Merges and Erasures count what came before the view; what was computed under other counts may be wrong now.
	Merges, Erasures uint64
	// Merged are the persons that were absorbed, Gone those whose rows are erased; nil when nobody is.
	Merged, Gone *index.Persons

	canon []uint32
}

// Snapshot returns who is who as of now; the copy is made once per change.
func (x *Map) Snapshot() *View {
	x.Lock()
	defer x.Unlock()
	prev := x.view
	if prev != nil && prev.Merges == x.merges && prev.Erasures == x.count && prev.Persons == len(x.canon) {
		return prev
	}
	v := &View{Persons: len(x.canon), Merges: x.merges, Erasures: x.count}
	if prev != nil && prev.Merges == x.merges {
		v.canon, v.Merged = prev.canon, prev.Merged // newer persons are themselves
	} else {
		v.canon, v.Merged = append([]uint32(nil), x.canon...), index.PersonsOf(x.merged)
	}
	switch {
	case prev != nil && prev.Erasures == x.count:
		v.Gone = prev.Gone
	case !x.gone.IsEmpty():
		v.Gone = index.PersonsOf(x.gone)
	}
	x.view = v
	return v
}

// Person is the person that p is now.
func (v *View) Person(p uint32) uint32 {
	if int(p) < len(v.canon) {
		return v.canon[p]
	}
	return p
}
