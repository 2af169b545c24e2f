package datadir

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path/filepath"
	"time"

	"spoor/cluster"
	"spoor/engine"
	"spoor/internal/vfs"
)

// ErrInUse is wrapped where a restore would write over data.
var ErrInUse = errors.New("the directory holds data")

// Options say whose data it is.
type Options struct {
	Dir    string
	NodeID string
	Logger *slog.Logger
	// OnFatal is told of the error after which the process has to end, see engine.Options.
	OnFatal func(error)
}

const closeTime = time.Minute

// Backup starts the node without its server, so that all that the log holds is in
// the store, writes a backup of the store to a directory (see engine.DB.Backup), and ends it.
func Backup(ctx context.Context, o Options, to string, progress engine.Progress) (report *engine.BackupReport, err error) {
	store, backup, err := storeOf(vfs.OS(), o.Dir)
	if err != nil {
		return nil, fmt.Errorf("back up: %w", err)
	}
	if backup {
		return nil, fmt.Errorf("back up: %w in %s: it is a backup itself; copy it", ErrNoData, o.Dir)
	}
	db, err := engine.Open(store, engine.Options{Logger: o.Logger, OnFatal: o.OnFatal})
	if err != nil {
		return nil, fmt.Errorf("back up: %w", err)
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	node, err := cluster.Open(cluster.Config{ID: o.NodeID, Dir: o.Dir, Logger: o.Logger, OnFatal: o.OnFatal}, db)
	if err != nil {
		return nil, fmt.Errorf("back up: %w", err)
	}
	defer func() {
		closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTime)
		defer cancel()
		err = errors.Join(err, node.Close(closing))
	}()
	if err := node.WaitReady(ctx); err != nil {
		return nil, fmt.Errorf("back up: %w", err)
	}
	return db.Backup(ctx, vfs.OS(), to, progress)
}

// Restored is what Restore made.
type Restored struct {
	engine.BackupReport
	Verified *Report `json:"verified"`
}

// Restore makes a data directory from a backup, with a log that goes on behind
// what the backup includes, for a node of its own with the id given. Every byte is compared with
// the sums of the backup, and the whole is verified at the end. dir must hold no data.
func Restore(ctx context.Context, fsys vfs.FS, from, dir, nodeID string, progress engine.Progress) (*Restored, error) {
	for _, name := range []string{filepath.Join(StoreDir, manifestName), cluster.LogDir, cluster.SnapshotsDir} {
		if _, err := fsys.Stat(filepath.Join(dir, name)); !errors.Is(err, fs.ErrNotExist) {
			return nil, errors.Join(fmt.Errorf("restore to %s: %w: %s is there; name a new directory, or remove what is in it", dir, ErrInUse, name), err)
		}
	}
	copied, err := engine.Restore(ctx, fsys, from, fsys, filepath.Join(dir, StoreDir), progress)
	if err != nil {
		return nil, err
	}
	if err := cluster.Found(fsys, dir, nodeID, copied.AppliedIndex); err != nil {
		return nil, fmt.Errorf("restore to %s: %w", dir, err)
	}
	verified, err := Verify(ctx, fsys, dir, nil)
	if err == nil {
		err = verified.Err()
	}
	if err != nil {
		return nil, fmt.Errorf("restore to %s: %w", dir, err)
	}
	return &Restored{*copied, verified}, nil
}
