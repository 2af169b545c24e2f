package oracle

import (
	"fmt"
	"math/rand"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"spoor/engine/query/lang"
)

// brute answers what unit.run does, by trying every way to give events to steps
// and asking of each whether it is a chain.
type brute struct{ *unit }

// eachChain calls f with every chain that begins with an event, in the order of steps and events.
func (b brute) eachChain(start int, f func(chain []int)) {
	chain := make([]int, len(b.steps))
	var give func(k int)
	give = func(k int) {
		if k == len(chain) {
			if b.isChain(chain, start) {
				f(slices.Clone(chain))
			}
			return
		}
		for e := -1; e < len(b.events); e++ {
			chain[k] = e
			give(k + 1)
		}
	}
	give(0)
}

func (b brute) isChain(chain []int, start int) bool {
	used := map[int]bool{}
	before, gap := none, false
	latest := none
	for k, e := range chain {
		if e < 0 {
			gap = gap || !b.steps[k].Optional
			continue
		}
		t := b.events[e].Time
		if used[e] || !b.matches[k][e] || !b.holds[e] || b.hold[e] != b.hold[start] || t < b.events[start].Time || t > b.events[start].Time+b.within {
			return false
		}
		if b.order != lang.OrderAny && (gap || before != none && t < before) {
			return false
		}
		used[e], before, latest = true, t, max(latest, t)
	}
	if !used[start] || b.order != lang.OrderAny && chain[0] != start {
		return false
	}
	if b.order == lang.OrderStrict {
		for i, e := range b.events {
			if !used[i] && b.events[start].Time < e.Time && e.Time < latest {
				return false
			}
		}
	}
	return true
}

// timesOf are the times of a chain's steps, as the answer numbers them.
func (b brute) timesOf(chain []int) []int64 {
	times := make([]int64, len(chain))
	var required []int64
	for k, e := range chain {
		times[k] = none
		if e >= 0 {
			times[k] = b.events[e].Time
			if !b.steps[k].Optional {
				required = append(required, times[k])
			}
		}
	}
	if b.order == lang.OrderAny {
		slices.Sort(required)
		for k := range times {
			if !b.steps[k].Optional {
				times[k] = none
				if len(required) > 0 {
					times[k], required = required[0], required[1:]
				}
			}
		}
	}
	return times
}

func (b brute) depthOf(chain []int) (n int) {
	for k, e := range chain {
		if e >= 0 && !b.steps[k].Optional {
			n++
		}
	}
	return n
}

func (b brute) isVoid(chain []int, start int) bool {
	times := b.timesOf(chain)
	if b.order == lang.OrderAny { // the step numbers of exclusions are those of required steps
		for k := range times {
			if b.steps[k].Optional {
				times[k] = none
			}
		}
	}
	first := func(k int) int64 {
		for ; k < len(times); k++ {
			if times[k] != none {
				return times[k]
			}
		}
		return none
	}
	for _, x := range b.voids {
		from, to := first(x.from), first(x.to)
		for _, t := range x.times {
			if from != none && t > from && (to != none && t < to || to == none && t <= b.events[start].Time+b.within) {
				return true
			}
		}
	}
	return false
}

func (b brute) run(from, to int64) outcome {
	out := outcome{reached: make([]bool, len(b.steps)), lag: make([]int64, len(b.steps))}
	type found struct {
		start, depth int
		good         [][]int
	}
	var all []found
	for s, e := range b.events {
		if e.Time < from || e.Time >= to {
			continue
		}
		f := found{start: s}
		b.eachChain(s, func(chain []int) { f.depth = max(f.depth, b.depthOf(chain)) })
		b.eachChain(s, func(chain []int) {
			if b.depthOf(chain) == f.depth && !b.isVoid(chain, s) {
				f.good = append(f.good, chain)
			}
		})
		if f.depth > 0 && len(f.good) > 0 {
			all = append(all, f)
			out.depth = max(out.depth, f.depth)
			out.starts = append(out.starts, e.Time)
		}
	}
	for k := range b.steps {
		best := none
		for _, f := range all {
			if b.steps[k].Optional && f.depth < out.depth {
				continue
			}
			for _, chain := range f.good {
				t, start := b.timesOf(chain)[k], b.events[f.start].Time
				if t == none {
					continue
				}
				if best == none || t < best || t == best && t-start < out.lag[k] {
					best, out.reached[k], out.lag[k] = t, true, t-start
				}
			}
		}
	}
	if b.order == lang.OrderAny {
		return out // which chain of a start is counted is told by its start alone
	}
	var start found
	end := none
	for _, f := range all {
		if f.depth < out.depth {
			continue
		}
		last := b.required()[f.depth-1]
		for _, chain := range f.good {
			t, s := b.events[chain[last]].Time, b.events[f.start].Time
			if end == none || t < end || t == end && s > b.events[start.start].Time {
				start, end = f, t
			}
		}
	}
	for _, chain := range start.good {
		if b.events[chain[b.required()[start.depth-1]]].Time == end && (out.chain == nil || better(chain, out.chain)) {
			out.chain = chain
		}
	}
	return out
}

// better tells whether a chain holds more steps than another one, or as many and the earlier ones.
func better(a, b []int) bool {
	holds := func(chain []int) (n int) {
		for _, e := range chain {
			if e >= 0 {
				n++
			}
		}
		return n
	}
	if holds(a) != holds(b) {
		return holds(a) > holds(b)
	}
	for k := range a {
		if a[k] != b[k] {
			return b[k] < 0 || a[k] >= 0 && a[k] < b[k]
		}
	}
	return false
}

func randomUnit(r *rand.Rand) *unit {
	n := 1 + r.Intn(3)
	if r.Intn(4) == 0 {
		n = 4
	}
	u := &unit{steps: make([]lang.Step, n), within: int64(r.Intn(8)), order: lang.Order(r.Intn(3))}
	for k := 1; k < n-1; k++ {
		u.steps[k].Optional = r.Intn(3) == 0
	}
	at := int64(0)
	for range r.Intn(7) {
		at += int64(r.Intn(3))
		u.events = append(u.events, &Event{Time: at})
		u.hold = append(u.hold, []string{"x", "x", "y"}[r.Intn(3)])
		u.holds = append(u.holds, r.Intn(8) > 0)
	}
	if r.Intn(2) == 0 {
		for i := range u.hold {
			u.hold[i], u.holds[i] = "", true
		}
	}
	for range n {
		m := make([]bool, len(u.events))
		for i := range m {
			m[i] = r.Intn(2) == 0
		}
		u.matches = append(u.matches, m)
	}
	for n > 1 && r.Intn(2) == 0 {
		x := exclusion{from: r.Intn(n - 1)}
		x.to = x.from + 1 + r.Intn(n-1-x.from)
		for _, e := range u.events {
			if r.Intn(4) == 0 {
				x.times = append(x.times, e.Time)
			}
		}
		u.voids = append(u.voids, x)
	}
	return u
}

func TestTheSearchForChainsFindsWhatTryingAllOfThemFinds(t *testing.T) {
	r := rand.New(rand.NewSource(1))
	deep := 0
	for i := range 4000 {
		u := randomUnit(r)
		from := int64(r.Intn(3))
		to := from + int64(r.Intn(12))
		want, got := brute{u}.run(from, to), u.run(from, to)
		if got.depth > 1 {
			deep++
		}
		if u.order == lang.OrderAny {
			got.chain = nil
		}
		for k := range got.lag {
			if !got.reached[k] {
				got.lag[k] = 0
			}
		}
		require.Equal(t, want, got, fmt.Sprintf("case %d: order %s within %d steps %v matches %v hold %v holds %v voids %v times %v from %d to %d",
			i, u.order, u.within, u.steps, u.matches, u.hold, u.holds, u.voids, timesOf(u.events), from, to))
	}
	require.Greater(t, deep, 500)
}

func timesOf(events []*Event) (ts []int64) {
	for _, e := range events {
		ts = append(ts, e.Time)
	}
	return ts
}
