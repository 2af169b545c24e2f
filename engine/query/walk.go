package query

import (
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
	p.points = make([][]int, k.periods.Len())
	for i := range p.points {
		p.points[i] = make([]int, n)
	}
	g := &scan.Gather{Fields: x.byFields(), Groups: p.groups, HoldFields: k.hold, HoldGroups: scan.NewTuples(len(k.hold))}
	g.All = k.rules.Order == kernel.Strict || x.q.Funnel.Per.Kind == lang.PerSession
	u := &unitWalk{funnelWalk: k, p: p, chain: kernel.NewChain(k.rules)}
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
				u.count(u.only(events, v))
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

// unit counts one person or session: with values to hold, the value whose chain goes deepest.
func (u *unitWalk) unit(events []kernel.Event) {
	if len(u.x.q.Funnel.Holding) == 0 {
		u.count(events)
		return
	}
	best, depth := []kernel.Event(nil), 0
	for _, v := range held(events) {
		es := u.only(events, v)
		if r := u.chain.Run(u.entering(es, u.x.from, u.x.to)); r.Depth > depth {
			best, depth = slices.Clone(es), r.Depth
		}
	}
	if best != nil {
		u.count(best)
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
func (u *unitWalk) count(events []kernel.Event) {
	x := u.x
	entry := u.entering(events, x.from, x.to)
	r := u.chain.Run(entry)
	if r.Depth == 0 {
		return
	}
	n := u.rules.Steps
	reached := u.reached(r, entry)
	for s := range n {
		if reached>>s&1 != 0 {
			u.p.users[s]++
			if s > 0 {
				u.p.lags[s] = append(u.p.lags[s], r.Lag[s])
			}
		}
	}
	if r.Depth == n {
		u.p.convert = append(u.p.convert, r.Last-r.First)
	} else if r.LastStart+x.q.Funnel.Within > x.view.DataThrough {
		u.p.open++
	}
	if len(x.q.By) > 0 {
		u.p.count(u.key(r, entry), reached, n)
	}
	if !x.q.Every.IsZero() {
		u.countPoints(events)
	}
}

// reached are the steps that count: those of the way to the deepest one, and the
// optional ones that a chain as deep holds.
func (u *unitWalk) reached(r *kernel.Result, events []kernel.Event) uint64 {
	if u.rules.Optional == 0 {
		return r.Reached
	}
	reached := r.Reached &^ u.rules.Optional
	depth := r.Depth
	for i := range u.holding {
		h := &u.holding[i]
		if with := h.chain.Run(events); with.Reached>>h.step&1 != 0 && with.Depth >= depth {
			reached |= 1 << h.step
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
func (u *unitWalk) countPoints(events []kernel.Event) {
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
		entry := u.entering(events, from, to)
		reached := u.reached(u.chain.Run(entry), entry)
		for s := range u.rules.Steps {
			u.p.points[period][s] += int(reached >> s & 1)
		}
	}
}
