// Package kernel computes the answers of product analytics from sorted keys:
// funnels, sessions, paths, attribution. A kernel works on the rows of one range
// of persons, day after day in the order of time, with flat state per person; it
// does not know where the rows come from.
package kernel

import (
	"math"
	"slices"

	"spoor/segment"
)

// none marks a person without a chain: before every possible start.
const none = math.MinInt64 / 4

// Funnel finds, for each person, the longest prefix of the steps that events
// match in order within a window from the first, every event serving one step.
// It requires that no event can match two steps; Chain has no such need.
//
// For each person and step it keeps the latest start of a chain that reached the
// step. A later start is never worse: it leaves more of the window. So each
// day is one pass per step: the rows of step k meet, in order of (person, time),
// the rows that reached step k-1, and take over the latest start before them.
//
// Days come in order; of each day Begin takes the rows of the first step, Step those of the
// others in order, and End ends it. A step that Live denies need not be read.
type Funnel struct {
	steps   int
	window  int64 // microseconds, inclusive
	lo      uint32
	tags    bool
	carried []carried // by step
	prev    list      // the rows of today that reached the step before
	next    list
	few     []uint64 // rows of persons who may go on
	source  []uint32 // with tags: per row of next, its row in prev, 0 for none of today
	base    int64    // begin of today
}

// carried is what is known of one step from the days before.
type carried struct {
	start  []int64  // by person-lo: of the latest chain that stands there, none if none ever did
	latest int64    // of start
	users  int      // who ever got there
	who    []uint64 // a bit for each of them
	lags   []int64  // of each of them: how long the first chain that got there took
	tag    []uint32 // with tags, by person-lo: of the latest chain
	// With tags, by person-lo, of the first chain that got there: its tag and how long it took.
	firstTag []uint32
	firstLag []int64
}

// list are the rows of one day that reached a step, with the start of the latest chain
// that they end. A guard stands before the first row and guards behind the last one,
// which are of no person, so that loops need not look for the ends.
type list struct {
	key   []uint64
	start []int64
	tag   []uint32
	rows  int
}

const (
	timeMask = 1<<segment.KeyTimeBits - 1
	// guard is a key that no row has.
	guard = math.MaxUint64
	// ahead is how many rows of a list are compared with at once.
	ahead = 4
)

// room makes room for n rows and sets the guard before them.
func (l *list) room(n int, tags bool) {
	if cap(l.key) < n+1+ahead {
		l.key, l.start = make([]uint64, n+n/4+1+ahead), make([]int64, n+n/4+1+ahead)
	}
	l.key, l.start = l.key[:n+1+ahead], l.start[:n+1+ahead]
	l.key[0], l.start[0] = guard, none
	if tags {
		l.tag = slices.Grow(l.tag[:0], n+1)[:n+1]
		l.tag[0] = 0
	}
}

// end sets the number of rows and the guards behind them.
func (l *list) end(rows int) {
	l.rows = rows
	for i := range ahead {
		l.key[1+rows+i] = guard
	}
}

// NewFunnel makes the state for the persons [lo, hi). withTags carries a number from the
// first event of a chain to its end: the group of a breakdown.
func NewFunnel(steps int, window int64, lo, hi uint32, withTags bool) *Funnel {
	f := &Funnel{steps: steps, window: window, lo: lo, tags: withTags, carried: make([]carried, steps)}
	persons := int(hi - lo)
	for k := range f.carried {
		c := &f.carried[k]
		c.latest = none
		c.start, c.who = make([]int64, persons), make([]uint64, (persons+63)/64)
		for i := range c.start {
			c.start[i] = none
		}
		if withTags {
			c.tag, c.firstTag, c.firstLag = make([]uint32, persons), make([]uint32, persons), make([]int64, persons)
		}
	}
	return f
}

// Begin takes a day's rows of the first step, sorted by key; tags go with them.
// The slices are not kept.
func (f *Funnel) Begin(day int32, rows []uint64, tags []uint32) {
	f.base = int64(day) * segment.MicrosPerDay
	l := &f.prev
	l.room(len(rows), f.tags)
	copy(l.key[1:], rows)
	start := l.start[1 : 1+len(rows)]
	for i, k := range rows {
		start[i] = int64(k&timeMask) + f.base
	}
	if f.tags {
		copy(l.tag[1:], tags)
		for i := 1; i < len(rows); i++ {
			if rows[i] == rows[i-1] { // of starts at one time the first stored counts
				l.tag[1+i] = l.tag[i]
			}
		}
	}
	l.end(len(rows))
}

// Live tells whether any row of today may reach step k, the next one.
func (f *Funnel) Live(k int) bool {
	return f.prev.rows > 0 || f.base-f.carried[k-1].latest <= f.window
}

// Step takes the day's rows of step k, which is the next one.
func (f *Funnel) Step(k int, rows []uint64) {
	f.note(k - 1)
	if len(rows) == 0 {
		f.next.room(0, f.tags)
		f.next.end(0)
	} else {
		if f.carried[k-1].users < len(f.carried[k-1].start)/fewShare {
			rows = f.ofFew(k-1, rows)
		}
		f.next.room(len(rows), f.tags)
		f.next.end(f.pass(k, rows))
	}
	f.settle(k - 1)
	f.prev, f.next = f.next, f.prev
}

// End ends the day.
func (f *Funnel) End() {
	f.note(f.steps - 1)
	f.settle(f.steps - 1)
}

// fewShare: where less than this share of the persons reached a step, the rows of the
// others are left out before anything else is looked at, by a bit that is in the nearest cache.
const fewShare = 3

// ofFew are the rows of persons who reached step k.
func (f *Funnel) ofFew(k int, rows []uint64) []uint64 {
	if cap(f.few) < len(rows) {
		f.few = make([]uint64, len(rows)+len(rows)/4)
	}
	few, who, lo := f.few[:len(rows)], f.carried[k].who, f.lo
	n := 0
	for _, row := range rows {
		p := uint32(row>>segment.KeyTimeBits) - lo
		few[n] = row
		n += int(who[p>>6] >> (p & 63) & 1)
	}
	return few[:n]
}

// note notes who reached step k today for the first time.
func (f *Funnel) note(k int) {
	c, l := &f.carried[k], &f.prev
	for i, at := range l.key[1 : 1+l.rows] {
		p := uint32(at>>segment.KeyTimeBits) - f.lo
		if c.who[p>>6]>>(p&63)&1 != 0 {
			continue
		}
		c.who[p>>6] |= 1 << (p & 63)
		lag := int64(at&timeMask) + f.base - l.start[1+i]
		c.users++
		c.lags = append(c.lags, lag)
		if f.tags {
			c.firstTag[p], c.firstLag[p] = l.tag[1+i], lag
		}
	}
}

// pass finds the rows of step k that continue a chain, writes them to f.next and
// returns their number. It has no branches that depend on the data but one: how many rows
// of the step before lie before a row is counted, four at a time; what a row takes over and
// whether it is kept is computed.
func (f *Funnel) pass(k int, rows []uint64) int {
	before, window, base, lo := f.carried[k-1].start, f.window, f.base, f.lo
	prevKey, prevStart := f.prev.key, f.prev.start[:len(f.prev.key)]
	outKey, outStart := f.next.key[1:1+len(rows)], f.next.start[1:1+len(rows)]
	tags, source := f.tags, f.source[:0]
	if tags {
		f.source = slices.Grow(source, len(rows))[:len(rows)]
		source = f.source
	}
	n, at := 0, 1 // prevKey[at] is the first that may lie behind the row
	for _, row := range rows {
		for {
			next := prevKey[at : at+ahead : at+ahead]
			passed := 0
			if next[0] <= row {
				passed = 1
			}
			if next[1] <= row {
				passed = 2
			}
			if next[2] <= row {
				passed = 3
			}
			if next[3] <= row {
				passed = 4
			}
			at += passed
			if passed < ahead {
				break
			}
		}
		person := row >> segment.KeyTimeBits
		best, today, from := before[uint32(person)-lo], prevStart[at-1], 0
		if prevKey[at-1]>>segment.KeyTimeBits == person { // within a person starts never fall
			best = today
			from = at - 1
		}
		outKey[n], outStart[n] = row, best
		if tags {
			source[n] = uint32(from)
		}
		if int64(row&timeMask)+base-best <= window {
			n++
		}
	}
	if f.tags {
		f.passTags(k, n)
	}
	return n
}

// passTags gives the n rows that pass kept their tags.
func (f *Funnel) passTags(k, n int) {
	before, prevTag := f.carried[k-1].tag, f.prev.tag
	outKey, outTag := f.next.key[1:1+n], f.next.tag[1:1+n]
	for i, from := range f.source[:n] {
		tag := before[uint32(outKey[i]>>segment.KeyTimeBits)-f.lo]
		if from > 0 {
			tag = prevTag[from]
		}
		outTag[i] = tag
	}
}

// settle keeps, per person, the last start of today's rows that reached step k, which
// are in f.prev. Within a person the starts of a list never fall, nor below what was kept.
func (f *Funnel) settle(k int) {
	c, l := &f.carried[k], &f.prev
	start := l.start[1 : 1+l.rows]
	for i, at := range l.key[1 : 1+l.rows] {
		c.start[uint32(at>>segment.KeyTimeBits)-f.lo] = start[i]
		c.latest = max(c.latest, start[i])
	}
	if f.tags {
		for i, at := range l.key[1 : 1+l.rows] {
			c.tag[uint32(at>>segment.KeyTimeBits)-f.lo] = l.tag[1+i]
		}
	}
}

// Users are the persons that reached each step.
func (f *Funnel) Users() []int {
	n := make([]int, f.steps)
	for k := range f.carried {
		n[k] = f.carried[k].users
	}
	return n
}

// Lags are the times from the first event to the one that first reached step k, of
// all persons who did, in no order. The slice is the funnel's.
func (f *Funnel) Lags(k int) []int64 { return f.carried[k].lags }

// Open counts persons who did not reach the last step and whose window was still
// running at time through.
func (f *Funnel) Open(through int64) int {
	n := 0
	last := f.carried[f.steps-1].who
	for p, s := range f.carried[0].start {
		if s+f.window > through && last[p>>6]>>(p&63)&1 == 0 {
			n++
		}
	}
	return n
}

// Deepest calls yield with each person who began: the tag of the first chain that
// reached the person's deepest step, and how long the first chains took to get to that step and
// those before, by step. The funnel must have tags. lags is good until yield returns.
func (f *Funnel) Deepest(yield func(tag uint32, lags []int64)) {
	lags := make([]int64, f.steps)
	for p, s := range f.carried[0].start {
		if s == none {
			continue
		}
		step := 0
		for step+1 < f.steps && f.carried[step+1].who[p>>6]>>(p&63)&1 != 0 {
			step++
			lags[step] = f.carried[step].firstLag[p]
		}
		yield(f.carried[step].firstTag[p], lags[:step+1])
	}
}
