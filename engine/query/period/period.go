package query

import (
	"time"

	"spoor/engine/query/lang"
	"spoor/segment"
)

// buckets are the periods that a range is divided into: starts has one element
// more than there are periods, the end of the last. A period is [start, next start);
// the first may begin before the range when the range cuts it.
type buckets struct {
	starts []int64
	// fixed is the common length when all have one, so that a division finds a bucket.
	fixed int64
}

func (b *buckets) len() int { return len(b.starts) - 1 }

// of is the bucket of a time in [starts[0], end).
func (b *buckets) of(t int64) int {
	if b.fixed > 0 {
		return int((t - b.starts[0]) / b.fixed)
	}
	lo, hi := 0, len(b.starts)-1
	for hi-lo > 1 {
		mid := int(uint(lo+hi) / 2)
		if b.starts[mid] <= t {
			lo = mid
		} else {
			hi = mid
		}
	}
	return lo
}

// wholeDays tells whether every bucket begins at midnight UTC, so that a day of
// the store lies in one bucket.
func (b *buckets) wholeDays() bool {
	for _, s := range b.starts {
		if s%segment.MicrosPerDay != 0 {
			return false
		}
	}
	return true
}

// divide makes the buckets of [from, to); without an interval the range is one.
func (x *exec) divide(every lang.Interval, from, to int64) (*buckets, error) {
	if every.IsZero() || from >= to {
		return &buckets{starts: []int64{from, to}}, nil
	}
	b := &buckets{}
	at := periodStart(from, every, x.loc)
	for at < to {
		b.starts = append(b.starts, at)
		if len(b.starts) > x.e.limits.Buckets {
			return nil, failf(ErrTooMuch, "the range has more than %d periods of one %s; take a longer period or a shorter range", x.e.limits.Buckets, every)
		}
		at = nextPeriod(at, every, x.loc)
	}
	b.starts = append(b.starts, at)
	b.fixed = b.starts[1] - b.starts[0]
	for i := 1; i < len(b.starts); i++ {
		if b.starts[i]-b.starts[i-1] != b.fixed {
			b.fixed = 0
			break
		}
	}
	return b, nil
}

// periodStart is the beginning of the period that holds t.
func periodStart(t int64, every lang.Interval, loc *time.Location) int64 {
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

// nextPeriod is the beginning of the period after the one that begins at t.
func nextPeriod(t int64, every lang.Interval, loc *time.Location) int64 {
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
