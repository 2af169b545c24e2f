package workload

import (
	"math/bits"
	"time"
)

const (
	millisPerHour = int64(time.Hour / time.Millisecond)
	millisPerDay  = 24 * millisPerHour
)

// calendar spreads a stream over its days: busy evenings, quiet nights,
// weekends below working days.
type calendar struct {
	start, end int64    // milliseconds since the Unix epoch; end is exclusive
	until      []uint64 // until[h] is the weight of the hours before hour h of the range
}

// Weights of the hours of a day (UTC) and of the days of a week (Sunday first).
var (
	hourWeights = [24]uint64{14, 9, 6, 5, 5, 8, 16, 28, 38, 44, 47, 50, 54, 52, 48, 47, 50, 57, 66, 76, 80, 70, 48, 27}
	dayWeights  = [7]uint64{84, 104, 106, 105, 103, 110, 88}
)

func newCalendar(start time.Time, days int) *calendar {
	c := &calendar{
		start: start.UnixMilli(),
		end:   start.UnixMilli() + int64(days)*millisPerDay,
		until: make([]uint64, 1, days*24+1),
	}
	for h := range days * 24 {
		t := time.UnixMilli(c.start + int64(h)*millisPerHour).UTC()
		c.until = append(c.until, c.until[h]+hourWeights[t.Hour()]*dayWeights[t.Weekday()])
	}
	return c
}

// weightScale makes a unit of weight fine enough for a millisecond of any range.
const weightScale = 1 << 24

// at is the moment by which part of whole of the stream has happened, part < whole.
func (c *calendar) at(part, whole uint64) int64 {
	hours := len(c.until) - 1
	hi, lo := bits.Mul64(part, c.until[hours]*weightScale)
	target, _ := bits.Div64(hi, lo, whole)

	low, high := 0, hours // until[low] <= target < until[high]
	for high-low > 1 {
		middle := (low + high) / 2
		if c.until[middle]*weightScale <= target {
			low = middle
		} else {
			high = middle
		}
	}
	width := c.until[high] - c.until[low]
	inside := (target - c.until[low]*weightScale) * uint64(millisPerHour) / (width * weightScale)
	return c.start + int64(low)*millisPerHour + int64(inside)
}

// day is the number of whole days since the start.
func (c *calendar) day(at int64) int { return int((at - c.start) / millisPerDay) }
