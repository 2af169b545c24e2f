package oracle

import (
	"slices"
	"strconv"

	"spoor/engine/query/lang"
)

// chains looks for the chains of an ordered or strict funnel that begin with one
// event. It goes from chain to longer chain; what can become of a chain depends
// only on what key says of it, so that each key is looked at once.
type chains struct {
	*unit
	start  int
	target int         // the depth that chains must get to
	voids  []exclusion // those that are obeyed

	depths map[string]int
	goods  map[string]bool
	bests  map[string]*held
}

// held is the best continuation of a chain: how many optional steps are taken from here on.
type held struct {
	ok    bool
	count int
	next  []int
}

func (c *chains) forget() {
	c.depths, c.goods, c.bests = map[string]int{}, map[string]bool{}, map[string]*held{}
}

func (c *chains) first() []int {
	chain := make([]int, len(c.steps))
	for k := range chain {
		chain[k] = -1
	}
	chain[0] = c.start
	return chain
}

// last is the last step that the chain holds.
func last(chain []int) int {
	for k := len(chain) - 1; ; k-- {
		if chain[k] >= 0 {
			return k
		}
	}
}

// have is how many required steps a chain holds.
func (c *chains) have(chain []int) int { return c.rank(last(chain) + 1) }

// longer are the chains with one event more, in the order of step and event.
func (c *chains) longer(chain []int) (out [][]int) {
	from := last(chain)
	for k := from + 1; k < len(c.steps); k++ {
		earliest := none
		for e, x := range c.events {
			if !c.matches[k][e] || !c.allowed(c.start, e) || x.Time < c.events[chain[from]].Time || slices.Contains(chain, e) {
				continue
			}
			if c.order == lang.OrderStrict && !c.adjacent(chain, e) {
				continue
			}
			// Where nothing lies between that could matter, a later event is of no use:
			// whatever follows it can follow the earlier one as well.
			if c.order == lang.OrderOrdered && len(c.voids) == 0 && earliest != none && x.Time > earliest {
				break
			}
			next := slices.Clone(chain)
			next[k] = e
			if c.breaks(next, k) {
				continue
			}
			if earliest == none {
				earliest = x.Time
			}
			out = append(out, next)
		}
		if !c.steps[k].Optional {
			break
		}
	}
	return out
}

// adjacent tells whether event e can stand right behind the chain. Events of one
// time may stand in any order: those of the chain's first time that it does not
// use stand before it, but behind a later time none may be left over.
func (c *chains) adjacent(chain []int, e int) bool {
	at, to := c.events[chain[last(chain)]].Time, c.events[e].Time
	for i, x := range c.events {
		if at < x.Time && x.Time < to {
			return false
		}
		if x.Time == at && to > at && at > c.events[c.start].Time && !slices.Contains(chain, i) {
			return false
		}
	}
	return true
}

// hold is the first step from k on that the chain holds, -1 for none.
func holdFrom(chain []int, k int) int {
	for ; k < len(chain); k++ {
		if chain[k] >= 0 {
			return k
		}
	}
	return -1
}

// breaks tells whether the chain is void now that it holds step k.
func (c *chains) breaks(chain []int, k int) bool {
	for i := range c.voids {
		x := &c.voids[i]
		from, to := holdFrom(chain, x.from), holdFrom(chain, x.to)
		if from < 0 || to >= 0 && to < k {
			continue
		}
		if x.between(c.events[chain[from]].Time, c.events[chain[k]].Time, false) {
			return true
		}
	}
	return false
}

// void tells whether the chain is void if nothing is added to it: for one that has
// not come to the step before which an event is excluded, that is the case up to the end of its window.
func (c *chains) void(chain []int) bool {
	for i := range c.voids {
		x := &c.voids[i]
		from, to := holdFrom(chain, x.from), holdFrom(chain, x.to)
		if from >= 0 && to < 0 && x.between(c.events[chain[from]].Time, c.events[c.start].Time+c.within, true) {
			return true
		}
	}
	return false
}

// key says all that decides how a chain may go on.
func (c *chains) key(chain []int) string {
	k := last(chain)
	b := strconv.AppendInt(nil, int64(k), 10)
	b = append(b, '/')
	b = strconv.AppendInt(b, int64(chain[k]), 10)
	b = append(b, '/')
	at := c.events[chain[k]].Time
	var same []int
	for _, e := range chain {
		if e >= 0 && c.events[e].Time == at {
			same = append(same, e)
		}
	}
	slices.Sort(same)
	for _, e := range same {
		b = strconv.AppendInt(b, int64(e), 10)
		b = append(b, ',')
	}
	for i := range c.voids {
		b = append(b, '/')
		from, to := holdFrom(chain, c.voids[i].from), holdFrom(chain, c.voids[i].to)
		if from >= 0 && to < 0 {
			b = strconv.AppendInt(b, c.events[chain[from]].Time, 10)
		}
	}
	return string(b)
}

// depth is how many required steps the deepest chain has, exclusions left aside.
func (c *chains) depth() int {
	c.forget()
	return c.deepest(c.first())
}

func (c *chains) deepest(chain []int) int {
	key := c.key(chain)
	if d, ok := c.depths[key]; ok {
		return d
	}
	d := c.have(chain)
	for _, next := range c.longer(chain) {
		d = max(d, c.deepest(next))
	}
	c.depths[key] = d
	return d
}

// good tells whether a chain gets to the target and is not void then.
func (c *chains) good(chain []int) bool {
	key := c.key(chain)
	if g, ok := c.goods[key]; ok {
		return g
	}
	g := c.have(chain) == c.target && !c.void(chain)
	for _, next := range c.longer(chain) {
		g = g || c.good(next)
	}
	c.goods[key] = g
	return g
}

func (c *chains) attempt() attempt {
	a := attempt{start: c.start}
	if !c.good(c.first()) {
		return a
	}
	a.depth = c.target
	a.at = make([]int64, len(c.steps))
	for k := range a.at {
		a.at[k] = none
	}
	c.visit(c.first(), map[string]bool{}, a.at)
	a.end = a.at[c.required()[c.target-1]]
	chain := c.first()
	for {
		h := c.best(chain, a.end)
		if h.next == nil {
			break
		}
		chain = h.next
	}
	a.chain = chain
	c.check(chain)
	return a
}

// visit notes the earliest time of each step over the good chains.
func (c *chains) visit(chain []int, seen map[string]bool, at []int64) {
	key := c.key(chain)
	if seen[key] || !c.good(chain) {
		return
	}
	seen[key] = true
	k := last(chain)
	if t := c.events[chain[k]].Time; at[k] == none || t < at[k] {
		at[k] = t
	}
	for _, next := range c.longer(chain) {
		c.visit(next, seen, at)
	}
}

// best is how the counted chain goes on from here: to the target at the given
// time, by as many optional steps as can be, and else by the earliest events.
func (c *chains) best(chain []int, end int64) *held {
	key := c.key(chain)
	if h, ok := c.bests[key]; ok {
		h2 := *h
		if h.next != nil { // the same way on, from another beginning
			h2.next = slices.Clone(chain)
			k := last(h.next)
			h2.next[k] = h.next[k]
		}
		return &h2
	}
	h := &held{}
	k := last(chain)
	if c.have(chain) == c.target {
		if !c.steps[k].Optional && c.events[chain[k]].Time != end {
			c.bests[key] = h
			return h
		}
		h.ok = !c.void(chain)
	}
	for _, next := range c.longer(chain) {
		n := c.best(next, end)
		count := n.count
		if c.steps[last(next)].Optional {
			count++
		}
		if n.ok && (!h.ok || count > h.count) {
			h.ok, h.count, h.next = true, count, next
		}
	}
	c.bests[key] = h
	return h
}
