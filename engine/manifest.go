package engine

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"

	"spoor/engine/letters"
	"spoor/engine/traits"
	"spoor/internal/frame"
	"spoor/internal/vfs"
)

// manifestName names the live files of a store. It is written whole to another
// name, fsynced and renamed, so there is always one that is complete: JSON in a frame.
const (
	manifestName    = "MANIFEST"
	manifestMagic   = "SPOORMAN"
	manifestVersion = 1
)

// manifest is the durable state of a store at one log index.
type manifest struct {
	// Applied is the log index up to which every event is in the files below.
	Applied uint64 `json:"applied"`
	// Through is the log index up to which the files beside segments may know what was done, if that
	// is more than Applied.
	Through uint64 `json:"through,omitempty"`
	// LastReceived is the latest receivedAt among them, in microseconds.
	LastReceived int64 `json:"lastReceived"`
	// MaxTime is the latest event time among them, in microseconds.
	MaxTime int64 `json:"maxTime"`
	// NextFile numbers the next file.
	NextFile uint64 `json:"nextFile"`
	// Files are the segments, oldest arrival first.
	Files []fileMeta `json:"files"`
	// IdentityFile and IdentityBytes say how much of which file is valid.
	IdentityFile  string `json:"identityFile"`
	IdentityBytes int64  `json:"identityBytes"`
	// Traits says how much of which file is valid, if anybody has traits.
	Traits traits.File `json:"traits,omitzero"`
	// Letters says how much of which file is valid, if there are dead letters.
	Letters letters.File `json:"letters,omitzero"`
	// DedupeKey is the store's secret, see package idkey.
	DedupeKey []byte `json:"dedupeKey,omitempty"`
	// Backup lists the files with their sums; nil in the manifest of a store, never nil in that of a backup.
	Backup []backupFile `json:"backup"`
	// Erased counts for each erasure the rows that it took out of files so far.
	Erased map[string]int64 `json:"erased,omitempty"`
	// Forgotten is the log index of the last erasure whose ids the identity file is without.
	Forgotten uint64 `json:"forgotten,omitempty"`
	// Documents is the file that holds the documents, "" for none.
	Documents string `json:"documents,omitempty"`
}

// fileMeta describes a segment file.
type fileMeta struct {
	Name string `json:"name"`
	// Level 0 files come from flushes; level 1 from compaction.
	Level  int    `json:"level"`
	Rows   int    `json:"rows"`
	Bytes  int64  `json:"bytes"`
	MinDay int32  `json:"minDay"`
	MaxDay int32  `json:"maxDay"`
	First  uint64 `json:"first"` // log index of the oldest and newest batch in it
	Last   uint64 `json:"last"`
	// Erased is the log index of the last erasure that was carried out in the file's bytes.
	Erased uint64 `json:"erased,omitempty"`
}

// ErrManifest is wrapped when the manifest is damaged or was written by a newer program.
var ErrManifest = errors.New("manifest cannot be read")

func readManifest(fsys vfs.FS, dir string) (*manifest, error) {
	name := path.Join(dir, manifestName)
	b, err := vfs.ReadFile(fsys, name)
	if errors.Is(err, fs.ErrNotExist) {
		return &manifest{NextFile: 1}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	body, err := frame.Unwrap(b, manifestMagic, manifestVersion)
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrManifest, name, err)
	}
	m := &manifest{}
	if err := json.Unmarshal(body, m); err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrManifest, name, err)
	}
	return m, nil
}

func writeManifest(fsys vfs.FS, dir string, m *manifest) error {
	body, err := json.Marshal(m)
	if err != nil {
		return fmt.Errorf("write manifest: %w", err)
	}
	if err := vfs.WriteFileAtomic(fsys, path.Join(dir, manifestName), frame.Wrap(manifestMagic, manifestVersion, body)); err != nil {
		return fmt.Errorf("write manifest: %w", err)
	}
	return nil
}
