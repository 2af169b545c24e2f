package roster

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"spoor/cluster"
	"spoor/cluster/logstore"
	"spoor/cluster/peer"
	"spoor/engine"
	"spoor/internal/vfs"
)

// Servers and clients of fasthttp leave goroutines behind that end by themselves when they wake.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.(*workerPool).Start.func2"),
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.updateServerDate.func1"),
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.(*HostClient).connsCleaner"))
}

// clock runs twenty times as fast as the world, so that what waits for seconds does not.
type clock struct{ since time.Time }

func (c clock) now() time.Time { return c.since.Add(20 * time.Since(c.since)) }

// entropy is random bytes that are the same in each run.
type entropy struct {
	mu sync.Mutex
	r  *rand.ChaCha8
}

func (e *entropy) Read(p []byte) (int, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.r.Read(p)
}

// world is a cluster in this process whose nodes talk over TCP.
type world struct {
	t      *testing.T
	random io.Reader
	clock  clock
	nodes  map[string]*node
}

// node is one of them. Its files outlive it.
type node struct {
	*Roster
	db    *engine.DB
	fs    *vfs.Mem
	o     Options
	cfg   cluster.Config
	dials atomic.Pointer[func(address string) error] // refuses connections to other nodes
	stop  func()
}

func newWorld(t *testing.T) *world {
	return &world{t: t, random: &entropy{r: rand.NewChaCha8([32]byte{1})}, clock: clock{time.Now()}, nodes: map[string]*node{}}
}

var v1 = peer.Range{Min: 1, Max: 1}

func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// freePort is an address that nobody listens on.
func freePort(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer ln.Close()
	return ln.Addr().String()
}

// prepare makes a node with an empty disk.
func (w *world) prepare(id string) *node {
	w.t.Helper()
	n := &node{fs: vfs.NewMem(), stop: func() {}}
	disk, err := OpenIdentity(n.fs, "/data", id, w.random)
	require.NoError(w.t, err)
	n.o = Options{Disk: disk, HTTP: "http://" + id, Version: "test", Formats: peer.Formats{Commands: v1, Segments: v1}, Now: w.clock.now, Random: w.random}
	n.cfg = cluster.Config{
		ID: id, Dir: "/data", FS: n.fs, RaftAddr: freePort(w.t), Formats: n.o.Formats, SegmentBytes: 64 << 10,
		ElectionTimeout: 500 * time.Millisecond, EntryVersion: engine.EntryVersion,
		OnFatal: func(err error) { w.t.Errorf("node %s: %v", id, err) },
		PeerDial: func(ctx context.Context, address string) (net.Conn, error) {
			if refuse := n.dials.Load(); refuse != nil {
				if err := (*refuse)(address); err != nil {
					return nil, err
				}
			}
			return new(net.Dialer).DialContext(ctx, "tcp", address)
		},
	}
	w.nodes[id] = n
	return n
}

// run starts a node on its files.
func (w *world) run(id string) *node {
	w.t.Helper()
	n := w.nodes[id]
	var err error
	n.db, err = engine.Open("/data/store", engine.Options{FS: n.fs, ManualCompaction: true, OnFatal: func(err error) { w.t.Errorf("store of %s: %v", id, err) }})
	require.NoError(w.t, err)
	raft, err := cluster.Open(n.cfg, n.db)
	require.NoError(w.t, err)
	n.Roster = New(raft, n.db, n.o)
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	tick := make(chan struct{})
	running.Go(func() {
		var asking sync.WaitGroup
		defer asking.Wait()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick:
			case <-time.After(20 * time.Millisecond): // the clock is faster, too
			}
			n.Roster.step(ctx, &asking)
		}
	})
	n.stop = sync.OnceFunc(func() {
		cancel()
		running.Wait()
		closing, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		if err := raft.Close(closing); err != nil && !errors.Is(err, context.DeadlineExceeded) {
			w.t.Errorf("close %s: %v", id, err)
		}
		if err := n.db.Close(); err != nil {
			w.t.Errorf("close the store of %s: %v", id, err)
		}
	})
	w.t.Cleanup(func() { n.stop() })
	return n
}

// first makes a cluster of n1.
func (w *world) first() *node {
	w.t.Helper()
	w.prepare("n1").cfg.Bootstrap = true
	n := w.run("n1")
	require.NoError(w.t, n.WaitReady(within(w.t)))
	return n
}

func (w *world) request(id string) JoinRequest {
	n := w.nodes[id]
	return JoinRequest{ID: id, Disk: n.o.Disk, Address: n.cfg.RaftAddr, HTTP: n.o.HTTP, Version: "test", Formats: n.o.Formats}
}

// join makes another node a member and starts it.
func (w *world) join(id string, change ...func(*JoinRequest)) *node {
	w.t.Helper()
	n := w.prepare(id)
	q := w.request(id)
	for _, f := range change {
		f(&q)
	}
	answer, err := w.leader().Join(within(w.t), q, true)
	require.NoError(w.t, err)
	b, err := hex.DecodeString(answer.Cluster)
	require.NoError(w.t, err)
	n.cfg.ClusterID = logstore.ClusterID(b)
	return w.run(id)
}

// leader is the node that leads and is ready to.
func (w *world) leader(not ...*node) *node {
	w.t.Helper()
	var found *node
	require.Eventually(w.t, func() bool {
		for _, n := range w.nodes {
			if n.Roster != nil && n.IsLeader() && n.IsReady() && (len(not) == 0 || n != not[0]) {
				found = n
				return true
			}
		}
		return false
	}, 20*time.Second, 5*time.Millisecond)
	return found
}

// settled waits until the cluster has so many nodes with a vote, all of which follow.
func (w *world) settled(voters int) Status {
	w.t.Helper()
	var s Status
	require.Eventually(w.t, func() bool {
		l := w.leader()
		s = l.Survey(within(w.t))
		n := 0
		for _, m := range s.Nodes {
			if m.Voter && (m.State == StateLeader || m.State == StateFollower && l.keepsUpFor(m.ID, promoteAfter)) {
				n++
			}
		}
		return n == voters
	}, 20*time.Second, 10*time.Millisecond, "%+v", &s)
	return s
}

func (w *world) three() []*node {
	w.t.Helper()
	nodes := []*node{w.first(), w.join("n2"), w.join("n3")}
	w.settled(3)
	return nodes
}

// write stores a document through the node that leads.
func (w *world) write(name string) uint64 {
	w.t.Helper()
	var index uint64
	require.Eventually(w.t, func() bool {
		_, i, err := w.leader().Propose(within(w.t), engine.PutEntry("test", name, []byte("x")))
		index = i
		return err == nil
	}, 20*time.Second, 5*time.Millisecond)
	return index
}

func TestNodesThatJoinCatchUpAndGetAVote(t *testing.T) {
	w := newWorld(t)
	nodes := w.three()
	s := w.settled(3)
	require.Len(t, s.Nodes, 3)
	require.Equal(t, "n1", s.Leader)
	for i, m := range s.Nodes {
		require.Equal(t, fmt.Sprintf("n%d", i+1), m.ID)
		require.Equal(t, "http://"+m.ID, m.HTTP)
		require.Equal(t, "test", m.Version)
	}
	index := w.write("a")
	for _, n := range nodes {
		require.NoError(t, n.WaitApplied(within(t), index))
		_, ok := n.store.Document("test", "a")
		require.True(t, ok)
		there := n.Survey(within(t))
		require.Equal(t, "n1", there.Leader)
		require.Len(t, there.Nodes, 3)
		require.Equal(t, StateLeader, there.Nodes[0].State, "every node answers as the leader does")
		require.NotEqual(t, StateUnknown, there.Nodes[1].State)
	}
}

func TestALearnerGetsAVoteOnlyWhenItIsToldTo(t *testing.T) {
	w := newWorld(t)
	w.first()
	no := false
	w.join("n2", func(q *JoinRequest) { q.Voter = &no })
	l := w.leader()
	require.Eventually(t, func() bool { return l.keepsUpFor("n2", promoteAfter) }, 20*time.Second, 5*time.Millisecond)
	require.Equal(t, StateLearner, l.Survey(within(t)).Nodes[1].State)
	now, err := l.Promote(within(t), "n2")
	require.NoError(t, err)
	require.True(t, now)
	w.settled(2)
	require.NoError(t, l.Demote(within(t), "n2"))
	require.Equal(t, StateLearner, l.Survey(within(t)).Nodes[1].State)
	require.ErrorIs(t, l.Demote(within(t), "n1"), ErrRefused, "somebody has to vote")
}

func TestANameIsNeverGivenToAnotherDisk(t *testing.T) {
	w := newWorld(t)
	w.three()
	l := w.leader()
	again := w.request("n2")
	_, err := l.Join(within(t), again, true)
	require.NoError(t, err, "the same node may ask once more")
	_, err = l.Join(within(t), again, false)
	require.NoError(t, err, "its disk is what it shows, the token is spent")
	again.Disk = "00000000000000000000000000000000"
	_, err = l.Join(within(t), again, true)
	require.ErrorIs(t, err, ErrRefused)
	require.ErrorContains(t, err, "it has forgotten its votes")
	_, err = l.Join(within(t), again, false)
	require.ErrorIs(t, err, ErrToken)

	w.nodes["n3"].stop()
	require.NoError(t, l.Remove(within(t), "n3", false))
	_, err = l.Join(within(t), w.request("n3"), true)
	require.ErrorContains(t, err, "was removed")
	gone := w.request("n3")
	gone.Disk = again.Disk
	_, err = l.Join(within(t), gone, true)
	require.ErrorContains(t, err, "names are not used again")
	require.ErrorIs(t, l.Remove(within(t), "n3", false), ErrUnknown)
	delete(w.nodes, "n3")
	w.write("after")
}

func TestAJoinThatDoesNotFitIsRefused(t *testing.T) {
	w := newWorld(t)
	l := w.first()
	w.prepare("n2")
	for name, c := range map[string]struct {
		change func(*JoinRequest)
		is     error
	}{
		"a name with a slash":        {func(q *JoinRequest) { q.ID = "a/b" }, ErrInvalid},
		"no disk":                    {func(q *JoinRequest) { q.Disk = "" }, ErrInvalid},
		"an address without a port":  {func(q *JoinRequest) { q.Address = "127.0.0.1" }, ErrInvalid},
		"an address beyond loopback": {func(q *JoinRequest) { q.Address = "10.0.0.1:1" }, ErrInvalid},
		"the leader's address":       {func(q *JoinRequest) { q.Address = l.cfg.RaftAddr }, ErrRefused},
		"no URL":                     {func(q *JoinRequest) { q.HTTP = "nonsense" }, ErrInvalid},
		"an older release":           {func(q *JoinRequest) { q.Formats.Commands = peer.Range{} }, ErrRefused},
		"newer segments":             {func(q *JoinRequest) { q.Formats.Segments = peer.Range{Min: 2, Max: 2} }, ErrRefused},
	} {
		q := w.request("n2")
		c.change(&q)
		_, err := l.Join(within(t), q, true)
		require.ErrorIs(t, err, c.is, name)
	}
	require.Len(t, l.Survey(within(t)).Nodes, 1)
}

func TestATokenLetsOneNodeJoinOnceAndInTime(t *testing.T) {
	w := newWorld(t)
	l := w.first()
	for _, id := range []string{"n2", "n3"} {
		w.prepare(id)
	}
	_, err := l.Join(within(t), w.request("n2"), false)
	require.ErrorIs(t, err, ErrToken)
	token, err := l.NewToken(within(t), MaxTokenLife)
	require.NoError(t, err)
	for _, d := range l.store.Documents(tokenKind) {
		require.NotContains(t, d.Name+string(d.Value), token.Token, "the log holds its hash alone")
	}
	q := w.request("n2")
	q.Token = token.Token
	_, err = l.Join(within(t), q, false)
	require.NoError(t, err)
	other := w.request("n3")
	other.Token = token.Token
	_, err = l.Join(within(t), other, false)
	require.ErrorIs(t, err, ErrToken, "it is spent")
	require.NoError(t, l.RemoveMember(within(t), "n2")) // it never came

	short, err := l.NewToken(within(t), time.Second) // a twentieth of one in the world
	require.NoError(t, err)
	require.Eventually(t, func() bool { return w.clock.now().After(short.Expires) }, 5*time.Second, time.Millisecond)
	other.Token = short.Token
	_, err = l.Join(within(t), other, false)
	require.ErrorIs(t, err, ErrToken, "it is too old")
	_, err = l.NewToken(within(t), 0)
	require.ErrorIs(t, err, ErrInvalid)
}

func TestTheLeadIsHandedOnlyToANodeThatKeepsUp(t *testing.T) {
	w := newWorld(t)
	nodes := w.three()
	l := w.leader()
	require.ErrorIs(t, l.Transfer(within(t), "n9"), ErrUnknown)
	require.ErrorIs(t, nodes[2].Transfer(within(t), "n2"), cluster.ErrNotLeader)
	nodes[2].stop()
	require.Eventually(t, func() bool { return errors.Is(l.Transfer(within(t), "n3"), ErrRefused) }, 10*time.Second, 10*time.Millisecond)
	nodes[2].Roster = nil
	require.Eventually(t, func() bool { return l.Transfer(within(t), "") == nil }, 10*time.Second, 10*time.Millisecond)
	require.Same(t, nodes[1], w.leader(l))
	w.write("after")
}

func TestRemovingIsRefusedWhereTooFewWouldBeLeft(t *testing.T) {
	w := newWorld(t)
	nodes := w.three()
	l := w.leader()
	nodes[2].stop()
	nodes[2].Roster = nil
	require.Eventually(t, func() bool { return l.Counts().Unreachable == 1 }, 10*time.Second, 5*time.Millisecond)
	err := l.Remove(within(t), "n2", false)
	require.ErrorIs(t, err, ErrRefused)
	require.ErrorContains(t, err, "1 of 2 voters")
	require.NoError(t, l.Remove(within(t), "n3", false), "the dead one may go")
	require.Eventually(t, func() bool { return l.Counts().Unreachable == 0 }, 10*time.Second, 5*time.Millisecond)
	require.NoError(t, l.Remove(within(t), "n2", true))
	require.ErrorIs(t, l.Remove(within(t), "n1", true), ErrRefused, "the last one")
	w.write("alone")
}

func TestALeaderThatIsRemovedHandsTheLeadOverFirst(t *testing.T) {
	w := newWorld(t)
	nodes := w.three()
	require.ErrorIs(t, nodes[0].Remove(within(t), "n1", false), cluster.ErrNotLeader)
	l := w.leader(nodes[0])
	require.Eventually(t, func() bool { return l.Remove(within(t), "n1", false) == nil }, 20*time.Second, 20*time.Millisecond)
	nodes[0].stop()
	nodes[0].Roster = nil
	w.write("after")
	require.Len(t, w.leader().Survey(within(t)).Nodes, 2)
}

func TestANodeThatComesBackAtAnotherAddressIsFound(t *testing.T) {
	w := newWorld(t)
	w.three()
	w.nodes["n3"].stop()
	w.nodes["n3"].cfg.RaftAddr = freePort(t)
	n := w.run("n3")
	index := w.write("while it was away")
	require.NoError(t, n.WaitApplied(within(t), index))
	require.Eventually(t, func() bool {
		return w.leader().Survey(within(t)).Nodes[2].Address == n.cfg.RaftAddr
	}, 20*time.Second, 10*time.Millisecond)
}

func TestANodeWhoseLogStandsStillRaisesAnAlarm(t *testing.T) {
	now := time.Unix(1000, 0)
	leader := cluster.Status{Term: 2, LastIndex: 100, AppliedIndex: 100}
	s := &sighting{asked: now}
	var counts Counts
	r := New(alone(t), nil, Options{Now: time.Now})
	s.note(Vitals{Term: 2, LastIndex: 90, AppliedIndex: 90}, leader, now)
	require.EqualValues(t, 10, s.lag)
	for range 9 {
		now = now.Add(time.Second)
		s.note(Vitals{Term: 2, LastIndex: 90, AppliedIndex: 90}, leader, now)
	}
	require.False(t, r.alarm("n2", s, now, &counts))
	now = now.Add(2 * time.Second)
	s.note(Vitals{Term: 2, LastIndex: 90, AppliedIndex: 90}, leader, now)
	require.True(t, r.alarm("n2", s, now, &counts))
	require.Equal(t, 1, counts.Stalled)
	s.note(Vitals{Term: 2, LastIndex: 95, AppliedIndex: 95}, leader, now)
	require.False(t, r.alarm("n2", s, now, &counts), "it moves")
	require.True(t, r.alarm("n2", s, now.Add(time.Minute), &counts), "it is silent")
	require.Equal(t, 1, counts.Unreachable)

	s = &sighting{asked: now}
	for range 30 { // it is idle, as the leader is
		now = now.Add(time.Second)
		s.note(Vitals{Term: 2, LastIndex: 100, AppliedIndex: 100}, leader, now)
	}
	require.False(t, s.stalled(now))
}

// alone is a node alone, for what needs one.
func alone(t *testing.T) *cluster.Node {
	w := newWorld(t)
	return w.first().Node
}

func TestNewerEntriesWaitUntilEveryMemberUnderstandsThem(t *testing.T) {
	w := newWorld(t)
	n1 := w.first()
	n2 := w.join("n2")
	w.settled(2)
	two := peer.Range{Min: 1, Max: 2}
	upgrade := func(n *node) {
		n.stop()
		n.o.Formats.Commands, n.cfg.Formats.Commands = two, two
		n.cfg.EntryVersion = func(entry []byte) uint32 { // the new release knows a type 200
			if entry[0] == 200 {
				return 2
			}
			return engine.EntryVersion(entry)
		}
		w.run(n.o.HTTP[len("http://"):])
	}
	newer := func() error {
		_, _, err := w.leader().Propose(within(t), []byte{200})
		return err
	}
	upgrade(n1)
	w.settled(2)
	require.EqualValues(t, 1, w.leader().Survey(within(t)).CommandVersion)
	if w.leader() != n1 {
		require.Eventually(t, func() bool { return w.leader().Transfer(within(t), "n1") == nil || w.leader() == n1 }, 10*time.Second, 10*time.Millisecond)
	}
	require.Eventually(t, func() bool { return w.leader() == n1 && errors.Is(newer(), cluster.ErrTooNew) }, 10*time.Second, 10*time.Millisecond)
	require.EqualValues(t, 1, w.leader().Survey(within(t)).CommandVersion)

	upgrade(n2)
	require.Eventually(t, func() bool { return w.leader().Survey(within(t)).CommandVersion == 2 }, 20*time.Second, 10*time.Millisecond)
	w.prepare("n3") // of the older release
	_, err := w.leader().Join(within(t), w.request("n3"), true)
	require.ErrorIs(t, err, ErrRefused)
	require.ErrorContains(t, err, "take the same release")
	w.nodes["n3"].Roster = nil
}

func TestADataDirectoryKnowsWhoseItIs(t *testing.T) {
	mem := vfs.NewMem()
	random := rand.NewChaCha8([32]byte{2})
	disk, err := OpenIdentity(mem, "/data", "n1", random)
	require.NoError(t, err)
	require.Len(t, disk, diskDigits)
	again, err := OpenIdentity(mem, "/data", "n1", random)
	require.NoError(t, err)
	require.Equal(t, disk, again)
	_, err = OpenIdentity(mem, "/data", "n2", random)
	require.ErrorContains(t, err, "is that of node n1, not of n2")
	path := filepath.Join("/data", IdentityFile)
	b, err := vfs.ReadFile(mem, path)
	require.NoError(t, err)
	require.Regexp(t, `^[0-9a-f]{8} \{"version":1,"id":"n1","disk":"[0-9a-f]{32}"\}\n$`, string(b))
	for i := range b {
		bad := append([]byte(nil), b...)
		bad[i] ^= 1
		require.NoError(t, vfs.WriteFileAtomic(mem, path, bad))
		_, err = OpenIdentity(mem, "/data", "n1", random)
		require.Error(t, err, "byte %d", i)
	}
}
