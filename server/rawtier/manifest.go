package rawtier

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"spoor/server/rawtier/blob"
)

// manifestVersion is that of all the JSON of the raw tier.
const manifestVersion = 1

// Day is the manifest of a day: it is replaced as a whole, and only by a writer
// that has seen the one before.
type Day struct {
	Version int    `json:"version"`
	Date    string `json:"date"` // 2026-05-01, UTC
	Rows    int64  `json:"rows"`
	// Sum is the sum of the hashes of all events, modulo 2^64, hexadecimal.
	Sum string `json:"sum"`
	// Who is the sum of hashes of their ids and those of who did them, likewise; absent where an older program wrote the day.
	Who string `json:"who,omitempty"`
	// Received is the latest receivedAt of an event in the files, microseconds.
	Received int64 `json:"received"`
	// Through is the log index that the files include, Erasures that of the last erasure.
	Through  uint64 `json:"through"`
	Erasures uint64 `json:"erasures"`
	Changed  string `json:"changed"` // when, RFC 3339
	Files    []File `json:"files"`
	// Gone are files that were replaced or emptied, the latest maxGone of them.
	Gone []Gone `json:"gone,omitempty"`
}

// maxGone bounds the history of a day.
const maxGone = 1000

// File is one file of a day.
type File struct {
	Key    string `json:"key"`
	Rows   int64  `json:"rows"`
	Bytes  int64  `json:"bytes"`
	SHA256 string `json:"sha256"`
	// Event, Source and Hour are empty where the file holds several; Source is empty for events without one, too.
	Event   string `json:"event,omitempty"`
	Source  string `json:"source,omitempty"`
	Hour    *int   `json:"hour,omitempty"`
	Late    bool   `json:"late,omitzero"` // it came after the day was sealed
	MinTime string `json:"minTime"`
	MaxTime string `json:"maxTime"`
	Written string `json:"written"`
}

// Gone is a file that was taken away, and why.
type Gone struct {
	Key    string `json:"key"`
	Rows   int64  `json:"rows"`
	Left   int64  `json:"left"` // of its rows, in the files that came in its place
	Reason string `json:"reason"`
	At     string `json:"at"`
	// Erasures is the log index of the last erasure that was carried out.
	Erasures uint64 `json:"erasures,omitzero"`
}

// Reasons of Gone.
const (
	becauseErased  = "erasure"
	becauseExpired = "retention"
	becauseMerged  = "merged" // of late files
)

// Erased says up to which erasure all days were looked through.
type Erased struct {
	Version  int    `json:"version"`
	Erasures uint64 `json:"erasures"`
	At       string `json:"at"`
}

// Persons names the file of who is who.
type Persons struct {
	Version  int    `json:"version"`
	Key      string `json:"key"`
	Rows     int64  `json:"rows"`
	Bytes    int64  `json:"bytes"`
	SHA256   string `json:"sha256"`
	Through  uint64 `json:"through"`
	Erasures uint64 `json:"erasures"`
	At       string `json:"at"`
}

// owner says whose a raw tier is.
type owner struct {
	Version int    `json:"version"`
	Store   string `json:"store"`
}

// ErrVersion is wrapped when a newer program wrote the raw tier.
var ErrVersion = errors.New("the raw tier was written by a newer program")

// readJSON reads an object of the raw tier; found is false where there is none.
func readJSON(ctx context.Context, store blob.Store, key string, into any) (version string, found bool, err error) {
	b, version, err := store.Read(ctx, key)
	if errors.Is(err, blob.ErrMissing) {
		return "", false, nil
	}
	if err != nil {
		return "", false, err
	}
	var v struct {
		Version int `json:"version"`
	}
	if err := json.Unmarshal(b, &v); err != nil {
		return "", false, fmt.Errorf("read %s: %w", key, err)
	}
	if v.Version != manifestVersion {
		return "", false, fmt.Errorf("read %s: %w: version %d, this one knows %d", key, ErrVersion, v.Version, manifestVersion)
	}
	if err := json.Unmarshal(b, into); err != nil {
		return "", false, fmt.Errorf("read %s: %w", key, err)
	}
	return version, true, nil
}

// replaceJSON writes an object of the raw tier over the version that was read.
func replaceJSON(ctx context.Context, store blob.Store, key string, value any, version string) (next string, err error) {
	b, err := json.MarshalIndent(value, "", " ")
	if err != nil {
		return "", fmt.Errorf("write %s: %w", key, err)
	}
	if len(b) > blob.MaxSmallBytes {
		return "", fmt.Errorf("write %s: it has %d bytes, at most %d", key, len(b), blob.MaxSmallBytes)
	}
	return store.Replace(ctx, key, append(b, '\n'), version)
}

// Days reads the manifests of all days that a raw tier has, in order.
func Days(ctx context.Context, store blob.Store) ([]Day, error) {
	var out []Day
	err := store.List(ctx, manifestDir+"date=", func(o blob.Object) error {
		var d Day
		_, found, err := readJSON(ctx, store, o.Key, &d)
		if found {
			out = append(out, d)
		}
		return err
	})
	return out, err
}

// Sealed tells whether a raw tier has a day.
func Sealed(ctx context.Context, store blob.Store, day int32) (bool, error) {
	_, found, err := readJSON(ctx, store, manifestKey(day), &Day{})
	return found, err
}

// ReadPersons reads which file says who is who; nil where none does.
func ReadPersons(ctx context.Context, store blob.Store) (*Persons, error) {
	p := &Persons{}
	if _, found, err := readJSON(ctx, store, personsKey, p); err != nil || !found {
		return nil, err
	}
	return p, nil
}

// dayOf is the day of a manifest.
func (d *Day) day() (int32, error) {
	t, err := time.Parse(time.DateOnly, d.Date)
	if err != nil {
		return 0, fmt.Errorf("read the manifest of %q: it is no date", d.Date)
	}
	return int32(t.Unix() / (24 * 60 * 60)), nil
}

// retire moves a file from Files to Gone.
func (d *Day) retire(key, reason string, left int64, erasures uint64, at string) {
	i := slices.IndexFunc(d.Files, func(f File) bool { return f.Key == key })
	if i < 0 {
		return
	}
	d.Gone = append(d.Gone, Gone{Key: key, Rows: d.Files[i].Rows, Left: left, Reason: reason, Erasures: erasures, At: at})
	d.Gone = d.Gone[max(0, len(d.Gone)-maxGone):]
	d.Files = slices.Delete(d.Files, i, i+1)
}

// clone is a copy that can be changed.
func (d *Day) clone() *Day {
	c := *d
	c.Files, c.Gone = slices.Clone(d.Files), slices.Clone(d.Gone)
	return &c
}

// Fetch reads a whole file of a manifest into w, and checks it.
func Fetch(ctx context.Context, store blob.Store, key string, size int64, sum string, w io.Writer) error {
	in, err := store.Open(ctx, key)
	if err != nil {
		return err
	}
	defer in.Close()
	h := newHash()
	n, err := io.Copy(io.MultiWriter(w, h), io.LimitReader(in, size+1))
	if err != nil {
		return fmt.Errorf("read %s: %w", key, err)
	}
	if n != size || !bytes.Equal(hexSum(h), []byte(sum)) {
		return fmt.Errorf("read %s: %w: %d bytes, the manifest says %d with another checksum", key, ErrDamaged, n, size)
	}
	return nil
}

// ErrDamaged is wrapped when a file is not what its manifest says.
var ErrDamaged = errors.New("the file is damaged")
