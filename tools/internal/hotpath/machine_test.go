package hotpath

import (
	"bytes"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/cespare/xxhash/v2"
	"github.com/stretchr/testify/require"
)

// BenchmarkMachine is what the machine can do at all, with one core.
func BenchmarkMachine(b *testing.B) {
	const size = 64 << 20 // beyond the caches
	memory, to := randomMemory(size), make([]uint64, size/8)
	b.Run("memory summed", func(b *testing.B) {
		b.SetBytes(size)
		for b.Loop() {
			sums += total(memory)
		}
	})
	b.Run("memory copied", func(b *testing.B) {
		b.SetBytes(size)
		for b.Loop() {
			copy(to, memory)
		}
	})
	b.Run("random reads that wait for each other", func(b *testing.B) {
		const reads = 100_000
		at := uint64(1)
		for b.Loop() {
			for range reads {
				at = memory[at%uint64(len(memory))] ^ at>>1
			}
		}
		sums += at
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/reads, "ns/read")
	})
	b.Run("random reads side by side", func(b *testing.B) {
		const reads = 100_000
		rng := rand.New(rand.NewPCG(1, 1))
		for b.Loop() {
			for range reads {
				sums += memory[rng.Uint64()%uint64(len(memory))]
			}
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/reads, "ns/read")
	})
	body := lines(b, 5000, 1)
	b.Run("xxhash of JSON", func(b *testing.B) {
		b.SetBytes(int64(len(body)))
		for b.Loop() {
			sums += xxhash.Sum64(body)
		}
	})
	b.Run("memchr over JSON", func(b *testing.B) {
		b.SetBytes(int64(len(body)))
		for b.Loop() {
			sums += uint64(bytes.IndexByte(body, 0) + 1)
		}
	})
	file, err := os.Create(filepath.Join(b.TempDir(), "file"))
	require.NoError(b, err)
	defer func() { _ = file.Close() }()
	_, err = file.Write(make([]byte, size))
	require.NoError(b, err)
	require.NoError(b, file.Sync())
	b.Run("4 KiB written and synced", func(b *testing.B) {
		at := int64(0)
		for b.Loop() {
			_, err := file.WriteAt(body[:4096], at%size)
			require.NoError(b, err)
			require.NoError(b, file.Sync())
			at += 4096
		}
	})
	b.Run("4 KiB read at random, in the system's memory", func(b *testing.B) {
		page := make([]byte, 4096)
		rng := rand.New(rand.NewPCG(1, 1))
		for b.Loop() {
			_, err := file.ReadAt(page, rng.Int64N(size/4096)*4096)
			require.NoError(b, err)
		}
	})
}
