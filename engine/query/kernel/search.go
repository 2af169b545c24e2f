package kernel

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
	"slices"
)

// ErrSearch is that the chains of one unit are too many to be looked at.
var ErrSearch = errors.New("the chains are too many to be searched")

// maxSearchStates bounds the memory and time that the chains from one event take.
const maxSearchStates = 1 << 20

// Search finds the best chain of one unit by looking at every chain. It answers
// what Chain does not: optional steps, and exclusions in any order, where a
// chain that is worse now may be the better one later. It goes from a chain to
// those with one event more; what can become of a chain is decided by its last
// step and event, the events of that time which it holds, and since when
// exclusions count, so that each such state is looked at once.
type Search struct {
	rules    Rules
	hold     bool   // chains hold one value of Event.Hold, not 0
	required uint64 // steps that no chain passes by

	events []Event
	first  int // the event that chains begin with
	lo, hi int // the events of its time, and those up to the end of its window
	voids  bool
	target int // required steps that chains must have

	chain  []int // by step: its event, -1 for none
	key    []byte
	depths map[string]int
	goods  map[string]bool
	seen   map[string]bool
	bests  map[string]continuation
	at     []int64
	any    anySearch
	out    Result
}

// continuation is how the best chain goes on from a state.
type continuation struct {
	ok          bool
	count       int // optional steps from here on
	step, event int // the next event of the chain, event -1 for none
}

// attempt is what became of the chains from one event.
type attempt struct {
	start int
	depth int
	end   int64
	at    []int64
}

// NewSearch makes a Search; it is used for one unit after another.
func NewSearch(r Rules, hold bool) *Search {
	s := &Search{rules: r, hold: hold, required: (1<<r.Steps - 1) &^ r.Optional}
	s.chain, s.at = make([]int, r.Steps), make([]int64, r.Steps)
	s.out.Events, s.out.At, s.out.Lag = make([]int, r.Steps), make([]int64, r.Steps), make([]int64, r.Steps)
	return s
}

// Run takes the events of a unit in the order of time. Depth is the number of
// required steps of the best chain, and Reached has the optional steps of chains of
// that depth alone; of several best chains from one event Events are those of the
// one with most optional steps, and then the earliest. The result is good until the next Run.
func (s *Search) Run(events []Event) (*Result, error) {
	s.events = events
	o := &s.out
	o.Depth, o.Reached, o.LastStart = 0, 0, none
	var tries []attempt
	for i := range events {
		if !s.begins(i) {
			continue
		}
		a, chain, err := s.try(i)
		if err != nil {
			return nil, err
		}
		if a.depth == 0 {
			continue
		}
		t := events[i].Time
		tries = append(tries, a)
		o.LastStart = max(o.LastStart, t)
		if a.depth > o.Depth || a.depth == o.Depth && (a.end < o.End || a.end == o.End && t > o.Start) {
			o.Depth, o.Start, o.End = a.depth, t, a.end
			copy(o.Events, chain)
		}
	}
	for k := range s.rules.Steps {
		for _, a := range tries {
			if a.at[k] == none || s.optional(k) && a.depth < o.Depth {
				continue // optional steps of a chain that is not the deepest do not count
			}
			lag := a.at[k] - events[a.start].Time
			if o.Reached>>k&1 == 0 || a.at[k] < o.At[k] || a.at[k] == o.At[k] && lag < o.Lag[k] {
				o.Reached |= 1 << k
				o.At[k], o.Lag[k] = a.at[k], lag
			}
		}
	}
	return o, nil
}

// Counted is the chain that counts of those that begin at start and are depth
// steps deep at end: events by step. Of events of one time it begins with the
// first stored from which such a chain goes.
func (s *Search) Counted(events []Event, start int64, depth int, end int64) ([]int, error) {
	s.events = events
	i, _ := slices.BinarySearchFunc(events, start, func(e Event, t int64) int { return cmp.Compare(e.Time, t) })
	for ; i < len(events) && events[i].Time == start; i++ {
		if !s.begins(i) {
			continue
		}
		a, chain, err := s.try(i)
		if err != nil || a.depth == depth && a.end == end {
			return chain, err
		}
	}
	panic(fmt.Sprintf("kernel: no chain of depth %d from %d to %d", depth, start, end))
}

func (s *Search) optional(k int) bool { return s.rules.Optional>>k&1 != 0 }

// begins tells whether chains may begin with an event.
func (s *Search) begins(i int) bool {
	e := &s.events[i]
	if s.hold && e.Hold == 0 {
		return false
	}
	if s.rules.Order == AnyOrder {
		return e.Steps != 0 && e.Void&NotFirst == 0
	}
	return e.Steps&1 != 0
}

// fits tells whether an event may be in a chain with the first one.
func (s *Search) fits(e int) bool { return !s.hold || s.events[e].Hold == s.events[s.first].Hold }

// try looks at the chains from one event: those that go deepest count, unless
// exclusions make all of them void.
func (s *Search) try(first int) (a attempt, chain []int, err error) {
	s.first = first
	t := s.events[first].Time
	for s.lo = first; s.lo > 0 && s.events[s.lo-1].Time == t; s.lo-- {
	}
	for s.hi = first + 1; s.hi < len(s.events) && s.events[s.hi].Time-t <= s.rules.Window; s.hi++ {
	}
	excluded := false
	for e := s.lo; e < s.hi; e++ {
		excluded = excluded || s.events[e].Void&(1<<len(s.rules.Exclude)-1) != 0
	}
	for k := range s.chain {
		s.chain[k], s.at[k] = -1, none
	}
	s.depths, s.goods, s.seen, s.bests = map[string]int{}, map[string]bool{}, map[string]bool{}, map[string]continuation{}
	defer func() {
		if r := recover(); r != nil {
			if r != ErrSearch { //nolint:errorlint // it is this very value
				panic(r)
			}
			err = ErrSearch
		}
	}()
	if s.rules.Order == AnyOrder {
		return s.any.try(s, excluded)
	}
	s.chain[0] = first
	s.voids = false
	s.target = s.deepest(0)
	s.voids = excluded
	a = attempt{start: first}
	if !s.good(0) {
		return a, nil, nil
	}
	s.visit(0)
	a.depth, a.at = s.target, slices.Clone(s.at)
	a.end = s.at[s.lastRequired(s.target)]
	for k := 0; ; {
		c := s.best(k, a.end)
		if c.event < 0 {
			return a, s.chain, nil
		}
		s.chain[c.step] = c.event
		k = c.step
	}
}

// lastRequired is the n-th step that is not optional.
func (s *Search) lastRequired(n int) int {
	r := s.required
	for range n - 1 {
		r &= r - 1
	}
	return bits.TrailingZeros64(r)
}

// have is how many required steps a chain that ends in step k has.
func (s *Search) have(k int) int { return bits.OnesCount64(s.required & (2<<k - 1)) }

// state names what decides how the chain, which ends in step k, may go on.
func (s *Search) state(k int) string {
	if len(s.depths)+len(s.goods)+len(s.bests) > maxSearchStates {
		panic(ErrSearch)
	}
	s.key = binary.AppendUvarint(s.key[:0], uint64(k))
	at := s.events[s.chain[k]].Time
	s.key = binary.AppendUvarint(s.key, uint64(s.chain[k]))
	from := len(s.key)
	for j := k - 1; j >= 0; j-- { // steps of one time stand side by side, their events are a set
		if e := s.chain[j]; e >= 0 {
			if s.events[e].Time != at {
				break
			}
			s.key = binary.BigEndian.AppendUint32(s.key, uint32(e))
		}
	}
	sortWords(s.key[from:])
	if s.voids {
		for i := range s.rules.Exclude {
			x := &s.rules.Exclude[i]
			since := none
			if f := s.holdFrom(x.From, k); f >= 0 && s.holdFrom(x.To, k) < 0 {
				since = int(s.events[s.chain[f]].Time)
			}
			s.key = binary.AppendVarint(append(s.key, 0xff), int64(since))
		}
	}
	return string(s.key)
}

// sortWords sorts numbers of four bytes each.
func sortWords(b []byte) {
	for i := 4; i < len(b); i += 4 {
		for j := i; j > 0; j -= 4 {
			p, q := binary.BigEndian.Uint32(b[j-4:]), binary.BigEndian.Uint32(b[j:])
			if p <= q {
				break
			}
			binary.BigEndian.PutUint32(b[j-4:], q)
			binary.BigEndian.PutUint32(b[j:], p)
		}
	}
}

// holdFrom is the first step in [from, to] that the chain holds, -1 for none.
func (s *Search) holdFrom(from, to int) int {
	for k := from; k <= to; k++ {
		if s.chain[k] >= 0 {
			return k
		}
	}
	return -1
}

// longer calls yield with each way to add one event to the chain, which ends in
// step k, while the chain holds that event.
func (s *Search) longer(k int, yield func(step int)) {
	at := s.events[s.chain[k]].Time
	from := s.chain[k]
	for from > s.lo && s.events[from-1].Time == at {
		from--
	}
	for step := k + 1; step < s.rules.Steps; step++ {
		earliest := int64(none)
		for e := from; e < s.hi; e++ {
			x := &s.events[e]
			if x.Steps>>step&1 == 0 || !s.fits(e) || slices.Contains(s.chain[:k+1], e) {
				continue
			}
			if s.rules.Order == Strict {
				if !s.adjacent(k, from, e) {
					continue
				}
			} else if earliest != none && x.Time > earliest && !s.excluded(earliest, x.Time) {
				continue // what follows this event can follow the earlier one as well
			}
			s.chain[step] = e
			broken := s.breaks(step)
			if !broken {
				earliest = x.Time
				yield(step)
			}
			s.chain[step] = -1
			if broken {
				break // and so would be all later ones
			}
		}
		if !s.optional(step) {
			return
		}
	}
}

// adjacent tells whether under Strict event e can stand right behind the chain;
// from is the first event of the time of the chain's last one. Events that the
// chain leaves over may stand before its first event, but not between two.
func (s *Search) adjacent(k, from, e int) bool {
	at, to := s.events[from].Time, s.events[e].Time
	if to == at {
		return true
	}
	for i := from; i < e && s.events[i].Time < to; i++ {
		if s.events[i].Time > at || at > s.events[s.first].Time && !slices.Contains(s.chain[:k+1], i) {
			return false
		}
	}
	return true
}

// between tells whether an event of exclusion i lies after a and before b, or with closed at b.
func (s *Search) between(i int, a, b int64, closed bool) bool {
	for e := s.lo; e < s.hi; e++ {
		if t := s.events[e].Time; s.events[e].Void>>i&1 != 0 && a < t && (t < b || closed && t == b) {
			return true
		}
	}
	return false
}

// excluded tells whether an event of any exclusion lies behind a, up to b: then a
// chain may need the later of two events for a step.
func (s *Search) excluded(a, b int64) bool {
	for e := s.lo; s.voids && e < s.hi && s.events[e].Time <= b; e++ {
		if s.events[e].Time > a && s.events[e].Void&(1<<len(s.rules.Exclude)-1) != 0 {
			return true
		}
	}
	return false
}

// breaks tells whether the chain is void now that it holds step k.
func (s *Search) breaks(k int) bool {
	if !s.voids {
		return false
	}
	for i := range s.rules.Exclude {
		x := &s.rules.Exclude[i]
		from, to := s.holdFrom(x.From, k), s.holdFrom(x.To, k)
		if from < 0 || to >= 0 && to < k {
			continue
		}
		if s.between(i, s.events[s.chain[from]].Time, s.events[s.chain[k]].Time, false) {
			return true
		}
	}
	return false
}

// void tells whether the chain, which ends in step k, is void if it stays as it is.
func (s *Search) void(k int) bool {
	if !s.voids {
		return false
	}
	end := s.events[s.first].Time + s.rules.Window
	for i := range s.rules.Exclude {
		x := &s.rules.Exclude[i]
		from := s.holdFrom(x.From, k)
		if from >= 0 && s.holdFrom(x.To, k) < 0 && s.between(i, s.events[s.chain[from]].Time, end, true) {
			return true
		}
	}
	return false
}

// deepest is how many required steps the chain can come to.
func (s *Search) deepest(k int) int {
	key := s.state(k)
	if d, ok := s.depths[key]; ok {
		return d
	}
	d := s.have(k)
	s.longer(k, func(step int) { d = max(d, s.deepest(step)) })
	s.depths[key] = d
	return d
}

// good tells whether the chain can come to the target without being void.
func (s *Search) good(k int) bool {
	key := s.state(k)
	if g, ok := s.goods[key]; ok {
		return g
	}
	g := s.have(k) == s.target && !s.void(k)
	s.longer(k, func(step int) { g = g || s.good(step) })
	s.goods[key] = g
	return g
}

// visit notes when good chains take each step.
func (s *Search) visit(k int) {
	key := s.state(k)
	if s.seen[key] || !s.good(k) {
		return
	}
	s.seen[key] = true
	if t := s.events[s.chain[k]].Time; s.at[k] == none || t < s.at[k] {
		s.at[k] = t
	}
	s.longer(k, s.visit)
}

// best is how the best chain goes on: complete at end, with as many optional
// steps as can be, else by the earliest events.
func (s *Search) best(k int, end int64) continuation {
	key := s.state(k)
	if c, ok := s.bests[key]; ok {
		return c
	}
	c := continuation{event: -1}
	if s.have(k) == s.target {
		if !s.optional(k) && s.events[s.chain[k]].Time != end {
			s.bests[key] = c
			return c
		}
		c.ok = !s.void(k)
	}
	s.longer(k, func(step int) {
		e := s.chain[step]
		n := s.best(step, end)
		if s.optional(step) {
			n.count++
		}
		if n.ok && (!c.ok || n.count > c.count) {
			c = continuation{true, n.count, step, e}
		}
	})
	s.bests[key] = c
	return c
}
