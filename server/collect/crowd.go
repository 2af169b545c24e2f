package collect

import (
	"math"
	"runtime"
	"slices"
	"time"
)

// crowd is what a tenant has inside the collector. The collector's mu guards it.
type crowd struct {
	inside   int        // requests, from their coming to their answer
	gathered int        // of those, requests in builders that wait for the log
	usual    int        // how many were inside lately, in sixteenths
	asleep   []*Request // that are decided, see answer
}

const (
	sixteenth = 16
	// maxCrowds bounds the tenants that are told apart; others share one crowd.
	maxCrowds = 256
)

// crowdOf is the crowd of a tenant. The caller holds mu.
func (c *Collector) crowdOf(tenant string) *crowd {
	t := c.crowds[tenant]
	if t == nil && len(c.crowds) >= maxCrowds {
		tenant = ""
		t = c.crowds[tenant]
	}
	if t == nil {
		t = &crowd{}
		c.crowds[tenant] = t
	}
	return t
}

// noteCrowds follows how many each tenant has inside: up at once, down slowly. The caller holds mu.
func (c *Collector) noteCrowds() {
	c.smallest = math.MaxInt
	for name, t := range c.crowds {
		if t.usual = max(t.inside*sixteenth, t.usual-(t.usual+7)/8); t.usual == 0 {
			delete(c.crowds, name)
			continue
		}
		c.smallest = min(c.smallest, t.usual)
	}
}

// largest is about how many requests the tenant with the most had inside lately. The caller holds mu.
func (c *Collector) largest() (requests int) {
	for _, t := range c.crowds {
		requests = max(requests, t.usual/sixteenth)
	}
	return requests
}

// isBack tells whether three quarters of those are gathered whom the tenant had inside lately.
func (t *crowd) isBack() bool { return t.gathered > 0 && 4*sixteenth*t.gathered >= 3*t.usual }

// anyIsBack tells whether waiting for more requests would hold up a tenant: one
// whose requests are nearly all there. The caller holds mu.
func (c *Collector) anyIsBack() bool {
	for _, t := range c.crowds {
		if t.isBack() {
			return true
		}
	}
	return false
}

// fewestFirst orders the requests of a builder so that those of tenants with few are
// woken first: who is woken last waits for the work of all before.
func (c *Collector) fewestFirst(parts []part) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.crowds) > 1 {
		slices.SortStableFunc(parts, func(a, b part) int { return a.req.crowd.usual - b.req.crowd.usual })
	}
}

const (
	// fewRequests are woken at once, whoever else is there.
	fewRequests = 8
	// alike are crowds of which the larger has less than so many times the requests of the smaller.
	alike = 4
)

// answer lets a request go on that is decided. Beside a small crowd, those of a large
// one wake one behind the other: all at once they would fill the
// processors' queues, and hold up whatever another tenant sends meanwhile, and the
// log itself. So what stands in those queues is little, while many requests may
// wait for the log: it finds enough to take.
func (c *Collector) answer(r *Request) {
	c.mu.Lock()
	if t := r.crowd; t.usual > fewRequests*sixteenth && t.usual/alike >= c.smallest {
		if t.asleep = append(t.asleep, r); len(t.asleep) == 1 {
			c.asleep = append(c.asleep, t)
			c.sleepers.Signal()
		}
		c.mu.Unlock()
		return
	}
	c.mu.Unlock()
	r.done <- struct{}{}
}

// wakeStep is how long the processors have for something else between the requests that are woken.
const wakeStep = 50 * time.Microsecond

// wakeLoop wakes the requests that are asleep, tenants in turns, as many at a time as
// keep the processors busy, until Close.
func (c *Collector) wakeLoop() {
	atOnce := 2 * runtime.GOMAXPROCS(0)
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		for len(c.asleep) == 0 {
			if c.closed && c.waiting == 0 {
				return
			}
			c.sleepers.Wait()
		}
		for c.awake < atOnce && len(c.asleep) > 0 {
			t := c.asleep[0]
			c.asleep = append(c.asleep[:0], c.asleep[1:]...)
			r := t.asleep[0]
			t.asleep[0] = nil
			if t.asleep = t.asleep[1:]; len(t.asleep) > 0 {
				c.asleep = append(c.asleep, t)
			}
			c.awake++
			r.paced = true
			r.done <- struct{}{} // it has room for one
		}
		c.mu.Unlock()
		time.Sleep(wakeStep)
		c.mu.Lock()
	}
}
