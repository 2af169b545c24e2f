// Package kernel computes the answers of product analytics from sorted keys:
// funnels, sessions, paths, attribution. A kernel works on the rows of one range
// of persons, day after day in the order of time, with flat state per person; it
// does not know where the rows come from.
package kernel

import (
	"math"

	"spoor/segment"
)

// none marks a person without a chain: before every possible start.
const none = math.MinInt64 / 4

// Funnel finds, for each person, the longest prefix of the steps that events
// match in order within a window from the first, every event serving one step.
// It requires that no event can match two steps; OverlapFunnel has no such need.
//
// For each person and step it keeps the latest start of a chain that reached the
// step. A later start is never worse: it leaves more of the window. So each
// day is one pass per step: the rows of step k meet, in order of (person, time),
// the rows that reached step k-1, and take over the latest start before them.
type Funnel struct {
	steps   int
	window  int64 // microseconds, inclusive
	lo      uint32
	persons int
	start   [][]int64 // [step][person-lo], none when the step was not reached
	tag     [][]uint32
	first   []Reached // of the last step, per converted person
	prev    list
	next    list
	tags    bool
	deepTag [][]uint32 // [step][person-lo]: the tag of the first chain that reached it
	lag     [][]int64  // [step][person-lo]: time from the start, of the first chain that reached it
}

// Reached is a first completion.
type Reached struct {
	Person uint32
	// Start and End are the times of the first and last event of the chain.
	Start, End int64
}

type list struct {
	key   []uint64
	start []int64
	tag   []uint32
}

func (l *list) reset(n int) {
	if cap(l.key) < n+1 {
		l.key, l.start, l.tag = make([]uint64, 0, n+n/4+1), make([]int64, 0, n+n/4+1), make([]uint32, 0, n+n/4+1)
	}
	l.key, l.start, l.tag = l.key[:0], l.start[:0], l.tag[:0]
}

// NewFunnel makes the state for the persons [lo, hi). withTags carries a number from the
// first event of a chain to its end: the group of a breakdown.
func NewFunnel(steps int, window int64, lo, hi uint32, withTags bool) *Funnel {
	f := &Funnel{steps: steps, window: window, lo: lo, persons: int(hi - lo), tags: withTags}
	for range steps {
		s := make([]int64, f.persons)
		for i := range s {
			s[i] = none
		}
		f.start = append(f.start, s)
		f.lag = append(f.lag, nil)
		if withTags {
			f.tag = append(f.tag, make([]uint32, f.persons))
			f.deepTag = append(f.deepTag, make([]uint32, f.persons))
		}
	}
	for k := 1; k < steps; k++ {
		f.lag[k] = make([]int64, f.persons)
	}
	return f
}

// Day takes the rows of each step of one day, sorted by key. tags go with the
// rows of step 0. Days must come in order. The slices are not kept.
func (f *Funnel) Day(day int32, steps [][]uint64, tags []uint32) {
	base := int64(day) * segment.MicrosPerDay
	f.prev.begin(steps[0], tags, base)
	for k := 1; k < f.steps; k++ {
		f.next.reset(len(steps[k]))
		if len(steps[k]) > 0 {
			f.pass(k, base, steps[k])
		}
		f.next.end()
		f.settle(k-1, &f.prev)
		f.prev, f.next = f.next, f.prev
	}
	f.settle(f.steps-1, &f.prev)
}

const timeMask = 1<<segment.KeyTimeBits - 1

// lastKey ends a list: no row has it.
const lastKey = math.MaxUint64

// begin makes the list of step 0: each row starts a chain.
func (l *list) begin(keys []uint64, tags []uint32, base int64) {
	l.reset(len(keys))
	l.key = append(l.key, keys...)
	l.start = l.start[:len(keys)]
	for i, k := range keys {
		l.start[i] = int64(k&timeMask) + base
	}
	l.tag = append(l.tag, tags...)
	l.end()
}

// end puts a sentinel behind the last row, so that loops need not look for the end.
func (l *list) end() { l.key = append(l.key, lastKey) }

// rows is the number of rows, the sentinel not among them.
func (l *list) rows() int { return len(l.key) - 1 }

// pass finds the rows of step k that continue a chain. It goes person by person
// over the rows of the step and those that reached the step before.
func (f *Funnel) pass(k int, base int64, rows []uint64) {
	out := &f.next
	outKey, outStart := out.key[:len(rows)], out.start[:len(rows)]
	n := 0
	prevKey, prevStart := f.prev.key, f.prev.start
	carried, window := f.start[k-1], f.window
	at := 0
	for i := 0; i < len(rows); {
		person := rows[i] >> segment.KeyTimeBits
		floor := person << segment.KeyTimeBits
		for prevKey[at] < floor {
			at++
		}
		p := uint32(person) - f.lo
		best := carried[p]
		next := floor + 1<<segment.KeyTimeBits
		if prevKey[at] >= next && int64(rows[i]&timeMask)+base-best > window {
			// Nothing today, and what was carried is too old: no row of the person counts.
			for i++; i < len(rows) && rows[i] < next; i++ {
			}
			continue
		}
		bestTag := uint32(0)
		if f.tags {
			bestTag = f.tag[k-1][p]
		}
		reached := n
		for ; i < len(rows) && rows[i] < next; i++ {
			row := rows[i]
			for prevKey[at] <= row {
				// Within a person starts never fall, and none is older than what was carried.
				if f.tags && prevStart[at] > best { // of starts at one time the first stored counts
					bestTag = f.prev.tag[at]
				}
				best = prevStart[at]
				at++
			}
			if t := int64(row&timeMask) + base; t-best <= window {
				outKey[n], outStart[n] = row, best
				n++
				if f.tags {
					out.tag = append(out.tag, bestTag)
				}
			}
		}
		if n > reached && f.start[k][p] == none {
			f.firstTime(k, p, outKey[reached], outStart[reached], base, reached)
		}
	}
	out.key, out.start = outKey[:n], outStart[:n]
}

// firstTime notes the first chain of a person that reached step k.
func (f *Funnel) firstTime(k int, p uint32, key uint64, start, base int64, row int) {
	t := int64(key&timeMask) + base
	f.lag[k][p] = t - start
	if f.tags {
		f.deepTag[k][p] = f.next.tag[row]
	}
	if k == f.steps-1 {
		f.first = append(f.first, Reached{p + f.lo, start, t})
	}
}

// settle keeps, per person, the last start of the day's rows that reached step k.
// Within a person the starts of a list never fall, nor below what was kept.
func (f *Funnel) settle(k int, l *list) {
	state := f.start[k]
	for i, key := range l.key[:l.rows()] {
		p := uint32(key>>segment.KeyTimeBits) - f.lo
		if f.tags {
			if k == 0 && state[p] == none {
				f.deepTag[0][p] = l.tag[i]
			}
			if l.start[i] > state[p] {
				f.tag[k][p] = l.tag[i]
			}
		}
		state[p] = l.start[i]
	}
}

// Users are the persons that reached each step.
func (f *Funnel) Users() []int {
	n := make([]int, f.steps)
	for k, state := range f.start {
		for _, s := range state {
			if s != none {
				n[k]++
			}
		}
	}
	return n
}

// Conversions are the first completions, in no order.
func (f *Funnel) Conversions() []Reached { return f.first }

// Lags are the times from the first event to the one that first reached step k, k > 0.
func (f *Funnel) Lags(k int, dst []int64) []int64 {
	for p, s := range f.start[k] {
		if s != none {
			dst = append(dst, f.lag[k][p])
		}
	}
	return dst
}

// Lag is the time from the first event to the one that first reached step k, of a
// person who did.
func (f *Funnel) Lag(k int, person uint32) int64 { return f.lag[k][person-f.lo] }

// Open counts persons who did not reach the last step and whose window was still
// running at time through.
func (f *Funnel) Open(through int64) int {
	n := 0
	last := f.start[f.steps-1]
	for p, s := range f.start[0] {
		if s != none && last[p] == none && s+f.window > through {
			n++
		}
	}
	return n
}

// Deepest calls yield with each person who began: the deepest step reached, from
// 0, and the tag of the first chain that reached it.
func (f *Funnel) Deepest(yield func(person uint32, step int, tag uint32)) {
	for p := range f.persons {
		step := -1
		for k := f.steps - 1; k >= 0; k-- {
			if f.start[k][p] != none {
				step = k
				break
			}
		}
		if step < 0 {
			continue
		}
		tag := uint32(0)
		if f.tags {
			tag = f.deepTag[step][p]
		}
		yield(f.lo+uint32(p), step, tag)
	}
}
