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
// others in order, and End ends it. A step that Live denies need not be read, nor rows of
// persons that Wanted leaves out.
type Funnel struct {
	steps   int
	window  int64 // microseconds, inclusive
	lo      uint32
	tags    bool
	carried []carried // by step
	prev    list      // the rows of today that reached the step before
	next    list
	wanted  []uint64
	fresh   []uint32 // places of rows, of those who got to a step for the first time
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

// Reset makes the state for the persons [lo, hi). withTags carries a number from the
// first event of a chain to its end: the group of a breakdown. A Funnel, whose zero value is
// ready, keeps its memory from one question to the next: what Lags gave is good until then.
func (f *Funnel) Reset(steps int, window int64, lo, hi uint32, withTags bool) {
	f.steps, f.window, f.lo, f.tags = steps, window, lo, withTags
	persons := int(hi - lo)
	f.wanted = slices.Grow(f.wanted[:0], (persons+63)/64)[:(persons+63)/64]
	f.carried = slices.Grow(f.carried[:0], steps)[:steps]
	for k := range f.carried {
		c := &f.carried[k]
		c.latest, c.users, c.lags = none, 0, c.lags[:0]
		c.who = slices.Grow(c.who[:0], len(f.wanted))[:len(f.wanted)]
		clear(c.who)
		c.start = slices.Grow(c.start[:0], persons)[:persons]
		for i := range c.start {
			c.start[i] = none
		}
		if withTags {
			c.tag, c.firstTag, c.firstLag = slices.Grow(c.tag[:0], persons)[:persons], slices.Grow(c.firstTag[:0], persons)[:persons], slices.Grow(c.firstLag[:0], persons)[:persons]
		}
	}
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
	f.note(0, l)
}

// Wanted are those whose rows of step k, the next one, may change anything today, a bit for
// each person; nil for all. Who reached the last step is done, whoever did not get to
// the step before cannot go on. The slice is the funnel's.
func (f *Funnel) Wanted(k int) []uint64 {
	done := &f.carried[f.steps-1]
	may := len(done.start)
	if k > 0 {
		may = f.carried[k-1].users
	}
	if may-done.users > len(done.start)-len(done.start)/fewShare {
		return nil
	}
	for i, d := range done.who {
		f.wanted[i] = ^d
	}
	if k > 0 {
		for i, w := range f.carried[k-1].who {
			f.wanted[i] &= w
		}
	}
	return f.wanted
}

// fewShare: where fewer persons than this share do not matter, leaving their rows out takes longer than it saves.
const fewShare = 8

// Live tells whether any row of today may reach step k, the next one.
func (f *Funnel) Live(k int) bool {
	return f.prev.rows > 0 || f.base-f.carried[k-1].latest <= f.window
}

// Step takes the day's rows of step k, which is the next one.
func (f *Funnel) Step(k int, rows []uint64) {
	f.next.room(len(rows), f.tags)
	if len(rows) == 0 {
		f.next.end(0)
	} else {
		f.next.end(f.pass(k, rows))
		f.note(k, &f.next)
	}
	f.settle(k - 1)
	f.prev, f.next = f.next, f.prev
}

// End ends the day. Where chains stand at the last step nobody asks, unless it is the first.
func (f *Funnel) End() {
	if f.steps == 1 {
		f.settle(0)
	}
}

// note notes who reached step k today, with the rows of l, for the first time.
func (f *Funnel) note(k int, l *list) {
	c := &f.carried[k]
	keys := l.key[1 : 1+l.rows]
	if cap(f.fresh) < len(keys) {
		f.fresh = make([]uint32, len(keys)+len(keys)/4)
	}
	// Most of those who come are known: that there is one who is not shall be no branch.
	fresh, n, who, lo := f.fresh[:len(keys)], 0, c.who, f.lo
	for i, at := range keys {
		p := uint32(at>>segment.KeyTimeBits) - lo
		fresh[n] = uint32(i)
		n += int(^who[p>>6] >> (p & 63) & 1)
	}
	for _, i := range fresh[:n] {
		at := keys[i]
		p := uint32(at>>segment.KeyTimeBits) - lo
		if who[p>>6]>>(p&63)&1 != 0 { // the second one of today
			continue
		}
		who[p>>6] |= 1 << (p & 63)
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
	c, l, lo := &f.carried[k], &f.prev, f.lo
	start, kept, latest := l.start[1:1+l.rows], c.start, c.latest
	for i, at := range l.key[1 : 1+l.rows] {
		kept[uint32(at>>segment.KeyTimeBits)-lo] = start[i]
		latest = max(latest, start[i])
	}
	c.latest = latest
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
