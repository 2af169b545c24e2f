package enrich

import (
	"sync"

	"github.com/cespare/xxhash/v2"

	"spoor/engine/event"
)

// Clock corrects times of devices whose clocks are wrong. A device is believed
// unless the time at which it says that it sent differs from the time of receipt
// by more than maxSkew. Then one offset holds for the device and its session, so
// that the order of its events never changes; it is cut to whole minutes, so that
// what the network took hardly shows in it. Safe for concurrent use.
type Clock struct {
	mu sync.Mutex
	// Offsets in microseconds by device and session. When young is full it becomes
	// old: a device that goes on sending keeps its offset.
	young, old map[uint64]int64
}

const (
	micros      = 1_000_000
	maxSkew     = 5 * 60 * micros
	offsetStep  = 60 * micros
	maxDevices  = 1 << 16
	markOffset  = "context.spoor.clockOffset"   // seconds that were added
	markRawTime = "context.spoor.sentTimestamp" // the timestamp as it was sent
)

// NewClock returns a Clock that knows no device.
func NewClock() *Clock { return &Clock{young: map[uint64]int64{}} }

// offset decides what is added to the times of a device that said it sent at
// sent what was received at received.
func (c *Clock) offset(device uint64, sent, received int64) int64 {
	skew := received - sent
	c.mu.Lock()
	defer c.mu.Unlock()
	kept, ok := c.young[device]
	if !ok {
		if kept, ok = c.old[device]; ok {
			c.keep(device, kept)
		}
	}
	switch {
	case ok && abs(skew-kept) <= maxSkew:
		return kept
	case abs(skew) <= maxSkew:
		if ok { // the clock was set right
			delete(c.young, device)
			delete(c.old, device)
		}
		return 0
	}
	rounded := (abs(skew) + offsetStep/2) / offsetStep * offsetStep
	if skew < 0 {
		rounded = -rounded
	}
	c.keep(device, rounded)
	return rounded
}

func (c *Clock) keep(device uint64, offset int64) {
	if len(c.young) >= maxDevices {
		c.old, c.young = c.young, make(map[uint64]int64)
	}
	c.young[device] = offset
}

func abs(x int64) int64 {
	if x < 0 {
		return -x
	}
	return x
}

// correct sets the event's time right.
func (c *Clock) correct(d *event.Draft, w *places) {
	o := d.Origin()
	sent := o.SentAt
	if text := textAt(d, &w.sentAt); text != nil {
		if t, ok := event.ParseTime(text); ok {
			sent = t
		}
	}
	time, ok := d.Time()
	if sent == 0 || o.ReceivedAt == 0 || !ok {
		return
	}
	h := xxhash.New()
	device := d.AnonymousID()
	if len(device) == 0 {
		device = d.UserID()
	}
	_, _ = h.Write(device)
	for _, p := range []*event.Place{&w.sessionID, &w.posthogSession} {
		_, _ = h.Write([]byte{0})
		_, _ = h.Write(textAt(d, p))
	}
	offset := c.offset(h.Sum64(), sent, o.ReceivedAt)
	if offset == 0 || d.Has("context.spoor") { // corrected before: an export that is imported
		return
	}
	raw := d.TimeText()
	d.SetTime(time + offset)
	d.AddText(markRawTime, raw)
	d.AddNumber(markOffset, float64(offset/micros))
}
