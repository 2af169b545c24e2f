package cluster

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"github.com/google/uuid"
	"github.com/hashicorp/raft"

	"spoor/cluster/logstore"
	"spoor/internal/vfs"
)

// The log and the snapshots of a node stand in these directories below Config.Dir.
const (
	LogDir       = "log"
	SnapshotsDir = "snapshots"
)

// Report is what Verify found in a log and snapshots that are sound.
type Report struct {
	FirstIndex, LastIndex uint64 // of the log, 0 if it is empty
	CheckpointIndex       uint64 // of the newest snapshot
	Snapshots             int
	Files                 int
	Bytes                 int64
	// Notes are what is unusual and does no harm; each begins with the path of its file.
	Notes []string
}

// Verify reads the log and the snapshots in a directory that no node has open, every
// byte, and compares them with a machine that is durable up to an index, as a start would. It
// changes nothing. The error says what a start would refuse.
func Verify(ctx context.Context, fsys vfs.FS, dir string, durable uint64) (*Report, error) {
	log, err := logstore.Verify(ctx, fsys, filepath.Join(dir, LogDir))
	if err != nil && !errors.Is(err, logstore.ErrNoLog) {
		return nil, err
	}
	r := &Report{}
	if err != nil {
		log = &logstore.Report{}
		r.Notes = append(r.Notes, LogDir+": there is no log; the next start makes one")
	}
	r.FirstIndex, r.LastIndex, r.Files, r.Bytes = log.First, log.Last, log.Files, log.Bytes
	for _, n := range log.Notes {
		r.Notes = append(r.Notes, LogDir+"/"+n)
	}
	snaps, err := verifySnapshots(fsys, filepath.Join(dir, SnapshotsDir), r)
	if err != nil {
		return nil, fmt.Errorf("verify snapshots: %w", err)
	}
	if err := checkFit(snaps, log.First, log.Last, durable, dir); err != nil {
		return nil, err
	}
	return r, nil
}

func verifySnapshots(fsys vfs.FS, dir string, r *Report) (*snapshots, error) {
	s := &snapshots{fs: fsys, dir: dir}
	entries, err := fsys.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			return nil, err
		}
		r.Files++
		r.Bytes += info.Size()
	}
	all, err := s.List()
	if err != nil {
		return nil, err
	}
	if r.Snapshots = len(all); len(all) > 0 {
		r.CheckpointIndex = all[0].Index
	}
	return s, nil
}

// VerifyLog reads every entry of the log and every snapshot of a node that runs.
func (n *Node) VerifyLog(ctx context.Context) (*Report, error) {
	r := &Report{}
	if _, err := verifySnapshots(n.cfg.FS, filepath.Join(n.cfg.Dir, SnapshotsDir), r); err != nil {
		return nil, fmt.Errorf("verify snapshots: %w", err)
	}
	first, _ := n.store.FirstIndex()
	r.LastIndex, _ = n.store.LastIndex()
	r.FirstIndex = first
	for i := first; i > 0 && i <= r.LastIndex; i++ {
		if err := ctx.Err(); err != nil {
			return nil, fmt.Errorf("verify log: %w", err)
		}
		var l raft.Log
		err := n.store.GetLog(i, &l)
		if errors.Is(err, raft.ErrLogNotFound) { // a checkpoint has cut it meanwhile
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("verify log: %w", err)
		}
		r.Bytes += int64(len(l.Data))
	}
	return r, nil
}

// Found makes the log and the snapshot of a new cluster of this one node, whose
// machine holds everything up to an index already, as after a restore. It is refused where there is a log.
func Found(fsys vfs.FS, dir, id string, index uint64) error {
	if index == 0 {
		return nil // the first start bootstraps
	}
	if err := found(fsys, dir, id, index); err != nil {
		return fmt.Errorf("make a log in %s that goes on behind entry %d: %w", dir, index, err)
	}
	return nil
}

func found(fsys vfs.FS, dir, id string, index uint64) error {
	const firstTerm = 1
	if _, err := fsys.Stat(filepath.Join(dir, LogDir)); !errors.Is(err, fs.ErrNotExist) {
		return errors.Join(errors.New("it holds one"), err)
	}
	// The snapshot comes first: without a log it says nothing, and a log without it would begin anew.
	snaps, err := openSnapshots(fsys, filepath.Join(dir, SnapshotsDir))
	if err != nil {
		return err
	}
	self := raft.Server{ID: raft.ServerID(id), Address: raft.ServerAddress(id)}
	sink, err := snaps.Create(1, index, firstTerm, raft.Configuration{Servers: []raft.Server{self}}, index, nil)
	if err != nil {
		return err
	}
	sink.(*sinkFile).own = true
	b, err := encodeManifest(index)
	if err == nil {
		_, err = sink.Write(b)
	}
	if err = errors.Join(err, sink.Close()); err != nil {
		return err
	}
	failed := make(chan error, 1)
	s, err := logstore.Open(logstore.Options{
		FS: fsys, Dir: filepath.Join(dir, LogDir), NewCluster: logstore.ClusterID(uuid.New()), SegmentBytes: logstore.MinSegmentBytes,
		OnFatal: func(err error) { failed <- err },
	})
	if err != nil {
		return err
	}
	err = s.StableStore().SetUint64([]byte(keyCurrentTerm), firstTerm)
	if err = errors.Join(err, s.Close()); err != nil {
		return err
	}
	select {
	case err := <-failed:
		return err
	default:
		return nil
	}
}
