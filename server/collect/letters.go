package collect

import (
	"context"

	"spoor/engine/event"
	"spoor/engine/letters"
)

const (
	// A chunk of letters at this size takes no more; one letter may go beyond.
	sealLetterBytes = 384 << 10
	// maxLetterBytes bounds one letter, so that a chunk fits a log entry.
	maxLetterBytes = 576 << 10
)

// letterChunk is dead letters on their way to the log, of one request or many:
// while it waits for its turn, further requests add to it.
type letterChunk struct {
	bytes []byte
	parts []part
}

// keepLetter notes a refused event that is to be kept. It returns false where
// the event is too large to be.
func (r *Request) keepLetter(l *event.Letter, rej *event.Reject) bool {
	if l == nil || len(l.Event) > maxLetterBytes {
		return false
	}
	n := len(r.letters)
	if n == 0 || len(r.letters[n-1])+len(l.Event) > sealLetterBytes {
		r.letters = append(r.letters, nil)
		n++
	}
	r.letters[n-1] = letters.Append(r.letters[n-1], &letters.Letter{
		ID: string(l.ID), Name: string(l.Name), Source: r.source, Reason: rej.Code, Message: rej.Message,
		Path: l.Path, Version: l.Version, Received: r.Origin.ReceivedAt, Event: l.Event,
	})
	return true
}

// addLetters puts a request's letters where committers find them. The caller holds mu.
func (c *Collector) addLetters(r *Request) {
	for _, bytes := range r.letters {
		if c.letters == nil || len(c.letters.bytes)+len(bytes) > sealLetterBytes {
			c.letters = &letterChunk{}
			c.full = append(c.full, entry{letters: c.letters})
		}
		c.letters.bytes = append(c.letters.bytes, bytes...)
		c.letters.parts = append(c.letters.parts, part{req: r})
	}
}

// commitLetters commits a chunk and tells the requests that have letters in it.
func (c *Collector) commitLetters(chunk *letterChunk) error {
	ctx, cancel := context.WithTimeout(context.Background(), c.opts.CommitTimeout)
	defer cancel()
	index, err := c.log.CommitLetters(ctx, c.opts.LetterBounds(c.opts.Now()), chunk.bytes)
	for _, p := range chunk.parts {
		p.req.decide(p, Verdicts{}, index, err)
	}
	return err
}
