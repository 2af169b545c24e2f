package install

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io/fs"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"spoor/cluster"
	"spoor/engine"
	"spoor/internal/vfs"
)

const (
	// DefaultNoProgress is how long a source may send nothing.
	DefaultNoProgress = 30 * time.Second
	// retryPause comes between two tries of a piece.
	retryPause = 200 * time.Millisecond
	// partSuffix ends the names of files of which not all is there.
	partSuffix = ".part"
	// keptFreeBytes of the disk are left for the log.
	keptFreeBytes = 256 << 20
)

// Dir is where pulled files are below the data directory.
const Dir = "incoming"

// Options of a Puller.
type Options struct {
	FS  vfs.FS // nil for the operating system's
	Dir string // on the disk of the store
	// Dial reaches the state of a node.
	Dial func(node, address string) (Source, error)
	// BytesPerSecond bounds what is pulled; 0: as fast as it comes.
	BytesPerSecond int64
	NoProgress     time.Duration // 0 for DefaultNoProgress
	Logger         *slog.Logger
}

// Puller fetches states for an engine. It implements cluster.Installer.
type Puller struct {
	db   *engine.DB
	opts Options

	mu          sync.Mutex // one fetch at a time
	unclean     bool       // Dir may have something in it
	done, total atomic.Int64
	next        time.Time // when the next byte may be asked for
}

var _ cluster.Installer = (*Puller)(nil)

// NewPuller makes a puller for a store.
func NewPuller(db *engine.DB, opts Options) *Puller {
	if opts.FS == nil {
		opts.FS = vfs.OS()
	}
	if opts.NoProgress == 0 {
		opts.NoProgress = DefaultNoProgress
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	return &Puller{db: db, opts: opts, unclean: true}
}

// Progress is how many bytes of the state that is being fetched are there; 0 of 0 when there is none.
func (p *Puller) Progress() (done, total int64) { return p.done.Load(), p.total.Load() }

// pulled is a state that is ready.
type pulled struct {
	p      *Puller
	src    Source
	staged *engine.Staged
}

func (x *pulled) AppliedIndex() uint64 { return x.staged.AppliedIndex }

func (x *pulled) Swap() error { return x.p.db.Swap(x.staged) }

func (x *pulled) Discard() {
	x.staged.Discard(x.p.db)
	x.src.Close()
	x.p.Settled()
}

// Fetch implements cluster.Installer.
func (p *Puller) Fetch(ctx context.Context, from cluster.Member, atLeast uint64) (cluster.Install, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.unclean = true
	defer func() {
		p.done.Store(0)
		p.total.Store(0)
	}()
	src, err := p.opts.Dial(from.ID, from.Address)
	if err != nil {
		return nil, err
	}
	staged, err := p.fetch(ctx, src, atLeast)
	if err != nil {
		src.Close()
		return nil, err
	}
	return &pulled{p, src, staged}, nil
}

func (p *Puller) fetch(ctx context.Context, src Source, atLeast uint64) (*engine.Staged, error) {
	began := time.Now()
	manifest, err := src.Manifest(ctx)
	if err != nil {
		return nil, fmt.Errorf("ask for a snapshot: %w", err)
	}
	files, applied, err := engine.ReadSnapshot(manifest)
	if err != nil {
		return nil, err
	}
	if applied < atLeast {
		return nil, fmt.Errorf("the snapshot covers the log up to %d, %d is needed", applied, atLeast)
	}
	if err := p.opts.FS.MkdirAll(p.opts.Dir); err != nil {
		return nil, err
	}
	if err := p.prepare(files); err != nil {
		return nil, err
	}
	moved := int64(0)
	for i := range files {
		n, err := p.file(ctx, src, &files[i])
		if err != nil {
			return nil, fmt.Errorf("fetch %s: %w", files[i].Name, err)
		}
		moved += n
	}
	if err := p.opts.FS.SyncDir(p.opts.Dir); err != nil {
		return nil, err
	}
	staged, err := p.db.Stage(ctx, manifest, p.opts.Dir)
	if errors.Is(err, engine.ErrSourceDamaged) {
		_ = p.opts.FS.RemoveAll(p.opts.Dir) // the same bytes would be found again
	}
	if err != nil {
		return nil, err
	}
	p.opts.Logger.Info("fetched a state", "applied", applied, "files", len(files), "bytes", p.total.Load(), "pulled", moved, "seconds", time.Since(began).Seconds())
	return staged, nil
}

// prepare removes what is not wanted any more and looks for room for the rest.
func (p *Puller) prepare(files []engine.SnapshotFile) error {
	wanted, total := map[string]bool{}, int64(0)
	for _, f := range files {
		wanted[f.PulledName()] = true
		total += f.Bytes
	}
	p.done.Store(0)
	p.total.Store(total)
	entries, err := p.opts.FS.ReadDir(p.opts.Dir)
	if err != nil {
		return err
	}
	need := total
	for _, e := range entries {
		if !wanted[strings.TrimSuffix(e.Name(), partSuffix)] {
			if err := p.opts.FS.Remove(filepath.Join(p.opts.Dir, e.Name())); err != nil {
				return err
			}
			continue
		}
		if info, err := e.Info(); err == nil {
			need -= info.Size()
		}
	}
	free, err := p.opts.FS.FreeBytes(p.opts.Dir)
	if err == nil && need > 0 && uint64(need)+keptFreeBytes > free {
		err = fmt.Errorf("the disk of %s has %d bytes left, the state takes up to %d more", p.opts.Dir, free, need)
	}
	return err
}

// file makes one file be in Dir under its sum, with its bytes compared and synced; moved is how
// many of them came from the source.
func (p *Puller) file(ctx context.Context, src Source, f *engine.SnapshotFile) (moved int64, err error) {
	name := filepath.Join(p.opts.Dir, f.PulledName())
	if _, err := p.opts.FS.Stat(name); err == nil { // of an earlier try; a crash may have come since
		if sum, err := p.sum(ctx, name, f.Bytes); err == nil && sum == f.SHA256 {
			p.done.Add(f.Bytes)
			return 0, nil
		}
		if err := p.opts.FS.Remove(name); err != nil {
			return 0, err
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return 0, err
	}
	if held, err := p.db.LinkHeld(ctx, *f, name); held || err != nil {
		p.done.Add(f.Bytes)
		return 0, err
	}
	return p.pull(ctx, src, f, name)
}

func (p *Puller) sum(ctx context.Context, name string, size int64) (string, error) {
	h, err := p.opts.FS.Open(name)
	if err != nil {
		return "", err
	}
	defer func() { _ = h.Close() }()
	sum := sha256.New()
	if h.Size() != size {
		return "", fmt.Errorf("%s has %d bytes, not %d", name, h.Size(), size)
	}
	err = hashTo(ctx, sum, h, 0, size)
	return hex.EncodeToString(sum.Sum(nil)), err
}

// hashTo adds bytes of a file to a hash.
func hashTo(ctx context.Context, to hash.Hash, h vfs.File, from, end int64) error {
	b := make([]byte, min(1<<20, max(end-from, 1)))
	for from < end {
		if err := ctx.Err(); err != nil {
			return err
		}
		piece := b[:min(int64(len(b)), end-from)]
		if n, err := h.ReadAt(piece, from); n < len(piece) {
			return err
		}
		to.Write(piece)
		from += int64(len(piece))
	}
	return nil
}

// pull gets a file, from where an earlier try was cut off.
func (p *Puller) pull(ctx context.Context, src Source, f *engine.SnapshotFile, name string) (moved int64, err error) {
	part := name + partSuffix
	h, err := p.opts.FS.OpenReadWrite(part)
	if errors.Is(err, fs.ErrNotExist) {
		h, err = p.opts.FS.Create(part)
	}
	if err != nil {
		return 0, err
	}
	sum := sha256.New()
	moved, err = p.pullTo(ctx, src, f, h, sum)
	if err == nil {
		err = h.Sync()
	}
	if cerr := h.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return moved, err
	}
	if got := hex.EncodeToString(sum.Sum(nil)); got != f.SHA256 {
		return moved, errors.Join(fmt.Errorf("the bytes that came have the sum %s, listed is %s", got, f.SHA256), p.opts.FS.Remove(part))
	}
	return moved, p.opts.FS.Rename(part, name)
}

func (p *Puller) pullTo(ctx context.Context, src Source, f *engine.SnapshotFile, h vfs.File, sum hash.Hash) (moved int64, err error) {
	at := min(h.Size(), f.Bytes)
	if h.Size() > f.Bytes {
		if err := h.Truncate(f.Bytes); err != nil {
			return 0, err
		}
	}
	if err := hashTo(ctx, sum, h, 0, at); err != nil {
		return 0, err
	}
	p.done.Add(at)
	b := make([]byte, min(MaxPieceBytes, max(f.Bytes-at, 1)))
	for at < f.Bytes {
		piece := b[:min(int64(len(b)), f.Bytes-at)]
		if p.opts.BytesPerSecond > 0 { // small pieces, so that it flows
			piece = piece[:min(int64(len(piece)), max(p.opts.BytesPerSecond/8, 4<<10))]
		}
		if err := p.pace(ctx, int64(len(piece))); err != nil {
			return moved, err
		}
		if err := p.piece(ctx, src, f.Name, piece, at); err != nil {
			return moved, err
		}
		if _, err := h.WriteAt(piece, at); err != nil {
			return moved, err
		}
		sum.Write(piece)
		at += int64(len(piece))
		moved += int64(len(piece))
		p.done.Add(int64(len(piece)))
	}
	return moved, nil
}

// piece asks for a piece until it comes, nothing has come for too long, or the snapshot is gone.
func (p *Puller) piece(ctx context.Context, src Source, name string, b []byte, at int64) error {
	ctx, cancel := context.WithTimeout(ctx, p.opts.NoProgress)
	defer cancel()
	for {
		err := src.ReadAt(ctx, name, b, at)
		if err == nil || errors.Is(err, ErrLease) {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("nothing came for %s: %w", p.opts.NoProgress, err)
		case <-time.After(retryPause):
		}
	}
}

// pace waits until n bytes may be asked for.
func (p *Puller) pace(ctx context.Context, n int64) error {
	if p.opts.BytesPerSecond <= 0 {
		return ctx.Err()
	}
	now := time.Now()
	if p.next.Before(now) {
		p.next = now
	}
	wait := p.next.Sub(now)
	p.next = p.next.Add(time.Duration(float64(n) / float64(p.opts.BytesPerSecond) * float64(time.Second)))
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(wait):
		return nil
	}
}

// Settled removes what was pulled: it is in the store, or nobody needs it.
func (p *Puller) Settled() {
	if !p.mu.TryLock() { // a fetch is at work
		return
	}
	defer p.mu.Unlock()
	if !p.unclean {
		return
	}
	if err := p.opts.FS.RemoveAll(p.opts.Dir); err != nil {
		p.opts.Logger.Warn("what was fetched could not be removed", "dir", p.opts.Dir, "error", err)
		return
	}
	p.unclean = false
}
