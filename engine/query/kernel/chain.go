package kernel

import "math/bits"

// Event is an event of one person as kernels that go person by person see it.
type Event struct {
	Time  int64   // microseconds
	Steps uint64  // bit k: it matches selection k
	Void  uint64  // bit i: it matches exclusion i of a funnel
	Num   float64 // a value of it, NaN for none
	Tag   uint32  // group of its values, or its name
	Hold  uint32  // group of the values that a chain must hold; 0 for missing
}

// Order says how the events of a chain follow each other.
type Order uint8

// The orders of a chain.
const (
	Ordered  Order = iota
	Strict         // no other event between two of a chain
	AnyOrder       // steps in any order
)

// Exclusion voids chains: bit i of Event.Void at a time after the chain's step
// From and before its step To, both counted from 0.
type Exclusion struct{ From, To int }

// Rules are those of a funnel that is answered person by person.
type Rules struct {
	Steps    int
	Window   int64 // from the first event of a chain to its last, inclusive
	Order    Order
	Optional uint64 // bit k: a chain may pass step k by; Search alone obeys it
	Exclude  []Exclusion
}

// Chain finds the best chain of one person, session or value: like Funnel it
// keeps, per step, the latest start of a chain that stands there, and with it
// the chain's events. Events of one time may be taken in any order, each for one
// step: a group of equal times extends a chain from step i to step j when its
// events can be shared out to the steps i+1 to j.
type Chain struct {
	rules  Rules
	live   []state
	next   []state
	fresh  []state // of chains that passed an exclusion's From in this group
	flush  []state // strict: chains that may go on in the next group
	nodes  []node
	match  matcher
	window []int
	res    Result
}

// state is the best chain that stands at a step.
type state struct {
	start int64 // none for no chain
	node  int32 // its last event
}

// node is an event of a chain.
type node struct {
	event int32
	step  int32
	prev  int32 // -1 for the first
}

// Result is the outcome of one Run.
type Result struct {
	// Reached tells for each step whether a chain got there, At when the first one did, and
	// Lag how long after its start; of several at that time the latest start counts.
	Reached uint64
	At, Lag []int64
	// Depth is the last step of the best chain plus one, 0 for none; Start and End are
	// the times of its first and last event, and Events the indexes of its events by
	// step, -1 where it has none. The best is the deepest, of those the first to get
	// there, of those the one that began last.
	Depth      int
	Start, End int64
	Events     []int
	// LastStart is the latest time at which a chain began.
	LastStart int64
	// Alive tells for each step whether a chain still stood there at the end, which no
	// exclusion had ended; Ended whether one had ended any.
	Alive uint64
	Ended bool
}

// NewChain makes a Chain; it is used for one person after another.
func NewChain(r Rules) *Chain {
	c := &Chain{rules: r}
	for _, s := range []*[]state{&c.live, &c.next, &c.fresh, &c.flush} {
		*s = make([]state, r.Steps)
	}
	c.res.At, c.res.Lag, c.res.Events = make([]int64, r.Steps), make([]int64, r.Steps), make([]int, r.Steps)
	return c
}

func reset(s []state) {
	for i := range s {
		s[i] = state{none, -1}
	}
}

// Run takes events in the order of time. The result is good until the next Run.
func (c *Chain) Run(events []Event) *Result {
	c.res.Reached, c.res.Depth, c.res.LastStart, c.res.Ended = 0, 0, none, false
	c.nodes = c.nodes[:0]
	if c.rules.Order == AnyOrder {
		c.anyOrder(events)
		return &c.res
	}
	reset(c.live)
	reset(c.flush)
	best := int32(-1)
	for i := 0; i < len(events); {
		j := i + 1
		for j < len(events) && events[j].Time == events[i].Time {
			j++
		}
		if n := c.group(events, i, j); n >= 0 {
			best = n
		}
		i = j
	}
	c.trace(best)
	c.res.Alive = 0
	for k := range c.live {
		if c.live[k].start != none {
			c.res.Alive |= 1 << k
		}
	}
	return &c.res
}

// trace writes the events of the best chain.
func (c *Chain) trace(last int32) {
	for k := range c.res.Events {
		c.res.Events[k] = -1
	}
	for n := last; n >= 0; n = c.nodes[n].prev {
		c.res.Events[c.nodes[n].step] = int(c.nodes[n].event)
	}
}

// group takes the events [i, j) of one time and returns the last event of the
// chain that went deeper than any before, -1 when none did.
func (c *Chain) group(events []Event, i, j int) (best int32) {
	best = -1
	t := events[i].Time
	steps, void := uint64(0), uint64(0)
	for k := i; k < j; k++ {
		steps |= events[k].Steps
		void |= events[k].Void
	}
	void &= 1<<len(c.rules.Exclude) - 1
	if c.rules.Order == Strict {
		return c.strictGroup(events, i, j, void)
	}
	if steps == 0 && void == 0 {
		return -1
	}
	copy(c.next, c.live)
	if j == i+1 {
		best = c.single(events, i)
	} else if steps != 0 {
		best = c.shared(events, i, j)
	}
	if void != 0 {
		c.exclude(events[i:j], i, void, t)
	}
	c.live, c.next = c.next, c.live
	return best
}

// single takes an event that shares its time with no other: a chain takes one step at most.
func (c *Chain) single(events []Event, i int) (best int32) {
	best = -1
	e := &events[i]
	for s := e.Steps; s != 0; s &= s - 1 {
		k := bits.TrailingZeros64(s)
		if k >= c.rules.Steps {
			break
		}
		if k == 0 {
			if n := c.advance(state{e.Time, -1}, i, 0, e.Time); n >= 0 {
				best = n
			}
			continue
		}
		if from := c.live[k-1]; from.start != none && e.Time-from.start <= c.rules.Window {
			if n := c.advance(from, i, k, e.Time); n >= 0 {
				best = n
			}
		}
	}
	return best
}

// advance moves a chain on to step k by event i; it returns the new node if the
// chain is the deepest so far.
func (c *Chain) advance(from state, i, k int, t int64) int32 {
	better := from.start > c.next[k].start
	deeper := c.reach(k, t, from.start)
	if !better && !deeper {
		return -1
	}
	n := int32(len(c.nodes))
	c.nodes = append(c.nodes, node{int32(i), int32(k), from.node})
	if better {
		c.next[k] = state{from.start, n}
	}
	if deeper {
		return n
	}
	return -1
}

// reach notes that a chain which began at start reached step k at time t, and
// tells whether it is the best so far.
func (c *Chain) reach(k int, t, start int64) bool {
	if k == 0 {
		c.res.LastStart = max(c.res.LastStart, t)
	}
	c.first(k, t, start)
	switch {
	case k+1 > c.res.Depth, k+1 == c.res.Depth && t == c.res.End && start > c.res.Start:
		c.res.Depth, c.res.Start, c.res.End = k+1, start, t
		return true
	}
	return false
}

// first keeps the first chain that reached step k.
func (c *Chain) first(k int, t, start int64) {
	switch {
	case c.res.Reached>>k&1 == 0:
		c.res.Reached |= 1 << k
	case t > c.res.At[k], t == c.res.At[k] && t-start >= c.res.Lag[k]:
		return
	}
	c.res.At[k], c.res.Lag[k] = t, t-start
}

// shared takes several events of one time: chains that wait at a step, or begin
// here, go on as far as the events can be shared out to the next steps.
func (c *Chain) shared(events []Event, i, j int) (best int32) {
	best = -1
	t := events[i].Time
	for o := c.rules.Steps - 2; o >= -1; o-- {
		from := state{t, -1}
		if o >= 0 {
			if from = c.live[o]; from.start == none || t-from.start > c.rules.Window {
				continue
			}
		}
		if n := c.extend(events, i, j, o, from); n >= 0 {
			best = n
		}
	}
	return best
}

// extend goes on from step o with the events [i, j) of one time.
func (c *Chain) extend(events []Event, i, j, o int, from state) (best int32) {
	best = -1
	served := uint64(0)
	c.match.begin(events[i:j])
	for k := o + 1; k < c.rules.Steps && c.match.add(k); k++ {
		served |= 1 << k
		better := from.start > c.next[k].start
		deeper := c.reach(k, events[i].Time, from.start)
		if !better && !deeper {
			continue
		}
		n := c.append(from.node, served, i)
		if better {
			c.next[k] = state{from.start, n}
		}
		if deeper {
			best = n
		}
	}
	return best
}

// serve shares the events of one time out to the steps from o+1 to k and returns
// these, none when that is impossible.
func (c *Chain) serve(group []Event, o, k int) (served uint64) {
	c.match.begin(group)
	for step := o + 1; step <= k; step++ {
		if !c.match.add(step) {
			return 0
		}
		served |= 1 << step
	}
	return served
}

// append adds the events that serve steps to a chain that ends in node n; events
// of the group are counted from i.
func (c *Chain) append(n int32, served uint64, i int) int32 {
	for ; served != 0; served &= served - 1 {
		step := bits.TrailingZeros64(served)
		c.nodes = append(c.nodes, node{int32(i + c.match.event(step)), int32(step), n})
		n = int32(len(c.nodes) - 1)
	}
	return n
}

// exclude ends the chains that stand between the steps of an exclusion and took
// the first of them before this time. Chains that took it at this very time stay.
func (c *Chain) exclude(group []Event, i int, void uint64, t int64) {
	for v := void; v != 0; v &= v - 1 {
		x := c.rules.Exclude[bits.TrailingZeros64(v)]
		for k := x.From; k < x.To; k++ {
			s := &c.next[k]
			if s.start == none || c.tookAt(s.node, x.From, i, i+len(group)) {
				continue
			}
			c.res.Ended = true
			*s = c.again(group, i, k, x.From, t)
		}
	}
}

// tookAt tells whether the chain's step From was served by an event in [i, j).
func (c *Chain) tookAt(n int32, step, i, j int) bool {
	for ; n >= 0; n = c.nodes[n].prev {
		if int(c.nodes[n].step) <= step {
			return int(c.nodes[n].event) >= i && int(c.nodes[n].event) < j
		}
	}
	return false
}

// again finds the best chain at step k that took step from in this group, whose
// state before the group is in c.live.
func (c *Chain) again(group []Event, i, k, from int, t int64) state {
	best := state{none, -1}
	for o := from - 1; o >= -1; o-- {
		s := state{t, -1}
		if o >= 0 {
			if s = c.live[o]; s.start == none || t-s.start > c.rules.Window {
				continue
			}
		}
		if s.start <= best.start {
			continue
		}
		served := c.serve(group, o, k)
		if served == 0 {
			continue
		}
		n := c.append(s.node, served, i)
		best = state{s.start, n}
	}
	return best
}

// strictGroup takes the events of one time under Strict. What a chain leaves
// unused of a group may stand before its first event or behind its last, never
// between: a chain that comes from an earlier group and goes on to a later one
// must use the whole group.
func (c *Chain) strictGroup(events []Event, i, j int, void uint64) (best int32) {
	best = -1
	t := events[i].Time
	reset(c.next)
	copy(c.live, c.flush)
	reset(c.flush)
	for o := c.rules.Steps - 2; o >= -1; o-- {
		from := state{t, -1}
		if o >= 0 {
			if from = c.live[o]; from.start == none || t-from.start > c.rules.Window {
				continue
			}
		}
		reset(c.next)
		if n := c.extend(events, i, j, o, from); n >= 0 {
			best = n
		}
		for k := o + 1; k < c.rules.Steps; k++ {
			whole := o < 0 || c.used(c.next[k].node, i) == j-i
			if c.next[k].start > c.flush[k].start && whole {
				c.flush[k] = c.next[k]
			}
		}
	}
	if void != 0 {
		for v := void; v != 0; v &= v - 1 {
			x := c.rules.Exclude[bits.TrailingZeros64(v)]
			for k := x.From; k < x.To; k++ {
				if n := c.flush[k].node; n >= 0 && !c.tookAt(n, x.From, i, j) {
					c.res.Ended = true
					c.flush[k] = state{none, -1}
				}
			}
		}
	}
	return best
}

// used counts the events of a chain from event i on.
func (c *Chain) used(n int32, i int) int {
	count := 0
	for ; n >= 0 && int(c.nodes[n].event) >= i; n = c.nodes[n].prev {
		count++
	}
	return count
}
