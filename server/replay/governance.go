package replay

import (
	"errors"
	"math"
	"slices"

	"spoor/engine/document"
	"spoor/engine/letters"
	"spoor/server/call"
	"spoor/server/rawtier/governance"
)

// codeNotRestored is said of a line that does not fit the store.
const codeNotRestored = "not_restored"

// Governance brings back what governed a store, one thing a line, see package governance. What the
// store has already stays as it is, and counts as a duplicate: a rebuild may be repeated.
func (a *API) Governance(c *call.Call) (any, error) {
	lines, err := split(c.Body)
	if err != nil {
		return nil, err
	}
	answer := Answer{Rejected: []Rejected{}}
	dead := &dead{a: a, c: c, answer: &answer}
	for i, b := range lines {
		l, err := governance.Read(b)
		fresh := false
		switch {
		case err == nil && l.Letter != nil:
			if err = dead.add(l.Letter); err == nil {
				continue // it is counted with others
			}
		case err == nil:
			fresh, err = a.restore(c, l)
		}
		switch {
		case errors.Is(err, governance.ErrLine):
			message := err.Error()
			answer.Rejected = append(answer.Rejected, Rejected{i, codeNotRestored, message[:min(len(message), maxMessage)]})
		case err != nil:
			return nil, err // what came before is there: it is a duplicate when it comes again
		case fresh:
			answer.Accepted++
		default:
			answer.Duplicates++
		}
	}
	if err := dead.commit(); err != nil {
		return nil, err
	}
	return answer, nil
}

// dead gathers dead letters into entries of the log.
type dead struct {
	a       *API
	c       *call.Call
	answer  *Answer
	encoded []byte
	n       int
}

func (d *dead) add(l *governance.Letter) error {
	letter, err := l.Letter()
	if err != nil {
		return err
	}
	d.encoded = letters.Append(d.encoded, letter)
	if d.n++; len(d.encoded) >= sealBytes {
		return d.commit()
	}
	return nil
}

func (d *dead) commit() (err error) {
	if d.n == 0 {
		return nil
	}
	before, _, _ := d.a.log.Letters().Len()
	keep := letters.Bounds{Bytes: letters.MaxBytes, Oldest: math.MinInt64} // the policy says later what expires
	if d.c.Index, err = d.a.log.CommitLetters(d.c.Context, keep, d.encoded); err != nil {
		return err
	}
	after, _, _ := d.a.log.Letters().Len()
	fresh := max(0, min(d.n, after-before))
	d.answer.Accepted += fresh
	d.answer.Duplicates += d.n - fresh
	d.encoded, d.n = d.encoded[:0], 0
	return nil
}

// restore stores one thing, and tells whether it was new.
func (a *API) restore(c *call.Call, l *governance.Line) (fresh bool, err error) {
	switch {
	case l.Document != nil:
		d := l.Document
		if !slices.Contains(governance.Kinds, d.Kind) || d.Name == "" || len(d.Name) > document.MaxNameBytes || len(d.Value) > document.MaxBytes {
			return false, errors.Join(governance.ErrLine, errors.New("the document is of a kind, or a size, that is not restored"))
		}
		if _, there := a.log.Document(d.Kind, d.Name); there {
			return false, nil
		}
		c.Index, err = a.log.PutDocument(c.Context, d.Kind, d.Name, []byte(d.Value))
		return true, err
	case l.Refused != nil:
		r, err := l.Refused.Refusals()
		if err != nil {
			return false, err
		}
		c.Index, err = a.log.Refuse(c.Context, &r)
		return true, err
	case l.Retention != nil:
		if err := l.Retention.Rules.Check(); err != nil {
			return false, errors.Join(governance.ErrLine, err)
		}
		c.Index, err = a.log.RestoreRetention(c.Context, &l.Retention.Rules, l.Retention.Cutoffs, c.Now)
		return true, err
	}
	return false, governance.ErrLine
}
