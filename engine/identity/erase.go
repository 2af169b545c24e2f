package identity

import (
	"crypto/sha256"
	"fmt"
	"slices"

	"github.com/RoaringBitmap/roaring/v2"
)

// To erase a person is to retire its ordinals: rows are known by the ordinal they
// were written with, so every row that was there is gone with it, and what comes
// later gets another. No row needs a time or a mark, and the answer is the same
// whether its bytes still exist or not.

// Mode is what is erased of a person.
type Mode uint8

// The modes are written to disk; their numbers never change.
const (
	// Person erases rows, ids and traits; events that come later are refused until Allow.
	Person Mode = 1
	// Events erases the rows. The person, its ids and its traits stay.
	Events Mode = 2
	// Ids erases the ids and traits. The rows stay, of a person without a name.
	Ids Mode = 3
)

// hashBytes is the length of the hash that stands for a refused id: at 128 bits
// no two ids of one store meet, so that replicas with other secrets decide alike.
const hashBytes = 16

// refused is the hash of an id that is refused, under the store's secret: the
// list of erased persons must not be a list of their ids.
type refused = [hashBytes]byte

// erased is what a Map knows of erased persons.
type erased struct {
	secret   []byte
	gone     *roaring.Bitmap // persons whose rows are erased
	nameless *roaring.Bitmap // persons whose ids are erased, and those above
	refused  map[refused]struct{}
	foreign  []list // refused under the secrets of other stores, see refused.go
	count    uint64 // of erasures
}

func newErased(secret []byte) erased {
	return erased{secret: slices.Clone(secret), gone: roaring.New(), nameless: roaring.New(), refused: map[refused]struct{}{}}
}

func anonymisedName(person uint32) string { return fmt.Sprintf("anonymised-%d", person) }

func (e *erased) hash(kind byte, id []byte) refused { return hashOf(e.secret, kind, id) }

func hashOf(secret []byte, kind byte, id []byte) (h refused) {
	d := sha256.New()
	d.Write(secret)
	d.Write([]byte{kind})
	d.Write(id)
	copy(h[:], d.Sum(nil))
	return h
}

// Erasure is what Erase did.
type Erasure struct {
	// Known is false where nobody had the id.
	Known bool
	// Person is the person, Persons all ordinals that its rows may have been written
	// with. Next is the person's new ordinal in mode Events.
	Person, Next uint32
	Persons      []uint32
	// User and Anons are its ids; IDs is how many.
	User  []byte
	Anons [][]byte
	IDs   int
}

// Erase erases what mode says of the person that a userId, or else an anonymousId,
// stands for. The caller holds the lock.
func (x *Map) Erase(id []byte, mode Mode) Erasure {
	person, known := x.find(id)
	var hashes []refused
	if mode == Person {
		hashes = x.hashesOf(id, person, known)
	}
	x.appendErase(mode, person, known, hashes)
	return x.erase(mode, person, known, hashes)
}

// hashesOf are the ids that are refused from now on. Of nobody's id it is not known
// which kind it is.
func (x *Map) hashesOf(id []byte, person uint32, known bool) []refused {
	if !known {
		return []refused{x.hash('u', id), x.hash('a', id)}
	}
	var hashes []refused
	user, anons := x.IDs(person, len(x.chain))
	if user != nil {
		hashes = append(hashes, x.hash('u', user))
	}
	for _, a := range anons {
		hashes = append(hashes, x.hash('a', a))
	}
	return hashes
}

// erase does what Erase decided, now or when it is read back.
func (x *Map) erase(mode Mode, person uint32, known bool, hashes []refused) Erasure {
	x.count++
	for _, h := range hashes {
		x.refused[h] = struct{}{}
	}
	if !known {
		return Erasure{}
	}
	out := Erasure{Known: true, Person: person, Persons: x.Ordinals(person)}
	user := x.personUser[person]
	var anons []uint32
	for e := x.personHead[person]; e != 0; e = x.chain[e-1].next {
		a := x.chain[e-1].anon
		anons = append(anons, a)
		out.Anons = append(out.Anons, x.anons.Text(a))
	}
	out.IDs = len(anons)
	if user != 0 {
		out.IDs++
		out.User = x.users.Text(user - 1)
	}
	if mode != Ids {
		x.gone.AddMany(out.Persons)
	}
	x.nameless.AddMany(out.Persons)
	x.personUser[person], x.personHead[person], x.personTail[person] = 0, 0, 0
	if mode == Events {
		out.Next = x.newPerson(user)
		if user != 0 {
			x.userPerson[user-1] = out.Next
		}
		for _, a := range anons {
			x.anonPerson[a] = out.Next
			x.join(out.Next, a)
		}
		return out
	}
	if user != 0 {
		x.users.Forget(user - 1)
	}
	for _, a := range anons {
		x.anons.Forget(a)
	}
	return out
}

// Ordinals are all that the rows of a person may have been written with, ascending:
// its own and those of persons that it absorbed. The caller holds the lock.
func (x *Map) Ordinals(person uint32) []uint32 {
	out := []uint32{person}
	for e := x.personHead[person]; e != 0; e = x.chain[e-1].next {
		if p := x.anonPerson[x.chain[e-1].anon]; p != person && x.canon[p] == person {
			out = append(out, p)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// Refused tells whether an event with these ids, either of which may be nil, is of
// an erased person: the userId decides where there is one. The caller holds the lock.
func (x *Map) Refused(userID, anonID []byte) bool {
	if !x.RefusesAny() {
		return false
	}
	kind, id := byte('u'), userID
	if userID == nil {
		kind, id = 'a', anonID
	}
	if _, ok := x.refused[x.hash(kind, id)]; ok {
		return true
	}
	for i := range x.foreign {
		if x.foreign[i].has(kind, id) {
			return true
		}
	}
	return false
}

// RefusesAny tells whether any id is refused. The caller holds the lock.
func (x *Map) RefusesAny() bool { return len(x.refused) > 0 || len(x.foreign) > 0 }

// Allow takes an id back from those that are refused, as a userId and as an
// anonymousId, and tells whether it was one of them. The caller holds the lock.
func (x *Map) Allow(id []byte) bool {
	found := x.allowForeign(id)
	hashes := []refused{x.hash('u', id), x.hash('a', id)}
	hashes = slices.DeleteFunc(hashes, func(h refused) bool { _, ok := x.refused[h]; return !ok })
	if len(hashes) == 0 {
		return found
	}
	x.appendAllow(hashes)
	x.allow(hashes)
	return true
}

func (x *Map) allow(hashes []refused) {
	for _, h := range hashes {
		delete(x.refused, h)
	}
}

// RefusedCount is how many ids are refused. The caller holds the lock.
func (x *Map) RefusedCount() int {
	n := len(x.refused)
	for i := range x.foreign {
		n += len(x.foreign[i].hashes)
	}
	return n
}
