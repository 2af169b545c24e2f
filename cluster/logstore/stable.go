package logstore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"spoor/internal/vfs"
)

// errNotFound is recognised by the raft library by its text.
var errNotFound = errors.New("not found")

// The library writes a vote as two values. The term waits in memory for the
// candidate, so that a crash between them cannot leave a vote of one term with
// the candidate of another.
const (
	keyVoteTerm      = "LastVoteTerm"
	keyVoteCandidate = "LastVoteCand"
)

// Bounds of the vote file.
const (
	maxStableKeys       = 32
	maxStableValueBytes = 1024
	voteSlotBytes       = 4096
)

// Stable keeps the term and the vote in a slot file; every change is synced.
//
//	stored: u32 count | count times: u32 bytes, key, u32 bytes, value; keys ascend
type Stable struct {
	*poison
	file *slotFile

	mu         sync.Mutex
	values     map[string][]byte
	votingTerm []byte // waits for the candidate, nil for none
}

func createStable(fsys vfs.FS, dir string, cluster ClusterID) error {
	return createSlotFile(fsys, dir, voteName, magicVote, voteSlotBytes, cluster, encodeStable(nil))
}

func openStable(fsys vfs.FS, dir string, cluster ClusterID, p *poison) (*Stable, error) {
	f, payload, err := openSlotFile(fsys, dir, voteName, magicVote, voteSlotBytes, cluster)
	if err != nil {
		return nil, err
	}
	s := &Stable{poison: p, file: f}
	if s.values, err = decodeStable(payload); err != nil {
		_ = f.f.Close()
		return nil, fmt.Errorf("%s: %w", f.name, err)
	}
	return s, nil
}

func (s *Stable) close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.file.f.Close()
}

func encodeStable(values map[string][]byte) []byte {
	b := binary.LittleEndian.AppendUint32(nil, uint32(len(values)))
	for _, k := range slices.Sorted(maps.Keys(values)) {
		b = appendBytes(appendBytes(b, []byte(k)), values[k])
	}
	return b
}

func appendBytes(dst, v []byte) []byte {
	return append(binary.LittleEndian.AppendUint32(dst, uint32(len(v))), v...)
}

func decodeStable(b []byte) (map[string][]byte, error) {
	if len(b) < 4 {
		return nil, errEnvelope
	}
	n := binary.LittleEndian.Uint32(b)
	b = b[4:]
	values := map[string][]byte{}
	take := func() (v []byte, ok bool) {
		if len(b) < 4 || uint64(binary.LittleEndian.Uint32(b)) > uint64(len(b)-4) {
			return nil, false
		}
		end := 4 + int(binary.LittleEndian.Uint32(b))
		v, b = b[4:end:end], b[end:]
		return v, true
	}
	if n > maxStableKeys {
		return nil, errEnvelope
	}
	for range n {
		k, ok := take()
		v, ok2 := take()
		if !ok || !ok2 {
			return nil, errEnvelope
		}
		values[string(k)] = v
	}
	if len(b) != 0 || len(values) != int(n) {
		return nil, errEnvelope
	}
	return values, nil
}

// Set stores a value durably, except for the term of a vote, which waits for its candidate.
func (s *Stable) Set(key, val []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	k, v := string(key), slices.Clone(val)
	if k == keyVoteTerm {
		s.votingTerm = v
		return s.failed()
	}
	next := maps.Clone(s.values)
	next[k] = v
	if k == keyVoteCandidate && s.votingTerm != nil {
		next[keyVoteTerm] = s.votingTerm
	}
	if len(next) > maxStableKeys || len(v) > maxStableValueBytes {
		return fmt.Errorf("store %q: more than %d values or than %d bytes", k, maxStableKeys, maxStableValueBytes)
	}
	if err := s.failed(); err != nil {
		return err
	}
	b := encodeStable(next)
	if len(b) > voteSlotBytes-envelopeBytes-8 {
		return fmt.Errorf("store %q: %d bytes are more than fit", k, len(b))
	}
	err := s.watched("write", s.file.name, func() error {
		if err := s.file.set(b); err != nil {
			return err
		}
		return s.file.f.Sync()
	})
	if err != nil {
		return s.fail(fmt.Errorf("store %q: %w", k, err))
	}
	s.values = next
	if k == keyVoteCandidate {
		s.votingTerm = nil
	}
	return nil
}

// Get returns what was stored durably.
func (s *Stable) Get(key []byte) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if v, ok := s.values[string(key)]; ok {
		return slices.Clone(v), nil
	}
	return nil, errNotFound
}

// SetUint64 stores a number as Set does.
func (s *Stable) SetUint64(key []byte, val uint64) error {
	return s.Set(key, binary.LittleEndian.AppendUint64(nil, val))
}

// GetUint64 returns a number that SetUint64 stored.
func (s *Stable) GetUint64(key []byte) (uint64, error) {
	v, err := s.Get(key)
	if err != nil {
		return 0, err
	}
	if len(v) != 8 {
		return 0, fmt.Errorf("%s: the value of %q has %d bytes, not 8", s.file.name, key, len(v))
	}
	return binary.LittleEndian.Uint64(v), nil
}

// Failed tells whether the store is at its end.
func (s *Stable) Failed() bool { return s.failed() != nil }
