package kernel

// Event is an event of one person as kernels that go person by person see it.
type Event struct {
	Time  int64   // microseconds
	Steps uint64  // bit k: it matches selection k
	Num   float64 // a value of it, NaN for none
	Tag   uint32  // group of its values, or its name
}

// Chain finds the deepest chain of one person when an event may match several
// steps. Like Funnel it keeps the latest start per step. Events of one time may
// be taken in any order, each for one step: a group of equal times extends a chain from
// step i to step j when its events can be shared out to the steps i+1 to j.
type Chain struct {
	steps  int
	window int64
	start  []int64
	next   []int64
	tag    []uint32
	tags   []uint32
	res    ChainResult
	match  matcher
}

// ChainResult is the outcome for one person.
type ChainResult struct {
	Depth int     // steps of the best chain, 0 for none
	Lag   []int64 // per step: from the start, of the first chain that reached it
	Tag   uint32  // of the first chain that reached Depth
	// LastStart is the latest time at which a chain began.
	LastStart int64
}

// NewChain makes a Chain for a funnel; it is used for one person after another.
func NewChain(steps int, window int64) *Chain {
	return &Chain{steps: steps, window: window, start: make([]int64, steps), next: make([]int64, steps), tag: make([]uint32, steps), tags: make([]uint32, steps), res: ChainResult{Lag: make([]int64, steps)}}
}

// Run takes a person's events in the order of time. The result is good until the next Run.
func (c *Chain) Run(events []Event) *ChainResult {
	for k := range c.start {
		c.start[k] = none
	}
	c.res.Depth, c.res.LastStart = 0, none
	for i := 0; i < len(events); {
		j := i + 1
		for j < len(events) && events[j].Time == events[i].Time {
			j++
		}
		if j == i+1 {
			c.one(&events[i])
		} else {
			c.group(events[i:j])
		}
		i = j
	}
	return &c.res
}

// reach notes that a chain which began at start reached step k at time t.
func (c *Chain) reach(k int, t, start int64, tag uint32) {
	if k >= c.res.Depth {
		c.res.Depth = k + 1
		c.res.Lag[k] = t - start
		c.res.Tag = tag
	}
}

// one takes an event that shares its time with no other: steps from the last to
// the first, so that it serves one only.
func (c *Chain) one(e *Event) {
	for k := c.steps - 1; k > 0; k-- {
		if e.Steps>>k&1 == 0 {
			continue
		}
		if s := c.start[k-1]; e.Time-s <= c.window {
			if s > c.start[k] {
				c.start[k], c.tag[k] = s, c.tag[k-1]
			}
			c.reach(k, e.Time, s, c.tag[k-1])
		}
	}
	if e.Steps&1 != 0 {
		c.start[0], c.tag[0] = e.Time, e.Tag
		c.res.LastStart = e.Time
		c.reach(0, e.Time, e.Time, e.Tag)
	}
}

// group takes the events of one time.
func (c *Chain) group(events []Event) {
	t := events[0].Time
	copy(c.next, c.start)
	copy(c.tags, c.tag)
	// A chain that waits at step i, or begins here (i = -1), goes on as far as the
	// events can be shared out.
	for i := c.steps - 2; i >= -1; i-- {
		start, tag := t, uint32(0)
		if i >= 0 {
			if start, tag = c.start[i], c.tag[i]; t-start > c.window {
				continue
			}
		}
		c.match.begin(events)
		for k := i + 1; k < c.steps && c.match.add(k); k++ {
			if i < 0 {
				tag = events[c.match.first()].Tag
			}
			if start > c.next[k] {
				c.next[k], c.tags[k] = start, tag
			}
			c.reach(k, t, start, tag)
			if k == 0 {
				c.res.LastStart = t
			}
		}
	}
	copy(c.start, c.next)
	copy(c.tag, c.tags)
}

// matcher shares events of one time out to steps. Events that match the same
// steps are alike, so it works on classes of them, and steps are added one by
// one with augmenting paths (Kuhn's algorithm for bipartite matching).
type matcher struct {
	class  []uint64 // steps of the class
	room   []int    // events of the class that are free
	holds  [][]int  // steps that the class's events serve
	member []int    // an event of the class, the first
	seen   []bool
}

func (m *matcher) begin(events []Event) {
	m.class, m.room, m.member = m.class[:0], m.room[:0], m.member[:0]
	m.holds = m.holds[:0]
	for i := range events {
		found := false
		for c := range m.class {
			if m.class[c] == events[i].Steps {
				m.room[c]++
				found = true
				break
			}
		}
		if !found {
			m.class = append(m.class, events[i].Steps)
			m.room = append(m.room, 1)
			m.member = append(m.member, i)
			m.holds = append(m.holds, nil)
		}
	}
	if cap(m.seen) < len(m.class) {
		m.seen = make([]bool, len(m.class))
	}
	m.seen = m.seen[:len(m.class)]
}

// add serves one more step; false when that is impossible.
func (m *matcher) add(step int) bool {
	clear(m.seen)
	return m.serve(step)
}

func (m *matcher) serve(step int) bool {
	for c, steps := range m.class {
		if steps>>step&1 == 0 || m.seen[c] {
			continue
		}
		m.seen[c] = true
		if m.room[c] > 0 {
			m.room[c]--
			m.holds[c] = append(m.holds[c], step)
			return true
		}
		for i, other := range m.holds[c] {
			if m.serve(other) {
				m.holds[c][i] = step
				return true
			}
		}
	}
	return false
}

// first is an event that serves step 0.
func (m *matcher) first() int {
	for c, steps := range m.holds {
		for _, s := range steps {
			if s == 0 {
				return m.member[c]
			}
		}
	}
	return 0
}
