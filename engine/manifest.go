package engine

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"path"

	"spoor/engine/letters"
	"spoor/engine/traits"
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
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// ErrManifest is wrapped when the manifest is damaged or was written by a newer program.
var ErrManifest = errors.New("manifest cannot be read")

// A small file is framed whole:
//
//	magic, 8 bytes | version u32 | length u32 | CRC32C of the body u32 | body
const frameBytes = 20

func frame(magic string, version uint32, body []byte) []byte {
	b := append(make([]byte, 0, frameBytes+len(body)), magic...)
	b = binary.LittleEndian.AppendUint32(b, version)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(body)))
	b = binary.LittleEndian.AppendUint32(b, crc32.Checksum(body, castagnoli))
	return append(b, body...)
}

func unframe(b []byte, magic string, version uint32) (body []byte, err error) {
	if len(b) < frameBytes || string(b[:8]) != magic {
		return nil, fmt.Errorf("it does not start with %s", magic)
	}
	if v := binary.LittleEndian.Uint32(b[8:]); v != version {
		return nil, fmt.Errorf("it has version %d, this program reads version %d", v, version)
	}
	body = b[frameBytes:]
	if n := binary.LittleEndian.Uint32(b[12:]); int(n) != len(body) || binary.LittleEndian.Uint32(b[16:]) != crc32.Checksum(body, castagnoli) {
		return nil, fmt.Errorf("checksum or length of %d bytes differs", len(body))
	}
	return body, nil
}

func readManifest(fsys vfs.FS, dir string) (*manifest, error) {
	name := path.Join(dir, manifestName)
	b, err := vfs.ReadFile(fsys, name)
	if errors.Is(err, fs.ErrNotExist) {
		return &manifest{NextFile: 1}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	body, err := unframe(b, manifestMagic, manifestVersion)
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
	if err := vfs.WriteFileAtomic(fsys, path.Join(dir, manifestName), frame(manifestMagic, manifestVersion, body)); err != nil {
		return fmt.Errorf("write manifest: %w", err)
	}
	return nil
}
