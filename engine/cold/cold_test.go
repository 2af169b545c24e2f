package cold

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"spoor/internal/vfs"
	"spoor/segment"
)

// single is a store of one object.
type single struct {
	content []byte
	reads   atomic.Int64
	fail    atomic.Pointer[error]
	gate    chan struct{} // nil: answers at once
}

func (s *single) Put(context.Context, string, io.ReaderAt, int64) error { return nil }

func (s *single) ReadAt(ctx context.Context, _ string, p []byte, off int64) error {
	s.reads.Add(1)
	if s.gate != nil {
		select {
		case <-s.gate:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if err := s.fail.Load(); err != nil {
		return *err
	}
	copy(p, s.content[off:])
	return nil
}

func (s *single) List(context.Context, string, func(string, int64) error) error { return nil }

func (s *single) Remove(context.Context, string) error { return nil }

func (s *single) String() string { return "one object" }

func random(n int) []byte {
	r, b := rand.New(rand.NewPCG(1, 2)), make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

// opened is a file over an object, with a cache of eight blocks of 256 bytes.
func opened(t testing.TB, s *single, o Options) (*Tier, *File, *vfs.Mem) {
	t.Helper()
	mem := vfs.NewMem()
	keep := []segment.Extent{{Off: 0, Len: 16}, {Off: 300, Len: 0}, {Off: 1000, Len: 400}, {Off: int64(len(s.content)) - 50, Len: 50}}
	require.NoError(t, WriteStub(mem, "x"+Suffix, bytes.NewReader(s.content), int64(len(s.content)), keep))
	o.Store, o.BlockBytes, o.CacheBytes = s, 256, 8*256
	tier := New(mem, "", slog.New(slog.DiscardHandler), o)
	require.NoError(t, tier.Open())
	t.Cleanup(tier.Close)
	f, err := tier.OpenFile("x"+Suffix, "key")
	require.NoError(t, err)
	require.Equal(t, int64(len(s.content)), f.Size())
	return tier, f, mem
}

func TestEveryRangeReadsAsTheSegmentWhateverTheCacheHolds(t *testing.T) {
	s := &single{content: random(10_000)}
	tier, f, _ := opened(t, s, Options{})
	want := bytes.NewReader(s.content)
	var readers sync.WaitGroup
	for k := range uint64(4) {
		readers.Go(func() {
			r := rand.New(rand.NewPCG(k, 3))
			for range 1500 {
				p := make([]byte, r.IntN(1200))
				q, off := make([]byte, len(p)), r.Int64N(10_100)
				n, err := f.ReadAt(p, off)
				m, werr := want.ReadAt(q, off)
				if off <= 10_000 && (n != m || errors.Is(err, io.EOF) != errors.Is(werr, io.EOF) && len(p) > 0 || !bytes.Equal(p[:n], q[:m])) {
					t.Errorf("%d bytes at %d: %d, %v; want %d, %v", len(p), off, n, err, m, werr)
					return
				}
			}
		})
	}
	readers.Wait()
	status := tier.Status()
	require.LessOrEqual(t, status.CacheBytes, int64(8*256))
	require.Positive(t, status.Hits)
	require.Positive(t, status.Misses)
}

func TestWhatTheStubHoldsIsReadWithoutTheStore(t *testing.T) {
	s := &single{content: random(10_000)}
	_, f, _ := opened(t, s, Options{})
	for _, at := range [][2]int64{{0, 16}, {4, 3}, {1000, 400}, {1399, 1}, {9950, 50}} {
		p := make([]byte, at[1])
		_, err := f.ReadAt(p, at[0])
		require.NoError(t, err)
		require.Equal(t, s.content[at[0]:at[0]+at[1]], p)
	}
	require.Zero(t, s.reads.Load())
	_, err := f.ReadAt(make([]byte, 2), 1399)
	require.NoError(t, err)
	require.Positive(t, s.reads.Load())
}

func TestABlockThatManyAskForIsReadOnce(t *testing.T) {
	s := &single{content: random(10_000), gate: make(chan struct{})}
	_, f, _ := opened(t, s, Options{})
	var readers sync.WaitGroup
	for range 10 {
		readers.Go(func() {
			p := make([]byte, 10)
			_, err := f.ReadAt(p, 600)
			if err != nil || !bytes.Equal(p, s.content[600:610]) {
				t.Errorf("%v, %v", p, err)
			}
		})
	}
	close(s.gate)
	readers.Wait()
	require.LessOrEqual(t, s.reads.Load(), int64(1))
}

func TestAStoreThatDoesNotAnswerIsAwayInTimeAndAskedAgainLater(t *testing.T) {
	s := &single{content: random(10_000), gate: make(chan struct{})}
	tier, f, _ := opened(t, s, Options{Timeout: 30 * time.Millisecond})
	_, err := f.ReadAt(make([]byte, 10), 600)
	require.ErrorIs(t, err, ErrAway)
	require.ErrorContains(t, err, "no answer within 30ms")
	for off := int64(600); off < 900; off += 10 {
		_, err = f.ReadAt(make([]byte, 10), off)
		require.ErrorIs(t, err, ErrAway)
	}
	require.Equal(t, int64(1), s.reads.Load(), "nobody waits again")
	require.NotEmpty(t, tier.Status().Away)
	close(s.gate)
	tier.Rested()
	_, err = f.ReadAt(make([]byte, 10), 600)
	require.NoError(t, err)
	require.Empty(t, tier.Status().Away)

	missing := error(ErrMissing)
	s.fail.Store(&missing)
	_, err = f.ReadAt(make([]byte, 10), 5000)
	require.ErrorIs(t, err, ErrMissing)
	require.NotErrorIs(t, err, ErrAway)
	s.fail.Store(nil)
	_, err = f.ReadAt(make([]byte, 10), 5000)
	require.NoError(t, err, "one object that is missing says nothing of others")
}

func TestACacheThatRotsOrFailsIsPassedBy(t *testing.T) {
	s := &single{content: random(10_000)}
	_, f, mem := opened(t, s, Options{})
	read := func() {
		t.Helper()
		p := make([]byte, 256)
		_, err := f.ReadAt(p, 512)
		require.NoError(t, err)
		require.Equal(t, s.content[512:768], p)
	}
	read()
	read()
	require.Equal(t, int64(1), s.reads.Load())
	h, err := mem.OpenReadWrite(CacheName)
	require.NoError(t, err)
	_, err = h.WriteAt([]byte{1, 2, 3}, 100)
	require.NoError(t, err)
	read()
	require.Equal(t, int64(2), s.reads.Load())
	require.NoError(t, h.Truncate(0))
	read()
	require.Equal(t, int64(3), s.reads.Load())
}

func TestAFileThatIsClosedLeavesNothingInTheCache(t *testing.T) {
	s := &single{content: bytes.Repeat([]byte("secret! "), 1250)}
	tier, f, mem := opened(t, s, Options{})
	for off := int64(0); off < 10_000; off += 250 {
		_, err := f.ReadAt(make([]byte, 250), off)
		require.NoError(t, err)
	}
	b, err := vfs.ReadFile(mem, CacheName)
	require.NoError(t, err)
	require.Contains(t, string(b), "secret")
	require.NoError(t, f.Close())
	b, err = vfs.ReadFile(mem, CacheName)
	require.NoError(t, err)
	require.NotContains(t, string(b), "secret")
	require.Zero(t, tier.Status().CacheBytes)
	require.Equal(t, int64(1), tier.Closed())
}

func TestADamagedStubIsRefusedOrItsSegmentIs(t *testing.T) {
	s := &single{content: random(3000)}
	_, _, mem := opened(t, s, Options{})
	whole, err := vfs.ReadFile(mem, "x"+Suffix)
	require.NoError(t, err)
	list := len(whole) - 16 - 400 - 50 // the rest is under the checksums of the segment
	tier := New(mem, "", nil, Options{})
	for at := range whole {
		bad := bytes.Clone(whole)
		bad[at] ^= 0x10
		require.NoError(t, vfs.WriteFileAtomic(mem, "bad", bad))
		_, err := tier.OpenFile("bad", "")
		if at < list {
			require.ErrorIs(t, err, ErrStub, "byte %d", at)
		}
		require.NoError(t, vfs.WriteFileAtomic(mem, "bad", whole[:at]))
		_, err = tier.OpenFile("bad", "")
		require.ErrorIs(t, err, ErrStub, "%d bytes", at)
	}
}

func FuzzStub(f *testing.F) {
	mem := vfs.NewMem()
	content := random(500)
	require.NoError(f, WriteStub(mem, "x", bytes.NewReader(content), 500, []segment.Extent{{Off: 0, Len: 16}, {Off: 100, Len: 30}}))
	b, err := vfs.ReadFile(mem, "x")
	require.NoError(f, err)
	f.Add(b)
	f.Add(b[:stubHead])
	f.Fuzz(func(t *testing.T, b []byte) {
		mem := vfs.NewMem()
		require.NoError(t, vfs.WriteFileAtomic(mem, "x", b))
		h, err := mem.Open("x")
		require.NoError(t, err)
		size, extents, err := readStub(h)
		if err != nil {
			return
		}
		end := int64(0)
		for _, e := range extents {
			require.GreaterOrEqual(t, e.Off, end)
			end = e.Off + e.Len
			require.LessOrEqual(t, end, size)
			require.LessOrEqual(t, e.at+e.Len, h.Size())
		}
	})
}
