package rawtier

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"path/filepath"
	"strconv"
	"time"

	"spoor/engine/event"
	"spoor/internal/vfs"
	"spoor/server/rawtier/blob"
	"spoor/server/rawtier/parquetfile"
)

func newHash() hash.Hash { return sha256.New() }

func hexSum(h hash.Hash) []byte { return hex.AppendEncode(nil, h.Sum(nil)) }

// output is a file of events that is being written, on this machine first.
type output struct {
	place    place
	late     bool
	path     string
	f        vfs.File
	buf      *bufio.Writer
	hash     hash.Hash
	w        *parquetfile.Writer
	min, max int64
}

// outputBytes are written to a file at a time.
const outputBytes = 256 << 10

// workshop is where files are written before they are put into the store.
type workshop struct {
	fs   vfs.FS
	dir  string
	next int
}

// clear removes what an earlier process left.
func (w *workshop) clear() error {
	if err := w.fs.RemoveAll(w.dir); err != nil {
		return fmt.Errorf("clear %s: %w", w.dir, err)
	}
	return w.fs.MkdirAll(w.dir)
}

// create makes a file without a name that counts.
func (w *workshop) create() (vfs.File, string, error) {
	w.next++
	name := filepath.Join(w.dir, strconv.Itoa(w.next)+vfs.TempSuffix)
	f, err := w.fs.Create(name)
	if err != nil {
		return nil, "", fmt.Errorf("write a file for the raw tier: %w", err)
	}
	return f, name, nil
}

func (w *workshop) output(p place, late bool, schema *parquetfile.Schema) (*output, error) {
	f, name, err := w.create()
	if err != nil {
		return nil, err
	}
	o := &output{place: p, late: late, path: name, f: f, hash: newHash()}
	o.buf = bufio.NewWriterSize(f, outputBytes)
	o.w = parquetfile.NewWriter(io.MultiWriter(o.buf, o.hash), schema)
	return o, nil
}

func (o *output) add(row *event.Row) error {
	if o.w.Rows() == 0 {
		o.min, o.max = row.Time, row.Time
	}
	o.min, o.max = min(o.min, row.Time), max(o.max, row.Time)
	return o.w.Add(row)
}

// drop closes and removes the file.
func (o *output) drop(fsys vfs.FS) {
	_ = o.f.Close()
	_ = fsys.Remove(o.path) // the next start clears what stays
}

// finish ends the file and describes it.
func (o *output) finish(day int32, now time.Time) (*File, error) {
	err := o.w.Close()
	if err == nil {
		err = o.buf.Flush()
	}
	if err != nil {
		return nil, fmt.Errorf("write a file for the raw tier: %w", err)
	}
	kind := "base-"
	if o.late {
		kind = "late-"
	}
	sum := string(hexSum(o.hash))
	f := &File{
		Key: o.place.dir(day) + kind + sum[:shaInName] + ".parquet", Rows: int64(o.w.Rows()), Bytes: o.f.Size(), SHA256: sum,
		Event: o.place.event, Source: o.place.source, Late: o.late, Written: stamp(now),
		MinTime: stamp(time.UnixMicro(o.min)), MaxTime: stamp(time.UnixMicro(o.max)),
	}
	if o.place.hour != allHours {
		hour := o.place.hour
		f.Hour = &hour
	}
	return f, nil
}

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.999999Z07:00") }

// upload puts a file into the store and reads it back. One that is there already, of an
// attempt that was cut off, is only read.
func upload(ctx context.Context, store blob.Store, key string, content io.ReaderAt, size int64, sum string, there map[string]int64) error {
	if there[key] == size {
		err := Fetch(ctx, store, key, size, sum, io.Discard)
		if err == nil || !errors.Is(err, ErrDamaged) && !errors.Is(err, blob.ErrMissing) {
			return err
		}
	}
	if err := store.Put(ctx, key, content, size); err != nil {
		return err
	}
	if err := Fetch(ctx, store, key, size, sum, io.Discard); err != nil {
		return fmt.Errorf("verify what was just written: %w", err)
	}
	return nil
}

// Upload puts a file beside the raw tier and reads it back.
func Upload(ctx context.Context, store blob.Store, key string, content []byte) (sum string, err error) {
	sum = SumOf(content)
	return sum, upload(ctx, store, key, bytes.NewReader(content), int64(len(content)), sum, nil)
}

// UploadFile puts a larger file beside the raw tier and reads it back.
func UploadFile(ctx context.Context, store blob.Store, key string, content io.ReaderAt, size int64, sum string) error {
	return upload(ctx, store, key, content, size, sum, nil)
}

// SumOf is the SHA-256 of bytes, hexadecimal.
func SumOf(content []byte) string {
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:])
}

// ReadState reads a small JSON object beside the raw tier, and its version; see blob.Store.Replace.
func ReadState(ctx context.Context, store blob.Store, key string, into any) (version string, found bool, err error) {
	return readJSON(ctx, store, key, into)
}

// ReplaceState writes over the version that was read. The value has the member "version", which is StateVersion.
func ReplaceState(ctx context.Context, store blob.Store, key string, value any, version string) error {
	_, err := replaceJSON(ctx, store, key, value, version)
	return err
}

// StateVersion is that of all the JSON of the raw tier.
const StateVersion = manifestVersion
