package inflate_test

import (
	"bytes"
	"errors"
	"io"
	"math/rand"
	"runtime"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/require"

	"spoor/server/inflate"
)

func gzipped(t testing.TB, b []byte) []byte {
	var out bytes.Buffer
	w, err := gzip.NewWriterLevel(&out, gzip.BestSpeed)
	require.NoError(t, err)
	_, err = w.Write(b)
	require.NoError(t, err)
	require.NoError(t, w.Close())
	return out.Bytes()
}

func zstded(t testing.TB, b []byte, opts ...zstd.EOption) []byte {
	w, err := zstd.NewWriter(nil, opts...)
	require.NoError(t, err)
	defer w.Close()
	return w.EncodeAll(b, nil)
}

func free(int) error { return nil }

const limit = 4 << 20

// text is random and compresses to about half.
func text(n int) []byte {
	r := rand.New(rand.NewSource(1))
	b := make([]byte, n)
	for i := range b {
		b[i] = "0123456789abcdef"[r.Intn(16)]
	}
	return b
}

func TestWhatWasCompressedComesBackWhole(t *testing.T) {
	p := inflate.NewPool()
	defer p.Close()
	for _, size := range []int{0, 1, 100, 256 << 10, 1<<20 + 7, limit} {
		want := text(size)
		for coding, packed := range map[inflate.Coding][]byte{inflate.Gzip: gzipped(t, want), inflate.Zstd: zstded(t, want)} {
			if size > 0 {
				require.Equal(t, coding, inflate.Sniff(packed))
			}
			got, err := p.Append([]byte("before"), packed, coding, limit, free)
			require.NoError(t, err)
			require.True(t, bytes.Equal(append([]byte("before"), want...), got), "%d bytes", size)
		}
	}
}

func TestEveryCutAndEveryFlippedByteIsNoticedOrHarmless(t *testing.T) {
	p := inflate.NewPool()
	defer p.Close()
	want := text(300)
	for coding, packed := range map[inflate.Coding][]byte{inflate.Gzip: gzipped(t, want), inflate.Zstd: zstded(t, want)} {
		for cut := range len(packed) {
			_, err := p.Append(nil, packed[:cut], coding, limit, free)
			require.ErrorIs(t, err, inflate.ErrCorrupt, "coding %d cut at %d", coding, cut)
		}
		for i := range packed {
			for bit := range 8 {
				bad := bytes.Clone(packed)
				bad[i] ^= 1 << bit
				got, err := p.Append(nil, bad, coding, limit, free)
				if err == nil { // a time stamp or a flag of the header
					require.True(t, bytes.Equal(want, got), "coding %d, byte %d, bit %d", coding, i, bit)
				}
			}
		}
		_, err := p.Append(nil, append(bytes.Clone(packed), "more"...), coding, limit, free)
		require.ErrorIs(t, err, inflate.ErrCorrupt)
	}
}

func TestBombsStopAtTheLimitInLittleMemoryAndTime(t *testing.T) {
	p := inflate.NewPool()
	defer p.Close()
	zeros := make([]byte, 64<<20)
	bombs := map[string]struct {
		coding inflate.Coding
		packed []byte
	}{
		"gzip":           {inflate.Gzip, gzipped(t, zeros)},
		"zstd":           {inflate.Zstd, zstded(t, zeros)},
		"gzip in pieces": {inflate.Gzip, bytes.Repeat(gzipped(t, nil), 100_000)},
	}
	zeros = nil
	for name, b := range bombs {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		begin := time.Now()
		got, err := p.Append(nil, b.packed, b.coding, limit, free)
		runtime.ReadMemStats(&after)
		require.True(t, errors.Is(err, inflate.ErrTooLarge) || errors.Is(err, inflate.ErrRatio), "%s: %v", name, err)
		require.Empty(t, got)
		require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(16<<20), name)
		require.Less(t, time.Since(begin), time.Second, name)
	}
}

func TestARatioThatNoEventsReachIsRefusedBelowTheLimit(t *testing.T) {
	p := inflate.NewPool()
	defer p.Close()
	_, err := p.Append(nil, gzipped(t, make([]byte, 3<<20)), inflate.Gzip, limit, free)
	require.ErrorIs(t, err, inflate.ErrRatio)
	_, err = p.Append(nil, gzipped(t, make([]byte, 1<<20)), inflate.Gzip, limit, free)
	require.NoError(t, err, "small bodies may be as repetitive as they like")
}

func TestAWindowThatIsTooLargeIsRefused(t *testing.T) {
	p := inflate.NewPool()
	defer p.Close()
	var packed bytes.Buffer
	w, err := zstd.NewWriter(&packed, zstd.WithWindowSize(64<<20), zstd.WithSingleSegment(false))
	require.NoError(t, err)
	_, err = w.Write(text(9 << 20)) // as a stream: the frame does not say how large it is
	require.NoError(t, err)
	require.NoError(t, w.Close())
	_, err = p.Append(nil, packed.Bytes(), inflate.Zstd, 16<<20, free)
	require.ErrorIs(t, err, inflate.ErrTooLarge)
}

func TestASkippableFrameThatClaimsGigabytesTakesNoMemory(t *testing.T) {
	p := inflate.NewPool()
	defer p.Close()
	frame := []byte{0x50, 0x2a, 0x4d, 0x18, 0xff, 0xff, 0xff, 0xff, 1, 2, 3}
	_, err := p.Append(nil, frame, inflate.Zstd, limit, free)
	require.ErrorIs(t, err, inflate.ErrCorrupt)
}

func TestMemoryIsAskedForAndMayBeRefused(t *testing.T) {
	p := inflate.NewPool()
	defer p.Close()
	asked := 0
	full := errors.New("full")
	_, err := p.Append(nil, gzipped(t, text(2<<20)), inflate.Gzip, limit, func(n int) error {
		if asked += n; asked > 1<<20 {
			return full
		}
		return nil
	})
	require.ErrorIs(t, err, full)
	require.LessOrEqual(t, asked, 3<<20)
}

func FuzzInflate(f *testing.F) {
	f.Add(gzipped(f, []byte("hello")), true)
	f.Add(zstded(f, []byte("hello")), false)
	p := inflate.NewPool()
	f.Fuzz(func(t *testing.T, packed []byte, isGzip bool) {
		coding := inflate.Zstd
		if isGzip {
			coding = inflate.Gzip
		}
		got, err := p.Append(nil, packed, coding, 1<<20, free)
		if err != nil || !isGzip || len(packed) == 0 {
			return
		}
		r, err := gzip.NewReader(bytes.NewReader(packed))
		require.NoError(t, err)
		want, err := io.ReadAll(r)
		require.NoError(t, err)
		require.True(t, bytes.Equal(want, got))
	})
}
