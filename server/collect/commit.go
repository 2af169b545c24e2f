package collect

import (
	"context"
	"fmt"
	"time"
)

// maxPassed is how many full entries go before an open builder that waits.
const maxPassed = 4

// ready tells whether there is something to commit now. The caller holds mu.
func (c *Collector) ready() bool {
	if c.inFlight >= maxInFlight {
		return false
	}
	return len(c.full) > 0 || c.openReady()
}

// openReady tells whether a batch that is not full shall be committed: the log
// is idle, or full ones went before it long enough.
func (c *Collector) openReady() bool {
	return len(c.open) > 0 && (c.inFlight == 0 || c.passed >= maxPassed)
}

// linger waits for the clients that the last commit answered: without it, the
// first one back would have an entry for itself, and all others would wait for
// its fsync before theirs. It ends when three quarters of those whom a tenant had
// inside lately are back, so that one with few does not wait for another's many, or
// after half the time that a commit takes. A single client never waits. The caller
// holds mu.
func (c *Collector) linger() {
	wait := min(c.took/2, maxLinger)
	if wait < 2*lingerStep || c.largest() < minCrowd {
		return
	}
	for until := c.opts.Elapsed() + wait; len(c.full) == 0 && !c.closed && !c.anyIsBack() && c.opts.Elapsed() < until; {
		c.mu.Unlock()
		time.Sleep(lingerStep)
		c.mu.Lock()
	}
}

const (
	maxLinger  = 2 * time.Millisecond
	lingerStep = 50 * time.Microsecond
	minCrowd   = 4 // requests
)

// pick takes the entry to commit now; false where there is none. The caller holds mu.
func (c *Collector) pick() (e entry, ok bool) {
	if len(c.full) > 0 && (c.passed < maxPassed || len(c.open) == 0) {
		e = c.full[0]
		e.leaveCrowds()
		c.full[0] = entry{}
		c.full = c.full[1:]
		if e.letters == c.letters {
			c.letters = nil // it is complete
		}
		if len(c.open) > 0 {
			c.passed++
		}
		return e, true
	}
	if len(c.open) == 0 {
		return e, false
	}
	e.b = c.open[0]
	e.leaveCrowds()
	c.open = append(c.open[:0], c.open[1:]...)
	c.passed = 0
	return e, true
}

// wake lets a committer look. The caller holds mu.
func (c *Collector) wake() {
	if c.ready() {
		c.work.Signal()
	}
}

// commitLoop commits entries until Close.
func (c *Collector) commitLoop() {
	var buf []byte // of the last entry, for the next
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		for !c.ready() {
			if c.closed && c.waiting == 0 {
				return
			}
			c.work.Wait()
		}
		c.inFlight++
		if len(c.full) == 0 && c.passed < maxPassed {
			c.linger()
		}
		e, ok := c.pick()
		if !ok { // while it lingered, another one took it as a full one
			c.inFlight--
			continue
		}
		c.noteCrowds()
		c.wake()
		c.mu.Unlock()
		began := c.opts.Elapsed()

		var rows int
		var err error
		switch {
		case e.b != nil:
			rows, buf, err = c.commitBuilder(e.b, buf[:0])
		case e.letters != nil:
			err = c.commitLetters(e.letters)
		default:
			rows = e.part.rows
			err = c.commitEntry(e)
		}

		c.mu.Lock()
		c.took = c.opts.Elapsed() - began
		c.noteLeast()
		c.inFlight--
		if err != nil {
			c.stats.Failed++
		} else {
			c.stats.Entries++
			c.stats.Rows += uint64(rows)
		}
		if e.b != nil {
			c.give(e.b, false)
		}
		c.wake()
	}
}

// forgetLeast is how much of the way up to what it takes now the least takes with each entry.
const forgetLeast = 64

// noteLeast follows what the log takes: down at once, up slowly. The caller holds mu.
func (c *Collector) noteLeast() {
	least := c.leastTook.Load()
	if took := int64(c.took); least == 0 || took < least {
		least = took
	} else {
		least += (took - least) / forgetLeast
	}
	c.leastTook.Store(least)
}

// commitBuilder seals what requests gathered, commits it and tells them. It
// returns the memory of the entry where that is free again.
func (c *Collector) commitBuilder(b *builder, buf []byte) (rows int, free []byte, err error) {
	rows = b.dec.Rows()
	sealed := b.dec.Seal(c.opts.Now().UnixMicro())
	data := c.log.EventsEntry(buf, sealed)
	v, index, err := c.commit(data, rows)
	if v.Duplicate != nil && c.opts.Duplicates != nil {
		c.opts.Duplicates(sealed, v.Duplicate)
	}
	c.fewestFirst(b.parts)
	for i := range b.parts {
		b.parts[i].req.decide(b.parts[i], v, index, err)
	}
	clear(b.parts)
	b.parts = b.parts[:0]
	if err != nil {
		return rows, nil, err
	}
	return rows, data, nil
}

func (c *Collector) commitEntry(e entry) error {
	v, index, err := c.commit(e.bytes, e.part.rows)
	if v.Duplicate != nil && c.opts.Duplicates != nil {
		c.opts.Duplicates(e.names, v.Duplicate)
	}
	e.part.req.decide(e.part, v, index, err)
	return err
}

func (c *Collector) commit(data []byte, rows int) (v Verdicts, index uint64, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), c.opts.CommitTimeout)
	defer cancel()
	v, index, err = c.log.CommitEvents(ctx, data)
	if err == nil && (v.Duplicate != nil && len(v.Duplicate) != rows || v.Refused != nil && len(v.Refused) != rows) {
		err = fmt.Errorf("commit events: %d and %d verdicts on %d rows", len(v.Duplicate), len(v.Refused), rows)
	}
	if err == nil && v.Letters != nil {
		index, v.lettersErr = c.keepRefused(v.Letters, index)
	}
	return v, index, err
}
