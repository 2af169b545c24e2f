package datadir

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"spoor/cluster"
	"spoor/engine"
	"spoor/internal/vfs"
)

// lost is a data directory whose log holds documents that the store does not, as after a crash.
func lost(t *testing.T) (dir string, index uint64) {
	t.Helper()
	dir = t.TempDir()
	fatal := func(err error) { t.Errorf("fatal: %v", err) }
	live := filepath.Join(dir, "live")
	db, err := engine.Open(filepath.Join(live, StoreDir), engine.Options{OnFatal: fatal, ManualCompaction: true})
	require.NoError(t, err)
	node, err := cluster.Open(cluster.Config{ID: "n1", Dir: live, Bootstrap: true, OnFatal: fatal}, db)
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	require.NoError(t, node.WaitReady(ctx))
	for i, name := range []string{"flushed", "in the log"} {
		_, index, err = node.Propose(ctx, engine.PutEntry("query", name, []byte("events of any")))
		require.NoError(t, err)
		if i == 0 {
			require.NoError(t, node.Checkpoint(ctx))
		}
	}
	crashed := filepath.Join(dir, "crashed")
	require.NoError(t, os.CopyFS(crashed, os.DirFS(live)))
	require.NoError(t, node.Close(ctx))
	require.NoError(t, db.Close())
	require.NoError(t, os.Remove(filepath.Join(crashed, StoreDir, lockName)))
	return crashed, index
}

func requireRecovered(t *testing.T, dir string, index uint64) {
	t.Helper()
	db, err := engine.Open(filepath.Join(dir, StoreDir), engine.Options{ManualCompaction: true})
	require.NoError(t, err)
	defer func() { require.NoError(t, db.Close()) }()
	for _, name := range []string{"flushed", "in the log"} {
		_, ok := db.Document("query", name)
		require.True(t, ok, name)
	}
	node, err := cluster.Open(cluster.Config{ID: "n2", Dir: dir, OnFatal: func(err error) { t.Errorf("fatal: %v", err) }}, db)
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	require.NoError(t, node.WaitReady(ctx))
	require.Len(t, node.Status().Nodes, 1)
	_, next, err := node.Propose(ctx, engine.PutEntry("query", "after", nil))
	require.NoError(t, err)
	require.Greater(t, next, index)
	require.NoError(t, node.Close(ctx))
}

func TestARecoveryKeepsWhatTheLogAloneHeldAndFoundsAnotherCluster(t *testing.T) {
	dir, index := lost(t)
	o := RecoverOptions{FS: vfs.OS(), Dir: dir, NodeID: "n2", OnFatal: func(err error) { t.Errorf("fatal: %v", err) }}
	r, err := Recover(context.Background(), o)
	require.NoError(t, err)
	require.Equal(t, index, r.Index)
	require.Equal(t, 1, r.Applied)
	require.Len(t, r.OldCluster, 32)
	require.DirExists(t, filepath.Join(dir, cluster.LogDir+recoveredSuffix))
	requireRecovered(t, dir, index)

	again, err := Recover(context.Background(), o) // of a cluster that has been lost once more
	require.NoError(t, err)
	require.NotEqual(t, r.OldCluster, again.OldCluster)
}

func TestARecoveryThatWasCutOffGoesOn(t *testing.T) {
	for moved := 1; moved <= 2; moved++ {
		dir, index := lost(t)
		o := RecoverOptions{FS: vfs.OS(), Dir: dir, NodeID: "n2", OnFatal: func(err error) { t.Errorf("fatal: %v", err) }}
		_, err := Recover(context.Background(), o)
		require.NoError(t, err)
		// As it is after the first, or the second, of its renames.
		for _, name := range []string{cluster.LogDir, cluster.SnapshotsDir} {
			require.NoError(t, os.RemoveAll(filepath.Join(dir, name)))
		}
		if moved == 1 {
			snaps := filepath.Join(dir, cluster.SnapshotsDir)
			require.NoError(t, os.Rename(snaps+recoveredSuffix, snaps))
		}
		_, err = Recover(context.Background(), o)
		require.NoError(t, err, "after %d renames", moved)
		requireRecovered(t, dir, index)
	}
}

func TestThereIsNothingToRecoverWhereThereIsNoLog(t *testing.T) {
	o := RecoverOptions{FS: vfs.OS(), Dir: t.TempDir(), NodeID: "n1"}
	_, err := Recover(context.Background(), o)
	require.ErrorIs(t, err, ErrNoData)
	db, err := engine.Open(filepath.Join(o.Dir, StoreDir), engine.Options{})
	require.NoError(t, err)
	require.NoError(t, db.Close())
	_, err = Recover(context.Background(), o)
	require.ErrorContains(t, err, "there is no log")
}
