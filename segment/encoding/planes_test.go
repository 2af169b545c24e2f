package encoding

import (
	"math/rand/v2"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
)

// codesOf are n codes from base on, below base+distinct, in runs of up to run values.
func codesOf(r *rand.Rand, n, base, distinct, run int) []uint32 {
	vals := make([]uint32, n)
	for i := 0; i < n; {
		v := uint32(base + r.IntN(distinct))
		for range 1 + r.IntN(run) {
			if i < n {
				vals[i] = v
				i++
			}
		}
	}
	return vals
}

func TestCodesComeBackAndAreMatchedAsOneByOne(t *testing.T) {
	r := rand.New(rand.NewPCG(11, 12))
	kinds := map[byte]int{}
	for range 3000 {
		n := 1 + r.IntN(matchRows)
		if r.IntN(2) == 0 {
			n = 1 + r.IntN(200)
		}
		base, distinct := r.IntN(300), 1+r.IntN(1<<r.IntN(10))
		vals := codesOf(r, n, base, distinct, 1+r.IntN(1<<r.IntN(9)))
		var enc []byte
		if r.IntN(4) == 0 {
			enc = AppendLane(nil, vals, r.IntN(2) == 0)
		} else {
			enc = AppendCodes(nil, vals)
		}
		kinds[enc[0]]++
		pad := r.IntN(2) * Pad

		lane := NewLane(append(enc, make([]byte, pad)...))
		got := make([]uint32, n)
		require.NoError(t, ReadInts(lane, got))
		require.Equal(t, vals, got)
		require.Len(t, lane.Rest(), pad, "the lane knows where it ends")
		i := r.IntN(n)
		one, err := At[uint32](NewLane(enc), n, i)
		require.NoError(t, err)
		require.Equal(t, vals[i], one)

		pass := make([]bool, base+distinct)
		for c := range pass {
			pass[c] = r.IntN(1+r.IntN(8)) == 0
		}
		at, after := r.IntN(200), r.IntN(200)
		want, out := make([]uint64, (at+n+after+63)/64), make([]uint64, (at+n+after+63)/64)
		for range r.IntN(20) { // what is set stays set
			b := r.IntN(at + n + after)
			want[b>>6] |= 1 << (b & 63)
			out[b>>6] |= 1 << (b & 63)
		}
		for i, v := range vals {
			if pass[v] {
				want[(at+i)>>6] |= 1 << ((at + i) & 63)
			}
		}
		lane = NewLane(append(enc, make([]byte, pad)...))
		require.NoError(t, MatchLane(lane, n, pass, out, at))
		require.Equal(t, want, out, "kind %d, %d values", enc[0], n)
	}
	for _, kind := range []byte{laneConst, lanePacked, laneRuns, lanePatched, lanePlanes} {
		require.Positive(t, kinds[kind], "codes of kind %d", kind)
	}
}

func TestPlanesTakeWhatPackedValuesTakeAndGiveWayToLongRuns(t *testing.T) {
	r := rand.New(rand.NewPCG(13, 14))
	for _, distinct := range []int{2, 3, 14, 256} {
		vals := codesOf(r, 4096, 0, distinct, 1)
		codes := AppendCodes(nil, vals)
		require.EqualValues(t, lanePlanes, codes[0])
		require.Len(t, codes, len(AppendLane(nil, vals, false)))
		runs := AppendCodes(nil, codesOf(r, 4096, 0, distinct, 200))
		require.EqualValues(t, laneRuns, runs[0])
	}
	require.EqualValues(t, lanePacked, AppendCodes(nil, codesOf(r, 4096, 0, 100_000, 1))[0], "codes wider than a byte")
}

func TestACodeBeyondTheDictionaryNeverPasses(t *testing.T) {
	vals := codesOf(rand.New(rand.NewPCG(15, 16)), 1000, 0, 16, 1)
	pass := make([]bool, 10)
	for c := range pass {
		pass[c] = c > 0 // more pass than do not
	}
	out := make([]uint64, 16)
	if MatchLane(NewLane(AppendCodes(nil, vals)), len(vals), pass, out, 0) == nil {
		for i, v := range vals {
			require.Equal(t, v > 0 && v < 10, out[i>>6]>>(i&63)&1 != 0)
		}
	}
	require.ErrorIs(t, MatchLane(NewLane(AppendLane(nil, vals, false)), len(vals), pass, out, 0), ErrCorrupt)
	require.ErrorIs(t, MatchLane(NewLane(AppendLane(nil, vals[:1], false)), 1, nil, out, 0), ErrCorrupt)
}

func FuzzMatchingNeverPanicsAndAgreesWithReading(f *testing.F) {
	r := rand.New(rand.NewPCG(17, 18))
	for _, distinct := range []int{1, 2, 14, 200} {
		f.Add(AppendCodes(nil, codesOf(r, 100, 0, distinct, 1)), uint16(100), uint8(200))
		f.Add(AppendCodes(nil, codesOf(r, 100, 0, distinct, 50)), uint16(100), uint8(200))
	}
	f.Fuzz(func(t *testing.T, data []byte, n uint16, codes uint8) {
		pass := make([]bool, codes)
		for i := range pass {
			pass[i] = i%3 != 0
		}
		out := make([]uint64, (int(n)+7+63)/64)
		matched := MatchLane(NewLane(data), int(n), pass, out, 7)
		vals := make([]uint32, n)
		if read := ReadInts(NewLane(data), vals); matched == nil && read == nil {
			for i, v := range vals {
				if has := out[(i+7)>>6]>>((i+7)&63)&1 != 0; has != (int(v) < len(pass) && pass[v]) {
					t.Fatalf("value %d, %d: %v", i, v, has)
				}
			}
		}
		if n > 0 {
			_, _ = At[uint32](NewLane(data), int(n), int(n)/2)
		}
	})
}

func BenchmarkConditionOnCodes(b *testing.B) {
	r := rand.New(rand.NewPCG(19, 20))
	for _, distinct := range []int{3, 14, 200} {
		vals := codesOf(r, 4096, 0, distinct, 1)
		pass := make([]bool, distinct)
		pass[1] = true
		out := make([]uint64, 64)
		for name, enc := range map[string][]byte{"planes": AppendCodes(nil, vals), "packed": AppendLane(nil, vals, false)} {
			enc = append(enc, make([]byte, Pad)...)
			b.Run(name+"/"+strconv.Itoa(distinct)+"/match", func(b *testing.B) {
				for b.Loop() {
					_ = MatchLane(NewLane(enc), 4096, pass, out, 0)
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/4096, "ns/row")
			})
			b.Run(name+"/"+strconv.Itoa(distinct)+"/read", func(b *testing.B) {
				for b.Loop() {
					_ = ReadInts(NewLane(enc), vals)
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/4096, "ns/row")
			})
		}
	}
}

func BenchmarkWriteCodes(b *testing.B) {
	vals := codesOf(rand.New(rand.NewPCG(19, 20)), 4096, 0, 14, 4)
	var dst []byte
	for name, write := range map[string]func([]byte, []uint32) []byte{
		"planes": AppendCodes, "runs": func(dst []byte, v []uint32) []byte { return AppendLane(dst, v, false) },
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				dst = write(dst[:0], vals)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/4096, "ns/row")
		})
	}
}
