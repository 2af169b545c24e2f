package oracle

import (
	"sort"
	"time"

	"spoor/engine/query/lang"
)

// periods are the periods that a range touches, in order: the first may begin
// before the range and the last may end after it.
type periods []period

// period is [from, to) in microseconds.
type period struct{ from, to int64 }

// of is the number of the period that holds t, -1 for none.
func (ps periods) of(t int64) int {
	for i, p := range ps {
		if p.from <= t && t < p.to {
			return i
		}
	}
	return -1
}

// divide is the periods of [from, to); without an interval the range is the only one.
func divide(every lang.Interval, loc *time.Location, from, to int64) periods {
	if every.IsZero() {
		return periods{{from, to}}
	}
	var ps periods
	for p := periodOf(every, loc, from); p.from < to; p = periodOf(every, loc, p.to) {
		ps = append(ps, p)
	}
	return ps
}

// periodOf is the period that holds t.
func periodOf(every lang.Interval, loc *time.Location, t int64) period {
	switch every.Unit {
	case lang.UnitDuration:
		start := t - floorMod(t, every.Length)
		return period{start, start + every.Length}
	case lang.UnitMinute:
		return clockPeriod(loc, t, lang.Minute)
	case lang.UnitHour:
		return clockPeriod(loc, t, lang.Hour)
	}
	// The date that a day, week or month is called by never falls as time goes on.
	name := func(t int64) int64 {
		y, m, d := time.UnixMicro(t).In(loc).Date()
		date := time.Date(y, m, d, 0, 0, 0, 0, time.UTC)
		switch every.Unit {
		case lang.UnitWeek:
			date = date.AddDate(0, 0, -(int(date.Weekday())+6)%7)
		case lang.UnitMonth:
			date = date.AddDate(0, 0, 1-d)
		}
		return date.Unix()
	}
	const longest = 40 * lang.Day
	mine := name(t)
	start := sort.Search(int(longest), func(i int) bool { return name(t-longest+int64(i)) >= mine })
	end := sort.Search(int(longest), func(i int) bool { return name(t+int64(i)) > mine })
	return period{t - longest + int64(start), t + int64(end)}
}

// clockPeriod is the minute or hour of the clock; a change of the clock ends it too.
func clockPeriod(loc *time.Location, t, length int64) period {
	at := time.UnixMicro(t).In(loc)
	_, offset := at.Zone()
	start := t - floorMod(t+int64(offset)*lang.Second, length)
	p := period{start, start + length}
	zoneStart, zoneEnd := at.ZoneBounds()
	if !zoneStart.IsZero() {
		p.from = max(p.from, zoneStart.UnixMicro())
	}
	if !zoneEnd.IsZero() {
		p.to = min(p.to, zoneEnd.UnixMicro())
	}
	return p
}

func floorMod(a, b int64) int64 { return (a%b + b) % b }
