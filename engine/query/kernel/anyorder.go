package kernel

// anyOrder finds the window, from an event that matches a step, in which most
// steps are matched by different events. Events that lie before the range have
// bit 63 of Void set: none of them may be the first. Exclusions are left to Search.
func (c *Chain) anyOrder(events []Event) {
	for k := range c.res.Events {
		c.res.Events[k] = -1
	}
	end, last := 0, 0
	for i := range events {
		if events[i].Steps == 0 || events[i].Void&NotFirst != 0 {
			continue
		}
		c.res.LastStart = events[i].Time
		for end = max(end, i); end < len(events) && events[end].Time-events[i].Time <= c.rules.Window; end++ {
		}
		if i > 0 && len(events) > manyEvents && end == last {
			continue // the window lost events alone: it cannot go deeper
		}
		last = end
		c.window = c.window[:0]
		c.fill(events, i, end)
	}
}

// manyEvents is how many events a person has before windows that can only repeat
// what an earlier one showed are passed over, although a shorter time to the same
// depth may be missed then.
const manyEvents = 10_000

// NotFirst in Event.Void: under AnyOrder no chain begins with the event.
const NotFirst = 1 << 63

// fill shares the events [i, end) out to steps, in the order of time, beginning
// with event i. The n-th event that makes the matching grow is the n-th of the chain.
func (c *Chain) fill(events []Event, i, end int) {
	c.match.begin(nil)
	depth := 0
	times := c.window
	for e := i; e < end && depth < c.rules.Steps; e++ {
		if !c.match.offer(events[e].Steps, e-i, c.rules.Steps) {
			if e == i {
				return
			}
			continue
		}
		times = append(times, e)
		depth++
		if c.reach(depth-1, events[e].Time, events[i].Time) {
			for step := range c.res.Events {
				c.res.Events[step] = -1
			}
			copy(c.res.Events, times)
		}
	}
	c.window = times
}
