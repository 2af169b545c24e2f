package datadir_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"spoor/cluster"
	"spoor/cluster/datadir"
	"spoor/engine"
	"spoor/engine/event"
	"spoor/engine/traits"
	"spoor/internal/vfs"
	"spoor/segment/batch"
)

// node is a node without its server.
type node struct {
	t     testing.TB
	db    *engine.DB
	raft  *cluster.Node
	fatal chan error // what would have ended the process
}

// start returns an error where a server would refuse to start or end on the way.
func start(t testing.TB, dir, id string) (*node, error) {
	t.Helper()
	n := &node{t: t, fatal: make(chan error, 16)}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	fatal := func(err error) {
		n.fatal <- err
		cancel()
	}
	var err error
	n.db, err = engine.Open(filepath.Join(dir, datadir.StoreDir), engine.Options{FlushRows: 100, CompactAfterIdle: time.Hour, OnFatal: fatal})
	if err != nil {
		return nil, err
	}
	n.raft, err = cluster.Open(cluster.Config{ID: id, Dir: dir, Bootstrap: true, SegmentBytes: 256 << 10, OnFatal: fatal}, n.db)
	if err != nil {
		require.NoError(t, n.db.Close())
		return nil, err
	}
	if err := n.raft.WaitReady(ctx); err != nil {
		_ = n.raft.Close(context.Background())
		_ = n.db.Close()
		return nil, errors.Join(err, <-n.fatal)
	}
	return n, nil
}

func mustStart(t testing.TB, dir, id string) *node {
	t.Helper()
	n, err := start(t, dir, id)
	require.NoError(t, err)
	return n
}

func (n *node) close() {
	n.t.Helper()
	require.NoError(n.t, n.raft.Close(context.Background()))
	require.NoError(n.t, n.db.Close())
	require.Empty(n.t, n.fatal)
}

// served is all that the node serves, as a hash.
func (n *node) served() (string, error) {
	h, err := n.db.StateHash(context.Background())
	if err != nil {
		return "", err
	}
	h.AppliedIndex = 0
	return fmt.Sprint(*h), nil
}

func (n *node) propose(entry []byte) any {
	n.t.Helper()
	result, _, err := n.raft.Propose(context.Background(), entry)
	require.NoError(n.t, err)
	return result
}

// events stores the events of the numbers from and up to, and returns how many were duplicates.
func (n *node) events(from, to int, extra string) (duplicates int) {
	n.t.Helper()
	d := event.NewDecoder(event.DefaultLimits())
	for ; from < to; from += 50 {
		for i := from; i < min(from+50, to); i++ {
			line := fmt.Sprintf(`{"eventId":"event-%d","eventName":"e%d","userId":"u%d","anonymousId":"a%d","timestamp":"2026-05-%02dT10:00:00Z","properties":{"n":%d.5,"tag":"t%d"%s}}`,
				i, i%3, i%40, i%60, 1+i%5, i, i%7, extra)
			_, rej := d.Add([]byte(line), "", nil)
			require.Nil(n.t, rej)
		}
		result, ok := n.propose(engine.EventsEntry(nil, d.Seal(1_777_700_000_000_000))).(*engine.EventsResult)
		require.True(n.t, ok)
		duplicates += result.Duplicates
	}
	return duplicates
}

func (n *node) checkpoint() {
	n.t.Helper()
	require.NoError(n.t, n.raft.Checkpoint(context.Background()))
}

// fill gives a node files of every type: two levels of segments, identity, traits,
// documents, filters, a log with entries that are in no file yet, snapshots.
func (n *node) fill() {
	n.t.Helper()
	n.events(0, 400, "")
	n.checkpoint()
	require.NoError(n.t, n.db.Compact(context.Background()))
	n.propose(engine.PutEntry("query", "funnels", []byte(`{"text":"funnel e1 -> e2"}`)))
	n.propose(engine.IdentifyEntry(traits.Call{UserID: []byte("u1"), Time: 5, Traits: []event.Leaf{{Path: "plan", Kind: batch.KindString, Text: []byte("pro")}, {Path: "visits", Kind: batch.KindInt, Int: 9_007_199_254_740_993}}}))
	n.events(400, 600, "")
	n.checkpoint()
	n.events(600, 650, "") // too few to be flushed by themselves
}

// image copies the directory of a node that is idle: what a kill would leave.
func image(t testing.TB, dir string) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "data")
	require.NoError(t, os.CopyFS(to, os.DirFS(dir)))
	return to
}

// killed is the image of a filled node, and what it served.
func killed(t testing.TB) (dir, served string) {
	t.Helper()
	from := filepath.Join(t.TempDir(), "data")
	n := mustStart(t, from, "n1")
	n.fill()
	served, err := n.served()
	require.NoError(t, err)
	dir = image(t, from)
	n.close()
	return dir, served
}

func verify(t testing.TB, dir string) *datadir.Report {
	t.Helper()
	r, err := datadir.Verify(context.Background(), vfs.OS(), dir, nil)
	require.NoError(t, err)
	return r
}

func TestVerifyFindsNothingInWhatAKillOrAnEndLeftAndChangesNothing(t *testing.T) {
	dir, _ := killed(t)
	before := contents(t, dir)
	r := verify(t, dir)
	require.NoError(t, r.Err())
	require.Empty(t, r.Notes)
	require.EqualValues(t, 600, r.Rows, "the others are in the log")
	require.Greater(t, r.LastIndex, r.AppliedIndex)
	require.Equal(t, before, contents(t, dir))

	n := mustStart(t, dir, "n1")
	_, err := datadir.Verify(context.Background(), vfs.OS(), dir, nil)
	require.ErrorIs(t, err, vfs.ErrLocked)
	n.close()
	r = verify(t, dir)
	require.NoError(t, r.Err())
	require.Empty(t, r.Notes)
	require.EqualValues(t, 650, r.Rows)
}

func contents(t testing.TB, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	require.NoError(t, filepath.WalkDir(dir, func(name string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() && d.Name() != "LOCK" {
			b, rerr := os.ReadFile(name)
			out[name], err = string(b), rerr
		}
		return err
	}))
	return out
}

func TestADirectoryWithoutDataIsNamed(t *testing.T) {
	_, err := datadir.Verify(context.Background(), vfs.OS(), t.TempDir(), nil)
	require.ErrorIs(t, err, datadir.ErrNoData)
	dir, _ := killed(t)
	require.NoError(t, os.RemoveAll(filepath.Join(dir, datadir.StoreDir)))
	_, err = datadir.Verify(context.Background(), vfs.OS(), dir, nil)
	require.ErrorContains(t, err, "it has a log, and")
	_, err = start(t, dir, "n1")
	require.ErrorContains(t, err, "not of the same moment")
}

func TestANodeOfAnotherNameIsRefusedTheDataOfOneThatIsAlone(t *testing.T) {
	dir, _ := killed(t)
	_, err := start(t, dir, "n2")
	require.ErrorContains(t, err, "is that of node n1 alone")
	mustStart(t, dir, "n1").close()
}

func TestARestoredNodeServesTheSameAndGoesOnBehindTheBackup(t *testing.T) {
	ctx := context.Background()
	dir, served := killed(t)
	to := filepath.Join(t.TempDir(), "backup")
	options := datadir.Options{Dir: dir, NodeID: "n1", OnFatal: func(err error) { t.Errorf("fatal: %v", err) }}
	report, err := datadir.Backup(ctx, options, to, nil)
	require.NoError(t, err)
	require.Positive(t, report.Linked)
	checked := verify(t, to)
	require.NoError(t, checked.Err())
	require.True(t, checked.Backup)
	require.Empty(t, checked.Notes)
	require.EqualValues(t, 650, checked.Rows, "what only the log had is in it")

	restoredDir := filepath.Join(t.TempDir(), "restored")
	restored, err := datadir.Restore(ctx, vfs.OS(), to, restoredDir, "r1", nil)
	require.NoError(t, err)
	require.EqualValues(t, 650, restored.Verified.Rows)
	_, err = datadir.Restore(ctx, vfs.OS(), to, restoredDir, "r1", nil)
	require.ErrorIs(t, err, datadir.ErrInUse)

	for range 2 { // also at the second start
		n := mustStart(t, restoredDir, "r1")
		got, err := n.served()
		require.NoError(t, err)
		require.Equal(t, served, got)
		require.Equal(t, 650, n.events(0, 650, ""), "resends are duplicates")
		n.close()
	}
	n := mustStart(t, restoredDir, "r1")
	require.Zero(t, n.events(650, 700, ""))
	served, err = n.served()
	require.NoError(t, err)
	crashed := image(t, restoredDir)
	n.close()
	require.NoError(t, verify(t, crashed).Err())
	n = mustStart(t, crashed, "r1")
	got, err := n.served()
	require.NoError(t, err)
	require.Equal(t, served, got)
	n.close()
}

func TestABackupIsRepeatedIntoItsDirectoryAndHealsItsDamage(t *testing.T) {
	ctx := context.Background()
	dir, _ := killed(t)
	options := datadir.Options{Dir: dir, NodeID: "n1", OnFatal: func(err error) { t.Errorf("fatal: %v", err) }}
	to := filepath.Join(t.TempDir(), "backup")
	_, err := datadir.Backup(ctx, options, to, nil)
	require.NoError(t, err)
	again, err := datadir.Backup(ctx, options, to, nil)
	require.NoError(t, err)
	require.Equal(t, again.Files, again.Reused)

	segments, err := filepath.Glob(filepath.Join(to, "*.seg"))
	require.NoError(t, err)
	b, err := os.ReadFile(segments[0])
	require.NoError(t, err)
	b[len(b)/2] ^= 1
	require.NoError(t, os.Remove(segments[0])) // the store has the file too
	require.NoError(t, os.WriteFile(segments[0], b, 0o600))
	_, err = datadir.Restore(ctx, vfs.OS(), to, filepath.Join(t.TempDir(), "restored"), "n1", nil)
	require.ErrorIs(t, err, engine.ErrDamaged)
	require.ErrorContains(t, err, segments[0])
	require.Error(t, verify(t, to).Err())

	again, err = datadir.Backup(ctx, options, to, nil)
	require.NoError(t, err)
	require.Equal(t, again.Files-1, again.Reused)
	require.NoError(t, verify(t, to).Err())
}

func TestADamagedStoreIsNotBackedUp(t *testing.T) {
	ctx := context.Background()
	dir, _ := killed(t)
	mustStart(t, dir, "n1").close()
	segments, err := filepath.Glob(filepath.Join(dir, "store", "*.seg"))
	require.NoError(t, err)
	b, err := os.ReadFile(segments[0])
	require.NoError(t, err)
	b[40] ^= 1
	require.NoError(t, os.WriteFile(segments[0], b, 0o600))
	options := datadir.Options{Dir: dir, NodeID: "n1", OnFatal: func(err error) { t.Errorf("fatal: %v", err) }}
	_, err = datadir.Backup(ctx, options, filepath.Join(t.TempDir(), "backup"), nil)
	require.ErrorIs(t, err, engine.ErrDamaged)
	require.ErrorContains(t, err, segments[0])
}
