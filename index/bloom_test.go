package index

import (
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "write the golden files anew")

// golden compares text with the file testdata/name.
func golden(t *testing.T, name, text string) {
	t.Helper()
	name = filepath.Join("testdata", name)
	if *update {
		require.NoError(t, os.MkdirAll("testdata", 0o755))
		require.NoError(t, os.WriteFile(name, []byte(text), 0o644))
	}
	want, err := os.ReadFile(name)
	require.NoError(t, err)
	require.Equal(t, string(want), text)
}

// dump draws bytes as fields of the given lengths; the last field takes the rest.
func dump(b []byte, fields ...any) string {
	var s strings.Builder
	for at := 0; len(fields) > 0; fields = fields[2:] {
		n, name := fields[0].(int), fields[1].(string)
		fmt.Fprintf(&s, "%5d  %-16s  %s\n", at, hex.EncodeToString(b[at:at+n]), name)
		at += n
	}
	return s.String()
}

func randomHashes(n int, seed uint64) []uint64 {
	rng := rand.New(rand.NewPCG(seed, 0))
	h := make([]uint64, n)
	for i := range h {
		h[i] = rng.Uint64()
	}
	return h
}

func TestAFilterNeverDeniesAKeyAndAdmitsFewStrangers(t *testing.T) {
	const n = 200_000
	for _, c := range []struct {
		bits       int
		atLeast    float64 // a rate below it would mean that the measurement is wrong
		atMost     float64
		twiceAdded float64 // at most so many keys pass for others when they are added
	}{{8, 0.015, 0.032, 0.012}, {10, 0.006, 0.013, 0.005}, {12, 0.003, 0.006, 0.003}} {
		f := NewBloom(n, c.bits)
		keys := randomHashes(n, 1)
		same := 0
		for _, k := range keys {
			if !f.Add(k) {
				same++
			}
			require.True(t, f.Has(k))
			require.False(t, f.Add(k), "the second time changes nothing")
		}
		require.LessOrEqual(t, float64(same)/n, c.twiceAdded)
		maybe := make([]bool, n)
		f.HasAll(keys, maybe)
		require.NotContains(t, maybe, false)

		admitted := 0
		strangers := randomHashes(n, 2)
		f.HasAll(strangers, maybe)
		for i, k := range strangers {
			require.Equal(t, f.Has(k), maybe[i])
			if maybe[i] {
				admitted++
			}
		}
		rate := float64(admitted) / n
		t.Logf("%d bits per key: %.2f %% of strangers", c.bits, 100*rate)
		require.GreaterOrEqual(t, rate, c.atLeast)
		require.LessOrEqual(t, rate, c.atMost)
	}
}

func TestABatchOfAnyLengthAnswersLikeSingleKeys(t *testing.T) {
	f := NewBloom(1000, 10)
	for _, k := range randomHashes(500, 1) {
		f.Add(k)
	}
	for n := range 3*probeBatch + 2 {
		keys := append(randomHashes(n/2, 1), randomHashes(n-n/2, 9)...)
		maybe := make([]bool, n)
		for i := range maybe {
			maybe[i] = i%2 == 0 // what was there before does not matter
		}
		f.HasAll(keys, maybe)
		for i, k := range keys {
			require.Equal(t, f.Has(k), maybe[i])
		}
	}
}

func TestBlocksAreCacheLines(t *testing.T) {
	for n := 1; n < 200; n++ {
		f := NewBloom(n*51, 10)
		require.Zero(t, uintptr(unsafe.Pointer(&f.blocks[0]))%64)
	}
}

func TestTheEmptyFilterAdmitsNobody(t *testing.T) {
	f := NewBloom(0, 10)
	for _, k := range randomHashes(1000, 1) {
		require.False(t, f.Has(k))
	}
}

func smallFilter() *Bloom {
	f := NewBloom(40, 12)
	for _, k := range randomHashes(3, 1) {
		f.Add(k)
	}
	return f
}

func TestTheBytesOfAFilterArePinned(t *testing.T) {
	b := smallFilter().AppendTo(nil)
	fields := []any{4, "magic", 1, "version", 3, "zero", 4, "blocks"}
	for i := range 8 {
		fields = append(fields, 8, fmt.Sprintf("block 0 word %d", i))
	}
	golden(t, "bloom.golden", dump(b, append(fields, 4, "CRC32C")...))
}

func TestAFilterSurvivesItsBytes(t *testing.T) {
	for _, n := range []int{0, 1, 100, 5000} {
		f := NewBloom(n, 12)
		for _, k := range randomHashes(n, 1) {
			f.Add(k)
		}
		b := f.AppendTo([]byte("before"))
		require.Equal(t, "before", string(b[:6]))
		require.Len(t, b, 6+f.EncodedSize())
		g, err := ParseBloom(b[6:])
		require.NoError(t, err)
		require.Equal(t, f.blocks, g.blocks)
	}
}

func TestEveryFlippedBitOfAFilterIsNoticed(t *testing.T) {
	b := smallFilter().AppendTo(nil)
	for i := range 8 * len(b) {
		b[i/8] ^= 1 << (i % 8)
		_, err := ParseBloom(b)
		require.ErrorIs(t, err, ErrCorrupt, "bit %d", i)
		b[i/8] ^= 1 << (i % 8)
	}
	for n := range b {
		_, err := ParseBloom(b[:n])
		require.ErrorIs(t, err, ErrCorrupt)
	}
	_, err := ParseBloom(append(b, 0))
	require.ErrorIs(t, err, ErrCorrupt)
}

func FuzzParseBloom(f *testing.F) {
	f.Add(smallFilter().AppendTo(nil))
	f.Add([]byte(bloomMagic))
	f.Fuzz(func(t *testing.T, b []byte) {
		g, err := ParseBloom(b)
		if err != nil {
			if !errors.Is(err, ErrCorrupt) {
				t.Fatal(err)
			}
			return
		}
		g.Has(1)
		if string(g.AppendTo(nil)) != string(b) {
			t.Fatal("what was parsed is written otherwise")
		}
	})
}

// The sizes are beyond the processor's caches, where a store with 10 million events works.
func BenchmarkBloom(b *testing.B) {
	const n = 10 << 20
	keys, strangers := randomHashes(n, 1), randomHashes(1<<20, 2)
	f := NewBloom(n, 12)
	b.Run("add", func(b *testing.B) {
		for i := range b.N {
			f.Add(keys[i%n])
		}
	})
	for _, k := range keys {
		f.Add(k)
	}
	b.Run("miss", func(b *testing.B) {
		for i := range b.N {
			sink = f.Has(strangers[i%len(strangers)])
		}
	})
	b.Run("miss batched", func(b *testing.B) {
		const batch = 1024
		maybe := make([]bool, batch)
		for i := 0; i < b.N; i += batch {
			at := i % len(strangers)
			f.HasAll(strangers[at:at+batch], maybe)
		}
		sink = maybe[0]
	})
	b.Run("marshal", func(b *testing.B) {
		buf := f.AppendTo(nil)
		b.SetBytes(int64(len(buf)))
		for range b.N {
			buf = f.AppendTo(buf[:0])
		}
	})
	b.Run("parse", func(b *testing.B) {
		buf := f.AppendTo(nil)
		b.SetBytes(int64(len(buf)))
		for range b.N {
			_, err := ParseBloom(buf)
			require.NoError(b, err)
		}
	})
}

var sink bool
