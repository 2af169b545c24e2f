package identity

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
)

// A store that is rebuilt takes over whom the one before it refused: hashes of ids
// under that store's secret, since the ids themselves are nowhere. So a map may have lists under
// other secrets beside its own, and an id is refused if any of them has it.

// Refusals are ids that are refused, as hashes under a secret.
type Refusals struct {
	Secret []byte
	Hashes [][hashBytes]byte // ascending
}

// Bounds of what is taken over.
const (
	MaxSecretBytes = 64
	// MaxForeign bounds the lists under other secrets: an id is hashed once for each.
	MaxForeign = 16
	// MaxRefusals bounds the hashes that one call takes over.
	MaxRefusals = 8192
)

// ErrTooManySecrets is answered where a store would have more than MaxForeign lists under other secrets.
var ErrTooManySecrets = errors.New("the store refuses ids of too many other stores already")

// AppendRefusals appends what ReadRefusals reads:
//
//	| uvarint length of the secret | secret | uvarint n | n hashes of 16 bytes |
func AppendRefusals(dst []byte, r *Refusals) []byte {
	dst = append(binary.AppendUvarint(dst, uint64(len(r.Secret))), r.Secret...)
	dst = binary.AppendUvarint(dst, uint64(len(r.Hashes)))
	for i := range r.Hashes {
		dst = append(dst, r.Hashes[i][:]...)
	}
	return dst
}

// ReadRefusals reads refusals and returns what follows them. Nothing of b is kept.
func ReadRefusals(b []byte) (r Refusals, rest []byte, err error) {
	n, used := binary.Uvarint(b)
	if used <= 0 || n == 0 || n > MaxSecretBytes || n > uint64(len(b)-used) {
		return r, nil, fmt.Errorf("%w: a secret of %d bytes in %d", ErrFile, n, len(b))
	}
	r.Secret = slices.Clone(b[used : used+int(n)])
	hashes, rest, err := readHashes(b[used+int(n):])
	r.Hashes = append(r.Hashes, hashes...)
	return r, rest, err
}

// list is ids that are refused under one secret.
type list struct {
	secret []byte
	hashes map[refused]struct{}
}

func (l *list) has(kind byte, id []byte) bool {
	_, ok := l.hashes[hashOf(l.secret, kind, id)]
	return ok
}

// Refuse refuses ids from now on. Replicas with other secrets of their own decide
// alike. The caller holds the lock.
func (x *Map) Refuse(r Refusals) error {
	if x.listOf(r.Secret) == nil && len(x.foreign) >= MaxForeign {
		return fmt.Errorf("%w: %d", ErrTooManySecrets, MaxForeign)
	}
	x.pending = AppendRefusals(append(x.pending, 0, 0, opRefuse), &r)
	x.refuse(r)
	return nil
}

// refuse does what Refuse decided, now or when it is read back.
func (x *Map) refuse(r Refusals) {
	l := x.listOf(r.Secret)
	if l == nil {
		x.foreign = append(x.foreign, list{r.Secret, map[refused]struct{}{}})
		l = &x.foreign[len(x.foreign)-1]
	}
	for _, h := range r.Hashes {
		l.hashes[h] = struct{}{}
	}
}

func (x *Map) listOf(secret []byte) *list {
	for i := range x.foreign {
		if bytes.Equal(x.foreign[i].secret, secret) {
			return &x.foreign[i]
		}
	}
	return nil
}

// Refusals are all ids that are refused: the list under the map's own secret first, lists that
// are empty left out. The caller holds the lock.
func (x *Map) Refusals() (out []Refusals) {
	for _, l := range append([]list{{x.secret, x.refused}}, x.foreign...) {
		if len(l.hashes) == 0 {
			continue
		}
		r := Refusals{Secret: slices.Clone(l.secret), Hashes: make([][hashBytes]byte, 0, len(l.hashes))}
		for h := range l.hashes {
			r.Hashes = append(r.Hashes, h)
		}
		slices.SortFunc(r.Hashes, func(a, b [hashBytes]byte) int { return bytes.Compare(a[:], b[:]) })
		out = append(out, r)
	}
	return out
}

// allowForeign takes an id back from the lists under other secrets, and tells whether one had it.
func (x *Map) allowForeign(id []byte) (found bool) {
	for i := range x.foreign {
		l := &x.foreign[i]
		gone := Refusals{Secret: l.secret}
		for _, kind := range []byte{'u', 'a'} {
			if l.has(kind, id) {
				gone.Hashes = append(gone.Hashes, hashOf(l.secret, kind, id))
			}
		}
		if len(gone.Hashes) > 0 {
			found = true
			x.pending = AppendRefusals(append(x.pending, 0, 0, opAllowForeign), &gone)
			x.unrefuse(gone)
		}
	}
	return found
}

func (x *Map) unrefuse(r Refusals) {
	if l := x.listOf(r.Secret); l != nil {
		for _, h := range r.Hashes {
			delete(l.hashes, h)
		}
	}
}
