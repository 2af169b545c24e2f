package collect

import (
	crand "crypto/rand"

	"spoor/engine/event"
	"spoor/segment/batch"
)

// builder is a batch in the making, and who has rows in it. At any time it is
// held by one request that decodes into it, by the collector's lists, or by
// the committer that seals it.
type builder struct {
	dec   *event.Decoder
	parts []part
	ids   ids
	newID func() [16]byte // ids.next, bound once
}

// part is a run of rows that belongs to one request.
type part struct {
	req  *Request
	from int
	rows int
	// before counts the request's rows in earlier parts.
	before int
}

// entry is what a committer takes: a builder that it seals itself, or an entry
// that a request with a long body sealed while it was decoding.
type entry struct {
	b       *builder
	bytes   []byte       // nil: seal b
	part    part         // of bytes
	letters *letterChunk // nil, or all that it is
	names   *batch.Batch // of bytes: names, sources and ReceivedAt alone
}

// leaveCrowds counts the requests of an entry as gathered no longer. The caller holds mu.
func (e *entry) leaveCrowds() {
	if e.b != nil {
		for i := range e.b.parts {
			e.b.parts[i].req.crowd.gathered--
		}
	}
}

func (b *builder) due() bool {
	return b.dec.Rows() >= sealRows || b.dec.Size() >= sealBytes || b.dec.Full()
}

// take returns a builder for a request: one that others have rows in unless
// the request wants its own.
func (c *Collector) take(own bool) *builder {
	c.mu.Lock()
	if n := len(c.open); n > 0 && !own {
		b := c.open[n-1]
		c.open = c.open[:n-1]
		c.mu.Unlock()
		return b
	}
	if n := len(c.free); n > 0 {
		b := c.free[n-1]
		c.free = c.free[:n-1]
		c.mu.Unlock()
		return b
	}
	c.mu.Unlock()
	b := &builder{dec: event.NewDecoder(c.opts.Limits)}
	b.ids = ids{now: c.opts.Now, random: c.opts.Random}
	b.newID = b.ids.next
	if c.opts.Governor != nil {
		b.dec.Govern(c.opts.Governor())
	}
	return b
}

// give puts a builder where it belongs by what is in it; end tells that it
// shall take no more rows. The caller holds mu.
func (c *Collector) give(b *builder, end bool) {
	switch {
	case len(b.parts) == 0:
		if b.dec.Full() { // of columns of a body that was refused: a sealed decoder begins anew
			b.dec.Seal(0)
		}
		if len(c.free) < maxFreeBuilders {
			c.free = append(c.free, b)
		}
	case end || b.due():
		c.full = append(c.full, entry{b: b})
	default:
		c.open = append(c.open, b)
	}
}

func cryptoRandom(p []byte) {
	// crypto/rand.Read never fails; it ends the process where the system has no randomness.
	_, _ = crand.Read(p)
}
