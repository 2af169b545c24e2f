// Package letters keeps the events that were refused by a schema or a policy:
// the dead letters. They wait until they are sent again, purged, or expire.
//
// Letters come and go by entries of the log and by nothing else, so every
// replica holds the same ones. They are whole in memory, within the bound that
// each entry carries, and in a file of their own: each checkpoint appends the
// entries that came since (file.go).
package letters

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"spoor/segment/encoding"
)

// Letter is an event that was refused. It must not be changed.
type Letter struct {
	ID       string // the eventId; there is one letter of it at most
	Name     string // the eventName
	Source   string // of the key that sent it; empty for none
	Reason   string // a code
	Message  string // for persons
	Path     string // of the value at fault; empty for none
	Version  int    // of the schema that refused it; 0 for none
	Received int64  // microseconds since the Unix epoch
	Event    []byte // JSON, after redaction, with its eventId and timestamp
	Index    uint64 // log index that stored it
}

// size is what a letter takes of the bound.
func (l *Letter) size() int64 {
	const rest = 200 // of the struct, the map and the queue
	return int64(rest + len(l.ID) + len(l.Name) + len(l.Source) + len(l.Reason) + len(l.Message) + len(l.Path) + len(l.Event))
}

// Bounds say which letters stay. They come with every entry, so that all
// replicas expire alike.
type Bounds struct {
	Bytes  int64 // of all letters together; the oldest go first
	Oldest int64 // letters that were received before go; microseconds since the Unix epoch
}

// MaxBytes bounds Bounds.Bytes, for letters are held in memory.
const MaxBytes = 1 << 30

// ErrEntry is wrapped when an entry cannot be read.
var ErrEntry = errors.New("letters cannot be read")

// AppendBounds begins the body of an entry:
//
//	| uvarint bytes | varint oldest |
//
// To it are appended letters, for an entry that stores them, or texts of ids,
// for one that removes them.
func AppendBounds(dst []byte, b Bounds) []byte {
	return binary.AppendVarint(binary.AppendUvarint(dst, uint64(b.Bytes)), b.Oldest)
}

// Append appends a letter without its index:
//
//	| text id | name | source | reason | message | path | uvarint version | varint received | text event |
//
// A text is a uvarint length and its bytes.
func Append(dst []byte, l *Letter) []byte {
	for _, t := range []string{l.ID, l.Name, l.Source, l.Reason, l.Message, l.Path} {
		dst = AppendText(dst, t)
	}
	dst = binary.AppendVarint(binary.AppendUvarint(dst, uint64(l.Version)), l.Received)
	return AppendText(dst, l.Event)
}

// AppendText appends a text: an id that is to be removed.
func AppendText[T string | []byte](dst []byte, t T) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(t))), t...)
}

// reader reads an entry. After an error it reads zeros.
type reader struct {
	*encoding.Lane
	nameless bool // a letter had no id
}

func newReader(b []byte) *reader { return &reader{Lane: encoding.NewLane(b)} }

func (r *reader) more() bool { return len(r.Rest()) > 0 }

// error says what was wrong first: behind a cut there is no letter.
func (r *reader) error() error {
	switch {
	case r.nameless:
		return fmt.Errorf("%w: a letter has no id", ErrEntry)
	case r.Err() != nil:
		return fmt.Errorf("%w: an entry is cut off", ErrEntry)
	}
	return nil
}

func (r *reader) text() []byte { return r.Bytes(r.Count(len(r.Rest()))) }

func (r *reader) letter() *Letter {
	l := &Letter{}
	for _, t := range []*string{&l.ID, &l.Name, &l.Source, &l.Reason, &l.Message, &l.Path} {
		*t = string(r.text())
	}
	l.Version, l.Received = int(r.Uvarint()), r.Varint()
	l.Event = slices.Clone(r.text())
	r.nameless = r.nameless || r.Err() == nil && l.ID == ""
	return l
}

// Kinds of operations, in entries and in the file.
const (
	opPut    byte = 1
	opRemove byte = 2
	opWhole  byte = 3 // in the file alone
)

// Store holds the letters. One goroutine applies; reading is safe for concurrent use.
type Store struct {
	mu    sync.RWMutex
	byID  map[string]*Letter
	queue []*Letter // in the order of the log; nil where one is gone
	gone  int       // nils in queue
	bytes int64
	last  uint64 // log index of the last entry
	journal
}

// New returns an empty store.
func New() *Store { return &Store{byID: map[string]*Letter{}} }

// Put applies an entry that stores letters. A letter whose id is there is left
// out. Entries up to the last one that was applied are skipped.
func (s *Store) Put(index uint64, body []byte) (stored int, err error) {
	return s.apply(index, opPut, body)
}

// Remove applies an entry that removes letters by their ids. Ids that are not there are no error.
func (s *Store) Remove(index uint64, body []byte) (removed int, err error) {
	return s.apply(index, opRemove, body)
}

// Erase removes the letters for which gone holds, by the log entry of an index, and
// tells how many. The next checkpoint writes the file anew, so that nothing of them stays.
func (s *Store) Erase(index uint64, gone func(l *Letter) bool) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if index < s.last {
		return 0 // it was done before the store was opened again
	}
	s.last = index
	for i, l := range s.queue {
		if isGone(l) || !gone(l) {
			continue
		}
		s.clear(i)
		n++
	}
	s.shrink()
	s.rewrite = s.rewrite || n > 0
	return n
}

func (s *Store) apply(index uint64, op byte, body []byte) (n int, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if index <= s.last {
		return 0, nil
	}
	if n, err = s.change(index, op, body); err != nil {
		return 0, err
	}
	s.note(index, op, body)
	return n, nil
}

// change applies an operation. It reads it whole before it changes anything.
func (s *Store) change(index uint64, op byte, body []byte) (n int, err error) {
	r := newReader(body)
	b := Bounds{Bytes: int64(min(r.Uvarint(), MaxBytes)), Oldest: r.Varint()}
	var put []*Letter
	var ids []string
	for r.more() {
		if op == opPut {
			put = append(put, r.letter())
		} else {
			ids = append(ids, string(r.text()))
		}
	}
	if err := r.error(); err != nil {
		return 0, err
	}
	for _, l := range put {
		if s.byID[l.ID] == nil {
			l.Index = index
			s.add(l)
			n++
		}
	}
	for _, id := range ids {
		if l := s.byID[id]; l != nil {
			i, _ := slices.BinarySearchFunc(s.queue, l, s.order)
			for s.queue[i] != l {
				i++
			}
			s.drop(i)
			n++
		}
	}
	s.expire(b)
	s.last = index
	return n, nil
}

// order compares a place of the queue with a letter by index. A place that is
// empty has the index of the next one that is not.
func (s *Store) order(a, b *Letter) int { return cmp.Compare(a.Index, b.Index) }

func (s *Store) add(l *Letter) {
	s.byID[l.ID] = l
	s.queue = append(s.queue, l)
	s.bytes += l.size()
}

func (s *Store) drop(i int) {
	s.clear(i)
	s.shrink()
}

// clear takes the letter out of a place of the queue, which stays.
func (s *Store) clear(i int) {
	l := s.queue[i]
	delete(s.byID, l.ID)
	s.bytes -= l.size()
	// An empty letter of the same index keeps the queue sorted.
	s.queue[i] = &Letter{Index: l.Index}
	s.gone++
}

// shrink takes the empty places out of the queue when they are many.
func (s *Store) shrink() {
	if s.gone > len(s.queue)/2 {
		s.queue = slices.DeleteFunc(s.queue, isGone)
		s.gone = 0
	}
}

func isGone(l *Letter) bool { return l.ID == "" }

// expire drops letters from the oldest on while they are beyond the bounds.
func (s *Store) expire(b Bounds) {
	i := 0
	for ; i < len(s.queue); i++ {
		l := s.queue[i]
		if isGone(l) {
			s.gone--
			continue
		}
		if l.Received >= b.Oldest && s.bytes <= b.Bytes {
			break
		}
		delete(s.byID, l.ID)
		s.bytes -= l.size()
	}
	if i > 0 {
		s.queue = slices.Delete(s.queue, 0, i)
	}
}

// Filter says which letters are meant; empty members mean all.
type Filter struct {
	Name, Reason, Source, Path string
	From, To                   int64 // of receipt: [From, To); To 0: no end
}

func (f *Filter) has(l *Letter) bool {
	return !isGone(l) && (f.Name == "" || f.Name == l.Name) && (f.Reason == "" || f.Reason == l.Reason) && (f.Source == "" || f.Source == l.Source) &&
		(f.Path == "" || f.Path == l.Path) && l.Received >= f.From && (f.To == 0 || l.Received < f.To)
}

// List returns letters in the order of the log, behind the one of the id after,
// which must be there unless it is empty; at most limit. more: there are others.
func (s *Store) List(f Filter, after string, limit int) (list []*Letter, more bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	from := 0
	if after != "" {
		l := s.byID[after]
		if l == nil {
			return nil, false
		}
		from, _ = slices.BinarySearchFunc(s.queue, l, s.order)
		for s.queue[from] != l {
			from++
		}
		from++
	}
	for _, l := range s.queue[from:] {
		if !f.has(l) {
			continue
		}
		if len(list) == limit {
			return list, true
		}
		list = append(list, l)
	}
	return list, false
}

// Count is how many letters of one name were refused for one reason.
type Count struct {
	Name    string `json:"event"`
	Reason  string `json:"reason"`
	Path    string `json:"path,omitempty"`
	Version int    `json:"version,omitzero"`
	Letters int    `json:"letters"`
	Bytes   int64  `json:"bytes"`
}

// Counts counts letters by name, reason, path and version, the most first.
func (s *Store) Counts(f Filter) []Count {
	s.mu.RLock()
	defer s.mu.RUnlock()
	by := map[Count]*Count{}
	for _, l := range s.queue {
		if !f.has(l) {
			continue
		}
		key := Count{Name: l.Name, Reason: l.Reason, Path: l.Path, Version: l.Version}
		c := by[key]
		if c == nil {
			kept := key
			c = &kept
			by[key] = c
		}
		c.Letters++
		c.Bytes += l.size()
	}
	out := make([]Count, 0, len(by))
	for _, c := range by {
		out = append(out, *c)
	}
	slices.SortFunc(out, func(a, b Count) int {
		return cmp.Or(cmp.Compare(b.Letters, a.Letters), strings.Compare(a.Name, b.Name), strings.Compare(a.Reason, b.Reason), strings.Compare(a.Path, b.Path), cmp.Compare(a.Version, b.Version))
	})
	return out
}

// Len is how many letters there are, Bytes what they take, and Oldest when the
// first was received; 0 where there are none.
func (s *Store) Len() (letters int, bytes, oldest int64) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, l := range s.queue {
		if !isGone(l) {
			oldest = l.Received
			break
		}
	}
	return len(s.byID), s.bytes, oldest
}

// Each calls f for every letter in the order of the log; f must not call the store.
func (s *Store) Each(f func(*Letter)) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, l := range s.queue {
		if !isGone(l) {
			f(l)
		}
	}
}
