// Package traits keeps what identify calls say of persons: the latest value of
// every trait of everybody, which queries read as user.x.
//
// On the way of an event it stands beside package identity: an identify entry
// of the log first resolves its ids to a person, then sets traits of that person,
// and when two persons become one, their traits join. What counts as latest is
// decided by the time of the call and then by its place in the log, so calls may
// arrive in any order, and on either side of a merge.
//
// A call sets each of its traits whole, as if the person were one JSON object and
// the call assigned members of it: an object replaces the object, array or text
// that was there, traits that a call does not name stay, and null is a value.
// Objects spread into paths with dots, exactly like properties of events.
package traits

import (
	"fmt"
	"strings"
	"sync"

	"spoor/engine/event"
	"spoor/index"
)

// Bounds of the store. A trait that would go beyond is left out, the others of its
// call are set; who came first in the log keeps what he has. They are decided by
// what is stored alone, never by how: every replica decides alike.
const (
	MaxPerPerson      = 1000      // values of one person; joined persons may have more
	MaxBytesPerPerson = 128 << 10 // of their texts
	MaxValueBytes     = 16 << 10  // of one text
	MaxPaths          = 2000      // paths in use

	// A value counts its text and cellBytes, which is at most what the file takes for
	// the rest of it: so a frame's length fits 32 bits.
	maxBytes  int64 = 4 << 30
	cellBytes       = 48
)

// Store is the traits of all persons. Apply alone changes it, one call at a
// time; reading is safe beside that. A person is an ordinal of package identity,
// and is nobody whom another absorbed: Join saw to that.
type Store struct {
	mu      sync.RWMutex
	columns []*column          // by number, which the file uses too
	byPath  map[string]*column // the same
	names   map[string][]*column
	values  *index.Directory // kind and payload of every value, see appendValue
	stamps  []stamp
	persons []held
	paths   int   // columns in use
	bytes   int64 // of all persons, with cellBytes for each value
	last    uint64

	journal
}

// held is what a person has, for the bounds.
type held struct{ values, bytes uint32 }

// stamp orders calls: by their own time, then by their place in the log.
type stamp struct {
	time int64 // microseconds since the Unix epoch
	seq  uint64
}

func (a stamp) before(b stamp) bool { return a.time < b.time || a.time == b.time && a.seq < b.seq }

// maxCallBits bounds the calls of one log entry, so that a seq tells them apart.
const maxCallBits = 12

// MaxCalls is how many calls one log entry may have.
const MaxCalls = 1 << maxCallBits

// New makes an empty store.
func New() *Store {
	s := &Store{}
	s.clear()
	return s
}

// clear forgets everything but the place in the log.
func (s *Store) clear() {
	s.columns, s.byPath, s.names = nil, map[string]*column{}, map[string][]*column{}
	s.values, s.stamps, s.persons = index.NewDirectory(), nil, nil
	s.paths, s.bytes = 0, 0
}

// At names the log entry that is applied next and tells whether it is new: files
// may be ahead of the log index that a manifest covers, and what they have must
// not be decided again.
func (s *Store) At(index uint64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if index <= s.last {
		return false
	}
	s.last, s.dirty = index, true
	return true
}

// Set applies call number call of the log entry that At named: a person's traits
// as of a time in microseconds. It returns the names that the bounds left out. Leaves
// have paths below the person (plan, address.city) and stand as in JSON: those of
// one object together, no path twice.
func (s *Store) Set(person uint32, time int64, call int, leaves []event.Leaf) (leftOut []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := stamp{time, s.last<<maxCallBits | uint64(call)}
	taken := make([]event.Leaf, 0, len(leaves))
	for len(leaves) > 0 {
		name := nameOf(leaves[0].Path)
		n := 1
		for n < len(leaves) && nameOf(leaves[n].Path) == name {
			n++
		}
		trait := leaves[:n]
		leaves = leaves[n:]
		switch current, ok := s.stampOf(person, name); {
		case ok && st.before(current) && name != Consent: // a later call came before this one
		case name != Consent && !s.fits(person, name, trait):
			leftOut = append(leftOut, name)
		default:
			s.assign(person, name, trait, s.newStamp(st))
			taken = append(taken, trait...)
		}
	}
	if len(taken) > 0 {
		s.logSet(person, st, taken)
	}
	return leftOut
}

// nameOf is the first part of a path, escaped as it stands there: the trait itself.
func nameOf(path string) string {
	for i := 0; i < len(path); i++ {
		switch path[i] {
		case '\\':
			i++
		case '.':
			return path[:i]
		}
	}
	return path
}

// stampOf is when a person's trait was said.
func (s *Store) stampOf(person uint32, name string) (st stamp, ok bool) {
	for _, c := range s.names[name] {
		if x := c.get(person); x.value != 0 {
			return s.stamps[x.stamp], true
		}
	}
	return stamp{}, false
}

// fits tells whether the bounds leave room for a trait in place of the one there is.
func (s *Store) fits(person uint32, name string, trait []event.Leaf) bool {
	var have held
	if int(person) < len(s.persons) {
		have = s.persons[person]
	}
	for _, c := range s.names[name] {
		if x := c.get(person); x.value != 0 {
			have.values--
			have.bytes -= uint32(s.size(x))
		}
	}
	fresh, bytes := 0, 0
	for i := range trait {
		size := valueSize(&trait[i])
		if size > MaxValueBytes {
			return false
		}
		bytes += size
		if c := s.byPath[trait[i].Path]; c == nil || c.live == 0 {
			fresh++
		}
	}
	return int(have.values)+len(trait) <= MaxPerPerson && int(have.bytes)+bytes <= MaxBytesPerPerson &&
		s.paths+fresh <= MaxPaths && s.bytes+int64(bytes)+cellBytes*int64(len(trait)) <= maxBytes
}

func (s *Store) size(x cell) int { return len(s.values.Text(x.value-1)) - 1 }

// assign replaces a person's trait.
func (s *Store) assign(person uint32, name string, trait []event.Leaf, ref uint32) {
	for _, c := range s.names[name] {
		s.remove(c, person)
	}
	for i := range trait {
		value, _ := s.values.GetOrAdd(appendValue(nil, &trait[i]))
		s.put(s.column(trait[i].Path), person, cell{value + 1, ref})
	}
}

func (s *Store) newStamp(st stamp) uint32 {
	if n := len(s.stamps); n > 0 && s.stamps[n-1] == st {
		return uint32(n - 1)
	}
	s.stamps = append(s.stamps, st)
	return uint32(len(s.stamps) - 1)
}

// column finds or makes the column of a path.
func (s *Store) column(path string) *column {
	c := s.byPath[path]
	if c == nil {
		c = &column{path: path, number: uint32(len(s.columns)), few: map[uint32]cell{}}
		s.columns = append(s.columns, c)
		s.byPath[path] = c
		name := nameOf(path)
		s.names[name] = append(s.names[name], c)
	}
	return c
}

// put stores a value where there is none.
func (s *Store) put(c *column, person uint32, x cell) {
	if c.live == 0 {
		s.paths++
	}
	c.set(person, x)
	for int(person) >= len(s.persons) {
		s.persons = append(s.persons, held{})
	}
	size := s.size(x)
	s.persons[person].values++
	s.persons[person].bytes += uint32(size)
	s.bytes += int64(size) + cellBytes
}

// remove takes a value away if there is one.
func (s *Store) remove(c *column, person uint32) {
	x := c.get(person)
	if x.value == 0 {
		return
	}
	c.set(person, cell{})
	if c.live == 0 {
		s.paths--
	}
	size := s.size(x)
	s.persons[person].values--
	s.persons[person].bytes -= uint32(size)
	s.bytes -= int64(size) + cellBytes
}

// Join gives the traits of a person to the one that absorbs it. Of a trait that
// both have the later call stands.
func (s *Store) Join(from, to uint32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.join(from, to) {
		s.logJoin(from, to)
	}
}

func (s *Store) join(from, to uint32) bool {
	if !s.has(from) {
		return false
	}
	if from == to {
		panic(fmt.Sprintf("traits: join person %d with itself", from))
	}
	for name, columns := range s.names { // names are independent of each other: their order means nothing
		theirs, ok := s.stampOf(from, name)
		if !ok {
			continue
		}
		own, both := s.stampOf(to, name)
		wins := !both || own.before(theirs)
		for _, c := range columns {
			x := c.get(from)
			s.remove(c, from)
			if wins {
				s.remove(c, to)
				if x.value != 0 {
					s.put(c, to, x)
				}
			}
		}
	}
	return true
}

func (s *Store) has(person uint32) bool {
	return int(person) < len(s.persons) && s.persons[person].values > 0
}

// Erase forgets a person's traits. The next checkpoint writes the file anew, so
// that neither it nor memory keeps a copy of what only this person had.
func (s *Store) Erase(person uint32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.has(person) {
		return
	}
	for _, c := range s.columns {
		s.remove(c, person)
	}
	s.rewrite, s.dirty = true, true
}

// Path is the path of a trait as a Leaf has it, of a column path of the query
// language, which begins with "user.".
func Path(column string) string { return strings.TrimPrefix(column, "user.") }
