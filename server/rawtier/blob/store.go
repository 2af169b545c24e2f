// Package blob keeps objects under keys, in a directory or in a store that
// speaks S3. It is all that the raw tier knows of either.
//
// On the way of an event it is the last room: a Parquet file that was written
// and counted is put here, read back, and only then named by a manifest.
package blob

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"path"
	"strings"
	"time"
)

// Object is what a listing says of an object.
type Object struct {
	Key     string
	Bytes   int64
	Changed time.Time
}

// Store keeps objects. Keys are slash-separated, without empty and dot parts. It is safe for concurrent use.
type Store interface {
	// Put stores size bytes under a key, whole or not at all; an object that has the key is replaced.
	Put(ctx context.Context, key string, content io.ReaderAt, size int64) error
	// Replace stores a small object if its version is still the one that Read gave, "" for
	// none; else the error is ErrChanged. Of two writers one wins.
	Replace(ctx context.Context, key string, content []byte, version string) (next string, err error)
	// Read returns a small object, of at most MaxSmallBytes, and its version. The error is ErrMissing where there is none.
	Read(ctx context.Context, key string) (content []byte, version string, err error)
	// Open streams an object. The error, of Open or of the first Read, is ErrMissing where there is none.
	Open(ctx context.Context, key string) (io.ReadCloser, error)
	// List calls f with the objects whose keys begin with prefix, in the order of keys.
	List(ctx context.Context, prefix string, f func(Object) error) error
	// Remove removes an object; one that is missing is no error.
	Remove(ctx context.Context, key string) error
	// String names the place for people, without secrets.
	String() string
}

// MaxSmallBytes bounds what Read holds in memory.
const MaxSmallBytes = 64 << 20

// Errors that callers tell apart.
var (
	ErrMissing = errors.New("there is no such object")
	ErrChanged = errors.New("somebody else has changed the object")
	ErrFull    = errors.New("the store has no space left")
	ErrDenied  = errors.New("the store refuses the credentials")
)

// Options say how a store that speaks S3 is reached.
type Options struct {
	// Endpoint is a URL, https://s3.example.com; "" is Amazon's.
	Endpoint string
	Region   string
	// Encryption asks the store to encrypt objects: "", "s3" (AES256) or "kms:KEY-ID".
	Encryption string
	// Metadata is the URL of what knows the role of this machine; "" is the usual address.
	Metadata string
	// PartBytes is the size of the parts that larger objects are sent in; 0: 16 MiB.
	PartBytes int64
	// Timeout bounds a request without progress; 0: a minute.
	Timeout time.Duration
}

// Open opens what a place names: a directory, or s3://BUCKET/PREFIX.
func Open(place string, opts Options) (Store, error) {
	if rest, ok := strings.CutPrefix(place, "s3://"); ok {
		bucket, prefix, _ := strings.Cut(rest, "/")
		if bucket == "" {
			return nil, fmt.Errorf("%q names no bucket; write s3://BUCKET/PREFIX", place)
		}
		return openS3(bucket, strings.Trim(prefix, "/"), opts)
	}
	if u, err := url.Parse(place); err == nil && u.Scheme != "" && len(u.Scheme) > 1 {
		return nil, fmt.Errorf("%q is neither a directory nor s3://BUCKET/PREFIX", place)
	}
	return openDirectory(place)
}

// checkKey refuses what could name something else than an object of the store.
func checkKey(key string) error {
	if key == "" || path.Clean("/"+key) != "/"+key || strings.ContainsAny(key, "\\\x00") {
		return fmt.Errorf("%q is no key of an object", key)
	}
	return nil
}
