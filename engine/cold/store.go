// Package cold keeps segments of old days in an object store in place of the local disk.
//
// On the way of an event it comes last: a segment whose days are older than a setting is put into the
// store as it is, byte for byte, and read back; then what a node needs to know of it without its rows
// (see segment.Reader.Directory) is written beside the manifest as a stub, and the manifest says
// that the segment is cold. From then on a File answers its reads: of the directory from
// the stub, of rows from a bounded cache of blocks on the local disk, and what is not there
// from the store. What is read is under the checksums of the segment, so wherever damage
// happened it is an error.
package cold

import (
	"context"
	"errors"
	"io"
)

// Store keeps objects under slash-separated keys. It is safe for concurrent use.
type Store interface {
	// Put stores size bytes under a key, whole or not at all; an object that has the key is replaced.
	Put(ctx context.Context, key string, content io.ReaderAt, size int64) error
	// ReadAt fills p with what an object holds at off. The error wraps ErrMissing where there is no
	// such object, or it ends before.
	ReadAt(ctx context.Context, key string, p []byte, off int64) error
	// List calls f with the objects whose keys begin with prefix.
	List(ctx context.Context, prefix string, f func(key string, bytes int64) error) error
	// Remove removes an object; one that is missing is no error.
	Remove(ctx context.Context, key string) error
	// String names the place for people, without secrets.
	String() string
}

// Errors that callers tell apart.
var (
	// ErrAway is wrapped when the store does not answer, or answers with an error: what is asked
	// for is there, and can be read when the store is back.
	ErrAway = errors.New("events of old days are in an object store that cannot be read now")
	// ErrNoStore is wrapped, with ErrAway, where no store is configured.
	ErrNoStore = errors.New("none is configured; start the server with the --raw flags that it had when they were put there")
	// ErrMissing is wrapped when an object is not there, or shorter than it was.
	ErrMissing = errors.New("the object is missing or too short")
	// ErrDamaged is wrapped when bytes are not those that were put there.
	ErrDamaged = errors.New("the object is damaged")
)
