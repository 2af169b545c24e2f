// Package period divides time into the periods of an answer: minutes, hours,
// days, weeks and months of a time zone, or fixed lengths.
package period

import (
	"time"

	"spoor/engine/query/lang"
)

// Buckets are the periods that a range is divided into. Starts has one element
// more than there are periods, the end of the last. A period is [start, next start);
// the first may begin before the range when the range cuts it.
type Buckets struct {
	Starts []int64
	// fixed is the common length when all have one, so that a division finds a bucket.
	fixed int64
}

// Len is the number of periods.
func (b *Buckets) Len() int { return len(b.Starts) - 1 }

// Of is the period of a time in [Starts[0], end).
func (b *Buckets) Of(t int64) int {
	if b.fixed > 0 {
		return int((t - b.Starts[0]) / b.fixed)
	}
	lo, hi := 0, len(b.Starts)-1
	for hi-lo > 1 {
		mid := int(uint(lo+hi) / 2)
		if b.Starts[mid] <= t {
			lo = mid
		} else {
			hi = mid
		}
	}
	return lo
}

// Divide makes the periods of [from, to); without an interval the range is one. ok
// is false when there would be more than limit.
func Divide(every lang.Interval, from, to int64, loc *time.Location, limit int) (b *Buckets, ok bool) {
	if every.IsZero() || from >= to {
		return &Buckets{Starts: []int64{from, to}}, true
	}
	b = &Buckets{}
	at := Start(from, every, loc)
	for at < to {
		b.Starts = append(b.Starts, at)
		if len(b.Starts) > limit {
			return nil, false
		}
		at = Next(at, every, loc)
	}
	b.Starts = append(b.Starts, at)
	b.fixed = b.Starts[1] - b.Starts[0]
	for i := 1; i < len(b.Starts); i++ {
		if b.Starts[i]-b.Starts[i-1] != b.fixed {
			b.fixed = 0
			break
		}
	}
	return b, true
}

// Start is the beginning of the period that holds t.
func Start(t int64, every lang.Interval, loc *time.Location) int64 {
	if every.Unit == lang.UnitDuration {
		r := t % every.Length
		if r < 0 {
			r += every.Length
		}
		return t - r
	}
	at := time.UnixMicro(t).In(loc)
	y, m, d := at.Date()
	switch every.Unit {
	case lang.UnitMinute, lang.UnitHour:
		length := lang.Minute
		if every.Unit == lang.UnitHour {
			length = lang.Hour
		}
		_, offset := at.Zone()
		local := t + int64(offset)*lang.Second
		r := local % length
		if r < 0 {
			r += length
		}
		return t - r
	case lang.UnitWeek:
		d -= (int(at.Weekday()) + 6) % 7
	case lang.UnitMonth:
		d = 1
	}
	return midnight(y, m, d, loc)
}

// Next is the beginning of the period after the one that begins at t.
func Next(t int64, every lang.Interval, loc *time.Location) int64 {
	switch every.Unit {
	case lang.UnitDuration:
		return t + every.Length
	case lang.UnitMinute:
		return t + lang.Minute
	case lang.UnitHour:
		return t + lang.Hour
	}
	y, m, d := time.UnixMicro(t).In(loc).Date()
	switch every.Unit {
	case lang.UnitWeek:
		d += 7
	case lang.UnitMonth:
		m++
		d = 1
	default:
		d++
	}
	return midnight(y, m, d, loc)
}

// midnight is when a day begins: the first moment of it where the clock skips midnight.
func midnight(y int, m time.Month, d int, loc *time.Location) int64 {
	utc := time.Date(y, m, d, 0, 0, 0, 0, time.UTC).UnixMicro()
	return lang.Time{Local: true, Micros: utc}.Resolve(loc)
}
