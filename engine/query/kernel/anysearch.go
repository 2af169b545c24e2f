package kernel

import (
	"cmp"
	"encoding/binary"
	"math/bits"
	"slices"
)

// anySearch looks at the chains in any order. It decides on one event after the
// other, in the order of time: to serve one of the steps that are left, or none.
// The r-th event that serves a required step stands at the r-th of them. All sets
// of steps are tried, so that few steps are as many as it takes.
type anySearch struct {
	*Search
	pos    []int // the events that can be in a chain, the first of it first
	served []int // by step: its event, -1 for none
	ranked []int // the events that serve required steps, in their order
	rests  map[string]rest
	match  matcher
}

func (c *anySearch) try(s *Search, excluded bool) (a attempt, chain []int, err error) {
	c.Search = s
	c.pos, c.ranked, c.rests = c.pos[:0], c.ranked[:0], map[string]rest{}
	c.served = c.served[:0]
	for range s.rules.Steps {
		c.served = append(c.served, -1)
	}
	for e := s.lo; e < s.hi; e++ {
		if e != s.first && s.fits(e) && s.events[e].Steps != 0 {
			c.pos = append(c.pos, e)
		}
	}
	a = attempt{start: s.first}
	s.voids, s.target = false, 0
	if s.rules.Optional == 0 {
		chain = c.greedy()
		if excluded = excluded && c.canExclude(len(chain)); !excluded {
			return c.plain(a, chain)
		}
		s.target = len(chain)
		chain = nil
	} else {
		c.give(s.first, func(int) { s.target = max(s.target, c.deepest(0)) })
	}
	s.voids = excluded
	if s.target == 0 {
		return a, nil, nil
	}
	found := false
	c.give(s.first, func(step int) {
		if c.good(0) {
			found = true
			c.note(step)
			c.visit(0)
		}
	})
	if !found {
		return a, nil, nil
	}
	a.depth, a.at = s.target, slices.Clone(s.at)
	a.end = s.at[s.lastRequired(s.target)]
	var best rest
	c.give(s.first, func(step int) {
		if s.target == 1 && !c.optional(step) && s.events[s.first].Time != a.end {
			return
		}
		if r := c.best(0, a.end); r.ok {
			best = best.orBetter(r.behind(step, s.first, c.optional(step)))
		}
	})
	rank := 0
	for k := range s.chain {
		s.chain[k] = -1
		if !c.optional(k) && rank < len(best.required) {
			s.chain[k] = best.required[rank]
			rank++
		}
	}
	for _, o := range best.optional {
		s.chain[o.step] = o.event
	}
	return a, s.chain, nil
}

// rest is how the best chain goes on: the events that serve required steps, in
// their order, and the optional steps with theirs.
type rest struct {
	ok       bool
	required []int
	optional []held
}

// behind is r with one event more before it.
func (r rest) behind(step, event int, optional bool) rest {
	switch {
	case step < 0:
	case optional:
		r.optional = append([]held{{step, event}}, r.optional...)
	default:
		r.required = append([]int{event}, r.required...)
	}
	return r
}

// orBetter is the one of two with more optional steps, else with the earlier events.
func (r rest) orBetter(o rest) rest {
	order := func(a, b held) int { return cmp.Or(cmp.Compare(a.step, b.step), cmp.Compare(a.event, b.event)) }
	c := cmp.Or(cmp.Compare(len(o.optional), len(r.optional)), slices.Compare(r.required, o.required), slices.CompareFunc(r.optional, o.optional, order))
	if !r.ok || c > 0 {
		return o
	}
	return r
}

// greedy is the deepest chain of all, exclusions left aside, and in each place by
// the earliest event: the next is the one that lets one more step be served.
func (c *anySearch) greedy() []int {
	c.match.begin(nil)
	c.match.offer(c.events[c.first].Steps, c.first, c.rules.Steps)
	chain := []int{c.first}
	for _, e := range c.pos {
		if len(chain) < c.rules.Steps && c.match.offer(c.events[e].Steps, e, c.rules.Steps) {
			chain = append(chain, e)
		}
	}
	return chain
}

// canExclude tells whether any exclusion begins before a chain of such a depth ends.
func (c *anySearch) canExclude(depth int) bool {
	return slices.ContainsFunc(c.rules.Exclude, func(x Exclusion) bool { return x.From < depth })
}

// plain is the attempt of a chain that nothing excludes.
func (c *anySearch) plain(a attempt, chain []int) (attempt, []int, error) {
	for k, e := range chain {
		c.chain[k], c.at[k] = e, c.events[e].Time
	}
	a.depth, a.at, a.end = len(chain), slices.Clone(c.at), c.at[len(chain)-1]
	return a, c.chain, nil
}

// give lets an event serve each of the steps that are left, required ones first.
func (c *anySearch) give(e int, yield func(step int)) {
	for _, optional := range [2]bool{false, true} {
		for k := range c.rules.Steps {
			if c.optional(k) != optional || c.events[e].Steps>>k&1 == 0 || c.served[k] >= 0 {
				continue
			}
			c.served[k] = e
			if !optional {
				c.ranked = append(c.ranked, e)
			}
			if !c.broken() {
				yield(k)
			}
			c.served[k] = -1
			if !optional {
				c.ranked = c.ranked[:len(c.ranked)-1]
			}
		}
	}
}

// next decides on the event at a place: yield gets the step that it serves, -1 for none.
func (c *anySearch) next(at int, yield func(step int)) {
	if at == len(c.pos) || len(c.ranked) == c.target && c.rules.Optional == 0 {
		return // nothing is left, or nothing can be added
	}
	c.give(c.pos[at], yield)
	yield(-1)
}

// marks are the times at which exclusion i begins and ends for the chain; none where it is not there yet.
func (c *anySearch) marks(i int) (from, to int64) {
	from, to = none, none
	if r := bits.OnesCount64(c.required & (1<<c.rules.Exclude[i].From - 1)); r < len(c.ranked) {
		from = c.events[c.ranked[r]].Time
	}
	if r := bits.OnesCount64(c.required & (1<<c.rules.Exclude[i].To - 1)); r < len(c.ranked) {
		to = c.events[c.ranked[r]].Time
	}
	return from, to
}

func (c *anySearch) broken() bool {
	for i := range c.rules.Exclude {
		if from, to := c.marks(i); c.voids && from != none && to != none && c.between(i, from, to, false) {
			return true
		}
	}
	return false
}

// ended tells whether an exclusion voids the chain if it stays as it is.
func (c *anySearch) ended() bool {
	end := c.events[c.first].Time + c.rules.Window
	for i := range c.rules.Exclude {
		if from, to := c.marks(i); c.voids && from != none && to == none && c.between(i, from, end, true) {
			return true
		}
	}
	return false
}

// name is what decides how the chain may go on with the events from place at on.
func (c *anySearch) name(at int) string {
	if len(c.depths)+len(c.goods)+len(c.rests) > maxSearchStates {
		panic(ErrSearch)
	}
	mask := uint64(0)
	for k, e := range c.served {
		if e >= 0 {
			mask |= 1 << k
		}
	}
	c.key = binary.AppendUvarint(binary.AppendUvarint(c.key[:0], uint64(at)), mask)
	if c.voids {
		for i := range c.rules.Exclude {
			from, to := c.marks(i)
			if to != none {
				from = none
			}
			c.key = binary.AppendVarint(c.key, from)
		}
	}
	return string(c.key)
}

func (c *anySearch) deepest(at int) int {
	key := c.name(at)
	if d, ok := c.depths[key]; ok {
		return d
	}
	d := len(c.ranked)
	all := bits.OnesCount64(c.required)
	c.next(at, func(int) {
		if d < all {
			d = max(d, c.deepest(at+1))
		}
	})
	c.depths[key] = d
	return d
}

func (c *anySearch) good(at int) bool {
	key := c.name(at)
	if g, ok := c.goods[key]; ok {
		return g
	}
	g := len(c.ranked) == c.target && !c.ended()
	c.next(at, func(int) { g = g || c.good(at+1) })
	c.goods[key] = g
	return g
}

// visit notes when good chains take each step.
func (c *anySearch) visit(at int) {
	key := c.name(at)
	if c.seen[key] {
		return
	}
	c.seen[key] = true
	c.next(at, func(step int) {
		if c.good(at + 1) {
			c.note(step)
			c.visit(at + 1)
		}
	})
}

// note notes the time of the event that was given to a step last.
func (c *anySearch) note(step int) {
	if step < 0 {
		return
	}
	t := c.events[c.served[step]].Time
	if !c.optional(step) {
		step = c.lastRequired(len(c.ranked))
	}
	if c.at[step] == none || t < c.at[step] {
		c.at[step] = t
	}
}

// best is the best way on from here to a chain that is complete at end.
func (c *anySearch) best(at int, end int64) rest {
	key := c.name(at)
	if r, ok := c.rests[key]; ok {
		return r
	}
	var r rest
	if c.good(at) {
		r.ok = len(c.ranked) == c.target && !c.ended()
		c.next(at, func(step int) {
			required := step >= 0 && !c.optional(step)
			if required && len(c.ranked) == c.target && c.events[c.pos[at]].Time != end {
				return
			}
			if n := c.best(at+1, end); n.ok {
				r = r.orBetter(n.behind(step, c.pos[at], !required))
			}
		})
	}
	c.rests[key] = r
	return r
}
