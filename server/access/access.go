// Package access says who may do what. Keys come in three roles that are kept
// apart: a write key lives in browsers and apps and may only append, a read key
// asks, an admin key may do everything.
package access

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"strings"
)

// Role is what a key is for.
type Role uint8

// The roles.
const (
	Open  Role = iota // no key is asked for
	Write             // append events
	Read              // ask for events and results
	Admin             // everything
)

func (r Role) String() string {
	return [...]string{"open", "write", "read", "admin"}[r]
}

// Verdict is the answer to a key.
type Verdict uint8

// The verdicts.
const (
	Granted Verdict = iota
	Missing         // no key came with the request
	Unknown         // the key is none of ours
	Denied          // the key is for something else
)

// MinKeyBytes is how long a key must be at least; a random one of 256 bits has 43 characters.
const MinKeyBytes = 16

// Keys holds the keys by their SHA-256, never the keys themselves.
type Keys struct {
	keys []key
}

type key struct {
	hash [sha256.Size]byte
	role Role
}

// ErrNoKeys: the server would be open to everybody who reaches its address.
var ErrNoKeys = errors.New("keys must be configured before listening beyond this machine")

// NewKeys takes the keys of each role. Errors name the role and the number of a
// key, never the key.
func NewKeys(write, read, admin []string) (*Keys, error) {
	k := &Keys{}
	for _, group := range []struct {
		role Role
		keys []string
	}{{Write, write}, {Read, read}, {Admin, admin}} {
		for i, text := range group.keys {
			if len(text) < MinKeyBytes {
				return nil, fmt.Errorf("%s key %d has %d characters; use at least %d random ones, as from `openssl rand -base64 32`", group.role, i+1, len(text), MinKeyBytes)
			}
			hash := sha256.Sum256([]byte(text))
			for _, other := range k.keys {
				if other.hash == hash {
					return nil, fmt.Errorf("%s key %d is used twice; each key has one role", group.role, i+1)
				}
			}
			k.keys = append(k.keys, key{hash, group.role})
		}
	}
	return k, nil
}

// Empty tells that no keys are configured: then everything is granted.
func (k *Keys) Empty() bool { return len(k.keys) == 0 }

// Check judges a key for a role. It takes the same time for every key.
func (k *Keys) Check(text []byte, need Role) Verdict {
	if need == Open || k.Empty() {
		return Granted
	}
	if len(text) == 0 {
		return Missing
	}
	hash := sha256.Sum256(text)
	found := 0
	for i := range k.keys {
		found |= subtle.ConstantTimeCompare(hash[:], k.keys[i].hash[:]) * int(k.keys[i].role)
	}
	switch role := Role(found); role {
	case Open:
		return Unknown
	case need, Admin:
		return Granted
	default:
		return Denied
	}
}

// CheckListen refuses an address beyond loopback while there is no key that
// may read and none that may write.
func (k *Keys) CheckListen(address string) error {
	if !k.Empty() || IsLoopback(address) {
		return nil
	}
	return fmt.Errorf("listen on %s: %w; set --write-key, --read-key and --admin-key (SPOOR_WRITE_KEY, SPOOR_READ_KEY, SPOOR_ADMIN_KEY), or listen on 127.0.0.1", address, ErrNoKeys)
}

// IsLoopback tells whether only this machine reaches address, a host and a port.
// A name other than localhost counts as beyond: it may resolve to anything.
func IsLoopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		host = address
	}
	if strings.EqualFold(host, "localhost") {
		return true
	}
	ip := net.ParseIP(strings.Trim(host, "[]"))
	return ip != nil && ip.IsLoopback()
}

// FromAuthorization returns the key of an Authorization header: the token of
// Bearer, or the user name of Basic. The bytes may be shared.
func FromAuthorization(header []byte) []byte {
	scheme, rest, ok := strings.Cut(string(header), " ")
	if !ok {
		return nil
	}
	rest = strings.TrimSpace(rest)
	switch {
	case strings.EqualFold(scheme, "Bearer"):
		return []byte(rest)
	case strings.EqualFold(scheme, "Basic"):
		plain, err := base64.StdEncoding.DecodeString(rest)
		if err != nil {
			return nil
		}
		user, _, _ := strings.Cut(string(plain), ":")
		return []byte(user)
	}
	return nil
}

// IsLocalName tells whether a Host header names an address or this machine,
// not a name that somebody's name server may point anywhere.
func IsLocalName(host string) bool {
	name, _, err := net.SplitHostPort(host)
	if err != nil {
		name = host
	}
	name = strings.Trim(name, "[]")
	return strings.EqualFold(name, "localhost") || net.ParseIP(name) != nil
}
