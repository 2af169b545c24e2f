package index

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestADirectoryNumbersTextsLikeAMapDoes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d, model, order := NewDirectory(), map[string]uint32{}, []string(nil)
		text := rapid.OneOf(
			rapid.SliceOfN(rapid.ByteRange('a', 'c'), 0, 4),
			rapid.SliceOfN(rapid.Byte(), 0, 60),
			rapid.Map(rapid.IntRange(0, 5), func(n int) []byte { return bytes.Repeat([]byte{byte(n)}, n<<18) }), // up to and over a chunk
		)
		for range rapid.IntRange(0, 200).Draw(t, "texts") {
			b := text.Draw(t, "text")
			want, known := model[string(b)]
			got, ok := d.Get(b)
			require.Equal(t, known, ok)
			require.Equal(t, want, got)
			ord, added := d.GetOrAdd(b)
			require.Equal(t, !known, added)
			if added {
				want = uint32(len(order))
				model[string(b)] = want
				order = append(order, string(b))
				clear(b) // the directory has its own copy
			}
			require.Equal(t, want, ord)
			require.Equal(t, len(order), d.Len())
		}
		for ord, s := range order {
			require.Equal(t, s, string(d.Text(uint32(ord))))
			got, ok := d.Get([]byte(s))
			require.True(t, ok)
			require.EqualValues(t, ord, got)
		}
	})
}

func TestADirectoryKeepsManyTexts(t *testing.T) {
	d := NewDirectory()
	id := make([]byte, 36)
	const n = 300_000
	for i := range n {
		ord, added := d.GetOrAdd(userID(id, i))
		require.True(t, added)
		require.EqualValues(t, i, ord)
	}
	for i := range n {
		ord, ok := d.Get(userID(id, i))
		require.True(t, ok)
		require.EqualValues(t, i, ord)
		require.Equal(t, id, d.Text(ord))
	}
	_, ok := d.Get(userID(id, n))
	require.False(t, ok)
	t.Logf("%d bytes per text of 36", d.Bytes()/n)
	require.Less(t, d.Bytes()/n, int64(68))
}

// userID fills id with 36 characters that differ for every i.
func userID(id []byte, i int) []byte {
	h := uint64(i+1) * probeMix
	return fmt.Appendf(id[:0], "%08x-%04x-4%03x-a%03x-%012x", uint32(h>>32), uint16(h), i&0xfff, h>>20&0xfff, i)
}

func TestReadersSeeEveryTextBelowLenWhileTheWriterAdds(t *testing.T) {
	d := NewDirectory()
	const n = 60_000
	var wg sync.WaitGroup
	for reader := range 2 {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(reader), 0))
			id := make([]byte, 36)
			for d.Len() < n {
				if l := d.Len(); l > 0 {
					for _, ord := range []int{l - 1, rng.IntN(l)} {
						if !bytes.Equal(userID(id, ord), d.Text(uint32(ord))) {
							t.Errorf("text %d is %q", ord, d.Text(uint32(ord)))
							return
						}
					}
				}
			}
		})
	}
	id := make([]byte, 36)
	for i := range n {
		d.GetOrAdd(userID(id, i))
	}
	wg.Wait()
}

func TestAnEmptyTextAfterAFullChunkIsFound(t *testing.T) {
	d := NewDirectory()
	for range 4 {
		d.GetOrAdd(bytes.Repeat([]byte{byte(d.Len())}, 1<<textChunkBits/4))
	}
	require.Zero(t, d.free)
	d.GetOrAdd(nil)
	ord, ok := d.Get(nil)
	require.True(t, ok)
	require.EqualValues(t, 4, ord)
	require.Empty(t, d.Text(4))
}

func TestATextBeyondTheBoundIsRefused(t *testing.T) {
	d := NewDirectory()
	long := make([]byte, MaxTextBytes+1)
	ord, added := d.GetOrAdd(long[:MaxTextBytes])
	require.True(t, added)
	require.Equal(t, long[:MaxTextBytes], d.Text(ord))
	require.Panics(t, func() { d.GetOrAdd(long) })
	require.Equal(t, 1, d.Len())
}

func TestLookingUpAllocatesNothing(t *testing.T) {
	d := NewDirectory()
	id := userID(make([]byte, 36), 1)
	d.GetOrAdd(id)
	require.Zero(t, testing.AllocsPerRun(100, func() {
		ord, added := d.GetOrAdd(id)
		sink = added || len(d.Text(ord)) == 0
	}))
}

func BenchmarkDirectory(b *testing.B) {
	const n = 1 << 20
	ids := make([]byte, 36*n)
	for i := range n {
		userID(ids[36*i:36*i+36], i)
	}
	id := func(i int) []byte { return ids[36*i : 36*i+36] }
	rng := rand.New(rand.NewPCG(1, 1))
	order := make([]int, n)
	for i := range order {
		order[i] = rng.IntN(n)
	}
	full, model := NewDirectory(), map[string]uint32{}
	for i := range n {
		full.GetOrAdd(id(i))
		model[string(id(i))] = uint32(i)
	}
	b.Run("add", func(b *testing.B) {
		var d *Directory
		for i := range b.N {
			if i%n == 0 {
				d = NewDirectory()
			}
			d.GetOrAdd(id(i % n))
		}
	})
	b.Run("add to a Go map", func(b *testing.B) {
		var m map[string]uint32
		for i := range b.N {
			if i%n == 0 {
				m = map[string]uint32{}
			}
			m[string(id(i%n))] = uint32(i)
		}
	})
	b.Run("get", func(b *testing.B) {
		for i := range b.N {
			_, sink = full.Get(id(order[i%n]))
		}
	})
	b.Run("get from a Go map", func(b *testing.B) {
		for i := range b.N {
			_, sink = model[string(id(order[i%n]))]
		}
	})
	b.Run("text", func(b *testing.B) {
		for i := range b.N {
			sink = full.Text(uint32(order[i%n]))[0] == 0
		}
	})
	b.ReportMetric(float64(full.Bytes())/n, "B/id")
}
