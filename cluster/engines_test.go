package cluster_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"spoor/cluster"
	"spoor/cluster/install"
	"spoor/engine"
	"spoor/engine/event"
	"spoor/engine/statehash"
	"spoor/internal/vfs"
)

// The tests in files faults_*_test.go let three nodes with engines write, cut the ways between them,
// stop their disks and end them, and look for what was acknowledged. A ledger of it is kept beside them.

// times is how often a test repeats: in CI, or as often as SOAK asks.
func times(ci, soak int) int {
	if os.Getenv("SOAK") != "" {
		return soak
	}
	return ci
}

const nodes = 3

// machine is a node with its engine and its disk.
type machine struct {
	g      *engines
	i      int
	mem    *vfs.Mem
	disk   vfs.FS
	wire   *raft.InmemTransport
	db     *engine.DB
	node   *cluster.Node
	leases *install.Leases
	failed chan error // what OnFatal was told
	log    tail       // the end of what it logged

	stall  atomic.Pointer[chan struct{}] // calls that sync a file of the log wait for it
	hashed chan *engine.HashPoint        // what was asked for by entries
}

// engines is a cluster of three.
type engines struct {
	t       *testing.T
	members [nodes]*machine
	mu      sync.Mutex
	cut     map[[2]int]bool // from, to
	batches atomic.Int64    // that writers began
	change  func(c *cluster.Config, o *engine.Options)
}

func within(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

const electionTimeout = 600 * time.Millisecond

// startEngines starts a cluster whose logs are short, so that who is away is soon too far behind.
func startEngines(t *testing.T, change func(c *cluster.Config, o *engine.Options)) *engines {
	t.Helper()
	g := &engines{t: t, cut: map[[2]int]bool{}, change: change}
	for i := range g.members {
		m := &machine{g: g, i: i, mem: vfs.NewMem(), failed: make(chan error, 8), hashed: make(chan *engine.HashPoint, 64)}
		g.members[i] = m
		m.start(i == 0)
	}
	t.Cleanup(func() {
		for _, m := range g.members {
			m.close()
		}
	})
	first := g.members[0].node
	require.NoError(t, first.WaitReady(within(t)))
	for _, m := range g.members[1:] {
		require.NoError(t, first.AddVoter(m.id(), m.wire.LocalAddr()))
	}
	for _, m := range g.members {
		require.NoError(t, m.node.WaitReady(within(t)))
	}
	return g
}

func (m *machine) id() string { return fmt.Sprintf("n%d", m.i) }

// start opens the node on what its disk has.
func (m *machine) start(bootstrap bool) {
	t, g := m.g.t, m.g
	disk := vfs.NewFault(m.mem, vfs.Plan{Before: func(c vfs.Call) {
		if wait := m.stall.Load(); wait != nil && c.Op == vfs.OpSync && bytes.HasSuffix([]byte(c.Path), []byte(".log")) {
			<-*wait
		}
	}})
	m.disk = disk
	fatal := func(err error) { // the process ends: nobody hears of it any more
		select {
		case m.failed <- err:
		default:
		}
		go g.set(m.i, true, func(from, to int) bool { return from == m.i || to == m.i })
	}
	o := engine.Options{FS: disk, FlushRows: 400, ManualCompaction: true, OnFatal: fatal, OnHash: func(p *engine.HashPoint) {
		select {
		case m.hashed <- p:
		default:
			p.Release()
		}
	}}
	_, m.wire = raft.NewInmemTransport(raft.ServerAddress(m.id()))
	c := cluster.Config{
		Logger: slog.New(slog.NewTextHandler(&m.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		ID:     m.id(), Dir: "/data", FS: disk, Bootstrap: bootstrap, ClusterID: [16]byte{1}, Transport: m.wire,
		OnFatal: fatal, ElectionTimeout: electionTimeout, SegmentBytes: 64 << 10, TrailingBytes: 1, CheckpointBytes: 96 << 10,
	}
	if g.change != nil {
		g.change(&c, &o)
	}
	var err error
	m.db, err = engine.Open("/data/store", o)
	require.NoError(t, err)
	c.Installer = install.NewPuller(m.db, install.Options{FS: disk, Dir: "/data/" + install.Dir, NoProgress: time.Second, Dial: func(node, _ string) (install.Source, error) {
		for _, o := range g.members {
			if o.id() == node {
				return &between{from: m, to: o, id: fmt.Sprintf("%d of %s", rand.Uint64(), m.id())}, nil
			}
		}
		return nil, fmt.Errorf("no node %s", node)
	}})
	m.leases = install.NewLeases(m.db, install.LeaseOptions{Idle: 20 * time.Second, Hold: func() func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		if m.node == nil {
			return func() {}
		}
		return m.node.HoldLog()
	}})
	node, err := cluster.Open(c, m.db)
	require.NoError(t, err)
	g.mu.Lock()
	defer g.mu.Unlock()
	m.node = node
	for _, o := range g.members {
		if o != nil && o != m && o.wire != nil {
			if !g.cut[[2]int{m.i, o.i}] {
				m.wire.Connect(o.wire.LocalAddr(), o.wire)
			}
			if !g.cut[[2]int{o.i, m.i}] {
				o.wire.Connect(m.wire.LocalAddr(), m.wire)
			}
		}
	}
}

// between is the way on which one node pulls the state of another.
type between struct {
	from, to *machine
	id       string
}

var errCut = errors.New("the way between the nodes is cut")

func (b *between) open() error {
	g := b.from.g
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.cut[[2]int{b.from.i, b.to.i}] || g.cut[[2]int{b.to.i, b.from.i}] {
		return errCut
	}
	return nil
}

func (b *between) Manifest(ctx context.Context) ([]byte, error) {
	if err := b.open(); err != nil {
		return nil, err
	}
	return b.to.leases.Manifest(ctx, b.id, 5*time.Second)
}

func (b *between) ReadAt(_ context.Context, name string, p []byte, off int64) error {
	if err := b.open(); err != nil {
		return err
	}
	return b.to.leases.ReadAt(b.id, name, p, off)
}

func (b *between) Close() {
	if b.open() == nil {
		b.to.leases.Release(b.id)
	}
}

func (m *machine) close() {
	if m.node == nil {
		return
	}
	if wait := m.stall.Swap(nil); wait != nil {
		close(*wait)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	_ = m.node.Close(ctx)
	m.leases.Close()
	for {
		select {
		case p := <-m.hashed:
			p.Release()
			continue
		default:
		}
		break
	}
	_ = m.db.Close()
	m.g.mu.Lock()
	m.node = nil
	m.g.mu.Unlock()
}

// crash ends the node as a loss of power does and starts it on what is left of its disk.
func (m *machine) crash(rng *rand.Rand) {
	left := m.mem.CrashClone(rng)
	m.g.set(m.i, true, func(from, to int) bool { return from == m.i || to == m.i })
	m.close()
	m.mem = left
	m.g.set(m.i, false, func(from, to int) bool { return from == m.i || to == m.i })
	m.start(false)
}

// set cuts ways or mends them.
func (g *engines) set(_ int, cut bool, which func(from, to int) bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for i, a := range g.members {
		for j, b := range g.members {
			if i == j || !which(i, j) {
				continue
			}
			g.cut[[2]int{i, j}] = cut
			if cut {
				a.wire.Disconnect(b.wire.LocalAddr())
			} else {
				a.wire.Connect(b.wire.LocalAddr(), b.wire)
			}
		}
	}
}

func (g *engines) heal() { g.set(0, false, func(int, int) bool { return true }) }

// leader is the member that leads, nil for none.
func (g *engines) leader() *machine {
	for _, m := range g.members {
		if m.node != nil && m.node.IsLeader() && m.node.Failed() == nil {
			return m
		}
	}
	return nil
}

// led waits for a leader: on a busy machine there may be none for a moment.
func (g *engines) led() *machine {
	g.t.Helper()
	var lead *machine
	require.Eventually(g.t, func() bool { lead = g.leader(); return lead != nil }, settleTime, time.Millisecond)
	return lead
}

// ledger is what was acknowledged.
type ledger struct {
	mu  sync.Mutex
	ids map[string]bool
}

// batch is an entry with n events.
func batch(writer, number, n int) (data []byte, ids []string) {
	var lines bytes.Buffer
	for i := range n {
		id := fmt.Sprintf("w%d-%d-%d", writer, number, i)
		ids = append(ids, id)
		fmt.Fprintf(&lines, `{"eventId":%q,"eventName":"e%d","userId":"u%d","anonymousId":"a%d","timestamp":"2026-05-%02dT10:00:00Z","properties":{"n":%d}}`+"\n",
			id, i%3, (writer*31+number)%50, (number+i)%70, 1+number%9, i)
	}
	d := event.NewDecoder(event.DefaultLimits())
	err := d.AddAll(lines.Bytes(), "", func() [16]byte { panic("it has an id") }, func(it event.Item) error {
		if it.Reject != nil {
			return it.Reject
		}
		return nil
	})
	if err != nil {
		panic(err)
	}
	return engine.EventsEntry(nil, d.Seal(1_780_000_000_000_000+int64(number)*1000)), ids
}

// write lets writers store batches until ctx ends: each one again and again until it is acknowledged,
// at any node. wait returns when they are done.
func (g *engines) write(ctx context.Context, writers int, l *ledger) (wait func()) {
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for ctx.Err() == nil {
				data, ids := batch(w, int(g.batches.Add(1)), 10)
				for ctx.Err() == nil {
					if g.propose(ctx, data) {
						l.mu.Lock()
						for _, id := range ids {
							l.ids[id] = true
						}
						l.mu.Unlock()
						break
					}
					pause(ctx, 2*time.Millisecond)
				}
				pause(ctx, time.Millisecond)
			}
		})
	}
	return wg.Wait
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// propose tries the nodes once.
func (g *engines) propose(ctx context.Context, data []byte) bool {
	for _, m := range g.members {
		g.mu.Lock()
		node := m.node
		g.mu.Unlock()
		if node == nil || !node.IsLeader() || node.Failed() != nil {
			continue
		}
		within, cancel := context.WithTimeout(ctx, time.Second)
		_, _, err := node.Propose(within, bytes.Clone(data))
		cancel()
		if err == nil {
			return true
		}
	}
	return false
}

func (l *ledger) len() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.ids)
}

const settleTime = 10 * time.Second

// requireEqual looks that all nodes have the same state soon, with everything in the ledger once.
func (g *engines) requireEqual(l *ledger) {
	t := g.t
	t.Helper()
	began := time.Now()
	data, ids := batch(1000+l.len(), 0, 1)
	for !g.propose(within(t), data) {
		require.Less(t, time.Since(began), settleTime, "nothing is taken after the heal:\n%s", g)
		time.Sleep(2 * time.Millisecond)
	}
	l.mu.Lock()
	l.ids[ids[0]] = true
	l.mu.Unlock()
	same := func() bool {
		first := g.members[0].db.AppliedIndex()
		for _, m := range g.members {
			if m.db.AppliedIndex() != first {
				return false
			}
		}
		lead := g.leader()
		return lead != nil && lead.node.Status().CommitIndex >= first && lead.db.AppliedIndex() == first
	}
	if !assert.Eventually(t, same, settleTime-time.Since(began), time.Millisecond) {
		t.Fatalf("the nodes are not at one index:\n%s", g)
	}
	var want *statehash.State
	for _, m := range g.members {
		h, err := m.db.StateHash(within(t))
		require.NoError(t, err)
		if want == nil {
			want = h
		}
		require.Equal(t, want, h, "node %d", m.i)
	}
	counts := idsIn(t, g.members[0].db)
	l.mu.Lock()
	defer l.mu.Unlock()
	for id := range l.ids {
		require.Equal(t, 1, counts[id], "%s was acknowledged", id)
	}
	for id, n := range counts {
		require.Equal(t, 1, n, "%s is there %d times", id, n)
	}
	for _, m := range g.members {
		require.Empty(t, m.failed)
	}
}

func (g *engines) String() string {
	var b bytes.Buffer
	for _, m := range g.members {
		if m.node != nil {
			fmt.Fprintf(&b, "engine %d: %+v\n%s\n", m.db.AppliedIndex(), m.node.Status(), &m.log)
		}
	}
	return b.String()
}

// idsIn counts the eventIds of a store.
func idsIn(t testing.TB, db *engine.DB) map[string]int {
	t.Helper()
	v, err := db.View()
	require.NoError(t, err)
	defer v.Release()
	counts := map[string]int{}
	for _, r := range v.Segments {
		ids, err := r.IDs(0, r.Rows())
		require.NoError(t, err)
		for i := range r.Rows() {
			counts[string(ids.AppendText(nil, i))]++
		}
	}
	return counts
}

// tail keeps the last lines that were written.
type tail struct {
	mu    sync.Mutex
	lines []string
}

const tailLines = 40

func (l *tail) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.lines = append(l.lines, string(p)); len(l.lines) > 2*tailLines {
		l.lines = append(l.lines[:0], l.lines[tailLines:]...)
	}
	return len(p), nil
}

func (l *tail) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Join(l.lines[max(0, len(l.lines)-tailLines):], "")
}
