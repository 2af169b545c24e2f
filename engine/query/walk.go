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
			if f.Order == lang.OrderAny {
				return nil, failf("bad_query", "a funnel in any order has no optional steps: a chain may pass by any of them")
			}
			k.rules.Optional |= 1 << i
		}
	}
	if len(f.Excluding)+len(f.Never) > maxVoids {
		return nil, failf(ErrTooMuch, "a funnel takes at most %d exclusions", maxVoids)
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
		k.hold = append(k.hold, field(&f.Holding[i]))
	}
	if f.Per.Kind == lang.PerField {
		k.hold = append(k.hold, field(&f.Per.Field))
	}
	var err error
	k.periods, err = x.divide(x.q.Every, x.from, x.to)
	return k, err
}

// maxVoids is how many exclusions fit kernel.Event.Void beside NotFirst.
const maxVoids = 63

func (k *funnelWalk) run(w *scan.Worker, days []dayData, all scan.Times, p *funnelPart) error {
	x := k.x
	n := k.rules.Steps
	p.users, p.lags = make([]int, n), make([][]int64, n)
	if !x.q.Every.IsZero() {
		p.points = newFunnelPoints(k.periods.Len(), n)
	}
	g := &scan.Gather{Fields: x.byFields(), Groups: p.groups, HoldFields: k.hold, HoldGroups: scan.NewTuples(len(k.hold))}
	g.All = k.rules.Order == kernel.Strict || x.q.Funnel.Per.Kind == lang.PerSession
	u := &unitWalk{funnelWalk: k, p: p, chain: kernel.NewChain(k.rules)}
	u.out.at, u.out.lag = make([]int64, n), make([]int64, n)
	if len(k.rules.Exclude) > 0 && k.rules.Order != kernel.AnyOrder {
		r := k.rules
		r.Exclude = nil
		u.unvoided = kernel.NewChain(r)
	}
	for s := range n {
		if k.rules.Optional>>s&1 != 0 {
			r := k.rules
			r.Optional &^= 1 << s
			u.holding = append(u.holding, optionalStep{s, kernel.NewChain(r)})
		}
	}
	return x.eachPersonVoid(w, days, k.sels, k.voids, all, g, func(_ uint32, events []kernel.Event) error {
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
			for _, v := range held(events) {
				u.count(slices.Clone(u.only(events, v)), false)
			}
		default:
			u.unit(events)
		}
		return nil
	})
}

// unitWalk counts the units of one range of persons.
type unitWalk struct {
	*funnelWalk
	p       *funnelPart
	chain   *kernel.Chain
	holding []optionalStep
	buf     []kernel.Event
	entry   []kernel.Event
	out     outcome
	// unvoided finds chains as if there were no exclusions; nil when there are none.
	unvoided *kernel.Chain
	start    []kernel.Event
}

// optionalStep finds the chains that hold one of the optional steps.
type optionalStep struct {
	step  int
	chain *kernel.Chain
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
}

// solve finds the best chain of a unit that begins in [from, to). With byValue
// a chain holds one value, and the best of all values counts; nil when none begins.
func (u *unitWalk) solve(events []kernel.Event, from, to int64, byValue bool) *outcome {
	o := &u.out
	o.depth, o.reached, o.lastStart = 0, 0, math.MinInt64/4
	if !byValue {
		u.add(u.entering(events, from, to), o)
	} else {
		for _, v := range held(events) {
			u.add(u.entering(u.only(events, v), from, to), o)
		}
	}
	if o.depth == 0 {
		return nil
	}
	return o
}

// add takes the chains of events into account.
func (u *unitWalk) add(events []kernel.Event, o *outcome) {
	if u.unvoided == nil {
		u.take(events, o)
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
		if r.Depth == depth && u.standing(r) {
			u.take(u.start, o)
		}
	}
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
func (u *unitWalk) take(events []kernel.Event, o *outcome) {
	r := u.chain.Run(events)
	o.lastStart = max(o.lastStart, r.LastStart)
	if r.Depth == 0 {
		return
	}
	if r.Depth > o.depth {
		o.reached &^= u.rules.Optional // those of a chain that is not the deepest do not count
	}
	if r.Depth > o.depth || r.Depth == o.depth && (r.End < o.end || r.End == o.end && r.Start > o.start) {
		o.depth, o.start, o.end = r.Depth, r.Start, r.End
		if len(u.x.q.By) > 0 {
			o.key = u.key(u.fullest(r, events), events)
		}
	}
	reached, at, lag := r.Reached, slices.Clone(r.At), slices.Clone(r.Lag)
	if u.rules.Optional != 0 {
		reached = u.optional(r, events, o.depth, at, lag)
	}
	for s := range u.rules.Steps {
		if reached>>s&1 == 0 {
			continue
		}
		if o.reached>>s&1 == 0 || at[s] < o.at[s] || at[s] == o.at[s] && lag[s] < o.lag[s] {
			o.at[s], o.lag[s] = at[s], lag[s]
		}
		o.reached |= 1 << s
	}
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
	n := u.rules.Steps
	for s := range n {
		if o.reached>>s&1 != 0 {
			u.p.users[s]++
			if s > 0 {
				u.p.lags[s] = append(u.p.lags[s], o.lag[s])
			}
		}
	}
	if o.depth == n {
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

// fullest is the chain as good as r that holds most optional steps.
func (u *unitWalk) fullest(r *kernel.Result, events []kernel.Event) *kernel.Result {
	steps := func(r *kernel.Result) (n int) {
		for _, e := range r.Events[:r.Depth] {
			if e >= 0 {
				n++
			}
		}
		return n
	}
	for i := range u.holding {
		with := u.holding[i].chain.Run(events)
		if with.Depth == r.Depth && with.Start == r.Start && with.End == r.End && steps(with) > steps(r) {
			r = with
		}
	}
	return r
}

// optional are the steps that count: those of the way to the deepest one, and the
// optional ones that a chain as deep holds, with the first time that one did.
func (u *unitWalk) optional(r *kernel.Result, events []kernel.Event, depth int, at, lag []int64) uint64 {
	reached := r.Reached &^ u.rules.Optional
	if r.Depth < depth {
		return reached
	}
	deepest := r.Depth
	for i := range u.holding {
		h := &u.holding[i]
		if with := h.chain.Run(events); with.Reached>>h.step&1 != 0 && with.Depth >= deepest {
			reached |= 1 << h.step
			at[h.step], lag[h.step] = with.At[h.step], with.Lag[h.step]
		}
	}
	return reached
}

// key is the breakdown's values: each of the event of its step in the best chain.
func (u *unitWalk) key(r *kernel.Result, events []kernel.Event) []any {
	by := u.x.q.By
	key := make([]any, len(by))
	for i := range by {
		step := by[i].Step - 1
		if by[i].Step == lang.AtLast {
			step = r.Depth - 1
		}
		if at := r.Events[step]; at >= 0 {
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
