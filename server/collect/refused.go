package collect

import (
	"context"
	"slices"

	"spoor/engine/event"
	"spoor/engine/letters"
)

// refusedRow is an event that was well-formed and may not be stored; row counts
// the request's well-formed events.
type refusedRow struct {
	row  int
	why  *event.Reject
	kept bool // as a dead letter
}

// rejectRefused lists refused rows among the rejected events, by their place in the body.
func (r *Request) rejectRefused() {
	if len(r.refused) == 0 {
		return
	}
	slices.SortFunc(r.refused, func(a, b refusedRow) int { return a.row - b.row })
	noRows := slices.Clone(r.called)
	for i := range r.Rejected {
		noRows = append(noRows, r.Rejected[i].Index)
	}
	slices.Sort(noRows)
	passed := 0
	for _, x := range r.refused {
		index := x.row + passed
		for passed < len(noRows) && noRows[passed] <= index {
			passed++
			index++
		}
		r.Rejected = append(r.Rejected, Rejection{Index: index, Code: x.why.Code, Message: x.why.Message, Kept: x.kept})
	}
	slices.SortFunc(r.Rejected, func(a, b Rejection) int { return a.Index - b.Index })
}

// keepRefused commits the letters of rows that the log refused: of what was decided
// before the log, something changed meanwhile. A letter that is too large to be kept
// is taken out. It returns the index at which all is stored.
func (c *Collector) keepRefused(list []*letters.Letter, index uint64) (uint64, error) {
	var chunk []byte
	flush := func() error {
		if len(chunk) == 0 {
			return nil
		}
		ctx, cancel := context.WithTimeout(context.Background(), c.opts.CommitTimeout)
		defer cancel()
		at, err := c.log.CommitLetters(ctx, c.opts.LetterBounds(c.opts.Now()), chunk)
		index, chunk = max(index, at), nil
		return err
	}
	for i, l := range list {
		switch {
		case l == nil:
		case len(l.Event) > maxLetterBytes:
			list[i] = nil
		default:
			if len(chunk) > 0 && len(chunk)+len(l.Event) > sealLetterBytes {
				if err := flush(); err != nil {
					return index, err
				}
			}
			chunk = letters.Append(chunk, l)
		}
	}
	return index, flush()
}

// kept tells whether the refused row is a dead letter.
func (v *Verdicts) kept(row int) bool { return v.Letters != nil && v.Letters[row] != nil }
