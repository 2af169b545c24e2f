// Package compaction decides which segments are merged. It knows how many rows
// of which days each holds, and nothing else of them.
//
// Level-0 files come from flushes and may span any days. When there are
// Level0Files of them they are merged, together with those level-1 files that
// they would outgrow, into files of whole days: a day with enough rows has a file
// of its own, small neighbours share one. A level-1 file joins a merge when the
// new rows in its days are at least a quarter of its own, so each row is rewritten a
// logarithmic number of times however many late events trickle in. Days that more
// than MaxOverlap level-1 files hold are merged too; when nothing has arrived for a
// while, those that two hold. Level-1 files of few rows, neighbours in time, are
// merged when there are SmallFiles of them, so that a year of quiet days is not 365 files.
//
// A merge has its rows in memory, so what it writes of one day at a time is bounded. While
// events arrive, a day with more rows comes to be in several files, each about half full or
// more. When nothing has arrived for a while it is cut: all its files are merged into
// pieces of a bounded number of rows, each with a range of persons of its own. Queries go
// from one piece to the next as they go through one file, so a day in pieces is as good as one in one file.
//
// Of two events of one person and time, the one in the older file comes first.
// So rows never move before those of another file that holds their day: of the files
// that hold a day, those that are merged follow each other, and days share a file
// only where none of them moves too far.
package compaction

import (
	"cmp"
	"maps"
	"math"
	"slices"
)

const (
	// Level0Files of level 0 are merged.
	Level0Files = 4
	// MaxOverlap is how many level-1 files may hold a day before they are merged.
	MaxOverlap = 4
	// SmallFileRows is below what days share a file.
	SmallFileRows = 64 << 10
	// SmallFiles neighbours that together are below it are merged.
	SmallFiles = 8

	joinDenom      = 4
	maxMergedInput = 64 // files in one merge
)

// File is a segment. Files are in the order of their arrival, oldest first;
// those of level 0 come last.
type File struct {
	Level int
	Bytes int64
	Days  []DayRows // ascending
}

// DayRows is how many rows a file holds of a UTC day, and of which persons: none is before
// First or behind Last. Without persons, where all rows are erased, First is above Last.
type DayRows struct {
	Day         int32
	Rows        int
	First, Last uint32
}

// rows of all days.
func (f *File) rows() int {
	n := 0
	for _, d := range f.Days {
		n += d.Rows
	}
	return n
}

func (f *File) holds(day int32) bool { return f.of(day) != nil }

// of is what the file holds of a day, nil for nothing.
func (f *File) of(day int32) *DayRows {
	i, ok := slices.BinarySearchFunc(f.Days, day, func(d DayRows, day int32) int { return int(d.Day) - int(day) })
	if !ok {
		return nil
	}
	return &f.Days[i]
}

// Limits bound what a merge has in memory at once.
type Limits struct {
	Rows  int   // of one day
	Bytes int64 // of one day in files, and of the level-0 files together
	Small int   // rows below which days share a file; 0: SmallFileRows
	// Whole cuts a large day however few rows are new in it; else they must be worth it.
	Whole bool
}

func (l Limits) small() int { return cmp.Or(l.Small, SmallFileRows) }

// Pick chooses files to merge by their place in files, ascending; nil when nothing
// is due. all asks for every merge that makes a day stand in fewer files.
func Pick(files []File, l Limits, all bool) []int {
	var zero []int
	for i := range files {
		if files[i].Level == 0 {
			zero = append(zero, i)
		}
	}
	if len(zero) >= Level0Files || all && len(zero) > 0 {
		return withOutgrown(files, zero, l)
	}
	limit := MaxOverlap
	if all {
		limit = 1
	}
	if picked := overlapping(files, limit, l, all); picked != nil {
		return picked
	}
	return small(files, l)
}

// plan is a merge that is being chosen.
type plan struct {
	limits Limits
	rows   map[int32]int
	bytes  map[int32]int64
	zero   int64 // bytes of level-0 files
	files  []int
}

func newPlan(l Limits) *plan {
	return &plan{limits: l, rows: map[int32]int{}, bytes: map[int32]int64{}}
}

// add adds file i if there is room. The first file always has.
func (p *plan) add(i int, f *File) bool {
	if len(p.files) == maxMergedInput {
		return false
	}
	total := max(f.rows(), 1)
	if len(p.files) > 0 {
		if f.Level == 0 && p.zero+f.Bytes > p.limits.Bytes {
			return false
		}
		for _, d := range f.Days {
			if p.rows[d.Day]+d.Rows > p.limits.Rows || p.bytes[d.Day]+share(f.Bytes, d.Rows, total) > p.limits.Bytes {
				return false
			}
		}
	}
	if f.Level == 0 {
		p.zero += f.Bytes
	}
	for _, d := range f.Days {
		p.rows[d.Day] += d.Rows
		p.bytes[d.Day] += share(f.Bytes, d.Rows, total)
	}
	p.files = append(p.files, i)
	return true
}

// share is the part of bytes that belongs to rows of total.
func share(bytes int64, rows, total int) int64 {
	return int64(float64(bytes) * float64(rows) / float64(total))
}

// withOutgrown merges the oldest files of level 0 and the level-1 files whose days receive many new rows.
func withOutgrown(files []File, zero []int, l Limits) []int {
	p := newPlan(l)
	for _, i := range zero {
		if !p.add(i, &files[i]) {
			break // a younger one must not go before it
		}
	}
	fresh := make(map[int32]int, len(p.rows))
	for day, rows := range p.rows {
		fresh[day] = rows
	}
	stays := map[int32]bool{} // days of younger files that stay
	for i := zero[0] - 1; i >= 0; i-- {
		f := &files[i]
		rows, behind := 0, false
		for _, d := range f.Days {
			rows += fresh[d.Day]
			behind = behind || stays[d.Day]
		}
		if !behind && rows*joinDenom >= f.rows() && p.add(i, f) {
			continue
		}
		for _, d := range f.Days {
			stays[d.Day] = true
		}
	}
	slices.Sort(p.files)
	return p.files
}

// overlapping merges level-1 files of a day of which more than limit may hold one person: as many
// as there is room for, or with all of a day for which there is none, its files into pieces.
func overlapping(files []File, limit int, l Limits, all bool) []int {
	holders := holdersOf(files)
	for _, day := range slices.Sorted(maps.Keys(holders)) {
		of := holders[day]
		if len(of) <= limit || depth(files, of, day) <= limit {
			continue
		}
		large := tooLarge(files, of, day, l)
		cut := all && (l.Whole || worthCutting(files, of, day))
		if large && cut {
			return together(files, of, holders)
		}
		var best []int
		for first := range of {
			run := run(files, of[first:], holders, l)
			if len(run) > len(best) && (all && !large || !outweighs(files, run)) {
				best = run
			}
		}
		if len(best) > 1 {
			return best
		}
		if cut { // there is no room for what stands between its files on other days
			return together(files, of, holders)
		}
	}
	return nil
}

// depth is the largest number of files that may hold one person of a day.
func depth(files []File, holders []int, day int32) int {
	most := 0
	for _, i := range holders { // the most are where one of them begins
		first, n := files[i].of(day).First, 0
		for _, j := range holders {
			if d := files[j].of(day); d.First <= first && first <= d.Last {
				n++
			}
		}
		most = max(most, n)
	}
	return most
}

// tooLarge tells whether a day does not fit into one merge.
func tooLarge(files []File, holders []int, day int32, l Limits) bool {
	p := newPlan(l)
	for _, i := range holders {
		if !p.add(i, &files[i]) {
			return true
		}
	}
	return p.rows[day] > l.Rows
}

// worthCutting tells whether a day holds enough rows that are not in pieces yet for all of it to be
// written again: a quarter of the others.
func worthCutting(files []File, holders []int, day int32) bool {
	total := 0
	ends := slices.Clone(holders)
	for _, i := range holders {
		total += files[i].of(day).Rows
	}
	// The most rows in files that share no person: of those that end up to a person, best so far.
	slices.SortFunc(ends, func(a, b int) int { return cmp.Compare(files[a].of(day).Last, files[b].of(day).Last) })
	best := make([]int, len(ends)+1)
	for n, i := range ends {
		d := files[i].of(day)
		before, _ := slices.BinarySearchFunc(ends[:n], d.First, func(j int, first uint32) int { return cmp.Compare(files[j].of(day).Last, first) })
		best[n+1] = max(best[n], best[before]+d.Rows)
	}
	apart := best[len(ends)]
	return (total-apart)*joinDenom >= apart
}

// together are files with all that share days with them.
func together(files []File, some []int, holders map[int32][]int) []int {
	picked := slices.Clone(some)
	for n := 0; n < len(picked); n++ {
		for _, d := range files[picked[n]].Days {
			for _, h := range holders[d.Day] {
				if !slices.Contains(picked, h) {
					picked = append(picked, h)
				}
			}
		}
	}
	slices.Sort(picked)
	return picked
}

// Together is file i of level 1 with the files of level 1 that hold its days, in whose pieces
// its rows belong. Where nothing else holds them it is alone.
func Together(files []File, i int) []int { return together(files, []int{i}, holdersOf(files)) }

// holdersOf lists the files of level 1 that hold each day, oldest first.
func holdersOf(files []File) map[int32][]int {
	holders := map[int32][]int{}
	for i := range files {
		if files[i].Level == 0 {
			continue
		}
		for _, d := range files[i].Days {
			holders[d.Day] = append(holders[d.Day], i)
		}
	}
	return holders
}

// small merges neighbours in time that have few rows each and days to which
// nothing is added at present. None has more than all others together: so a row is
// rewritten a logarithmic number of times.
func small(files []File, l Limits) []int {
	holders := holdersOf(files)
	newest := int32(math.MinInt32)
	for i := range files {
		newest = max(newest, files[i].Days[len(files[i].Days)-1].Day)
	}
	var ones []int
	for i := range files {
		f := &files[i]
		if f.Level != 0 && f.rows() < l.small() && !slices.ContainsFunc(f.Days, func(d DayRows) bool { return len(holders[d.Day]) > 1 || d.Day == newest }) {
			ones = append(ones, i)
		}
	}
	slices.SortFunc(ones, func(a, b int) int { return int(files[a].Days[0].Day) - int(files[b].Days[0].Day) })
	for first := 0; first+SmallFiles <= len(ones); first++ {
		sum, most := 0, 0
		picked := ones[first:]
		for n, i := range picked {
			rows := files[i].rows()
			if sum+rows > l.small() || n == maxMergedInput {
				picked = picked[:n]
				break
			}
			sum, most = sum+rows, max(most, rows)
		}
		if len(picked) < SmallFiles || 2*most > sum {
			continue
		}
		picked = slices.Sorted(slices.Values(picked))
		if len(Groups(files, picked, l)) == 1 {
			return picked
		}
	}
	return nil
}

// outweighs tells whether the oldest has so many rows that the others do not
// make it worth writing it again.
func outweighs(files []File, picked []int) bool {
	rest := 0
	for _, i := range picked[1:] {
		rest += files[i].rows()
	}
	return files[picked[0]].rows() > joinDenom*rest
}

// run is the longest beginning of candidates that can be merged, with those files
// that stand between them on other days.
func run(files []File, candidates []int, holders map[int32][]int, l Limits) []int {
	p := newPlan(l)
	for _, i := range candidates {
		if slices.Contains(p.files, i) {
			continue
		}
		next := p.clone()
		if !next.add(i, &files[i]) || !next.fill(files, holders) {
			break
		}
		p = next
	}
	slices.Sort(p.files)
	return p.files
}

func (p *plan) clone() *plan {
	q := *p
	q.rows, q.bytes, q.files = maps.Clone(p.rows), maps.Clone(p.bytes), slices.Clone(p.files)
	return &q
}

// fill adds what stands between picked files in the order of a day's files. It is
// false if there is no room.
func (p *plan) fill(files []File, holders map[int32][]int) bool {
	for n := 0; n < len(p.files); n++ { // those that are added have days too
		for _, d := range files[p.files[n]].Days {
			all := holders[d.Day]
			first := slices.IndexFunc(all, func(h int) bool { return slices.Contains(p.files, h) })
			last := len(all) - 1
			for !slices.Contains(p.files, all[last]) {
				last--
			}
			for _, h := range all[first : last+1] {
				if !slices.Contains(p.files, h) && !p.add(h, &files[h]) {
					return false
				}
			}
		}
	}
	return true
}

// Group is some days that one file holds, first and last included.
type Group struct{ Min, Max int32 }

// Groups gives each big day of the picked files a file of its own and lets small
// neighbours share one, unless rows would move before those of a file that stays.
func Groups(files []File, picked []int, l Limits) []Group {
	type place struct {
		rows   int
		oldest int // of the picked files that hold the day
		floor  int // the youngest file before that which holds it, -1 for none
	}
	days := map[int32]place{}
	for n, i := range picked {
		for _, d := range files[i].Days {
			at, seen := days[d.Day]
			if !seen {
				at.oldest, at.floor = i, -1
				for h := i - 1; h >= 0 && at.floor < 0; h-- {
					if _, gone := slices.BinarySearch(picked[:n], h); !gone && files[h].holds(d.Day) {
						at.floor = h
					}
				}
			}
			at.rows += d.Rows
			days[d.Day] = at
		}
	}
	var groups []Group
	var open place // of the last group
	for _, d := range slices.Sorted(maps.Keys(days)) {
		at := days[d]
		oldest, floor := min(open.oldest, at.oldest), max(open.floor, at.floor)
		if len(groups) > 0 && open.rows+at.rows <= l.small() && oldest > floor {
			groups[len(groups)-1].Max = d
			open = place{open.rows + at.rows, oldest, floor}
			continue
		}
		groups = append(groups, Group{d, d})
		open = at
	}
	return groups
}

// Place lists the files as a merge leaves them: files without those that are gone, and each
// added one where the oldest of the gone stood that holds a day of it, or at the end.
func Place[F comparable](files, gone, added []F, of func(F) *File) []F {
	next := make([]F, 0, len(files)+len(added))
	left := slices.Clone(added)
	for _, f := range files {
		if !slices.Contains(gone, f) {
			next = append(next, f)
			continue
		}
		old := of(f)
		left = slices.DeleteFunc(left, func(a F) bool {
			shares := slices.ContainsFunc(of(a).Days, func(d DayRows) bool { return old.holds(d.Day) })
			if shares {
				next = append(next, a)
			}
			return shares
		})
	}
	return append(next, left...)
}
