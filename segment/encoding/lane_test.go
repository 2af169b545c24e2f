package encoding

import (
	"math"
	"math/rand/v2"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
)

// shapes are the value distributions that columns have.
func shapes(r *rand.Rand, n int) map[string][]int64 {
	random := func(f func(i int) int64) []int64 {
		v := make([]int64, n)
		for i := range v {
			v[i] = f(i)
		}
		return v
	}
	run := int64(0)
	return map[string][]int64{
		"constant": random(func(int) int64 { return -7 }),
		"narrow":   random(func(int) int64 { return 1000 + r.Int64N(9) }),
		"negative": random(func(int) int64 { return r.Int64N(100) - 50 }),
		"runs": random(func(i int) int64 {
			if r.IntN(40) == 0 {
				run = r.Int64N(1 << 20)
			}
			return run
		}),
		"few exceptions": random(func(i int) int64 {
			if r.IntN(50) == 0 {
				return r.Int64N(1 << 40)
			}
			return r.Int64N(64)
		}),
		"56 bits":     random(func(int) int64 { return r.Int64N(1 << 56) }),
		"whole range": random(func(int) int64 { return int64(r.Uint64()) }),
		"extremes": random(func(i int) int64 {
			if i%2 == 0 {
				return math.MinInt64
			}
			return math.MaxInt64
		}),
	}
}

func TestEveryLaneComesBackAsItWasWritten(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	var spare []int64
	for _, n := range []int{1, 2, 3, 7, 8, 9, 63, 64, 65, 1000, 4096} {
		for name, vals := range shapes(r, n) {
			for _, patch := range []bool{false, true} {
				for _, pad := range []int{0, 3, Pad} {
					enc := AppendLane([]byte("x"), vals, patch)
					lane := NewLane(append(enc[1:], make([]byte, pad)...))
					got := make([]int64, n)
					require.NoError(t, ReadInts(lane, got), "%s n=%d patch=%v pad=%d", name, n, patch, pad)
					require.Equal(t, vals, got, "%s n=%d patch=%v pad=%d", name, n, patch, pad)
					require.Len(t, lane.Rest(), pad, "%s: the lane knows where it ends", name)
					for _, i := range []int{0, n / 3, n / 2, n - 1} {
						one, err := At[int64](NewLane(append(enc[1:], make([]byte, pad)...)), n, i)
						require.NoError(t, err)
						require.Equal(t, vals[i], one, "%s n=%d i=%d", name, n, i)
					}
					places, some := []uint32{}, []int64{}
					for i, v := range vals {
						if r.IntN(3) == 0 {
							places, some = append(places, uint32(i)), append(some, v)
						}
					}
					lane = NewLane(append(enc[1:], make([]byte, pad)...))
					got = make([]int64, len(places))
					require.NoError(t, Pick(lane, n, places, got, &spare))
					require.Equal(t, some, got, "%s n=%d patch=%v pad=%d", name, n, patch, pad)
				}
			}
		}
	}
}

func TestCodesOfThirtyTwoBitsComeBack(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for range 200 {
		vals := make([]uint32, 1+r.IntN(5000))
		limit := uint32(1) << r.IntN(32)
		for i := range vals {
			vals[i] = r.Uint32N(limit)
			if i > 0 && r.IntN(3) > 0 {
				vals[i] = vals[i-1]
			}
		}
		got := make([]uint32, len(vals))
		require.NoError(t, ReadInts(NewLane(AppendLane(nil, vals, r.IntN(2) == 0)), got))
		require.Equal(t, vals, got)
	}
}

func TestFloatsComeBackBitForBit(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	var scratch []int64
	for _, f := range []func() float64{
		func() float64 { return float64(r.IntN(100000)) / 100 },
		func() float64 { return float64(r.IntN(10)) },
		func() float64 { return r.NormFloat64() * 1e-7 },
		func() float64 { return math.Float64frombits(r.Uint64() &^ (1 << 62)) },
		func() float64 { return -float64(r.IntN(1e6)) / 1e9 },
		func() float64 { return float64(r.Int64N(1<<53)) * 4 },
	} {
		vals := make([]float64, 777)
		for i := range vals {
			vals[i] = f() + 0
		}
		got := make([]float64, len(vals))
		require.NoError(t, ReadFloats(NewLane(AppendFloats(nil, vals, &scratch)), got, &scratch))
		for i := range vals {
			one, err := FloatAt(NewLane(AppendFloats(nil, vals[:50], &scratch)), 50, i%50)
			require.NoError(t, err)
			require.Equal(t, vals[i%50], one)
			require.Equal(t, math.Float64bits(vals[i]), math.Float64bits(got[i]), "value %v", vals[i])
		}
	}
}

func TestTextsComeBackCompressedOrNot(t *testing.T) {
	c := NewCompressor()
	for _, texts := range [][]string{{}, {""}, {"a", "", "bc"}, manyTexts(3000)} {
		var lengths []uint32
		var bytes []byte
		for _, s := range texts {
			lengths = append(lengths, uint32(len(s)))
			bytes = append(bytes, s...)
		}
		off, got, err := c.ReadTexts(NewLane(c.AppendTexts(nil, lengths, bytes)), len(texts))
		require.NoError(t, err)
		for i, s := range texts {
			require.Equal(t, s, string(got[off[i]:off[i+1]]))
		}
	}
}

func manyTexts(n int) (out []string) {
	for i := range n {
		out = append(out, "/products/category-"+string(rune('a'+i%7))+"/item")
	}
	return out
}

func FuzzLanesNeverPanic(f *testing.F) {
	c := NewCompressor()
	f.Add(AppendLane(nil, []int64{1, 2, 3, 1 << 40}, true), uint16(4))
	f.Add(AppendLane(nil, []int64{5, 5, 5, 5, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9}, false), uint16(18))
	f.Add(c.AppendTexts(nil, []uint32{1, 2}, []byte("abc")), uint16(2))
	f.Fuzz(func(t *testing.T, data []byte, n uint16) {
		_ = ReadInts(NewLane(data), make([]int64, n))
		_ = ReadInts(NewLane(data), make([]uint32, n))
		if n > 0 {
			_, _ = At[int64](NewLane(data), int(n), int(n)/2)
			_, _ = FloatAt(NewLane(data), int(n), int(n)-1)
		}
		var scratch []int64
		_ = Pick(NewLane(data), int(n), []uint32{0, uint32(n / 2), uint32(n)}, make([]int64, 3), &scratch)
		_ = ReadFloats(NewLane(data), make([]float64, n), &scratch)
		_, _, _ = c.ReadTexts(NewLane(data), int(n))
	})
}

func BenchmarkUnpackCodes(b *testing.B) {
	vals := make([]uint32, 4096)
	for i := range vals {
		vals[i] = uint32(i*7919) % 29
	}
	enc := append(AppendLane(nil, vals, false), make([]byte, Pad)...)
	b.SetBytes(4 * 4096)
	for b.Loop() {
		_ = ReadInts(NewLane(enc), vals)
	}
}

func BenchmarkUnpackByWidth(b *testing.B) {
	for _, width := range []int{2, 5, 12, 27, 37} {
		b.Run(strconv.Itoa(width), func(b *testing.B) {
			vals := make([]uint64, 1024)
			for i := range vals {
				vals[i] = rand.Uint64() & (1<<width - 1)
			}
			data := append(AppendLane(nil, vals, false), make([]byte, Pad)...)
			b.SetBytes(int64(8 * len(vals)))
			for b.Loop() {
				if ReadInts(NewLane(data), vals) != nil {
					b.Fatal("corrupt")
				}
			}
		})
	}
}
