package oracle

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
)

// maxAnySteps bounds the steps of a funnel in any order: their subsets are tried.
const maxAnySteps = 12

// anyChains looks for the chains of a funnel in any order whose earliest event is
// a given one. It takes the events in the order of time and gives each to one of
// the steps that are left, or to none. The r-th required step of the answer stands for the r-th
// event that serves a required step, whichever.
type anyChains struct {
	*unit
	start  int
	target int
	voids  []exclusion

	depths map[string]int
	goods  map[string]bool
	ways   map[string][]int
	pos    []int // the events that can be in a chain, the start first
}

// given is a chain: which event serves which step.
type given struct {
	at    int   // events of pos that were decided on
	event []int // by step, -1 for none
}

func (c *anyChains) attempt() attempt {
	if len(c.steps) > maxAnySteps {
		panic(fmt.Sprintf("oracle: more than %d steps in any order", maxAnySteps))
	}
	a := attempt{start: c.start}
	if !c.holds[c.start] {
		return a
	}
	for e := range c.events {
		if c.allowed(c.start, e) && e != c.start && c.useful(e) {
			c.pos = append(c.pos, e)
		}
	}
	c.depths, c.goods, c.ways = map[string]int{}, map[string]bool{}, map[string][]int{}
	for _, g := range c.begin() {
		c.target = max(c.target, c.deepest(g))
	}
	c.voids = c.unit.voids // from here on
	if c.target == 0 {
		return a
	}
	req := c.required()
	at := make([]int64, len(c.steps))
	for k := range at {
		at[k] = none
	}
	seen := map[string]bool{}
	for _, g := range c.begin() {
		if c.good(g) {
			a.depth = c.target
			c.note(c.empty(), g, at)
			c.visit(g, seen, at)
		}
	}
	if a.depth == 0 {
		return a
	}
	a.at, a.end = at, at[req[c.target-1]]
	var best *given
	for _, g := range c.begin() {
		if len(c.ranked(g)) < c.target || c.events[c.start].Time == a.end {
			best = c.better(best, c.best(g, a.end))
		}
	}
	a.chain = c.byRank(*best)
	c.check(a.chain)
	return a
}

func (c *anyChains) useful(e int) bool {
	for k := range c.steps {
		if c.matches[k][e] {
			return true
		}
	}
	return false
}

// begin gives the first event to each step that it matches, required ones first.
func (c *anyChains) begin() (out []given) {
	return c.give(c.empty(), c.start)
}

func (c *anyChains) empty() given {
	g := given{event: make([]int, len(c.steps))}
	for k := range g.event {
		g.event[k] = -1
	}
	return g
}

// give lets an event serve each of the steps left, required ones first.
func (c *anyChains) give(g given, e int) (out []given) {
	for _, optional := range []bool{false, true} {
		for k := range c.steps {
			if c.steps[k].Optional == optional && c.matches[k][e] && g.event[k] < 0 {
				next := given{g.at, slices.Clone(g.event)}
				next.event[k] = e
				if !c.breaks(next) {
					out = append(out, next)
				}
			}
		}
	}
	return out
}

// next decides on the next event: to serve a step, or not to.
func (c *anyChains) next(g given) []given {
	if g.at == len(c.pos) {
		return nil
	}
	e := c.pos[g.at]
	g.at++
	return append(c.give(g, e), g)
}

// ranked are the events that serve required steps, in the order of time.
func (c *anyChains) ranked(g given) (events []int) {
	for k, e := range g.event {
		if e >= 0 && !c.steps[k].Optional {
			events = append(events, e)
		}
	}
	slices.SortFunc(events, func(a, b int) int {
		switch { // the start leads the events of its time
		case a == c.start:
			return -1
		case b == c.start:
			return 1
		}
		return a - b
	})
	return events
}

// byRank writes a chain by steps: the r-th required event at the r-th required step.
func (c *anyChains) byRank(g given) []int {
	chain := slices.Clone(g.event)
	events := c.ranked(g)
	for r, k := range c.required() {
		chain[k] = -1
		if r < len(events) {
			chain[k] = events[r]
		}
	}
	return chain
}

// marks are the times at which an exclusion begins and ends for a chain; none where it is not there yet.
func (c *anyChains) marks(g given, x *exclusion) (from, to int64) {
	events := c.ranked(g)
	from, to = none, none
	if r := c.rank(x.from); r < len(events) {
		from = c.events[events[r]].Time
	}
	if r := c.rank(x.to); r < len(events) {
		to = c.events[events[r]].Time
	}
	return from, to
}

func (c *anyChains) breaks(g given) bool {
	for i := range c.voids {
		if from, to := c.marks(g, &c.voids[i]); from != none && to != none && c.voids[i].between(from, to, false) {
			return true
		}
	}
	return false
}

func (c *anyChains) void(g given) bool {
	for i := range c.voids {
		from, to := c.marks(g, &c.voids[i])
		if from != none && to == none && c.voids[i].between(from, c.events[c.start].Time+c.within, true) {
			return true
		}
	}
	return false
}

// key says all that decides how a chain may go on.
func (c *anyChains) key(g given) string {
	mask := 0
	for k := range g.event {
		if g.event[k] >= 0 {
			mask |= 1 << k
		}
	}
	key := strconv.Itoa(g.at) + "/" + strconv.Itoa(mask)
	for i := range c.voids {
		if from, to := c.marks(g, &c.voids[i]); to == none {
			key += fmt.Sprint("/", from)
		}
	}
	return key
}

func (c *anyChains) deepest(g given) int {
	key := c.key(g)
	if d, ok := c.depths[key]; ok {
		return d
	}
	d := len(c.ranked(g))
	for _, n := range c.next(g) {
		if d == len(c.required()) {
			break // no chain is deeper
		}
		d = max(d, c.deepest(n))
	}
	c.depths[key] = d
	return d
}

func (c *anyChains) good(g given) bool {
	key := c.key(g)
	if ok, found := c.goods[key]; found {
		return ok
	}
	ok := len(c.ranked(g)) == c.target && !c.void(g)
	for _, n := range c.next(g) {
		ok = ok || c.good(n)
	}
	c.goods[key] = ok
	return ok
}

// visit notes the earliest time of each step over the good chains that go on from g.
func (c *anyChains) visit(g given, seen map[string]bool, at []int64) {
	key := c.key(g)
	if seen[key] {
		return
	}
	seen[key] = true
	for _, n := range c.next(g) {
		if c.good(n) {
			c.note(g, n, at)
			c.visit(n, seen, at)
		}
	}
}

// note notes the time of the event that n has more than g.
func (c *anyChains) note(g, n given, at []int64) {
	for k, e := range n.event {
		if e < 0 || e == g.event[k] {
			continue
		}
		if !c.steps[k].Optional {
			k = c.required()[len(c.ranked(n))-1]
		}
		if t := c.events[e].Time; at[k] == none || t < at[k] {
			at[k] = t
		}
	}
}

// best is the best chain that g becomes with all its steps at the given time, nil for none.
func (c *anyChains) best(g given, end int64) (best *given) {
	if !c.good(g) {
		return nil
	}
	key := c.key(g)
	if way, ok := c.ways[key]; ok {
		return c.after(g, way)
	}
	if len(c.ranked(g)) == c.target && !c.void(g) {
		best = &g
	}
	for _, n := range c.next(g) {
		if len(c.ranked(n)) == c.target && len(c.ranked(g)) < c.target && c.events[c.pos[g.at]].Time != end {
			continue
		}
		best = c.better(best, c.best(n, end))
	}
	if best == nil {
		c.ways[key] = nil
		return nil
	}
	way := slices.Clone(best.event)
	for k := range way {
		if g.event[k] >= 0 {
			way[k] = -1 // what was there before is no part of the way on
		}
	}
	c.ways[key] = way
	return best
}

// after is g with the events of a way on, nil where there is no way.
func (c *anyChains) after(g given, way []int) *given {
	if way == nil {
		return nil
	}
	out := given{g.at, slices.Clone(g.event)}
	for k, e := range way {
		if e >= 0 {
			out.event[k] = e
		}
	}
	return &out
}

// better is the chain with more optional steps, else with the earlier events
// step by step: those of the required steps by rank, then those of optional steps.
func (c *anyChains) better(a, b *given) *given {
	switch {
	case a == nil:
		return b
	case b == nil:
		return a
	}
	optional := func(g *given) (events []int) {
		for k, e := range g.event {
			if e >= 0 && c.steps[k].Optional {
				events = append(events, k, e)
			}
		}
		return events
	}
	x, y := optional(a), optional(b)
	if cmp.Or(cmp.Compare(len(y), len(x)), slices.Compare(c.ranked(*a), c.ranked(*b)), slices.Compare(x, y)) > 0 {
		return b
	}
	return a
}
