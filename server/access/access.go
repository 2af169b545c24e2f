// Package access says who may do what. Keys come in three roles that are kept
// apart: a write key lives in browsers and apps and may only append, a read key
// asks, an admin key may do everything.
//
// On the way of an event it is the door. The texts of a request that may be its
// key are handed to Ring.Identify, Ring.Admit judges the key that was found, and
// Limits says whether it comes too often. Keys are known by their SHA-256 alone;
// those that the log holds are in force, and revoked, in the moment in which
// this node has applied the entry.
package access

import (
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

// ParseRole reads the name of a role that a key may have.
func ParseRole(name string) (Role, error) {
	for _, r := range []Role{Write, Read, Admin} {
		if r.String() == name {
			return r, nil
		}
	}
	return Open, fmt.Errorf("%.40q is no kind of key; there are write, read and admin", name)
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

// ErrNoKeys: the server would be open to everybody who reaches its address.
var ErrNoKeys = errors.New("a key is needed before listening beyond this machine")

// CheckListen refuses an address beyond loopback while there is no key.
func (r *Ring) CheckListen(address string) error {
	if IsLoopback(address) || !r.Empty() {
		return nil
	}
	return fmt.Errorf("listen on %s: %w; make one with `spoor key create` while listening on 127.0.0.1, or set --write-key, --read-key and --admin-key (SPOOR_WRITE_KEY, SPOOR_READ_KEY, SPOOR_ADMIN_KEY)", address, ErrNoKeys)
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
