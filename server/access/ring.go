package access

import (
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
)

// DocumentKind is the kind of document that keys are in the log.
const DocumentKind = "key"

// Store is where the keys of the log are, as far as this node has applied it.
type Store interface {
	// Changed is a number that grows with every change.
	Changed() uint64
	// Keys are the documents of the kind DocumentKind.
	Keys() []Stored
}

// Stored is the document of a key.
type Stored struct {
	Name  string
	Value []byte
	Index uint64 // of the log
}

// Ring holds the keys that are in force: those of the command line, and those
// of the log. It is safe for concurrent use. The zero value holds none.
type Ring struct {
	static []*Key
	store  Store
	// required asks for keys even while there are none.
	required bool

	mu   sync.Mutex // held while a snapshot is made
	last atomic.Pointer[snapshot]
}

// snapshot is the keys as of one state of the store.
type snapshot struct {
	changed uint64
	byHash  map[[sha256.Size]byte]*Key
	list    []*Key // by name, then the oldest first
	stored  int    // documents, those included that cannot be read
	admin   bool   // there is an admin key
	broken  []error
}

// NewRing takes the keys of the command line by role. Errors name the role and
// the number of a key, never the key.
func NewRing(write, read, admin []string) (*Ring, error) {
	r := &Ring{}
	for _, group := range []struct {
		role Role
		keys []string
	}{{Write, write}, {Read, read}, {Admin, admin}} {
		for i, text := range group.keys {
			if len(text) < MinKeyBytes || len(text) > maxKeyBytes {
				return nil, fmt.Errorf("%s key %d has %d characters; use %d to %d random ones, as from `openssl rand -base64 32`", group.role, i+1, len(text), MinKeyBytes, maxKeyBytes)
			}
			k := &Key{Name: "--" + group.role.String() + "-key", Role: group.role, Static: true}
			k.setHash(sha256.Sum256([]byte(text)))
			k.ID = fmt.Sprintf("flag-%s-%d", group.role, i+1)
			if slices.ContainsFunc(r.static, func(o *Key) bool { return o.hash == k.hash }) {
				return nil, fmt.Errorf("%s key %d is used twice; each key has one role", group.role, i+1)
			}
			r.static = append(r.static, k)
		}
	}
	return r, nil
}

// Attach adds the keys of the log. It must be called before the ring is used.
func (r *Ring) Attach(s Store) { r.store = s }

// Require asks for a key in every request from now on, also while there is
// none: what listens beyond this machine is never open. It must be called
// before the ring is used.
func (r *Ring) Require() { r.required = true }

// state is the keys of now. Whoever calls it after a change was applied sees it.
func (r *Ring) state() *snapshot {
	changed := uint64(0)
	if r.store != nil {
		changed = r.store.Changed()
	}
	if s := r.last.Load(); s != nil && s.changed == changed {
		return s
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.store != nil { // as of before the list, so that no change is missed
		changed = r.store.Changed()
	}
	if s := r.last.Load(); s != nil && s.changed == changed {
		return s
	}
	s := &snapshot{changed: changed, byHash: map[[sha256.Size]byte]*Key{}, list: slices.Clone(r.static)}
	if r.store != nil {
		for _, d := range r.store.Keys() {
			s.stored++
			k, err := readKey(d)
			if err != nil {
				s.broken = append(s.broken, err)
				continue
			}
			s.list = append(s.list, k)
		}
	}
	slices.SortStableFunc(s.list, func(a, b *Key) int {
		if c := strings.Compare(a.Name, b.Name); c != 0 {
			return c
		}
		return int(int64(a.Index) - int64(b.Index))
	})
	for _, k := range s.list {
		s.admin = s.admin || k.Role == Admin
		if _, ok := s.byHash[k.hash]; !ok || k.Static {
			s.byHash[k.hash] = k
		}
	}
	r.last.Store(s)
	return s
}

// Empty tells that there is no key at all.
func (r *Ring) Empty() bool {
	s := r.state()
	return len(r.static) == 0 && s.stored == 0
}

// IsOpen tells that requests without a key are granted everything: nobody has
// said yet who the administrator is, and only this machine reaches the server.
func (r *Ring) IsOpen() bool {
	return !r.required && len(r.static) == 0 && !r.state().admin
}

// Identify finds the key of a request among the texts that may be it, such as
// the token of a header, an argument of the address and a field of the body, in
// the order in which they count: the first that is known. Empty texts are passed
// over. key is nil where none is known; sent tells whether there was any.
//
// Texts are compared by their SHA-256: how long it takes tells of hashes, which
// nobody can choose, and not of keys.
func (r *Ring) Identify(candidates ...[]byte) (key *Key, sent bool) {
	s := r.state()
	for _, text := range candidates {
		if len(text) == 0 {
			continue
		}
		sent = true
		if len(text) > maxKeyBytes {
			continue
		}
		hash := sha256.Sum256(text)
		if k := s.byHash[hash]; k != nil && subtle.ConstantTimeCompare(hash[:], k.hash[:]) == 1 {
			return k, true
		}
	}
	return nil, sent
}

// Admit finds the key of a request, see Identify, and judges whether it is for
// what is needed. A key that is not known is refused also while the ring is
// open, unless there are no keys at all: a revoked one stays out.
func (r *Ring) Admit(need Role, candidates ...[]byte) (key *Key, v Verdict) {
	if need == Open {
		return nil, Granted
	}
	key, sent := r.Identify(candidates...)
	switch {
	case key != nil && (key.Role == need || key.Role == Admin):
		return key, Granted
	case key != nil:
		return key, Denied
	case r.IsOpen() && (!sent || r.Empty()):
		return nil, Granted
	case sent:
		return nil, Unknown
	}
	return nil, Missing
}

// List returns all keys by name, then the oldest first, and errors of those in
// the log that cannot be read. Neither may be changed.
func (r *Ring) List() (keys []*Key, broken []error) {
	s := r.state()
	return s.list, s.broken
}

// Live returns the keys of the log with a name, the oldest first.
func (r *Ring) Live(name string) []*Key {
	return r.find(func(k *Key) bool { return k.Name == name })
}

// ByID returns the key of the log with an ID, nil where there is none.
func (r *Ring) ByID(id string) *Key {
	if found := r.find(func(k *Key) bool { return k.ID == id }); len(found) > 0 {
		return found[0]
	}
	return nil
}

func (r *Ring) find(is func(*Key) bool) (found []*Key) {
	for _, k := range r.state().list {
		if !k.Static && is(k) {
			found = append(found, k)
		}
	}
	return found
}

// IsLastAdmin tells whether no admin key would be left without k.
func (r *Ring) IsLastAdmin(k *Key) bool {
	return k.Role == Admin && !slices.ContainsFunc(r.state().list, func(o *Key) bool { return o != k && o.Role == Admin })
}
