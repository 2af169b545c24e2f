// Package idkey hashes eventIds with a secret of the store.
package idkey

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/bits"

	"spoor/segment/batch"
)

// Key is the key of the hashes that filters and memtables use for eventIds.
// Clients choose the ids: with a hash that anybody can compute, and invert, they
// could send a million ids that fall into one place, and each would have to be compared
// with all before it. The key is random, one per store, and kept in the manifest. What
// passes a filter is compared in full, so replicas with different keys decide alike.
//
// The filter inside a segment file has no key, so that the file is readable by
// itself; it is only asked about ids that passed the store's.
type Key struct{ k0, k1 uint64 }

// Size is the length of a key in bytes.
const Size = 16

// New draws the key of a new store.
func New(random io.Reader) ([]byte, error) {
	b := make([]byte, Size)
	if _, err := io.ReadFull(random, b); err != nil {
		return nil, fmt.Errorf("make the key of the dedupe filters: %w", err)
	}
	return b, nil
}

// ErrKey is wrapped when bytes are no key.
var ErrKey = errors.New("dedupe key cannot be read")

// Parse reads what Bytes gave.
func Parse(b []byte) (Key, error) {
	if len(b) != Size {
		return Key{}, fmt.Errorf("%w: %d bytes", ErrKey, len(b))
	}
	return Key{binary.LittleEndian.Uint64(b), binary.LittleEndian.Uint64(b[8:])}, nil
}

// Bytes is the stored form.
func (k Key) Bytes() []byte {
	return binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint64(nil, k.k0), k.k1)
}

// SipHash-1-3 (Aumasson, Bernstein: SipHash: a fast short-input PRF, 2012, with
// the rounds of hash tables): whoever does not know the key cannot aim at a value.
type sip struct{ v0, v1, v2, v3 uint64 }

func (k Key) sip() sip {
	return sip{k.k0 ^ 0x736f6d6570736575, k.k1 ^ 0x646f72616e646f6d, k.k0 ^ 0x6c7967656e657261, k.k1 ^ 0x7465646279746573}
}

func (s *sip) round() {
	s.v0 += s.v1
	s.v2 += s.v3
	s.v1 = bits.RotateLeft64(s.v1, 13) ^ s.v0
	s.v3 = bits.RotateLeft64(s.v3, 16) ^ s.v2
	s.v0 = bits.RotateLeft64(s.v0, 32)
	s.v2 += s.v1
	s.v0 += s.v3
	s.v1 = bits.RotateLeft64(s.v1, 17) ^ s.v2
	s.v3 = bits.RotateLeft64(s.v3, 21) ^ s.v0
	s.v2 = bits.RotateLeft64(s.v2, 32)
}

func (s *sip) word(w uint64) {
	s.v3 ^= w
	s.round()
	s.v0 ^= w
}

func (s *sip) finish() uint64 {
	s.v2 ^= 0xff
	s.round()
	s.round()
	s.round()
	return s.v0 ^ s.v1 ^ s.v2 ^ s.v3
}

// Hash is the hash of an id; text is nil for a UUID.
func (k Key) Hash(id batch.ID, text []byte) uint64 {
	if text != nil {
		return k.text(text)
	}
	return k.uuid(id)
}

func (k Key) uuid(id batch.ID) uint64 {
	s := k.sip()
	s.word(id.Hi)
	s.word(id.Lo)
	return s.finish() // no text ends without a word for its length
}

func (k Key) text(t []byte) uint64 {
	s := k.sip()
	n := uint64(len(t))
	for ; len(t) >= 8; t = t[8:] {
		s.word(binary.LittleEndian.Uint64(t))
	}
	last := n << 56
	for i, c := range t {
		last |= uint64(c) << (8 * i)
	}
	s.word(last)
	return s.finish()
}
