package rawtier

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"path/filepath"

	"github.com/google/uuid"

	"spoor/internal/vfs"
)

// exportsDir holds what was exported into the store on demand. It is whoever asked for it who
// looks after these files: no manifest names them, and erasures do not reach them.
const exportsDir = "exports/"

// Exported describes an export in the store.
type Exported struct {
	Key    string `json:"key"`
	Bytes  int64  `json:"bytes"`
	SHA256 string `json:"sha256"`
}

// Export puts what write writes into the store under a name, whole or not at all, and
// reads it back. An export that had the name is replaced.
func (t *Tier) Export(ctx context.Context, name string, write func(w io.Writer) error) (*Exported, error) {
	fsys := t.opts.FS
	if err := fsys.MkdirAll(t.opts.Dir); err != nil {
		return nil, fmt.Errorf("export %s: %w", name, err)
	}
	path := filepath.Join(t.opts.Dir, "export-"+uuid.NewString()+vfs.TempSuffix)
	f, err := fsys.Create(path)
	if err != nil {
		return nil, fmt.Errorf("export %s: %w", name, err)
	}
	defer func() {
		_ = f.Close()
		_ = fsys.Remove(path) // a start of Run may have cleared it
	}()
	h := newHash()
	buf := bufio.NewWriterSize(io.MultiWriter(f, h), outputBytes)
	if err := write(buf); err != nil {
		return nil, err
	}
	if err := buf.Flush(); err != nil {
		return nil, fmt.Errorf("export %s: %w", name, err)
	}
	e := &Exported{Key: exportsDir + name, Bytes: f.Size(), SHA256: string(hexSum(h))}
	return e, upload(ctx, t.store, e.Key, f, e.Bytes, e.SHA256, nil)
}
