package access

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Key is what is known of a key; its text is not.
type Key struct {
	// ID names the key in lists and in limits; nothing follows from it.
	ID string
	// Name is shared by the keys that take turns at a rotation.
	Name   string
	Role   Role
	Source string    // of the events that come with it; "" for none
	Made   time.Time // zero for one of the command line
	// Origins are the web sites whose pages may use the key; none: all, and programs.
	Origins []string
	// Events are patterns of the event names that the key may send; none: all.
	Events []string
	// Rate and AddressRate bound what the key may do per second, in all and from
	// one address: events of a write key, requests of others. 0: no bound.
	Rate        float64
	AddressRate float64

	Static bool   // it stands on the command line, not in the log
	Index  uint64 // of the log, where it was stored
	hash   [sha256.Size]byte
}

// Bounds of what describes a key.
const (
	MaxNameBytes    = 128
	MaxSourceBytes  = 64
	MaxPatterns     = 64  // origins, and as many event patterns
	MaxPatternBytes = 256 // of one
	MaxRate         = 1e9
	// MaxLive is how many keys of one name are in force: one, and one more while
	// programs change over.
	MaxLive = 2
	// MaxKeys bounds the keys in the log.
	MaxKeys = 10_000
	// MinKeyBytes is how long a key must be at least; a made one has 51 characters.
	MinKeyBytes = 16
	// maxKeyBytes is how much of a request is taken for a key.
	maxKeyBytes = 512
)

const (
	keyVersion = 1
	keyBytes   = 32 // of randomness
)

// document is the JSON of a key in the log. It stands under the kind "key" and
// the hexadecimal SHA-256 of the key's text as its name.
type document struct {
	Version     int      `json:"version"`
	Name        string   `json:"name"`
	Kind        string   `json:"kind"`
	Source      string   `json:"source,omitempty"`
	Made        string   `json:"made"` // RFC 3339
	Origins     []string `json:"origins,omitempty"`
	Events      []string `json:"events,omitempty"`
	Rate        float64  `json:"rate,omitempty"`
	AddressRate float64  `json:"address_rate,omitempty"`
}

// New makes a key of 256 random bits with the attributes of like, whose ID it
// sets. text is the key itself, to be shown once; name and value are the
// document that stores it.
func New(like Key, random io.Reader) (k *Key, text, name string, value []byte, err error) {
	if err := like.Check(); err != nil {
		return nil, "", "", nil, err
	}
	var secret [keyBytes]byte
	if _, err := io.ReadFull(random, secret[:]); err != nil {
		return nil, "", "", nil, fmt.Errorf("make a key: %w", err)
	}
	// The prefix lets scanners find keys that were published by mistake.
	text = "spoor_" + like.Role.String()[:1] + "_" + base64.RawURLEncoding.EncodeToString(secret[:])
	k = &like
	k.Static, k.Index = false, 0
	k.setHash(sha256.Sum256([]byte(text)))
	value, err = json.Marshal(document{
		Version: keyVersion, Name: k.Name, Kind: k.Role.String(), Source: k.Source, Made: k.Made.UTC().Format(time.RFC3339),
		Origins: k.Origins, Events: k.Events, Rate: k.Rate, AddressRate: k.AddressRate,
	})
	if err != nil {
		return nil, "", "", nil, fmt.Errorf("write key %q: %w", k.Name, err)
	}
	return k, text, k.DocumentName(), value, nil
}

// DocumentName is the name of the document that holds the key.
func (k *Key) DocumentName() string { return hex.EncodeToString(k.hash[:]) }

func (k *Key) setHash(hash [sha256.Size]byte) {
	k.hash = hash
	// 64 bits of a hash of 256 random ones: enough to tell keys apart, no help to guess one.
	k.ID = hex.EncodeToString(hash[:8])
}

// readKey reads a document.
func readKey(d Stored) (*Key, error) {
	var doc document
	if err := json.Unmarshal(d.Value, &doc); err != nil {
		return nil, fmt.Errorf("read key %.16s: %w", d.Name, err)
	}
	if doc.Version != keyVersion {
		return nil, fmt.Errorf("read key %.16s: version %d is not known to this program", d.Name, doc.Version)
	}
	hash, err := hex.DecodeString(d.Name)
	if err != nil || len(hash) != sha256.Size {
		return nil, fmt.Errorf("read key %.16s: its name is no SHA-256", d.Name)
	}
	k := &Key{Name: doc.Name, Source: doc.Source, Origins: doc.Origins, Events: doc.Events, Rate: doc.Rate, AddressRate: doc.AddressRate, Index: d.Index}
	if k.Role, err = ParseRole(doc.Kind); err != nil {
		return nil, fmt.Errorf("read key %.16s: %w", d.Name, err)
	}
	if k.Made, err = time.Parse(time.RFC3339, doc.Made); err != nil {
		return nil, fmt.Errorf("read key %.16s: %w", d.Name, err)
	}
	k.setHash([sha256.Size]byte(hash))
	return k, nil
}

// Check says what is wrong with the attributes of a key that shall be made.
func (k *Key) Check() error {
	if err := checkText("name", k.Name, MaxNameBytes); err != nil {
		return err
	}
	switch {
	case k.Role < Write || k.Role > Admin:
		return fmt.Errorf("the kind of a key is write, read or admin")
	case k.Role == Write && k.Source == "":
		return fmt.Errorf("a write key needs a source: its events carry it")
	case k.Role != Write && (k.Source != "" || len(k.Events) > 0):
		return fmt.Errorf("source and events are for write keys")
	case !goodRate(k.Rate) || !goodRate(k.AddressRate):
		return fmt.Errorf("a rate is a number per second from 0, for none, to %g", MaxRate)
	case len(k.Origins) > MaxPatterns || len(k.Events) > MaxPatterns:
		return fmt.Errorf("a key has at most %d origins and as many event patterns", MaxPatterns)
	}
	if k.Source != "" {
		if err := checkText("source", k.Source, MaxSourceBytes); err != nil {
			return err
		}
	}
	for _, e := range k.Events {
		if err := checkText("event pattern", e, MaxPatternBytes); err != nil {
			return err
		}
	}
	for _, o := range k.Origins {
		if err := checkOrigin(o); err != nil {
			return err
		}
	}
	return nil
}

func goodRate(r float64) bool { return r >= 0 && r <= MaxRate && !math.IsNaN(r) }

func checkText(what, text string, limit int) error {
	switch {
	case text == "" || len(text) > limit:
		return fmt.Errorf("a %s has 1 to %d bytes", what, limit)
	case !utf8.ValidString(text) || strings.ContainsFunc(text, unicode.IsControl):
		return fmt.Errorf("a %s is UTF-8 without control characters", what)
	}
	return nil
}

// AllowsEvent tells whether the key may send events of a name.
func (k *Key) AllowsEvent(name []byte) bool {
	return len(k.Events) == 0 || slices.ContainsFunc(k.Events, func(p string) bool { return matches(p, name) })
}

// AllowsOrigin tells whether a page may use the key. origin is an Origin header, or
// the beginning of a Referer; a key that is bound to sites is not for requests without.
func (k *Key) AllowsOrigin(origin []byte) bool {
	return len(k.Origins) == 0 || slices.ContainsFunc(k.Origins, func(p string) bool { return matchesOrigin(p, origin) })
}
