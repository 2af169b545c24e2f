package segment

import (
	"cmp"
	"slices"
)

// Time in a segment is microseconds since the Unix epoch; a day is a UTC day.
const (
	MicrosPerDay = 86_400_000_000

	// KeyTimeBits is how many bits of a key hold the time of day in microseconds.
	KeyTimeBits = 37
	// MaxPersons bounds person ordinals: what is left of a key's 64 bits.
	MaxPersons = 1 << (64 - KeyTimeBits)
)

// Day is the UTC day of a time, counted from 1970-01-01.
func Day(micros int64) int32 {
	d := micros / MicrosPerDay
	if micros%MicrosPerDay < 0 {
		d--
	}
	return int32(d)
}

// Key packs a person and the time of day so that sorting keys of one day sorts
// by (person, time), and the difference of two keys of one person is a duration.
func Key(person uint32, micros int64, day int32) uint64 {
	return uint64(person)<<KeyTimeBits | uint64(micros-int64(day)*MicrosPerDay)
}

// KeyPerson is the person of a key.
func KeyPerson(key uint64) uint32 { return uint32(key >> KeyTimeBits) }

// KeyTime is the time of a key of the given day.
func KeyTime(key uint64, day int32) int64 {
	return int64(key&(1<<KeyTimeBits-1)) + int64(day)*MicrosPerDay
}

// Rows says what the writer sorts by, for rows in the order of their arrival.
type Rows struct {
	Names  []string // distinct event names
	Name   []uint32 // per row: index into Names
	Person []uint32 // per row: ordinal below MaxPersons
	Time   []int64  // per row: event time
}

// Layout is the order of rows in a segment: by day, event name, person, time
// and arrival. It also holds each day's timeline, the rows of all names by
// person, time and arrival.
type Layout struct {
	// Out maps an input row to its row in the segment.
	Out []uint32
	// Keys of the rows, in the segment's order.
	Keys     []uint64
	Sections []Span
	Days     []DaySpan
}

// Span is one section of a layout: the rows [From, To) have one day and name.
type Span struct {
	Day      int32
	Name     string
	From, To int
}

// DaySpan is one day of a layout: its sections and its timeline.
type DaySpan struct {
	Day int32
	// From and To bound the day's sections in Layout.Sections.
	From, To int
	// Timeline names for each event of the day, by (person, time, arrival), its
	// section, counted from From.
	Timeline []uint32
}

type sortRow struct {
	key uint64
	row uint32
	sec uint32
}

// NewLayout sorts rows. The cost is a few passes of a radix sort.
func NewLayout(rows Rows) *Layout {
	n := len(rows.Time)
	l := &Layout{Out: make([]uint32, n), Keys: make([]uint64, n)}
	if n == 0 {
		return l
	}
	sections := l.findSections(rows)
	sorted := make([]sortRow, n)
	for i := range sorted {
		day := l.Sections[sections[i]].Day
		sorted[i] = sortRow{Key(rows.Person[i], rows.Time[i], day), uint32(i), sections[i]}
	}
	sorted = radixSort(sorted)
	l.timelines(sorted)
	next := make([]uint32, len(l.Sections))
	for s := range next {
		next[s] = uint32(l.Sections[s].From)
	}
	for i := range sorted {
		r := &sorted[i]
		at := next[r.sec]
		next[r.sec]++
		l.Out[r.row] = at
		l.Keys[at] = r.key
	}
	return l
}

// findSections fills l.Sections and l.Days and returns each input row's section.
func (l *Layout) findSections(rows Rows) []uint32 {
	type dayName struct {
		day  int32
		name uint32
	}
	index := make(map[dayName]uint32)
	var seen []dayName
	var counts []int
	of := make([]uint32, len(rows.Time))
	last, lastIndex := dayName{day: -1 << 31}, uint32(0)
	for i, t := range rows.Time {
		k := dayName{Day(t), rows.Name[i]}
		if k != last {
			s, ok := index[k]
			if !ok {
				s = uint32(len(seen))
				index[k] = s
				seen = append(seen, k)
				counts = append(counts, 0)
			}
			last, lastIndex = k, s
		}
		of[i] = lastIndex
		counts[lastIndex]++
	}
	order := make([]uint32, len(seen))
	for i := range order {
		order[i] = uint32(i)
	}
	slices.SortFunc(order, func(a, b uint32) int {
		return cmp.Or(cmp.Compare(seen[a].day, seen[b].day), cmp.Compare(rows.Names[seen[a].name], rows.Names[seen[b].name]))
	})
	rank := make([]uint32, len(seen))
	at := 0
	for r, s := range order {
		rank[s] = uint32(r)
		day := seen[s].day
		l.Sections = append(l.Sections, Span{Day: day, Name: rows.Names[seen[s].name], From: at, To: at + counts[s]})
		at += counts[s]
		if len(l.Days) == 0 || l.Days[len(l.Days)-1].Day != day {
			l.Days = append(l.Days, DaySpan{Day: day, From: r})
		}
		l.Days[len(l.Days)-1].To = r + 1
	}
	for i := range of {
		of[i] = rank[of[i]]
	}
	return of
}

// timelines splits rows sorted by key over the days.
func (l *Layout) timelines(sorted []sortRow) {
	dayOf := make([]uint32, len(l.Sections))
	for d := range l.Days {
		day := &l.Days[d]
		day.Timeline = make([]uint32, 0, l.Sections[day.To-1].To-l.Sections[day.From].From)
		for s := day.From; s < day.To; s++ {
			dayOf[s] = uint32(d)
		}
	}
	for i := range sorted {
		day := &l.Days[dayOf[sorted[i].sec]]
		day.Timeline = append(day.Timeline, sorted[i].sec-uint32(day.From))
	}
}

// radixSort sorts rows by key, stably, least significant byte first, and skips
// bytes that are alike in all keys. It returns rows or a slice of the same length.
func radixSort(rows []sortRow) []sortRow {
	if len(rows) < 256 {
		slices.SortStableFunc(rows, func(a, b sortRow) int { return cmp.Compare(a.key, b.key) })
		return rows
	}
	all, none := rows[0].key, rows[0].key
	for i := range rows {
		all &= rows[i].key
		none |= rows[i].key
	}
	differs := all ^ none
	spare := make([]sortRow, len(rows))
	for shift := 0; shift < 64; shift += 11 {
		if differs>>shift&(1<<11-1) == 0 {
			continue
		}
		var count [1 << 11]uint32
		for i := range rows {
			count[rows[i].key>>shift&(1<<11-1)]++
		}
		sum := uint32(0)
		for b, c := range count {
			count[b] = sum
			sum += c
		}
		for i := range rows {
			b := rows[i].key >> shift & (1<<11 - 1)
			spare[count[b]] = rows[i]
			count[b]++
		}
		rows, spare = spare, rows
	}
	return rows
}
