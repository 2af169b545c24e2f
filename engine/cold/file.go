package cold

import (
	"context"
	"fmt"
	"io"

	"spoor/internal/vfs"
)

// File is a cold segment. It is an io.ReaderAt of all of its bytes.
type File struct {
	tier    *Tier
	key     string
	number  uint64 // in the cache
	stub    vfs.File
	size    int64
	extents []extent
}

// OpenFile opens the cold segment of a stub, whose bytes are the object of a key. The store is not asked.
func (t *Tier) OpenFile(stub, key string) (*File, error) {
	f, err := t.fs.Open(stub)
	if err != nil {
		return nil, fmt.Errorf("open the stub of a cold segment: %w", err)
	}
	c := &File{tier: t, key: key, number: t.files.Add(1), stub: f}
	if c.size, c.extents, err = readStub(f); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("%s: %w", stub, err)
	}
	return c, nil
}

// Size is that of the segment.
func (f *File) Size() int64 { return f.size }

// Key is that of the object.
func (f *File) Key() string { return f.key }

// LocalBytes is what the stub takes on the local disk.
func (f *File) LocalBytes() int64 { return f.stub.Size() }

// ReadAt implements io.ReaderAt. An error that wraps ErrAway says nothing of the segment: later the same read may succeed.
func (f *File) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 || off > f.size {
		return 0, fmt.Errorf("read a cold segment of %d bytes at %d: %w", f.size, off, io.EOF)
	}
	var end error
	if left := f.size - off; int64(len(p)) > left {
		p, end = p[:left], io.EOF
	}
	if len(p) == 0 {
		return 0, end
	}
	if e := find(f.extents, off, int64(len(p))); e != nil {
		if n, err := f.stub.ReadAt(p, e.at+off-e.Off); n < len(p) {
			return n, err
		}
		return len(p), end
	}
	if len(p) > wholeBytes { // somebody reads all of it: the cache is for queries
		for n := 0; n < len(p); n += wholeBytes {
			b := p[n:min(n+wholeBytes, len(p))]
			if err := f.tier.fetch(f.tier.ctx, f.key, b, off+int64(n), wholeFactor*f.tier.opts.Timeout); err != nil {
				return n, err
			}
		}
		return len(p), end
	}
	for n, block := 0, int(f.tier.opts.BlockBytes); n < len(p); {
		at := off + int64(n)
		in := int(at % int64(block))
		b := p[n:min(n+block-in, len(p))]
		if err := f.tier.block(f, at/int64(block), b, in); err != nil {
			return n, err
		}
		n += len(b)
	}
	return len(p), end
}

// Whole reads all of it, past the cache, into w, and compares its SHA-256.
func (f *File) Whole(ctx context.Context, sum string, w io.Writer) error {
	return f.tier.whole(ctx, f.key, f.size, sum, w)
}

// Close lets the segment go; nobody reads it any more.
func (f *File) Close() error {
	f.tier.closed.Add(1)
	if err := f.tier.cache.forget(f.number); err != nil {
		f.tier.log.Error("what was erased may be in the cache of cold segments until the next start", "error", err)
	}
	return f.stub.Close()
}
