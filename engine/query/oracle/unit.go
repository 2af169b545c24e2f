package oracle

import (
	"fmt"

	"spoor/engine/query/lang"
)

// unit is what a funnel counts: a person, a session of one, or a person with one
// value of a field. Its events are in the order of time and then of the log.
type unit struct {
	person  *person
	events  []*Event
	steps   []lang.Step
	within  int64
	order   lang.Order
	matches [][]bool    // [step][event]
	hold    []string    // by event: the values that a chain must hold; chains have one
	holds   []bool      // by event: it has all of them
	voids   []exclusion //
}

// exclusion is an `excluding`: steps count from 0, times are those of its events, ascending.
type exclusion struct {
	from, to int
	times    []int64
}

// between tells whether an excluded event lies after a and before b; with
// closed, at b too.
func (x *exclusion) between(a, b int64, closed bool) bool {
	for _, t := range x.times {
		if a < t && (t < b || closed && t == b) {
			return true
		}
	}
	return false
}

// attempt is what became of one event that may begin chains. Only the deepest
// chains from it count, and of them only those that are not void; when all are,
// the attempt is void and stands for no step at all.
type attempt struct {
	start int
	depth int     // required steps that its chains have; 0: it is void or none
	at    []int64 // by step: the earliest time at which a chain takes it; none: no chain does
	end   int64   // the earliest time at which a chain has all the steps it gets
	chain []int   // by step: the events of the counted chain, -1 where it has none
}

const none = int64(-1) << 62

// required are the steps that a chain cannot pass by.
func (u *unit) required() (steps []int) {
	for k := range u.steps {
		if !u.steps[k].Optional {
			steps = append(steps, k)
		}
	}
	return steps
}

// rank is how many required steps stand before step k.
func (u *unit) rank(k int) (n int) {
	for i := range k {
		if !u.steps[i].Optional {
			n++
		}
	}
	return n
}

// allowed tells whether an event can be in a chain that begins with another one.
func (u *unit) allowed(start, e int) bool {
	return u.holds[e] && u.hold[e] == u.hold[start] &&
		u.events[e].Time >= u.events[start].Time && u.events[e].Time-u.events[start].Time <= u.within
}

// try finds the chains that begin with an event.
func (u *unit) try(start int) attempt {
	if u.order == lang.OrderAny {
		return (&anyChains{unit: u, start: start}).attempt()
	}
	if !u.holds[start] || !u.matches[0][start] {
		return attempt{start: start}
	}
	c := &chains{unit: u, start: start}
	depth := c.depth()
	c.forget()
	c.target, c.voids = depth, u.voids
	return c.attempt()
}

// outcome is what a funnel counts of a unit.
type outcome struct {
	depth   int     // required steps of the counted chain; 0: the unit is not counted
	reached []bool  // by step
	lag     []int64 // by step that was reached: from the start of the chain that got there first
	chain   []int
	starts  []int64 // times at which attempts began that count
}

// run makes all attempts that begin in [from, to) and takes the best: the deepest
// chain, of those the first to be complete, of those the latest start.
func (u *unit) run(from, to int64) outcome {
	out := outcome{reached: make([]bool, len(u.steps)), lag: make([]int64, len(u.steps))}
	var tries []attempt
	var best *attempt
	for i, e := range u.events {
		if e.Time < from || e.Time >= to {
			continue
		}
		a := u.try(i)
		if a.depth == 0 {
			continue
		}
		tries = append(tries, a)
		out.starts = append(out.starts, e.Time)
		if best == nil || a.depth > best.depth ||
			a.depth == best.depth && (a.end < best.end || a.end == best.end && e.Time > u.events[best.start].Time) {
			best = &a
		}
	}
	if best == nil {
		return out
	}
	out.depth, out.chain = best.depth, best.chain
	for k := range u.steps {
		first, start := none, none
		for _, a := range tries {
			if a.at[k] == none || u.steps[k].Optional && a.depth < best.depth {
				continue
			}
			if t := u.events[a.start].Time; first == none || a.at[k] < first || a.at[k] == first && t > start {
				first, start = a.at[k], t
			}
		}
		if first != none {
			out.reached[k], out.lag[k] = true, first-start
		}
	}
	return out
}

// check panics if a chain is not what SEMANTICS says a chain is.
func (u *unit) check(chain []int) {
	var last *Event
	used := map[int]bool{}
	for k, e := range chain {
		if e < 0 {
			continue
		}
		if used[e] || u.order != lang.OrderAny && (!u.matches[k][e] || last != nil && u.events[e].Time < last.Time) {
			panic(fmt.Sprintf("oracle: no chain: %v", chain))
		}
		used[e] = true
		last = u.events[e]
	}
}
