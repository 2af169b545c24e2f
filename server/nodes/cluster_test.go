package nodes_test

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"spoor/cluster"
	"spoor/cluster/logstore"
	"spoor/cluster/peer"
	"spoor/cluster/roster"
	"spoor/engine"
	"spoor/internal/vfs"
	"spoor/server"
	"spoor/server/access"
	"spoor/server/backend"
	"spoor/server/dialect"
	"spoor/server/dialect/segment"
)

// Servers and clients of fasthttp leave goroutines behind that end by themselves when they wake.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.(*workerPool).Start.func2"),
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.updateServerDate.func1"),
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.(*HostClient).connsCleaner"))
}

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

// now runs ten times as fast as the world, so that what waits for seconds does not.
func now() time.Time { return began.Add(10 * time.Since(began)) }

var began = time.Now()

// node is a whole server in this process, with a store in memory.
type node struct {
	t      *testing.T
	id     string
	raft   *cluster.Node
	roster *roster.Roster
	url    string
	http   *http.Client
	stop   func()
}

func freePort(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer ln.Close()
	return ln.Addr().String()
}

func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// start starts a node; through names the one that it joins, nil for none.
func start(t *testing.T, id string, through *node, random io.Reader) *node {
	t.Helper()
	mem := vfs.NewMem()
	v1 := peer.Range{Min: 1, Max: 1}
	o := roster.Options{Version: "test", Formats: peer.Formats{Commands: v1, Segments: v1}, Now: now, Every: 20 * time.Millisecond, Random: random}
	var err error
	o.Disk, err = roster.OpenIdentity(mem, "/data", id, random)
	require.NoError(t, err)
	cfg := cluster.Config{
		ID: id, Dir: "/data", FS: mem, RaftAddr: freePort(t), Formats: o.Formats, SegmentBytes: 64 << 10,
		ElectionTimeout: time.Second, Bootstrap: through == nil,
		OnFatal: func(err error) { t.Errorf("node %s: %v", id, err) },
	}
	if through != nil {
		body, err := json.Marshal(roster.JoinRequest{ID: id, Disk: o.Disk, Address: cfg.RaftAddr, Version: "test", Formats: o.Formats})
		require.NoError(t, err)
		r := through.do("POST", "/api/cluster/join", string(body))
		require.Equal(t, 200, r.status, "%s", r.body)
		b, err := hex.DecodeString(r.json(t)["cluster"].(string))
		require.NoError(t, err)
		cfg.ClusterID = logstore.ClusterID(b)
	}
	db, err := engine.Open("/data/store", engine.Options{FS: mem, ManualCompaction: true, OnFatal: func(err error) { t.Errorf("store of %s: %v", id, err) }})
	require.NoError(t, err)
	raft, err := cluster.Open(cfg, db)
	require.NoError(t, err)
	n := &node{t: t, id: id, raft: raft, roster: roster.New(raft, db, o)}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { n.roster.Run(ctx) })
	dialects, ok := dialect.Mount(map[string]string{"segment": "/segment"}, segment.Segment{})
	require.True(t, ok)
	log := backend.NewNode(raft)
	srv := server.New(backend.New(log, db, time.Now), server.Options{Nodes: backend.Nodes{Roster: n.roster}, Keys: &access.Ring{}, Dialects: dialects})
	raft.Peers().HandleRest(srv.Handle)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	n.url = "http://" + ln.Addr().String()
	running.Go(func() { _ = srv.Serve(ln) })
	transport := &http.Transport{}
	n.http = &http.Client{Transport: transport, Timeout: 30 * time.Second}
	n.stop = sync.OnceFunc(func() {
		transport.CloseIdleConnections()
		cancel()
		closing, done := context.WithTimeout(context.Background(), 20*time.Second)
		defer done()
		if err := srv.Shutdown(closing); err != nil {
			t.Errorf("shut down %s: %v", id, err)
		}
		running.Wait()
		if err := errors.Join(raft.Close(closing), db.Close()); err != nil {
			t.Errorf("close %s: %v", id, err)
		}
	})
	t.Cleanup(func() { n.stop() })
	require.NoError(t, log.Wait(within(t)))
	return n
}

// three is a cluster whose first node leads.
func three(t *testing.T) (nodes []*node) {
	t.Helper()
	t.Parallel() // it waits more than it works
	random := &entropy{r: rand.NewChaCha8([32]byte{3})}
	nodes = append(nodes, start(t, "n1", nil, random))
	nodes = append(nodes, start(t, "n2", nodes[0], random))
	nodes = append(nodes, start(t, "n3", nodes[1], random)) // any member will do
	require.Eventually(t, func() bool {
		voters := 0
		for _, m := range nodes[0].roster.Survey(within(t)).Nodes {
			if m.Voter {
				voters++
			}
		}
		return voters == 3
	}, 30*time.Second, 20*time.Millisecond)
	return nodes
}

type reply struct {
	status int
	header http.Header
	body   []byte
}

func (r reply) json(t *testing.T) map[string]any {
	t.Helper()
	var v map[string]any
	require.NoError(t, json.Unmarshal(r.body, &v), "%s", r.body)
	return v
}

func (r reply) code(t *testing.T) string {
	t.Helper()
	e, _ := r.json(t)["error"].(map[string]any)
	code, _ := e["code"].(string)
	return code
}

func (n *node) do(method, path, body string, header ...string) reply {
	n.t.Helper()
	req, err := http.NewRequest(method, n.url+path, strings.NewReader(body))
	require.NoError(n.t, err)
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := n.http.Do(req)
	require.NoError(n.t, err)
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	require.NoError(n.t, err)
	return reply{resp.StatusCode, resp.Header, b}
}

// count is how many events of a name a node answers with.
func (n *node) count(name, args string, header ...string) int {
	n.t.Helper()
	r := n.do("POST", "/api/query"+args, "events of "+name+" limit 1000", header...)
	require.Equal(n.t, 200, r.status, "%s", r.body)
	return len(r.json(n.t)["events"].([]any))
}

func TestAnyNodeTakesAWriteAndAReadWithItsTokenSeesItAnywhere(t *testing.T) {
	nodes := three(t)
	stored := 0
	for round := range 20 {
		for _, to := range nodes {
			r := to.do("POST", "/api/events", fmt.Sprintf(`{"eventId":"%s-%d","userId":"u","eventName":"hello"}`, to.id, round))
			require.Equal(t, 200, r.status, "%s", r.body)
			require.EqualValues(t, 1, r.json(t)["accepted"])
			token := r.header.Get("Spoor-Session")
			require.NotEmpty(t, token)
			stored++
			for _, from := range nodes {
				require.Equal(t, stored, from.count("hello", "", "Spoor-Session", token), "written through %s, read from %s", to.id, from.id)
			}
		}
	}
	r := nodes[2].do("POST", "/api/events", `{"eventId":"n1-0","userId":"u","eventName":"hello"}`)
	require.EqualValues(t, 1, r.json(t)["duplicates"], "one place decides")
}

func TestALinearizableReadOnAnyNodeSeesWhatWasAcknowledgedBeforeIt(t *testing.T) {
	nodes := three(t)
	for i := range 60 {
		to, from := nodes[i%3], nodes[(i+1+i/3)%3]
		r := to.do("POST", "/api/events", fmt.Sprintf(`{"eventId":"e%d","userId":"u","eventName":"hello"}`, i))
		require.Equal(t, 200, r.status, "%s", r.body)
		require.Equal(t, i+1, from.count("hello", "?consistency=linearizable"))
	}
}

func TestBodiesOfAllFormsGoToTheLeaderAsTheyCame(t *testing.T) {
	nodes := three(t)
	follower := nodes[1]
	var lines bytes.Buffer
	for i := range 5000 {
		fmt.Fprintf(&lines, `{"eventId":"line %d","userId":"u%d","eventName":"many","properties":{"text":"%s"}}`+"\n", i, i%50, strings.Repeat("x", 100))
	}
	r := follower.do("POST", "/api/events/batch", lines.String())
	require.Equal(t, 200, r.status, "%.300s", r.body)
	require.EqualValues(t, 5000, r.json(t)["accepted"])
	r = follower.do("POST", "/api/events/batch", "not an event")
	require.Equal(t, 400, r.status)
	r = follower.do("POST", "/api/events/batch", strings.Repeat("x", 17<<20))
	require.Equal(t, 413, r.status)
	r = follower.do("POST", "/segment/v1/track", `{"event":"dialect","userId":"u","messageId":"m1"}`)
	require.Equal(t, 200, r.status, "%s", r.body)
	r = follower.do("POST", "/api/identify", `{"userId":"u","traits":{"plan":"pro"}}`)
	require.Equal(t, 200, r.status, "%s", r.body)
	r = follower.do("PUT", "/api/queries/mine%20own", "events of many", "Content-Type", "text/plain")
	require.Equal(t, 200, r.status, "%s", r.body)
	token := r.header.Get("Spoor-Session")
	r = nodes[2].do("GET", "/api/queries/mine%20own", "", "Spoor-Session", token)
	require.Equal(t, 200, r.status, "%s", r.body)
	require.Equal(t, 1, nodes[2].count("dialect", ""))
	r = nodes[0].do("POST", "/api/events", `{"userId":"u","eventName":"preflight"}`, "Origin", "https://shop.example")
	require.Equal(t, "https://shop.example", r.header.Get("Access-Control-Allow-Origin"))
	r = follower.do("POST", "/api/events", `{"userId":"u","eventName":"preflight"}`, "Origin", "https://shop.example")
	require.Equal(t, "https://shop.example", r.header.Get("Access-Control-Allow-Origin"))
}

func TestARevokedKeyReadsNothingOnANodeThatIsToldOfIt(t *testing.T) {
	nodes := three(t)
	make := func(role string) (id, key, token string) {
		r := nodes[1].do("POST", "/api/keys", `{"name":"`+role+`","kind":"`+role+`"}`)
		require.Equal(t, 200, r.status, "%s", r.body)
		v := r.json(t)
		return v["id"].(string), v["key"].(string), r.header.Get("Spoor-Session")
	}
	_, admin, token := make("admin")
	bearer := func(key string) []string { return []string{"Authorization", "Bearer " + key} }
	r := nodes[2].do("POST", "/api/keys", `{"name":"reader","kind":"read"}`, append(bearer(admin), "Spoor-Session", token)...)
	require.Equal(t, 200, r.status, "%s", r.body)
	reader, id := r.json(t)["key"].(string), r.json(t)["id"].(string)
	for _, n := range nodes { // the key is known wherever its token is sent
		seen := n.do("POST", "/api/query", "events of any", append(bearer(reader), "Spoor-Session", r.header.Get("Spoor-Session"))...)
		require.Equal(t, 200, seen.status, "%s", seen.body)
	}
	require.Equal(t, 403, nodes[1].do("POST", "/api/events", `{"userId":"u","eventName":"no"}`, bearer(reader)...).status)
	require.Equal(t, 401, nodes[1].do("POST", "/api/events", `{"userId":"u","eventName":"no"}`).status)
	r = nodes[1].do("DELETE", "/api/keys/"+id, "", bearer(admin)...)
	require.Equal(t, 200, r.status, "%s", r.body)
	for _, n := range nodes {
		for _, args := range [][]string{{"", r.header.Get("Spoor-Session")}, {"?consistency=linearizable", ""}} {
			seen := n.do("POST", "/api/query"+args[0], "events of any", append(bearer(reader), "Spoor-Session", args[1])...)
			require.Equal(t, 401, seen.status, "%s %v: %s", n.id, args, seen.body)
		}
	}
}

func TestAReadThatCannotBeFreshEnoughIsRefusedAndAStaleOneSaysHowOldItIs(t *testing.T) {
	nodes := three(t)
	r := nodes[1].do("POST", "/api/query", "events of any", "Spoor-Session", "1000000")
	require.Equal(t, 503, r.status)
	require.Equal(t, "behind", r.code(t))
	require.Equal(t, "1", r.header.Get("Retry-After"))
	require.Equal(t, 400, nodes[1].do("POST", "/api/query", "events of any", "Spoor-Session", "soon").status)
	require.Equal(t, 400, nodes[1].do("POST", "/api/query?consistency=maybe", "events of any").status)

	nodes[0].stop()
	nodes[2].stop() // nobody can lead now
	r = nodes[1].do("POST", "/api/query?consistency=stale", "events of any")
	require.Equal(t, 200, r.status, "%s", r.body)
	require.Regexp(t, `^[0-9]+\.[0-9]{3}$`, r.header.Get("Spoor-Age"))
	require.NotEmpty(t, r.header.Get("Spoor-Session"))
	require.Eventually(t, func() bool { id, _ := nodes[1].raft.Leader(); return id == "" }, 20*time.Second, 10*time.Millisecond)
	r = nodes[1].do("POST", "/api/query?consistency=linearizable", "events of any")
	require.Equal(t, 503, r.status)
	require.Equal(t, "no_leader", r.code(t))
	r = nodes[1].do("POST", "/api/events", `{"userId":"u","eventName":"lost"}`)
	require.Equal(t, 503, r.status)
	require.Equal(t, "no_leader", r.code(t), "surely not stored")
	require.Equal(t, "1", r.header.Get("Retry-After"))
	r = nodes[1].do("GET", "/api/cluster", "")
	require.Equal(t, 200, r.status)
	require.Empty(t, r.json(t)["leader"])
}

func TestWritesGoOnThroughEveryNodeWhenTheLeaderIsGone(t *testing.T) {
	nodes := three(t)
	nodes[0].stop()
	for _, n := range nodes[1:] {
		require.Eventually(t, func() bool {
			r := n.do("POST", "/api/events", `{"eventId":"`+n.id+`","userId":"u","eventName":"after"}`)
			if r.status != 200 {
				require.Equal(t, 503, r.status, "%s", r.body)
			}
			return r.status == 200
		}, 20*time.Second, 5*time.Millisecond)
	}
	require.Equal(t, 2, nodes[1].count("after", "?consistency=linearizable"))
	require.Equal(t, 2, nodes[2].count("after", "?consistency=linearizable"))
}

func TestOperatorsChangeTheClusterThroughAnyNode(t *testing.T) {
	nodes := three(t)
	require.Equal(t, 404, nodes[1].do("DELETE", "/api/cluster/nodes/n9", "").status)
	require.Equal(t, 409, nodes[2].do("POST", "/api/cluster/join", `{"id":"n2","disk":"00000000000000000000000000000000","address":"127.0.0.1:1","formats":{"commands":{"min":1,"max":1},"segments":{"min":1,"max":1}}}`).status)
	r := nodes[1].do("POST", "/api/cluster/token", `{"seconds":60}`)
	require.Equal(t, 200, r.status, "%s", r.body)
	require.Contains(t, r.json(t)["token"], "join_")
	require.Equal(t, 400, nodes[1].do("POST", "/api/cluster/token", `{"seconds":0}`).status)
	r = nodes[1].do("POST", "/api/cluster/nodes/n3/demote", "")
	require.Equal(t, 200, r.status, "%s", r.body)
	r = nodes[2].do("POST", "/api/cluster/nodes/n3/promote", "")
	require.Equal(t, 200, r.status, "%s", r.body)
	require.Eventually(t, func() bool {
		return nodes[2].do("POST", "/api/cluster/transfer", `{"to":"n2"}`).status == 200
	}, 20*time.Second, 50*time.Millisecond)
	require.Eventually(t, nodes[1].raft.IsLeader, 20*time.Second, 10*time.Millisecond)
	require.Eventually(t, func() bool {
		return nodes[2].do("DELETE", "/api/cluster/nodes/n1", "").status == 200
	}, 20*time.Second, 50*time.Millisecond)
	for _, n := range nodes[1:] {
		r := n.do("GET", "/api/cluster", "")
		require.Len(t, r.json(t)["nodes"], 2, "%s", r.body)
	}
	require.Contains(t, string(nodes[2].do("GET", "/metrics", "").body), `spoor_forwarded_requests_total{result="answered"}`)
}
