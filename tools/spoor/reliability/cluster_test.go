package reliability

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// maxSilence is how long a cluster may take no writes after one of its nodes, or all, were killed.
const maxSilence = 10 * time.Second

// group is a cluster of processes.
type group struct {
	t     *testing.T
	dir   string
	flags []string
	raft  []string // address of each for the others
	join  string

	mu    sync.RWMutex
	nodes []*process // nil while one is down
}

func freePort(t testing.TB) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer ln.Close()
	return ln.Addr().String()
}

// startGroup starts three nodes and waits until all have a vote.
func startGroup(t *testing.T, flags ...string) *group {
	t.Helper()
	g := &group{t: t, dir: t.TempDir(), flags: flags, nodes: make([]*process, 3)}
	for i := range g.nodes {
		g.raft = append(g.raft, freePort(t))
		g.launch(i)
		require.True(t, g.nodes[i].await(), "%s", g.nodes[i].out)
		if i == 0 {
			g.join = g.nodes[0].url()
		}
	}
	g.settle()
	return g
}

func (g *group) data(i int) string { return filepath.Join(g.dir, fmt.Sprintf("n%d", i+1)) }

// launch starts a node and does not wait for it.
func (g *group) launch(i int) *process {
	g.t.Helper()
	args := append([]string{"--data", g.data(i), "--node-id", fmt.Sprintf("n%d", i+1), "--raft", g.raft[i]}, g.flags...)
	if i > 0 {
		args = append(args, "--join", g.join)
	}
	p := launch(g.t, nil, args...)
	g.mu.Lock()
	defer g.mu.Unlock()
	g.nodes[i] = p
	return p
}

// kill ends nodes as a crash does.
func (g *group) kill(which ...int) {
	g.t.Helper()
	for _, i := range which {
		require.NoError(g.t, g.at(i).cmd.Process.Kill()) // all of them before one is waited for
	}
	for _, i := range which {
		g.at(i).kill()
		g.mu.Lock()
		g.nodes[i] = nil
		g.mu.Unlock()
	}
}

func (g *group) at(i int) *process {
	g.mu.RLock()
	defer g.mu.RUnlock()
	return g.nodes[i]
}

type clusterStatus struct {
	Leader string
	Nodes  []struct {
		ID, State string
		Voter     bool
		Lag       uint64
	}
}

// status is what a node says of the cluster; empty where it does not answer.
func (p *process) status() (s clusterStatus) {
	resp, err := p.client.Get(p.url() + "/api/cluster")
	if err != nil {
		return s
	}
	defer resp.Body.Close()
	_ = json.NewDecoder(resp.Body).Decode(&s)
	return s
}

// settle waits until all nodes have a vote and follow.
func (g *group) settle() {
	g.t.Helper()
	require.Eventually(g.t, func() bool {
		s := g.at(0).status()
		well := 0
		for _, n := range s.Nodes {
			if n.Voter && (n.State == "leader" || n.State == "follower") && n.Lag == 0 {
				well++
			}
		}
		return s.Leader != "" && well == len(g.nodes)
	}, time.Minute, 50*time.Millisecond, "the nodes do not come together")
	// What the leader says of others is a second old: each tells itself that it has everything.
	for i := range g.nodes {
		require.Eventually(g.t, func() bool { return g.at(i).knowsAll() }, time.Minute, 50*time.Millisecond, "n%d stays behind", i+1)
	}
}

// knowsAll tells whether the node has what was acknowledged before the call: it answers a linearizable read.
func (p *process) knowsAll() bool {
	resp, err := p.client.Post(p.url()+"/api/query?consistency=linearizable", "text/plain", strings.NewReader("trend count of any"))
	if err != nil {
		return false
	}
	defer func() { _ = resp.Body.Close() }()
	return resp.StatusCode == http.StatusOK
}

// leader is the place of the node that leads, as one that runs says.
func (g *group) leader() int {
	for i := range g.nodes {
		if p := g.at(i); p != nil {
			var n int
			if _, err := fmt.Sscanf(p.status().Leader, "n%d", &n); err == nil {
				return n - 1
			}
		}
	}
	return 0
}

// awaitWrites waits until a node takes a write, and tells how long that was after a moment.
func (g *group) awaitWrites(book *ledger, writer int, n *int, since time.Time) time.Duration {
	g.t.Helper()
	for i := 0; ; i++ {
		if p := g.at(i % len(g.nodes)); p != nil && p.url() != "" {
			e := []numbered{eventOf(writer, *n)}
			if book.send(p, e) == http.StatusOK {
				*n++
				return time.Since(since)
			}
		}
		require.Less(g.t, time.Since(since), time.Minute, "the cluster takes no writes any more")
	}
}

// load has writers send to whichever node runs until stop is called.
func (g *group) load(book *ledger, next []int, roundEvents int, r *rand.Rand) (stop func()) {
	var writers sync.WaitGroup
	var over atomic.Bool
	for w := range next {
		seed := r.Uint64()
		writers.Go(func() {
			r := rand.New(rand.NewPCG(seed, 0))
			for first := next[w]; !over.Load(); {
				n := 1 + r.IntN(100)
				if next[w]-first > roundEvents {
					n = 1
				}
				events := make([]numbered, n, n+1)
				for i := range events {
					events[i] = eventOf(w, next[w]+i)
				}
				if next[w] > 0 && r.IntN(5) == 0 { // and one that was sent before
					events = append(events, eventOf(w, r.IntN(next[w])))
				}
				p := g.at(r.IntN(len(g.nodes)))
				if p == nil || p.url() == "" {
					time.Sleep(time.Millisecond) // nobody is there: this is load, not a wait
					continue
				}
				if book.send(p, events) == http.StatusOK {
					next[w] += n
				}
			}
		})
	}
	return func() {
		over.Store(true)
		writers.Wait()
	}
}

// TestAKilledClusterHasEverythingThatItAcknowledgedOnce kills one node at a time, mostly the
// one that leads, and sometimes all at once, while writers send to all of them.
func TestAKilledClusterHasEverythingThatItAcknowledgedOnce(t *testing.T) {
	kills := number(t, "SPOOR_CLUSTER_KILLS", 10, 500)
	g := startGroup(t, "--memory", "32MiB", "--flush-rows", "1500")
	book, r := newLedger(), rand.New(rand.NewPCG(2, uint64(kills)))
	next := make([]int, 3) // number of each writer's next event
	probe := 0
	var longest time.Duration
	all := 0
	for round := range kills {
		stop := g.load(book, next, min(1000, 100_000/kills), r)
		// When the kill comes is the random part of the test; nothing waits for it.
		time.Sleep(time.Duration(100+r.IntN(400)) * time.Millisecond)
		which := []int{r.IntN(3)}
		if r.IntN(2) == 0 {
			which[0] = g.leader()
		}
		if round%4 == 3 {
			which = []int{0, 1, 2}
			all++
		}
		g.kill(which...)
		since := time.Now()
		if len(which) == 3 {
			for _, i := range which {
				g.launch(i)
			}
			for _, i := range which {
				require.True(t, g.at(i).await(), "%s", g.at(i).out)
			}
		}
		took := g.awaitWrites(book, 9, &probe, since)
		longest = max(longest, took)
		require.LessOrEqual(t, took, maxSilence, "round %d, killed %v", round, which)
		if len(which) == 1 {
			g.launch(which[0])
			require.True(t, g.at(which[0]).await(), "%s", g.at(which[0]).out)
		}
		stop()
		if round%5 == 4 {
			book.checkAs(g.at(r.IntN(3)), "?consistency=linearizable")
		}
	}
	g.settle()
	for i := range g.nodes {
		book.checkAs(g.at(i), "?consistency=linearizable")
	}
	resent, duplicates := 0, 0
	for w := range next {
		for from := 0; from < next[w]; from += 1000 {
			var body strings.Builder
			for i := from; i < min(from+1000, next[w]); i++ {
				body.WriteString(eventOf(w, i).line + "\n")
				resent++
			}
			var answer struct{ Duplicates int }
			require.NoError(t, json.Unmarshal(g.at(w%3).ask("/api/events/batch", body.String()), &answer))
			duplicates += answer.Duplicates
		}
	}
	require.Equal(t, resent, duplicates, "every resend of an acknowledged event is a duplicate, through any node")
	for i := range g.nodes {
		g.at(i).stop()
		verifies(t, g.data(i))
	}
	t.Logf("%d kills, %d of them of all nodes, %d events acknowledged, 0 lost, 0 twice; writes again after %s at most", kills, all, len(book.acked), longest.Round(time.Millisecond))
}

// TestARollingRestartLosesNothingAndHardlyStopsWrites stops one node after the other as an
// upgrade does; a leader hands the lead over before it goes.
func TestARollingRestartLosesNothingAndHardlyStopsWrites(t *testing.T) {
	g := startGroup(t, "--memory", "32MiB")
	book, r := newLedger(), rand.New(rand.NewPCG(3, 0))
	next, probe := make([]int, 2), 0
	var longest time.Duration
	for i := range g.nodes {
		stop := g.load(book, next, 1000, r)
		p := g.at(i)
		gone := make(chan struct{})
		go func() {
			defer close(gone)
			p.stop()
		}()
		for down := false; !down; {
			select {
			case <-gone:
				down = true
			default:
			}
			longest = max(longest, g.awaitWrites(book, 9, &probe, time.Now()))
		}
		g.launch(i)
		require.True(t, g.at(i).await(), "%s", g.at(i).out)
		stop()
		require.Eventually(t, func() bool { // as an operator looks before the next one
			code, _ := run(t, "cluster", "status", "--server", g.at(i).url())
			return code == 0
		}, time.Minute, 100*time.Millisecond)
	}
	require.LessOrEqual(t, longest, maxSilence)
	for i := range g.nodes {
		book.checkAs(g.at(i), "?consistency=linearizable")
	}
	t.Logf("3 restarts, %d events acknowledged, 0 lost; writes waited %s at most", len(book.acked), longest.Round(time.Millisecond))
}

func TestWhoDoesNotBelongToTheClusterIsRefused(t *testing.T) {
	dir := t.TempDir()
	data := func(name string) string { return filepath.Join(dir, name) }
	const key = "an-admin-key-0123456789"
	n1 := serve(t, "--data", data("n1"), "--raft", freePort(t), "--admin-key", key)
	join := func(name, id string, more ...string) *process {
		return launch(t, nil, append([]string{"--data", data(name), "--node-id", id, "--raft", freePort(t), "--join", n1.url()}, more...)...)
	}
	refused := func(p *process, text string) {
		t.Helper()
		<-p.exited
		require.NotZero(t, p.cmd.ProcessState.ExitCode())
		require.Contains(t, p.out.String(), text)
	}
	refused(join("n2", "n2"), "the token is unknown")
	refused(join("n2", "n2", "--join-token", "join_wrong"), "the token is unknown")
	code, token := run(t, "cluster", "token", "--server", n1.url(), "--key", key)
	require.Zero(t, code, token)
	token = strings.TrimSpace(token)
	n2 := join("n2", "n2", "--join-token", token)
	require.True(t, n2.await(), "%s", n2.out)
	refused(join("n3", "n3", "--join-token", token), "the token is unknown") // it is spent
	refused(join("other", "n2", "--admin-key", key), "A node that has lost its data must not come back under its name")
	n2.kill()
	refused(launch(t, nil, "--data", data("n2"), "--node-id", "n9", "--raft", freePort(t)), "is that of node n2, not of n9")
	refused(launch(t, nil, "--data", data("n2"), "--node-id", "n2"), "it needs an address for the others")

	// A node of another cluster at the address of a member is not taken for it.
	var at string
	for _, s := range n1.clusterNodes(key) {
		if s.ID == "n2" {
			at = s.Address
		}
	}
	stranger := serve(t, "--data", data("stranger"), "--node-id", "n2", "--raft", at)
	require.Eventually(t, func() bool {
		return strings.Contains(n1.out.String(), "belongs to cluster") && strings.Contains(stranger.out.String(), "belongs to cluster")
	}, 30*time.Second, 20*time.Millisecond, "both sides tell")
}

type clusterNode struct{ ID, Address string }

func (p *process) clusterNodes(key string) []clusterNode {
	p.t.Helper()
	code, out := run(p.t, "cluster", "status", "--json", "--server", p.url(), "--key", key)
	var s struct{ Nodes []clusterNode }
	dec := json.NewDecoder(strings.NewReader(out)) // what follows says that a node does not answer
	require.NoError(p.t, dec.Decode(&s), "%d: %s", code, out)
	return s.Nodes
}

func TestANodeWhoseClusterIsLostIsRecoveredWithEverythingInItsLog(t *testing.T) {
	g := startGroup(t)
	book := newLedger()
	for i := range 20 {
		require.Equal(t, http.StatusOK, book.send(g.at(i%3), []numbered{eventOf(0, 2*i), eventOf(0, 2*i+1)}))
	}
	g.settle() // n3 has them all
	g.kill(0, 1, 2)
	code, out := run(t, "cluster", "recover", "--data", g.data(2), "--node-id", "n3")
	require.NotZero(t, code, "nobody has confirmed it")
	require.Contains(t, out, "nothing was changed")
	code, out = run(t, "cluster", "recover", "--data", g.data(2), "--node-id", "n3", "--yes")
	require.Zero(t, code, out)
	verifies(t, g.data(2))
	g.launch(2)
	require.True(t, g.at(2).await(), "%s", g.at(2).out)
	book.check(g.at(2))
	g.launch(0) // it comes back, and is not believed
	require.Eventually(t, func() bool { return strings.Contains(g.at(0).out.String(), "belongs to cluster") }, 30*time.Second, 20*time.Millisecond)
	require.Equal(t, http.StatusOK, book.send(g.at(2), []numbered{eventOf(1, 1)}))
	book.check(g.at(2))
	require.Len(t, g.at(2).status().Nodes, 1)
}
