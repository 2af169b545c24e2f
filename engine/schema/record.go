package schema

import (
	"fmt"
	"slices"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// Kind is the kind of the documents that hold records; the name is the event's.
const Kind = "schema"

// Mode is how strictly an event name's schema is applied.
type Mode string

// The modes.
const (
	Off     Mode = "off"     // not at all
	Observe Mode = "observe" // violations are counted and tagged
	Enforce Mode = "enforce" // violating events go to the dead letters
)

// Valid tells whether it is one of the modes.
func (m Mode) Valid() bool { return m == Off || m == Observe || m == Enforce }

// Record is what a store keeps of the schemas of one event name.
type Record struct {
	Mode Mode `json:"mode"`
	// Versions ascend; the last one is in force. The oldest go when the record
	// would have more than maxVersions or maxRecordBytes.
	Versions []Version `json:"versions"`
}

// Version is one schema of an event name.
type Version struct {
	Version int            `json:"version"`
	At      time.Time      `json:"at"`
	Schema  jsontext.Value `json:"schema"`
}

const (
	maxVersions    = 100
	maxRecordBytes = 200 << 10 // a document holds 256 KiB
)

// ReadRecord reads the value of a document.
func ReadRecord(value []byte) (*Record, error) {
	r := &Record{}
	if err := json.Unmarshal(value, r); err != nil {
		return nil, fmt.Errorf("read a record of schemas: %w", err)
	}
	return r, nil
}

// Append writes the value of a document, without the versions that it has no room for.
func (r *Record) Append(dst []byte) ([]byte, error) {
	size := 0
	for i := len(r.Versions) - 1; i >= 0; i-- {
		size += len(r.Versions[i].Schema) + 100
		if i < len(r.Versions)-1 && (size > maxRecordBytes || len(r.Versions)-i > maxVersions) {
			r.Versions = r.Versions[i+1:]
			break
		}
	}
	value, err := json.Marshal(r)
	return append(dst, value...), err
}

// Last is the version in force; nil where there is none.
func (r *Record) Last() *Version {
	if len(r.Versions) == 0 {
		return nil
	}
	return &r.Versions[len(r.Versions)-1]
}

// Find returns a version by its number; nil where it is not there.
func (r *Record) Find(version int) *Version {
	i := slices.IndexFunc(r.Versions, func(v Version) bool { return v.Version == version })
	if i < 0 {
		return nil
	}
	return &r.Versions[i]
}

// Put adds a version and returns it, or the last one where that says the same.
// Unless compatibility allows it, changes that break are returned and nothing is added.
func (r *Record) Put(event string, text jsontext.Value, compatibility Compatibility, at time.Time) (v *Version, breaks []Change, err error) {
	number := 1
	last := r.Last()
	if last != nil {
		number = last.Version + 1
	}
	next, err := Compile(event, number, text)
	if err != nil {
		return nil, nil, err
	}
	text = slices.Clone(text)
	if err := text.Compact(); err != nil {
		return nil, nil, &Error{Root, err.Error()}
	}
	if last != nil {
		if string(last.Schema) == string(text) {
			return last, nil, nil
		}
		old, err := Compile(event, last.Version, last.Schema)
		if err != nil {
			return nil, nil, err
		}
		if breaks := compatibility.Breaks(Compare(old, next)); len(breaks) > 0 {
			return nil, breaks, nil
		}
	}
	r.Versions = append(r.Versions, Version{number, at.UTC().Truncate(time.Millisecond), text})
	return r.Last(), nil, nil
}
