package kernel

import (
	"math/bits"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// naive finds the deepest chain by trying all of them.
type naive struct {
	rules  Rules
	events []Event
	used   []bool
	chain  []int  // event per step, -1 for none
	depth  int    // required steps
	holds  uint64 // optional steps that a chain of that depth holds
}

func (n *naive) run() (int, uint64) {
	n.used = make([]bool, len(n.events))
	n.chain = make([]int, n.rules.Steps)
	n.step(0, -1, -1)
	return n.depth, n.holds
}

// step tries every event for step k behind the last one.
func (n *naive) step(k, first, last int) {
	if k == n.rules.Steps {
		return
	}
	if n.rules.Optional>>k&1 != 0 {
		n.chain[k] = -1
		n.step(k+1, first, last)
	}
	for i := range n.events {
		e := &n.events[i]
		if n.used[i] || e.Steps>>k&1 == 0 {
			continue
		}
		start := first
		if start < 0 {
			if k > 0 {
				continue
			}
			start = i
		} else if e.Time < n.events[last].Time || e.Time-n.events[start].Time > n.rules.Window {
			continue
		}
		n.chain[k] = i
		if !n.void(k) {
			n.note(k)
			n.used[i] = true
			n.step(k+1, start, i)
			n.used[i] = false
		}
		n.chain[k] = -1
	}
}

func (n *naive) note(k int) {
	var holds uint64
	for s := 0; s <= k; s++ {
		if n.chain[s] >= 0 {
			holds |= 1 << s
		}
	}
	switch depth := bits.OnesCount64(holds &^ n.rules.Optional); {
	case depth > n.depth:
		n.depth, n.holds = depth, holds&n.rules.Optional
	case depth == n.depth:
		n.holds |= holds & n.rules.Optional
	}
}

// void tells whether an exclusion forbids the chain up to step k.
func (n *naive) void(k int) bool {
	for v, x := range n.rules.Exclude {
		if k <= x.From || k > x.To || n.chain[x.From] < 0 {
			continue
		}
		for i := range n.events {
			if e := &n.events[i]; e.Void>>v&1 != 0 && e.Time > n.events[n.chain[x.From]].Time && e.Time < n.events[n.chain[k]].Time {
				return true
			}
		}
	}
	return false
}

// permutations calls f with the events in every order that their times allow.
func permutations(events []Event, f func([]Event)) {
	order := append([]Event(nil), events...)
	var next func(i int)
	next = func(i int) {
		if i == len(order) {
			f(order)
			return
		}
		for j := i; j < len(order) && order[j].Time == order[i].Time; j++ {
			order[i], order[j] = order[j], order[i]
			next(i + 1)
			order[i], order[j] = order[j], order[i]
		}
	}
	next(0)
}

// naiveStrict looks for steps that are matched by neighbours in some order.
func naiveStrict(r Rules, events []Event) int {
	depth := 0
	permutations(events, func(es []Event) {
		for i := range es {
			for k := 0; k < r.Steps && i+k < len(es); k++ {
				if es[i+k].Steps>>k&1 == 0 || es[i+k].Time-es[i].Time > r.Window {
					break
				}
				depth = max(depth, k+1)
			}
		}
	})
	return depth
}

// naiveAny tries every way to give different steps to different events of one window.
func naiveAny(r Rules, events []Event) int {
	best := 0
	var try func(i int, taken uint64, count int, first int64)
	try = func(i int, taken uint64, count int, first int64) {
		best = max(best, count)
		if i == len(events) {
			return
		}
		try(i+1, taken, count, first)
		e := &events[i]
		if count > 0 && e.Time-first > r.Window {
			return
		}
		for k := range r.Steps {
			if e.Steps>>k&1 != 0 && taken>>k&1 == 0 {
				start := first
				if count == 0 {
					start = e.Time
				}
				try(i+1, taken|1<<k, count+1, start)
			}
		}
	}
	try(0, 0, 0, 0)
	return best
}

func randomEvents(r *rand.Rand, steps, exclusions, most int) []Event {
	events := make([]Event, r.IntN(most+1))
	t := int64(0)
	for i := range events {
		if r.IntN(3) > 0 {
			t += r.Int64N(4)
		}
		events[i].Time = t
		for k := range steps {
			if r.IntN(3) == 0 {
				events[i].Steps |= 1 << k
			}
		}
		for v := range exclusions {
			if r.IntN(6) == 0 {
				events[i].Void |= 1 << v
			}
		}
	}
	return events
}

func TestChainsAreAsDeepAsTheDeepestOfAllChains(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 7))
	for range 60_000 {
		rules := Rules{Steps: 1 + r.IntN(4), Window: r.Int64N(10)}
		if rules.Steps > 1 && r.IntN(2) == 0 {
			from := r.IntN(rules.Steps - 1)
			to := from + 1 + r.IntN(rules.Steps-1-from)
			rules.Exclude = append(rules.Exclude, Exclusion{from, to})
		}
		events := randomEvents(r, rules.Steps, len(rules.Exclude), 7)
		n := naive{rules: rules, events: events}
		depth, _ := n.run()
		got := NewChain(rules).Run(events)
		require.Equal(t, depth, got.Depth, "rules %+v events %+v", rules, events)
		checkChain(t, rules, events, got)
	}
}

func TestASearchFindsTheDeepestChainsAndAllOptionalStepsThatTheyHold(t *testing.T) {
	r := rand.New(rand.NewPCG(11, 11))
	for range 30_000 {
		rules := Rules{Steps: 1 + r.IntN(4), Window: r.Int64N(10)}
		for k := 1; k < rules.Steps-1; k++ {
			if r.IntN(2) == 0 {
				rules.Optional |= 1 << k
			}
		}
		events := randomEvents(r, rules.Steps, 0, 7)
		n := naive{rules: rules, events: events}
		depth, holds := n.run()
		got, err := NewSearch(rules, false).Run(events)
		require.NoError(t, err)
		require.Equal(t, depth, got.Depth, "rules %+v events %+v", rules, events)
		require.Equal(t, holds, got.Reached&rules.Optional, "rules %+v events %+v", rules, events)
	}
}

func TestASearchThatIsTooMuchSaysSo(t *testing.T) {
	events := make([]Event, 400)
	for i := range events {
		events[i] = Event{Time: 5, Steps: 1<<20 - 1}
	}
	_, err := NewSearch(Rules{Steps: 20, Window: 10, Optional: 2}, false).Run(events)
	require.ErrorIs(t, err, ErrSearch)
}

// checkChain holds that the events that are named form a chain.
func checkChain(t *testing.T, rules Rules, events []Event, got *Result) {
	t.Helper()
	seen := map[int]bool{}
	first, last := int64(none), int64(none)
	for k := range got.Depth {
		i := got.Events[k]
		require.False(t, seen[i], "one event serves two steps")
		seen[i] = true
		require.NotZero(t, events[i].Steps>>k&1)
		if first == none {
			first = events[i].Time
		}
		require.GreaterOrEqual(t, events[i].Time, last)
		last = events[i].Time
		require.LessOrEqual(t, last-first, rules.Window)
	}
}

func TestStrictChainsHaveNoOtherEventBetween(t *testing.T) {
	r := rand.New(rand.NewPCG(8, 8))
	for range 60_000 {
		rules := Rules{Steps: 1 + r.IntN(4), Window: r.Int64N(10), Order: Strict}
		events := randomEvents(r, rules.Steps, 0, 6)
		require.Equal(t, naiveStrict(rules, events), NewChain(rules).Run(events).Depth, "rules %+v events %+v", rules, events)
	}
}

func TestChainsInAnyOrderMatchMostSteps(t *testing.T) {
	r := rand.New(rand.NewPCG(9, 9))
	for range 60_000 {
		rules := Rules{Steps: 1 + r.IntN(4), Window: r.Int64N(8), Order: AnyOrder}
		events := randomEvents(r, rules.Steps, 0, 7)
		require.Equal(t, naiveAny(rules, events), NewChain(rules).Run(events).Depth, "rules %+v events %+v", rules, events)
	}
}

func TestManyEqualStepsOverOneTimeTakeLinearTime(t *testing.T) {
	events := make([]Event, 100_000)
	for i := range events {
		events[i] = Event{Time: 5, Steps: 1<<40 - 1}
	}
	r := NewChain(Rules{Steps: 40, Window: 10}).Run(events)
	require.Equal(t, 40, r.Depth)
}

// sweep answers a funnel of disjoint steps with the kernel for sweeps.
func sweep(f *Funnel, steps int, window int64, byPerson [][]Event) []int {
	f.Reset(steps, window, 0, uint32(len(byPerson)), false)
	for day := int32(0); day < 3; day++ {
		lists := make([][]uint64, steps)
		for p, events := range byPerson {
			for _, e := range events {
				if d := int32(e.Time / micros); d == day {
					for k := range steps {
						if e.Steps>>k&1 != 0 {
							lists[k] = append(lists[k], uint64(p)<<37|uint64(e.Time%micros))
						}
					}
				}
			}
		}
		wanted := func(k int) []uint64 { // leaves out what need not be read
			if k > 0 && !f.Live(k) {
				return nil
			}
			who := f.Wanted(k)
			return slices.DeleteFunc(lists[k], func(key uint64) bool { return who != nil && who[0]>>(key>>37)&1 == 0 })
		}
		f.Begin(day, wanted(0), nil)
		for k := 1; k < steps; k++ {
			f.Step(k, wanted(k))
		}
		f.End()
	}
	return f.Users()
}

const micros = 86_400_000_000

func TestTheSweepAgreesWithTheWalkOverDays(t *testing.T) {
	r := rand.New(rand.NewPCG(10, 10))
	var f Funnel // used again and again
	for range 5000 {
		steps := 1 + r.IntN(5)
		window := r.Int64N(3 * micros)
		persons := make([][]Event, 1+r.IntN(6))
		want := make([]int, steps)
		chain := NewChain(Rules{Steps: steps, Window: window})
		for p := range persons {
			t := int64(0)
			for range r.IntN(12) {
				if r.IntN(4) > 0 {
					t += r.Int64N(micros / 3)
				}
				if t >= 3*micros {
					break
				}
				persons[p] = append(persons[p], Event{Time: t, Steps: 1 << r.IntN(steps)})
			}
			for k := range chain.Run(persons[p]).Depth {
				want[k]++
			}
		}
		require.Equal(t, want, sweep(&f, steps, window, persons))
	}
}
