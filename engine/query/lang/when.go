package lang

import (
	"strconv"
	"time"
)

// Microseconds of the units of a duration.
const (
	Millisecond int64 = 1000
	Second            = 1000 * Millisecond
	Minute            = 60 * Second
	Hour              = 60 * Minute
	Day               = 24 * Hour
	Week              = 7 * Day
)

// Time is a point in time as a query spells it: with an offset from UTC
// (2026-05-01T10:00:00Z) it is absolute, without one (2026-05-01, or
// 2026-05-01T10:00) it is a time of the clock in the query's time zone.
type Time struct {
	At Pos
	// Local tells a time of the clock from an absolute one.
	Local bool
	// Micros is microseconds since the Unix epoch; of a local time what they
	// would be if the zone were UTC.
	Micros int64
}

// Resolve is the absolute time, microseconds since the Unix epoch. A time that
// the clock shows twice is the first of them; one that it skips is the moment
// of the skip, so that a day begins even where midnight does not exist.
func (t Time) Resolve(loc *time.Location) int64 {
	if !t.Local {
		return t.Micros
	}
	// The zone's offset changes at most once within a day of the time sought.
	var first int64
	found := false
	for _, near := range [2]int64{t.Micros - Day, t.Micros + Day} {
		candidate := t.Micros - offsetAt(near, loc)
		if candidate+offsetAt(candidate, loc) == t.Micros && (!found || candidate < first) {
			first, found = candidate, true
		}
	}
	if found {
		return first
	}
	skipped := t.Micros - offsetAt(t.Micros-Day, loc)
	start, _ := time.UnixMicro(skipped).In(loc).ZoneBounds()
	return start.UnixMicro()
}

// offsetAt is the zone's offset from UTC at an absolute time, in microseconds.
func offsetAt(micros int64, loc *time.Location) int64 {
	_, seconds := time.UnixMicro(micros).In(loc).Zone()
	return int64(seconds) * Second
}

// String is the time as it is written in a query, in the shortest form.
func (t Time) String() string {
	at := time.UnixMicro(t.Micros).UTC()
	switch {
	case !t.Local:
		return at.Format("2006-01-02T15:04:05.999999Z")
	case t.Micros%Day == 0:
		return at.Format("2006-01-02")
	}
	return at.Format("2006-01-02T15:04:05.999999")
}

// Range is the queried time: either the Last microseconds before now, or
// [From, To). It is not resolved yet, since now and the zone belong to the reader.
type Range struct {
	At       Pos
	Last     int64 // 0: From and To
	From, To Time
}

// Resolve is the range as [from, to) in microseconds since the Unix epoch.
func (r Range) Resolve(now time.Time, loc *time.Location) (from, to int64) {
	if r.Last != 0 {
		to = now.UnixMicro()
		return to - r.Last, to
	}
	return r.From.Resolve(loc), r.To.Resolve(loc)
}

// Unit is the unit of an Interval.
type Unit uint8

// The units. The calendar's follow the query's time zone, weeks begin on
// Monday; UnitDuration is a fixed length.
const (
	UnitNone Unit = iota
	UnitMinute
	UnitHour
	UnitDay
	UnitWeek
	UnitMonth
	UnitDuration
)

var unitNames = [...]string{
	UnitNone: "", UnitMinute: "minute", UnitHour: "hour", UnitDay: "day", UnitWeek: "week", UnitMonth: "month",
	UnitDuration: "duration",
}

// Interval is the length of the periods that an answer is divided into. Its
// zero value is no division. `every day` is a day of the calendar, which has 23
// hours once a year in many zones; `every 1d` is 24 hours.
type Interval struct {
	At     Pos
	Unit   Unit
	Length int64 // UnitDuration only, microseconds
}

// IsZero tells whether there is no division.
func (i Interval) IsZero() bool { return i.Unit == UnitNone }

// String is the interval as it is written after `every`, and in answers.
func (i Interval) String() string {
	if i.Unit == UnitDuration {
		return FormatDuration(i.Length)
	}
	return unitNames[i.Unit]
}

// durationUnits are the units of the language, longest first.
var durationUnits = [...]struct {
	name   string
	micros int64
}{{"w", Week}, {"d", Day}, {"h", Hour}, {"m", Minute}, {"s", Second}, {"ms", Millisecond}}

// FormatDuration is the text of a duration in the largest unit that divides
// it, but days for weeks: 7d is what people write. A duration must be a whole
// number of milliseconds.
func FormatDuration(micros int64) string {
	for _, u := range durationUnits {
		if u.micros != Week && micros%u.micros == 0 {
			return strconv.FormatInt(micros/u.micros, 10) + u.name
		}
	}
	panic("lang: duration of " + strconv.FormatInt(micros, 10) + " µs is no whole number of milliseconds")
}
