// Package datadir works on the data directory of a node that does not run: it
// verifies it, looks for texts in it, takes a backup of it and makes one from a backup.
//
//	store/      the engine's: MANIFEST, *.seg, *.identity, *.traits, *.docs, dedupe-*.bloom, LOCK
//	log/        the Raft log: meta, mark, vote, *.log
//	snapshots/  where the log was cut: snapshot-*, installed
//	incoming/   what is being pulled of another node's state, see cluster/install
//	node        whose directory it is, see roster.OpenIdentity
//
// *.before-recover are the log and the snapshots that Recover has replaced.
// Who works on it holds store/LOCK, as a server does.
package datadir

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"spoor/cluster"
	"spoor/engine"
	"spoor/internal/vfs"
)

// StoreDir is where the engine's files are below the data directory.
const StoreDir = "store"

const (
	lockName     = "LOCK"
	manifestName = "MANIFEST"
)

// ErrNoData is wrapped where a directory is no data directory.
var ErrNoData = errors.New("there is no data of a server")

// Report is what Verify found.
type Report struct {
	Dir    string `json:"dir"`
	Backup bool   `json:"backup"` // it is the directory of a backup
	engine.Report
	FirstIndex uint64 `json:"log_first_index"` // of the log, 0 if it is empty
	LastIndex  uint64 `json:"log_last_index"`
}

// Verify reads every byte of a data directory, or of a backup: the store (see
// engine.Verify), then log and snapshots and whether they fit the store. It changes nothing and
// fails with vfs.ErrLocked while a server runs. What is wrong stands in the report.
func Verify(ctx context.Context, fsys vfs.FS, dir string, progress engine.Progress) (*Report, error) {
	store, backup, err := storeOf(fsys, dir)
	if err != nil {
		return nil, err
	}
	found, err := engine.Verify(ctx, fsys, store, progress)
	if err != nil {
		return nil, err
	}
	r := &Report{Dir: dir, Backup: backup, Report: *found}
	if backup {
		return r, nil
	}
	for i := range r.Problems {
		r.Problems[i].File = StoreDir + "/" + r.Problems[i].File
	}
	lock, err := fsys.Lock(filepath.Join(store, lockName))
	if err != nil {
		return nil, fmt.Errorf("verify %s: %w", dir, err)
	}
	defer func() { _ = lock.Close() }()
	log, err := cluster.Verify(ctx, fsys, dir, r.AppliedIndex)
	if cerr := ctx.Err(); cerr != nil {
		return nil, fmt.Errorf("verify %s: %w", dir, cerr)
	}
	if err != nil {
		r.Problems = append(r.Problems, engine.Problem{File: cluster.LogDir, Text: err.Error()})
		return r, nil
	}
	r.FirstIndex, r.LastIndex = log.FirstIndex, log.LastIndex
	r.Files += log.Files
	r.Bytes += log.Bytes
	r.Notes = append(r.Notes, log.Notes...)
	return r, nil
}

// storeOf returns the directory of the store in a data directory, or dir itself if it is a backup.
func storeOf(fsys vfs.FS, dir string) (store string, backup bool, err error) {
	store = filepath.Join(dir, StoreDir)
	if _, err = fsys.Stat(store); err == nil {
		return store, false, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return "", false, err
	}
	if _, err = fsys.Stat(filepath.Join(dir, manifestName)); err == nil {
		return dir, true, nil
	}
	if _, err := fsys.Stat(filepath.Join(dir, cluster.LogDir)); err == nil {
		return "", false, fmt.Errorf("%w in %s: it has a log, and %s is missing; restore it from a backup", ErrNoData, dir, store)
	}
	return "", false, fmt.Errorf("%w in %s; name the directory that was given to spoor serve --data, or that of a backup", ErrNoData, dir)
}
