// Package fair shares what is scarce among those who send: the bytes of request
// bodies that are in memory, the places in the collector, the turns at a
// processor. Each key is a tenant; a tenant that floods the server fills its own
// line and waits in it, and others pass by.
//
// On the way of an event it stands where a request waits: before its body is
// read, and before its body is decompressed and decoded.
package fair

import (
	"context"
	"sync"
	"time"
)

// Gate shares a number of units. Tenants who wait are served by start-time fair
// queueing (Goyal, Vin, Cheng 1996): each has a clock that runs by what it was
// given, and the one whose clock is behind goes first. Within a tenant the order
// of arrival counts, so that a large request is not overtaken for ever. No
// tenant holds more than its share while others could want the rest.
//
// It is safe for concurrent use.
type Gate struct {
	capacity int64
	share    int64 // of one tenant

	tight func() int64 // share of one tenant while others are served too; nil: the same

	mu      sync.Mutex
	free    int64 // negative where Force took more than there was
	clock   int64 // of the tenant that was served last, at its start
	tenants map[string]*tenant
	waiting int
	serves  int64
	latest  mark // of the last serve,
	before  mark // and of the last one of another tenant
}

// mark is a serve; its number is 0 where there was none.
type mark struct {
	name   string
	number int64
}

// fewRequests of a size a tenant may have at a time, however tight its share.
const fewRequests = 4

// lately is among how many serves another tenant's makes a gate contended.
const lately = 256

// tenant is somebody who holds units or waits for them.
type tenant struct {
	name  string
	held  int64
	clock int64
	line  []*waiter
}

type waiter struct {
	units, cost int64
	ready       chan struct{}
}

// NewGate returns a gate with capacity units, of which one tenant holds at most share.
func NewGate(capacity, share int64) *Gate {
	return &Gate{capacity: capacity, share: min(share, capacity), free: capacity, tenants: map[string]*tenant{}}
}

// Tighten bounds what one tenant holds to share, asked for each time, while others
// are served, too: one that holds much has much of what comes behind the gate,
// where nobody takes turns. A tenant that is alone is not bounded so, and one that
// holds nothing may always take something. It is called before the first Take.
func (g *Gate) Tighten(share func() int64) { g.tight = share }

// Take takes units for a tenant, waiting at most wait for them; false where it
// waited in vain. cost is what the tenant's clock is moved by, in any measure that
// is the same for all: the units, or the work that follows.
func (g *Gate) Take(ctx context.Context, name string, units, cost int64, wait time.Duration) bool {
	if ctx.Err() != nil {
		return false
	}
	g.mu.Lock()
	t := g.tenants[name]
	if t == nil {
		// Who comes anew begins at the clock of now: absence earns nothing.
		t = &tenant{name: name, clock: g.clock}
		g.tenants[name] = t
	}
	if len(t.line) == 0 && g.fits(t, units) && !g.otherGoesFirst(t) {
		g.serve(t, units, cost)
		g.mu.Unlock()
		return true
	}
	if wait <= 0 {
		g.forget(name, t)
		g.mu.Unlock()
		return false
	}
	if len(t.line) == 0 {
		t.clock = max(t.clock, g.clock)
	}
	w := &waiter{units, cost, make(chan struct{})}
	t.line = append(t.line, w)
	g.waiting++
	g.mu.Unlock()
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-w.ready:
		return true
	case <-timer.C:
	case <-ctx.Done():
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	for i, other := range t.line {
		if other == w {
			t.line = append(t.line[:i], t.line[i+1:]...)
			g.waiting--
			g.next() // it may have stood before smaller ones
			g.forget(name, t)
			return false
		}
	}
	return true // it was served while it gave up
}

// Force takes units without waiting, also where there are none: for work that
// has begun and has to end. Who calls it bounds how much of that there is.
func (g *Gate) Force(name string, units int64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	t := g.tenants[name]
	if t == nil {
		t = &tenant{name: name, clock: g.clock}
		g.tenants[name] = t
	}
	g.free -= units
	t.held += units
}

// Give returns units that a tenant took.
func (g *Gate) Give(name string, units int64) {
	if units == 0 {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	t := g.tenants[name]
	if t == nil || t.held < units {
		panic("fair: a tenant gives back more than it holds")
	}
	t.held -= units
	g.free += units
	g.next()
	g.forget(name, t)
}

// Held is how many units are taken now, and Waiting how many requests wait.
func (g *Gate) Held() int64 {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.capacity - g.free
}

// Waiting is how many requests wait now.
func (g *Gate) Waiting() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.waiting
}

func (g *Gate) fits(t *tenant, units int64) bool {
	return units <= g.free && g.below(t, units)
}

// below tells whether a tenant has its share not yet, with units more.
func (g *Gate) below(t *tenant, units int64) bool {
	share := g.share
	if g.tight != nil && g.isContended(t) {
		share = min(share, max(g.tight(), fewRequests*units))
	}
	return t.held+units <= share || t.held == 0
}

// isContended tells whether others than t were served lately.
func (g *Gate) isContended(t *tenant) bool {
	other := g.latest
	if other.name == t.name {
		other = g.before
	}
	return other.number > 0 && g.serves-other.number < lately
}

// otherGoesFirst tells whether somebody waits who could be served and whose
// clock is behind; the caller has no line.
func (g *Gate) otherGoesFirst(t *tenant) bool {
	if g.waiting == 0 {
		return false
	}
	_, o := g.first()
	return o != nil && o.clock <= max(t.clock, g.clock)
}

// first is the tenant to be served next: of those who are below their share the
// one whose clock is behind. Ties are broken by name: it matters to tests only.
func (g *Gate) first() (name string, t *tenant) {
	for n, o := range g.tenants {
		if len(o.line) == 0 || !g.below(o, o.line[0].units) {
			continue
		}
		if t == nil || o.clock < t.clock || o.clock == t.clock && n < name {
			name, t = n, o
		}
	}
	return name, t
}

func (g *Gate) serve(t *tenant, units, cost int64) {
	g.serves++
	if g.latest.name != t.name {
		g.before = g.latest
	}
	g.latest = mark{t.name, g.serves}
	g.free -= units
	t.held += units
	t.clock = max(t.clock, g.clock)
	g.clock = t.clock
	t.clock += max(cost, 1)
}

// next serves those who wait as far as there are units. It stops at the first
// that does not fit: it would wait for ever if smaller ones went by.
func (g *Gate) next() {
	for g.waiting > 0 {
		_, t := g.first()
		if t == nil || t.line[0].units > g.free {
			return
		}
		w := t.line[0]
		t.line[0] = nil
		t.line = t.line[1:]
		g.waiting--
		g.serve(t, w.units, w.cost)
		close(w.ready)
	}
}

// forget drops a tenant who holds nothing, waits for nothing and owes nothing.
func (g *Gate) forget(name string, t *tenant) {
	if t.held == 0 && len(t.line) == 0 && t.clock <= g.clock {
		delete(g.tenants, name)
	}
	const few = 1024
	if len(g.tenants) > few && g.waiting == 0 { // debts among many who are gone mean little
		for n, o := range g.tenants {
			if o.held == 0 && len(o.line) == 0 {
				delete(g.tenants, n)
			}
		}
	}
}
