package install

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"spoor/cluster"
	"spoor/cluster/peer"
	"spoor/engine"
	"spoor/engine/event"
	"spoor/engine/statehash"
	"spoor/internal/vfs"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.(*workerPool).Start.func2"),
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.updateServerDate.func1"),
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.(*HostClient).connsCleaner"))
}

func within(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func openStore(t testing.TB, fsys vfs.FS) *engine.DB {
	t.Helper()
	db, err := engine.Open("/data/store", engine.Options{FS: fsys, ManualCompaction: true, FlushRows: 3000, OnFatal: func(err error) { t.Errorf("fatal: %v", err) }})
	require.NoError(t, err)
	return db
}

// entry is a batch of n events, different for each index.
func entry(t testing.TB, index uint64, n int) []byte {
	t.Helper()
	var lines bytes.Buffer
	for i := range n {
		fmt.Fprintf(&lines, `{"eventId":"e%d-%d","eventName":"name%d","userId":"u%d","timestamp":"2026-05-%02dT10:00:00.%06dZ","properties":{"n":%d,"text":"%x"}}`+"\n",
			index, i, i%3, (int(index)*7+i)%500, 1+int(index)%20, i, i, rand.New(rand.NewPCG(index, uint64(i))).Uint64())
	}
	d := event.NewDecoder(event.DefaultLimits())
	err := d.AddAll(lines.Bytes(), "", func() [16]byte { panic("it has an id") }, func(it event.Item) error {
		if it.Reject != nil {
			return it.Reject
		}
		return nil
	})
	require.NoError(t, err)
	return engine.EventsEntry(nil, d.Seal(1_780_000_000_000_000+int64(index)*1000))
}

func fill(t testing.TB, db *engine.DB, upTo uint64) {
	t.Helper()
	for i := db.AppliedIndex() + 1; i <= upTo; i++ {
		require.IsType(t, &engine.EventsResult{}, db.Apply(i, entry(t, i, 100)))
	}
}

func hashOf(t testing.TB, db *engine.DB) *statehash.State {
	t.Helper()
	h, err := db.StateHash(context.Background())
	require.NoError(t, err)
	return h
}

// local is a Source in the same process. Each piece that is asked for may fail.
type local struct {
	leases *Leases
	id     string
	fail   func(name string, p []byte, off int64) error // nil: nothing fails; called after the piece was read

	mu     sync.Mutex
	pieces int
	bytes  int64
	closed bool
}

func (l *local) Manifest(ctx context.Context) ([]byte, error) {
	return l.leases.Manifest(ctx, l.id, time.Minute)
}

func (l *local) ReadAt(ctx context.Context, name string, p []byte, off int64) error {
	if err := l.leases.ReadAt(l.id, name, p, off); err != nil {
		return err
	}
	l.mu.Lock()
	l.pieces++
	l.bytes += int64(len(p))
	l.mu.Unlock()
	if l.fail != nil {
		return l.fail(name, p, off)
	}
	return nil
}

func (l *local) Close() {
	l.leases.Release(l.id)
	l.closed = true
}

func newLeases(t testing.TB, db *engine.DB, o LeaseOptions) *Leases {
	l := NewLeases(db, o)
	t.Cleanup(l.Close)
	return l
}

func newPuller(db *engine.DB, fsys vfs.FS, src Source) *Puller {
	return NewPuller(db, Options{FS: fsys, Dir: "/data/incoming", Dial: func(string, string) (Source, error) { return src, nil }, NoProgress: 2 * time.Second})
}

// sources are two stores, of which the second one is to get the state of the first.
func sources(t testing.TB) (ahead, behind *engine.DB, mem *vfs.Mem) {
	t.Helper()
	mem = vfs.NewMem()
	ahead, behind = openStore(t, vfs.NewMem()), openStore(t, mem)
	fill(t, ahead, 200)
	fill(t, behind, 5)
	return ahead, behind, mem
}

func TestAStateIsPulledAndTakenOver(t *testing.T) {
	ahead, behind, mem := sources(t)
	held := 0
	leases := newLeases(t, ahead, LeaseOptions{Hold: func() func() { held++; return func() { held-- } }})
	src := &local{leases: leases, id: "1"}
	p := newPuller(behind, mem, src)
	_, err := p.Fetch(within(t), cluster.Member{}, 201)
	require.ErrorContains(t, err, "201 is needed")
	require.Zero(t, leases.Len())

	got, err := p.Fetch(within(t), cluster.Member{}, 200)
	require.NoError(t, err)
	require.Equal(t, 1, held, "the log is kept as long as the snapshot is")
	require.EqualValues(t, 5, behind.AppliedIndex())
	require.EqualValues(t, 200, got.AppliedIndex())
	require.NoError(t, got.Swap())
	got.Discard()
	require.Equal(t, hashOf(t, ahead), hashOf(t, behind))
	require.True(t, src.closed)
	require.Zero(t, held)
	_, err = mem.ReadDir("/data/incoming")
	require.Error(t, err, "nothing is left beside the store")

	// The second time what is held already is not pulled again.
	first := src.bytes
	fill(t, ahead, 210)
	got, err = p.Fetch(within(t), cluster.Member{}, 210)
	require.NoError(t, err)
	require.NoError(t, got.Swap())
	got.Discard()
	require.Equal(t, hashOf(t, ahead), hashOf(t, behind))
	require.Less(t, (src.bytes-first)*4, first)
	require.NoError(t, ahead.Close())
	require.NoError(t, behind.Close())
}

func TestACutConnectionAndACrashCostNoMoreThanThePieceOnItsWay(t *testing.T) {
	ahead, behind, mem := sources(t)
	leases := newLeases(t, ahead, LeaseOptions{})
	cut := errors.New("the connection was cut")
	total := int64(0)
	src := &local{leases: leases, id: "1"}
	src.fail = func(string, []byte, int64) error {
		if src.pieces%3 == 0 {
			return cut
		}
		return nil
	}
	p := newPuller(behind, mem, src)
	p.opts.BytesPerSecond = 8 << 20 // pieces of 1 MiB at most; here a file is smaller
	got, err := p.Fetch(within(t), cluster.Member{}, 200)
	require.NoError(t, err)
	files, _, err := engine.ReadSnapshot(must(leases.Manifest(within(t), "1", time.Minute)))
	require.NoError(t, err)
	for _, f := range files {
		total += f.Bytes
	}
	require.Greater(t, src.bytes, total, "some pieces came twice")
	require.Less(t, src.bytes, 2*total)
	got.Discard()
	require.EqualValues(t, 5, behind.AppliedIndex(), "a state that is discarded changes nothing")

	// A crash at a random piece: what was synced by then is not pulled again.
	for round := range 5 {
		src := &local{leases: leases, id: "2"}
		var image *vfs.Mem
		stopAt := 1 + round
		src.fail = func(string, []byte, int64) error {
			if src.pieces == stopAt {
				image = mem.CrashClone(rand.New(rand.NewPCG(uint64(round), 1)))
				return ErrLease // ends this try
			}
			return nil
		}
		_, err := newPuller(behind, mem, src).Fetch(within(t), cluster.Member{}, 200)
		require.ErrorIs(t, err, ErrLease)
		require.NotNil(t, image)
		again := openStore(t, image)
		require.EqualValues(t, 0, again.DurableIndex())
		src2 := &local{leases: leases, id: "3"}
		got, err := newPuller(again, image, src2).Fetch(within(t), cluster.Member{}, 200)
		require.NoError(t, err)
		require.NoError(t, got.Swap())
		got.Discard()
		require.Equal(t, hashOf(t, ahead), hashOf(t, again))
		require.NoError(t, again.Close())
		require.NoError(t, mem.RemoveAll("/data/incoming"))
	}
	require.NoError(t, ahead.Close())
	require.NoError(t, behind.Close())
}

func must(b []byte, err error) []byte {
	if err != nil {
		panic(err)
	}
	return b
}

func TestBytesThatAreNotWhatWasListedAreNeverUsed(t *testing.T) {
	ahead, behind, mem := sources(t)
	leases := newLeases(t, ahead, LeaseOptions{})
	before := hashOf(t, behind)
	for n := range 8 {
		src := &local{leases: leases, id: "1"}
		src.fail = func(_ string, p []byte, _ int64) error {
			if src.pieces == n+1 {
				p[len(p)/2] ^= 1
			}
			return nil
		}
		_, err := newPuller(behind, mem, src).Fetch(within(t), cluster.Member{}, 200)
		if err == nil {
			require.Less(t, src.pieces, n+1, "piece %d was wrong", n+1)
			continue
		}
		require.ErrorContains(t, err, "listed is")
		require.True(t, src.closed)
		require.Equal(t, before, hashOf(t, behind))
	}
	got, err := newPuller(behind, mem, &local{leases: leases, id: "2"}).Fetch(within(t), cluster.Member{}, 200)
	require.NoError(t, err)
	require.NoError(t, got.Swap())
	got.Discard()
	require.Equal(t, hashOf(t, ahead), hashOf(t, behind))
	require.NoError(t, ahead.Close())
	require.NoError(t, behind.Close())
}

func TestASourceThatSendsNothingIsGivenUp(t *testing.T) {
	ahead, behind, mem := sources(t)
	src := &local{leases: newLeases(t, ahead, LeaseOptions{}), id: "1"}
	src.fail = func(string, []byte, int64) error { return errors.New("cut") }
	p := newPuller(behind, mem, src)
	p.opts.NoProgress = 300 * time.Millisecond
	_, err := p.Fetch(within(t), cluster.Member{}, 200)
	require.ErrorContains(t, err, "nothing came for 300ms")
	require.True(t, src.closed)
	require.NoError(t, ahead.Close())
	require.NoError(t, behind.Close())
}

func TestWhatIsPulledIsThrottled(t *testing.T) {
	ahead, behind, mem := sources(t)
	src := &local{leases: newLeases(t, ahead, LeaseOptions{}), id: "1"}
	p := newPuller(behind, mem, src)
	p.opts.BytesPerSecond = 512 << 10
	began := time.Now()
	got, err := p.Fetch(within(t), cluster.Member{}, 200)
	require.NoError(t, err)
	took := time.Since(began)
	got.Discard()
	least := time.Duration(float64(src.bytes-128<<10) / (512 << 10) * float64(time.Second))
	require.Greater(t, src.bytes, int64(256<<10), "else this says nothing")
	require.GreaterOrEqual(t, took, least)
	require.NoError(t, ahead.Close())
	require.NoError(t, behind.Close())
}

func TestAFollowerThatDiedHoldsNothingForEver(t *testing.T) {
	ahead, behind, _ := sources(t)
	var mu sync.Mutex
	now, held := time.Unix(1000, 0), 0
	leases := newLeases(t, ahead, LeaseOptions{
		Idle: time.Minute,
		Now:  func() time.Time { mu.Lock(); defer mu.Unlock(); return now },
		Hold: func() func() { held++; return func() { held-- } },
	})
	later := func(d time.Duration) {
		mu.Lock()
		now = now.Add(d)
		mu.Unlock()
		leases.endIdle()
	}
	files, _, err := engine.ReadSnapshot(must(leases.Manifest(within(t), "dead", time.Minute)))
	require.NoError(t, err)
	b := make([]byte, 10)
	later(50 * time.Second)
	require.NoError(t, leases.ReadAt("dead", files[0].Name, b, 0))
	require.NoError(t, ahead.Compact(context.Background()))
	later(50 * time.Second)
	require.NoError(t, leases.ReadAt("dead", files[0].Name, b, 0), "it was used, so it lasts, whatever merges do")
	require.Error(t, leases.ReadAt("dead", "../MANIFEST", b, 0))
	later(61 * time.Second)
	require.ErrorIs(t, leases.ReadAt("dead", files[0].Name, b, 0), ErrLease)
	require.Zero(t, held)

	for i := range maxLeases {
		_, err := leases.Manifest(within(t), fmt.Sprint(i), time.Minute)
		require.NoError(t, err)
	}
	_, err = leases.Manifest(within(t), "one more", time.Minute)
	require.ErrorIs(t, err, ErrBusy)
	require.NoError(t, ahead.Close())
	require.NoError(t, behind.Close())
}

func TestAStateGoesOverThePortBetweenNodes(t *testing.T) {
	ahead, behind, mem := sources(t)
	var ports [2]*peer.Port
	for i := range ports {
		var err error
		ports[i], err = peer.Open(peer.Options{Listen: "127.0.0.1:0", Cluster: [16]byte{7}, ID: fmt.Sprintf("n%d", i)})
		require.NoError(t, err)
	}
	leases := newLeases(t, ahead, LeaseOptions{})
	leases.Serve(ports[0])
	p := NewPuller(behind, Options{FS: mem, Dir: "/data/incoming", Dial: func(node, address string) (Source, error) {
		return Remote(ports[1], node, address), nil
	}})
	got, err := p.Fetch(within(t), cluster.Member{ID: "n0", Address: ports[0].Addr()}, 200)
	require.NoError(t, err)
	require.Equal(t, 1, leases.Len())
	require.NoError(t, got.Swap())
	got.Discard()
	require.Equal(t, hashOf(t, ahead), hashOf(t, behind))
	require.Zero(t, leases.Len())

	_, err = p.Fetch(within(t), cluster.Member{ID: "n9", Address: ports[0].Addr()}, 0)
	require.Error(t, err, "another node answers there")
	gone := Remote(ports[1], "n0", ports[0].Addr())
	require.ErrorIs(t, gone.ReadAt(within(t), "x", make([]byte, 1), 0), ErrLease)
	require.Error(t, gone.ReadAt(within(t), "x", make([]byte, MaxPieceBytes+1), 0))
	for _, port := range ports {
		require.NoError(t, port.Close())
	}
	require.NoError(t, ahead.Close())
	require.NoError(t, behind.Close())
}
