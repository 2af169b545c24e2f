package kernel

// matcher shares events out to steps, each event for one step at most, by
// augmenting paths (Kuhn's algorithm for bipartite matching). Events that match
// the same steps are alike, so it works on classes of them: their number does
// not depend on how many events share a time.
type matcher struct {
	class []uint64 // steps of the class
	free  [][]int  // events of the class that serve no step
	holds [][]held // steps that events of the class serve
	seen  []bool
}

type held struct{ step, event int }

// begin starts with these events and no step.
func (m *matcher) begin(events []Event) {
	m.class, m.free, m.holds = m.class[:0], m.free[:0], m.holds[:0]
	for i := range events {
		if events[i].Steps != 0 {
			c := m.classOf(events[i].Steps)
			m.free[c] = append(m.free[c], i)
		}
	}
}

func (m *matcher) classOf(steps uint64) int {
	for c, s := range m.class {
		if s == steps {
			return c
		}
	}
	m.class = append(m.class, steps)
	m.free = append(m.free, nil)
	m.holds = append(m.holds, nil)
	return len(m.class) - 1
}

// add serves one more step; false when that is impossible.
func (m *matcher) add(step int) bool {
	if cap(m.seen) < len(m.class) {
		m.seen = make([]bool, len(m.class))
	}
	m.seen = m.seen[:len(m.class)]
	clear(m.seen)
	return m.serve(step)
}

func (m *matcher) serve(step int) bool {
	for c, steps := range m.class {
		if steps>>step&1 == 0 || m.seen[c] {
			continue
		}
		m.seen[c] = true
		if n := len(m.free[c]); n > 0 {
			// The earliest event of the class goes first.
			m.holds[c] = append(m.holds[c], held{step, m.free[c][0]})
			m.free[c] = m.free[c][1:]
			return true
		}
		for i := range m.holds[c] {
			h := m.holds[c][i]
			if m.serve(h.step) {
				m.holds[c][i] = held{step, h.event}
				return true
			}
		}
	}
	return false
}

// event is the event that serves a step, counted in what begin was given.
func (m *matcher) event(step int) int {
	for _, hs := range m.holds {
		for _, h := range hs {
			if h.step == step {
				return h.event
			}
		}
	}
	return -1
}

// offer adds an event and tells whether one more step of the first n can be served with it.
func (m *matcher) offer(steps uint64, event, n int) bool {
	if steps == 0 {
		return false
	}
	c := m.classOf(steps)
	m.free[c] = append(m.free[c], event)
	for step := range n {
		if !m.served(step) && m.add(step) {
			return true
		}
	}
	return false
}

func (m *matcher) served(step int) bool {
	for _, hs := range m.holds {
		for _, h := range hs {
			if h.step == step {
				return true
			}
		}
	}
	return false
}
