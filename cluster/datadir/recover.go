package datadir

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path/filepath"

	"github.com/hashicorp/raft"

	"spoor/cluster"
	"spoor/cluster/logstore"
	"spoor/engine"
	"spoor/internal/vfs"
)

// recoveredSuffix is of the log and the snapshots that a recovery leaves beside the new ones.
const recoveredSuffix = ".before-recover"

// Recovered is what Recover made.
type Recovered struct {
	Dir string `json:"dir"`
	// OldCluster is the cluster that the node was of; it is no member of that any more.
	OldCluster string `json:"old_cluster"`
	// Index is the last entry of the log that the store holds.
	Index uint64 `json:"index"`
	// Applied are the entries that the log held and the store did not.
	Applied int `json:"applied"`
}

// RecoverOptions say what is recovered.
type RecoverOptions struct {
	FS      vfs.FS
	Dir     string
	NodeID  string
	Logger  *slog.Logger
	OnFatal func(error)
}

// Recover makes a cluster of one node of a data directory whose cluster has lost its
// majority for good. Everything that the log of this node holds is applied, committed or
// not, and made durable. The new cluster has an id of its own: nodes of the old one that come back are
// refused, and no two of them can lead at once. What other nodes acknowledged
// and this one never got is lost. The old log stays beside the new one.
func Recover(ctx context.Context, o RecoverOptions) (r *Recovered, err error) {
	store, backup, err := storeOf(o.FS, o.Dir)
	if err != nil {
		return nil, err
	}
	if backup {
		return nil, fmt.Errorf("%w in %s: it is a backup; use spoor restore", ErrNoData, o.Dir)
	}
	db, err := engine.Open(store, engine.Options{FS: o.FS, Logger: o.Logger, OnFatal: o.OnFatal, ManualCompaction: true})
	if err != nil {
		return nil, fmt.Errorf("recover %s: %w", o.Dir, err)
	}
	r = &Recovered{Dir: o.Dir}
	err = recoverInto(ctx, o, db, r)
	if err = errors.Join(err, db.Close()); err != nil {
		return nil, fmt.Errorf("recover %s: %w", o.Dir, err)
	}
	return r, nil
}

func recoverInto(ctx context.Context, o RecoverOptions, db *engine.DB, r *Recovered) error {
	log, snaps := filepath.Join(o.Dir, cluster.LogDir), filepath.Join(o.Dir, cluster.SnapshotsDir)
	// A recovery that was cut off has moved the log and goes on from there.
	kept := log + recoveredSuffix
	_, err := o.FS.Stat(log)
	switch {
	case err == nil:
		if _, err := cluster.Verify(ctx, o.FS, o.Dir, db.DurableIndex()); err != nil {
			return err
		}
		if err := applyLog(ctx, o, log, db, r); err != nil {
			return err
		}
		if r.Index, err = db.Checkpoint(ctx); err != nil {
			return err
		}
		for _, dir := range []string{kept, snaps + recoveredSuffix} {
			if err := o.FS.RemoveAll(dir); err != nil { // of an earlier one
				return err
			}
		}
		if err := o.FS.Rename(log, kept); err != nil {
			return err
		}
	case errors.Is(err, fs.ErrNotExist):
		if _, kerr := o.FS.Stat(kept); kerr != nil {
			return errors.Join(fmt.Errorf("there is no log in %s", log), kerr)
		}
		r.Index = db.DurableIndex()
	default:
		return err
	}
	if _, err := o.FS.Stat(snaps + recoveredSuffix); errors.Is(err, fs.ErrNotExist) {
		if err := o.FS.Rename(snaps, snaps+recoveredSuffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	if err := o.FS.SyncDir(o.Dir); err != nil {
		return err
	}
	return cluster.Found(o.FS, o.Dir, o.NodeID, r.Index)
}

// applyLog brings the entries to the store that it does not hold yet.
func applyLog(ctx context.Context, o RecoverOptions, dir string, db *engine.DB, r *Recovered) error {
	s, err := logstore.Open(logstore.Options{FS: o.FS, Dir: dir, SegmentBytes: logstore.MinSegmentBytes, OnFatal: o.OnFatal, Logger: o.Logger})
	if err != nil {
		return err
	}
	r.OldCluster = s.Cluster().String()
	err = func() error {
		first, err := s.FirstIndex()
		if err != nil {
			return err
		}
		last, err := s.LastIndex()
		if err != nil {
			return err
		}
		for i := max(first, db.DurableIndex()+1); i > 0 && i <= last; i++ {
			if err := ctx.Err(); err != nil {
				return err
			}
			var l raft.Log
			if err := s.GetLog(i, &l); err != nil {
				return err
			}
			if l.Type == raft.LogCommand {
				db.Apply(i, l.Data)
				r.Applied++
			}
		}
		return nil
	}()
	return errors.Join(err, s.Close())
}
