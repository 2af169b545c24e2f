package access

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
	"sync"
	"time"
)

// Bounds of sessions.
const (
	// SessionLife is how long somebody stays signed in.
	SessionLife = 7 * 24 * time.Hour
	// MaxSessions bounds who is signed in at one node; the one that ends first makes room.
	MaxSessions = 10_000
	tokenBytes  = 32
)

// Sessions are those who signed in with a key at this node: a browser holds a
// token, which says nothing of the key. The key is looked up in the ring with
// every request, so a revoked one ends its sessions. They live in memory and end with the process. The zero value is
// ready, and safe for concurrent use.
type Sessions struct {
	mu   sync.Mutex
	open map[[sha256.Size]byte]session // by the token's hash
}

type session struct {
	key  []byte // its text
	ends time.Time
}

// Open makes a session of a key and returns its token.
func (s *Sessions) Open(key []byte, now time.Time, random io.Reader) (token string, err error) {
	var secret [tokenBytes]byte
	if _, err := io.ReadFull(random, secret[:]); err != nil {
		return "", fmt.Errorf("make a session: %w", err)
	}
	token = base64.RawURLEncoding.EncodeToString(secret[:])
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open == nil {
		s.open = map[[sha256.Size]byte]session{}
	}
	if len(s.open) >= MaxSessions {
		s.makeRoom(now)
	}
	s.open[sha256.Sum256([]byte(token))] = session{append([]byte(nil), key...), now.Add(SessionLife)}
	return token, nil
}

// makeRoom ends what is over, or else the session that would end first.
func (s *Sessions) makeRoom(now time.Time) {
	var first [sha256.Size]byte
	var ends time.Time
	for hash, x := range s.open {
		if !x.ends.After(now) {
			delete(s.open, hash)
		} else if ends.IsZero() || x.ends.Before(ends) {
			first, ends = hash, x.ends
		}
	}
	if len(s.open) >= MaxSessions {
		delete(s.open, first)
	}
}

// Key is the text of the key that a token stands for, nil for none.
func (s *Sessions) Key(token []byte, now time.Time) []byte {
	if len(token) == 0 || len(token) > maxKeyBytes {
		return nil
	}
	hash := sha256.Sum256(token)
	s.mu.Lock()
	defer s.mu.Unlock()
	x, ok := s.open[hash]
	if !ok {
		return nil
	}
	if !x.ends.After(now) {
		delete(s.open, hash)
		return nil
	}
	return x.key
}

// Close ends a session.
func (s *Sessions) Close(token []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.open, sha256.Sum256(token))
}
