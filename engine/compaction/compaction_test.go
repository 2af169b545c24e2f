package compaction

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// store is a list of files whose rows are numbers: when they arrived.
type store struct {
	t       *testing.T
	limits  Limits
	files   []*stored
	flushes int
	flushed int // rows
	written int // rows, by flushes and merges
	most    int // files at any time
}

type stored struct {
	File
	arrived map[int32][]arrival // of a day: the flushes whose rows it holds
}

// arrival is what some flushes brought of some persons: the oldest and the newest of them.
type arrival struct {
	oldest, newest int
	first, last    uint32
}

// joined puts arrivals of the same persons together.
func joined(all []arrival) (out []arrival) {
	at := map[[2]uint32]int{}
	for _, a := range all {
		i, seen := at[[2]uint32{a.first, a.last}]
		if !seen {
			at[[2]uint32{a.first, a.last}] = len(out)
			out = append(out, a)
			continue
		}
		out[i].oldest, out[i].newest = min(out[i].oldest, a.oldest), max(out[i].newest, a.newest)
	}
	return out
}

const (
	rowBytes = 32
	persons  = 10_000
)

func (s *store) flush(days map[int32]int) {
	f := &stored{arrived: map[int32][]arrival{}}
	s.flushes++
	for day, rows := range days {
		if rows == 0 {
			continue
		}
		f.Days = append(f.Days, DayRows{Day: day, Rows: rows, Last: persons - 1})
		f.arrived[day] = []arrival{{s.flushes, s.flushes, 0, persons - 1}}
	}
	slices.SortFunc(f.Days, func(a, b DayRows) int { return int(a.Day) - int(b.Day) })
	f.Bytes = int64(rowBytes * f.rows())
	s.flushed += f.rows()
	s.written += f.rows()
	s.files = append(s.files, f)
	s.most = max(s.most, len(s.files))
}

func (s *store) shapes() []File {
	shapes := make([]File, len(s.files))
	for i, f := range s.files {
		shapes[i] = f.File
	}
	return shapes
}

// compact merges until nothing is due.
func (s *store) compact(all bool) {
	for rounds := 0; ; rounds++ {
		require.Less(s.t, rounds, 10_000, "it does not come to an end")
		picked := Pick(s.shapes(), s.limits, all)
		if len(picked) == 0 {
			return
		}
		s.merge(picked)
	}
}

func (s *store) merge(picked []int) {
	require.True(s.t, slices.IsSorted(picked))
	rows, arrived := map[int32]int{}, map[int32][]arrival{}
	var gone []*stored
	zeros, zero := 0, int64(0)
	for _, i := range picked {
		f := s.files[i]
		gone = append(gone, f)
		if f.Level == 0 {
			zeros, zero = zeros+1, zero+f.Bytes
		}
		for _, d := range f.Days {
			rows[d.Day] += d.Rows
			arrived[d.Day] = append(arrived[d.Day], f.arrived[d.Day]...)
		}
	}
	if zeros > 1 {
		require.LessOrEqual(s.t, zero, s.limits.Bytes)
	}
	if zeros > 0 {
		for day, n := range rows {
			if len(arrived[day]) > 1 && n > s.limits.Rows {
				holders := slices.DeleteFunc(slices.Clone(gone), func(f *stored) bool { return !f.holds(day) })
				require.Len(s.t, holders, 1, "%d rows of day %d in one merge", n, day)
			}
		}
	}
	var added []*stored
	for _, g := range Groups(s.shapes(), picked, s.limits) {
		if n := rows[g.Min]; g.Min == g.Max && n > s.limits.Rows { // pieces
			k := min((n+s.limits.Rows-1)/s.limits.Rows, persons)
			for i := range k {
				d := DayRows{Day: g.Min, Rows: n*(i+1)/k - n*i/k, First: uint32(persons * i / k), Last: uint32(persons*(i+1)/k - 1)}
				f := &stored{File: File{Level: 1, Days: []DayRows{d}, Bytes: int64(rowBytes * d.Rows)}, arrived: map[int32][]arrival{}}
				for _, a := range arrived[g.Min] {
					if a.first = max(a.first, d.First); a.first <= min(a.last, d.Last) {
						f.arrived[g.Min] = append(f.arrived[g.Min], arrival{a.oldest, a.newest, a.first, min(a.last, d.Last)})
					}
				}
				f.arrived[g.Min] = joined(f.arrived[g.Min])
				s.written += d.Rows
				added = append(added, f)
			}
			continue
		}
		f := &stored{File: File{Level: 1}, arrived: map[int32][]arrival{}}
		for day := g.Min; day <= g.Max; day++ {
			if rows[day] > 0 {
				f.Days = append(f.Days, DayRows{Day: day, Rows: rows[day], Last: persons - 1})
				f.arrived[day] = joined(arrived[day])
			}
		}
		f.Bytes = int64(rowBytes * f.rows())
		s.written += f.rows()
		added = append(added, f)
	}
	s.files = Place(s.files, gone, added, func(f *stored) *File { return &f.File })
	s.most = max(s.most, len(s.files))
	s.check()
}

// check holds the order of arrival within each day, of files that may hold the same person.
func (s *store) check() {
	ones := true
	for n, f := range s.files {
		require.False(s.t, f.Level == 1 && !ones, "a file of level 1 behind one of level 0")
		ones = f.Level == 1
		for _, d := range f.Days {
			for _, before := range s.files[:n] {
				for _, a := range before.arrived[d.Day] {
					for _, b := range f.arrived[d.Day] {
						if a.newest >= b.oldest && a.first <= b.last && b.first <= a.last {
							s.t.Fatalf("of day %d: flush %d stands before %d", d.Day, a.newest, b.oldest)
						}
					}
				}
			}
		}
	}
}

// perDay is the most files that may hold one person on a day.
func (s *store) perDay() int {
	most, all := 0, s.shapes()
	for day := range s.days() {
		var holders []int
		for i := range all {
			if all[i].holds(day) {
				holders = append(holders, i)
			}
		}
		most = max(most, depth(all, holders, day))
	}
	return most
}

func (s *store) days() map[int32]bool {
	days := map[int32]bool{}
	for _, f := range s.files {
		for _, d := range f.Days {
			days[d.Day] = true
		}
	}
	return days
}

var wide = Limits{Rows: 1 << 40, Bytes: 1 << 60}

func TestRandomFilesKeepTheOrderOfArrivalWithinTheLimits(t *testing.T) {
	for seed := range uint64(120) {
		r := rand.New(rand.NewPCG(seed, 1))
		s := &store{t: t, limits: wide}
		if r.IntN(2) == 0 {
			s.limits = Limits{Rows: 1 << (12 + r.IntN(9)), Bytes: 1 << (17 + r.IntN(9))}
		}
		whole := r.IntN(2) == 0
		if r.IntN(2) == 0 {
			s.limits.Small = 1 << r.IntN(16)
		}
		days := 1 + r.IntN(12)
		for range 40 {
			flush := map[int32]int{}
			for range 1 + r.IntN(days) {
				flush[int32(r.IntN(days))] = 1 + r.IntN(1<<r.IntN(18))
			}
			s.flush(flush)
			if r.IntN(3) == 0 {
				s.compact(r.IntN(4) == 0)
			}
		}
		s.limits.Whole = s.limits.Whole || whole
		s.compact(true)
		if s.limits.Whole || s.limits.Rows == wide.Rows {
			require.Equal(t, 1, s.perDay(), "a day is in one file, or in pieces")
		}
	}
}

func TestADayWithoutEndStaysInFilesThatAreHalfFullUntilItIsCut(t *testing.T) {
	s := &store{t: t, limits: Limits{Rows: 700_000, Bytes: 64 << 20}}
	for range 200 {
		s.flush(map[int32]int{7: 262_144})
		s.compact(false)
	}
	require.LessOrEqual(t, len(s.files), 2*s.flushed/s.limits.Rows+Level0Files)
	require.Less(t, float64(s.written)/float64(s.flushed), 2.5)
	s.compact(true)
	require.Equal(t, 1, s.perDay())
	require.LessOrEqual(t, len(s.files), s.flushed/s.limits.Rows+1)
	require.Less(t, float64(s.written)/float64(s.flushed), 4.)
}

func TestALargeDayIsNotCutAgainForFewLateRowsUnlessItIsAskedFor(t *testing.T) {
	s := &store{t: t, limits: Limits{Rows: 100_000, Bytes: 64 << 20}}
	for range 40 {
		s.flush(map[int32]int{7: 50_000})
	}
	s.compact(true)
	require.Equal(t, 1, s.perDay())
	before := s.written
	for range 30 {
		s.flush(map[int32]int{7: 1000})
		s.compact(true)
	}
	require.Less(t, s.written-before, 1_000_000, "a day of 2 million rows is not written for 30,000")
	require.LessOrEqual(t, s.perDay(), 3)
	s.limits.Whole = true
	s.compact(true)
	require.Equal(t, 1, s.perDay())
}

// TestLateEventsDoNotMultiplyFiles states what lateness costs: 90 days of
// 330,000 events, flushed in order, of which some come late.
func TestLateEventsDoNotMultiplyFiles(t *testing.T) {
	for _, c := range []struct {
		name     string
		perMille int
		upTo     int // days
		amplify  float64
	}{
		{"none", 0, 1, 2.5},
		{"2 % by hours", 20, 1, 2.5},
		{"1 % by up to 30 days", 10, 30, 3.0},
		{"5 % by up to 60 days", 50, 60, 3.5},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := rand.New(rand.NewPCG(1, 1))
			s := &store{t: t, limits: Limits{Rows: 700_000, Bytes: 64 << 20}}
			const days, rowsADay, flush = 90, 330_000, 262_144
			for n := range days * rowsADay / flush {
				today := int32(n * flush / rowsADay)
				rows := map[int32]int{}
				late := flush * c.perMille / 1000
				for range 100 {
					rows[today-int32(r.IntN(c.upTo+1))] += late / 100
				}
				rows[today] += (flush - late/100*100) / 2
				rows[int32((n*flush+flush)/rowsADay)] += (flush - late/100*100) / 2
				s.flush(rows)
				s.compact(false)
			}
			amplify := float64(s.written) / float64(s.flushed)
			t.Logf("%.2f writes a row, at most %d files for 90 days, %d of one day", amplify, s.most, s.perDay())
			require.Less(t, amplify, c.amplify)
			require.Less(t, s.most, 2*days)
			require.LessOrEqual(t, s.perDay(), MaxOverlap+Level0Files+1)
			s.compact(true)
			require.LessOrEqual(t, len(s.files), days+c.upTo+2)
			require.Equal(t, 1, s.perDay())
		})
	}
}

func TestManySmallFlushesMakeFewFiles(t *testing.T) {
	s := &store{t: t, limits: wide}
	for i := range 10 * 144 { // quiet days: a flush every 10 minutes
		s.flush(map[int32]int{int32(i / 144): 10})
		s.compact(i%144 == 0)
	}
	t.Logf("%.2f writes a row, at most %d files for 10 days", float64(s.written)/float64(s.flushed), s.most)
	require.LessOrEqual(t, s.most, 20)
	require.Less(t, float64(s.written)/float64(s.flushed), 30.)
}

func ExampleGroups() {
	files := []File{{Days: []DayRows{{Day: 1, Rows: 10}, {Day: 2, Rows: 20}, {Day: 5, Rows: SmallFileRows}, {Day: 6, Rows: 30_000}, {Day: 7, Rows: 30_000}, {Day: 8, Rows: 30_000}}}}
	fmt.Println(Groups(files, []int{0}, Limits{}))
	// Output: [{1 2} {5 5} {6 7} {8 8}]
}
