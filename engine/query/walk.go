package query

import (
	"math"
	"slices"

	"spoor/engine/query/kernel"
	"spoor/engine/query/lang"
	"spoor/engine/query/period"
	"spoor/engine/query/scan"
)

// funnelWalk answers a funnel of any form person by person: where an event may
// match several steps, with another order, with optional steps, exclusions, values that
// must be held, other units than persons, or points over time.
type funnelWalk struct {
	x       *exec
	sels    []*selection // the steps
	voids   []*selection // the exclusions, then the nevers
	rules   kernel.Rules
	periods *period.Buckets // of `every`
	never   uint64          // bits of Void
	hold    []scan.Field
}

func (x *exec) newFunnelWalk(steps []*selection) (*funnelWalk, error) {
	f := x.q.Funnel
	k := &funnelWalk{x: x, sels: steps, rules: kernel.Rules{Steps: len(f.Steps), Window: f.Within}}
	switch f.Order {
	case lang.OrderStrict:
		k.rules.Order = kernel.Strict
	case lang.OrderAny:
		k.rules.Order = kernel.AnyOrder
	}
	for i := range f.Steps {
		if f.Steps[i].Optional {
			k.rules.Optional |= 1 << i
		}
	}
	for i := range f.Excluding {
		e := &f.Excluding[i]
		sel, err := x.selects(&e.EventSel)
		if err != nil {
			return nil, err
		}
		k.voids = append(k.voids, sel)
		k.rules.Exclude = append(k.rules.Exclude, kernel.Exclusion{From: e.From - 1, To: e.To - 1})
	}
	for i := range f.Never {
		sel, err := x.selects(&f.Never[i].EventSel)
		if err != nil {
			return nil, err
		}
		k.never |= 1 << len(k.voids)
		k.voids = append(k.voids, sel)
	}
	for i := range f.Holding {
		k.hold = append(k.hold, x.field(&f.Holding[i]))
	}
	if f.Per.Kind == lang.PerField {
		k.hold = append(k.hold, x.field(&f.Per.Field))
	}
	var err error
	k.periods, err = x.divide(x.q.Every, x.from, x.to)
	return k, err
}

// everything tells whether events that match no step matter too.
func (k *funnelWalk) everything() bool {
	return k.rules.Order == kernel.Strict || k.x.q.Funnel.Per.Kind == lang.PerSession
}

func (k *funnelWalk) run(w *scan.Worker, days []dayData, all scan.Times, p *funnelPart) error {
	x := k.x
	n := k.rules.Steps
	p.users, p.lags = make([]int, n), make([][]int64, n)
	if !x.q.Every.IsZero() {
		p.points = newFunnelPoints(k.periods.Len(), n)
	}
	g := &scan.Gather{Fields: x.byFields(), Groups: p.groups, HoldFields: k.hold, HoldGroups: scan.NewTuples(len(k.hold))}
	g.All = k.everything()
	u := &unitWalk{funnelWalk: k, p: p, chain: kernel.NewChain(k.rules)}
	u.out.at, u.out.lag = make([]int64, n), make([]int64, n)
	if len(k.rules.Exclude) > 0 || k.rules.Optional != 0 || k.rules.Order == kernel.Strict || len(x.q.By) > 0 && (k.rules.Order != kernel.AnyOrder || n <= lang.MaxAnySteps) {
		u.search = kernel.NewSearch(k.rules, len(x.q.Funnel.Holding) > 0)
	}
	if len(k.rules.Exclude) > 0 {
		r := k.rules
		r.Exclude = nil
		u.unvoided = kernel.NewChain(r)
	}
	return x.eachPersonVoid(w, days, k.sels, k.voids, all, g, func(person uint32, events []kernel.Event) error {
		u.person = person
		if k.never != 0 && slices.ContainsFunc(events, func(e kernel.Event) bool { return e.Void&k.never != 0 && e.Time < x.to }) {
			return nil
		}
		for i := range events {
			events[i].Void &^= k.never
		}
		switch x.q.Funnel.Per.Kind {
		case lang.PerSession:
			kernel.EachSession(events, x.q.Funnel.Per.Gap, u.unit)
		case lang.PerField:
			u.eachValue(events, g.HoldGroups)
		default:
			u.unit(events)
		}
		return u.err
	})
}

// unitWalk counts the units of one range of persons.
type unitWalk struct {
	*funnelWalk
	p *funnelPart
	// person is whose events are counted.
	person uint32
	chain  *kernel.Chain
	buf    []kernel.Event
	entry  []kernel.Event
	out    outcome
	// search takes the place of chain where a chain may pass steps by, or
	// exclusions end chains, and says which of events of one time a breakdown reads.
	search *kernel.Search
	// unvoided finds chains as if there were no exclusions; nil when there are none.
	unvoided *kernel.Chain
	start    []kernel.Event
	offset   int // where start begins among the unit's events
	err      error
}

// eachValue counts the events of each value of `per` as a unit of its own: the
// last of the values that are numbered in groups.
func (u *unitWalk) eachValue(events []kernel.Event, groups *scan.Tuples) {
	last := len(u.hold) - 1
	var done []uint32
	unit := make([]kernel.Event, len(events))
	for i := range events {
		if events[i].Hold == 0 || events[i].Steps == 0 {
			continue
		}
		value := groups.Part(events[i].Hold-1, last)
		if slices.Contains(done, value) {
			continue
		}
		done = append(done, value)
		copy(unit, events)
		for j := range unit {
			if e := &unit[j]; e.Hold == 0 || groups.Part(e.Hold-1, last) != value {
				e.Steps = 0 // it stays as what may break or void a chain
			}
		}
		u.unit(unit)
	}
}

// held are the distinct values that chains of the events may hold.
func held(events []kernel.Event) []uint32 {
	var out []uint32
	for i := range events {
		if h := events[i].Hold; h != 0 && events[i].Steps != 0 && !slices.Contains(out, h) {
			out = append(out, h)
		}
	}
	return out
}

// only leaves the steps of the events that hold a value; others stay as what may
// break or void a chain.
func (u *unitWalk) only(events []kernel.Event, value uint32) []kernel.Event {
	u.buf = append(u.buf[:0], events...)
	for i := range u.buf {
		if u.buf[i].Hold != value {
			u.buf[i].Steps = 0
		}
	}
	return u.buf
}

// unit counts one person or session.
func (u *unitWalk) unit(events []kernel.Event) { u.count(events, u.x.q.Funnel.Holding != nil) }

// outcome is what one unit did.
type outcome struct {
	reached   uint64
	at, lag   []int64
	depth     int
	start     int64
	end       int64
	lastStart int64
	key       []any
	first     int // the event that the counted chain begins with, if there is a breakdown
}

// solve finds the best chain of a unit that begins in [from, to). With byValue
// a chain holds one value, and the best of all values counts; nil when none begins.
func (u *unitWalk) solve(events []kernel.Event, from, to int64, byValue bool) *outcome {
	o := &u.out
	o.depth, o.reached, o.lastStart = 0, 0, math.MinInt64/4
	switch {
	case u.searches(events) && u.whole(u.entering(events, from, to), o):
	case !byValue:
		u.add(u.entering(events, from, to), o)
	default:
		for _, v := range held(events) {
			u.add(u.entering(u.only(events, v), from, to), o)
		}
	}
	if o.depth == 0 {
		return nil
	}
	return o
}

// searches tells whether the chains of the events must be searched. Under Strict
// that is where events share a time: the first to get to a step may be in the way of the deepest.
func (u *unitWalk) searches(events []kernel.Event) bool {
	switch {
	case u.rules.Optional != 0:
		return true
	case u.rules.Order == kernel.AnyOrder:
		return u.search != nil && slices.ContainsFunc(events, func(e kernel.Event) bool { return e.Void != 0 })
	case u.rules.Order == kernel.Strict:
		for i := 1; i < len(events); i++ {
			if events[i].Time == events[i-1].Time {
				return true
			}
		}
	}
	return false
}

// searched is the outcome of a search; nil when it is too much.
func (u *unitWalk) searched(events []kernel.Event) *kernel.Result {
	r, err := u.search.Run(events)
	if err != nil {
		u.err = failf(ErrTooMuch, "one person has too many chains of these steps; shorten the window, or filter")
		return nil
	}
	return r
}

// whole searches all chains of a unit. It is false where these are too many and
// Chain finds the same counts: under Strict only times of steps may be those of other chains.
func (u *unitWalk) whole(events []kernel.Event, o *outcome) bool {
	r := u.searched(events)
	if r == nil {
		if u.rules.Order != kernel.Strict || u.rules.Optional != 0 {
			return true
		}
		u.err = nil
		return false
	}
	u.take(r, events, o)
	return true
}

// add takes the chains of events into account.
func (u *unitWalk) add(events []kernel.Event, o *outcome) {
	if u.unvoided == nil || u.rules.Order == kernel.AnyOrder {
		u.take(u.chain.Run(events), events, o)
		return
	}
	// With exclusions each start is looked at alone. If all chains from it that go
	// deepest are void, it counts for no step; another start may still count.
	for i := range events {
		if events[i].Steps&1 == 0 {
			continue
		}
		from, to := i, i
		for from > 0 && events[from-1].Time == events[i].Time {
			from--
		}
		for to < len(events) && events[to].Time-events[i].Time <= u.rules.Window {
			to++
		}
		u.start = append(u.start[:0], events[from:to]...)
		for j := range u.start {
			if from+j != i {
				u.start[j].Steps &^= 1
			}
		}
		depth := u.unvoided.Run(u.start).Depth
		r := u.chain.Run(u.start)
		if r.Depth != depth || !u.standing(r) {
			continue
		}
		if r.Ended { // the first chains to get somewhere may be those that are void
			if r = u.searched(u.start); r == nil {
				return
			}
		}
		u.offset = from
		u.take(r, u.start, o)
	}
	u.offset = 0
}

// standing tells whether no exclusion ends the chain before its window does.
func (u *unitWalk) standing(r *kernel.Result) bool {
	if u.rules.Order != kernel.Strict {
		return r.Alive>>(r.Depth-1)&1 != 0
	}
	for v, x := range u.rules.Exclude {
		if r.Depth-1 < x.From || r.Depth-1 >= x.To {
			continue
		}
		since := u.start[r.Events[x.From]].Time
		if slices.ContainsFunc(u.start, func(e kernel.Event) bool { return e.Void>>v&1 != 0 && e.Time > since }) {
			return false
		}
	}
	return true
}

// take adds the best chain of events.
func (u *unitWalk) take(r *kernel.Result, events []kernel.Event, o *outcome) {
	o.lastStart = max(o.lastStart, r.LastStart)
	if r.Depth == 0 {
		return
	}
	better := r.Depth > o.depth || r.Depth == o.depth && (r.End < o.end || r.End == o.end && r.Start > o.start)
	same := r.Depth == o.depth && r.End == o.end && r.Start == o.start
	if len(u.x.q.By) > 0 && (better || same) {
		chain := u.counted(r, events)
		if first := u.offset + chain[0]; better || first < o.first {
			o.first, o.key = first, u.key(chain, events)
		}
	}
	if better {
		o.depth, o.start, o.end = r.Depth, r.Start, r.End
	}
	for s := range u.rules.Steps {
		if r.Reached>>s&1 == 0 {
			continue
		}
		if o.reached>>s&1 == 0 || r.At[s] < o.at[s] || r.At[s] == o.at[s] && r.Lag[s] < o.lag[s] {
			o.at[s], o.lag[s] = r.At[s], r.Lag[s]
		}
		o.reached |= 1 << s
	}
}

// counted is the chain that counts of those as good as r. Only where events share
// a time may there be a better one than r names.
func (u *unitWalk) counted(r *kernel.Result, events []kernel.Event) []int {
	tied := func(i int) bool {
		return i > 0 && events[i].Time == events[i-1].Time || i+1 < len(events) && events[i].Time == events[i+1].Time
	}
	if u.search == nil || !slices.ContainsFunc(r.Events, func(e int) bool { return e >= 0 && tied(e) }) {
		return r.Events
	}
	chain, err := u.search.Counted(events, r.Start, r.Depth, r.End)
	if err != nil {
		return r.Events // it counts for the same steps, with other events of the same times
	}
	return chain
}

// entering lets chains begin with events of [from, to) alone.
func (u *unitWalk) entering(events []kernel.Event, from, to int64) []kernel.Event {
	u.entry = append(u.entry[:0], events...)
	for i := range u.entry {
		if e := &u.entry[i]; e.Time < from || e.Time >= to {
			if u.rules.Order == kernel.AnyOrder {
				e.Void |= kernel.NotFirst
			} else {
				e.Steps &^= 1
			}
		}
	}
	return u.entry
}

// count counts one unit.
func (u *unitWalk) count(events []kernel.Event, byValue bool) {
	x := u.x
	o := u.solve(events, x.from, x.to, byValue)
	if o == nil {
		return
	}
	if u.p.who != nil {
		u.p.who(u.person, o)
	}
	n := u.rules.Steps
	for s := range n {
		if o.reached>>s&1 != 0 {
			u.p.users[s]++
			if s > 0 {
				u.p.lags[s] = append(u.p.lags[s], o.lag[s])
			}
		}
	}
	if o.reached>>(n-1)&1 != 0 {
		u.p.convert = append(u.p.convert, o.lag[n-1])
	} else if u.running(events, o.lastStart) {
		u.p.open++
	}
	if len(x.q.By) > 0 {
		u.p.group(o.key, n).add(o.reached, o.lag)
	}
	if !x.q.Every.IsZero() {
		u.countPoints(events, byValue)
	}
}

// running tells whether the unit's window, and its session, had not ended when the data ends.
func (u *unitWalk) running(events []kernel.Event, lastStart int64) bool {
	f, through := u.x.q.Funnel, u.x.view.DataThrough
	if f.Per.Kind == lang.PerSession && events[len(events)-1].Time+f.Per.Gap <= through {
		return false
	}
	return lastStart+f.Within > through
}

// key is the breakdown's values: each of the event of its step in the best chain.
func (u *unitWalk) key(chain []int, events []kernel.Event) []any {
	by := u.x.q.By
	key := make([]any, len(by))
	for i := range by {
		step := by[i].Step - 1
		if by[i].Step == lang.AtLast {
			for s, at := range chain {
				if at >= 0 && u.rules.Optional>>s&1 == 0 {
					step = s
				}
			}
		}
		if at := chain[step]; at >= 0 {
			key[i] = u.p.groups.Values(events[at].Tag)[i]
		}
	}
	return key
}

// countPoints counts the unit in each period in which it entered.
func (u *unitWalk) countPoints(events []kernel.Event, byValue bool) {
	last := -1
	for i := range events {
		e := &events[i]
		enters := e.Steps&1 != 0 || u.rules.Order == kernel.AnyOrder && e.Steps != 0
		if !enters || e.Time < u.x.from || e.Time >= u.x.to {
			continue
		}
		period := u.periods.Of(e.Time)
		if period == last {
			continue
		}
		last = period
		from, to := max(u.periods.Starts[period], u.x.from), min(u.periods.Starts[period+1], u.x.to)
		o := u.solve(events, from, to, byValue)
		if o == nil {
			continue
		}
		u.p.points[period].add(o.reached, o.lag)
		if len(u.x.q.By) > 0 {
			u.p.group(o.key, u.rules.Steps).points[period].add(o.reached, o.lag)
		}
	}
}
