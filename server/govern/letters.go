package govern

import (
	"context"
	"net/http"
	"strconv"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"spoor/engine/event"
	"spoor/engine/letters"
	"spoor/server/call"
)

// LetterBounds says which dead letters stay, by the policy in force.
func (p *Pipeline) LetterBounds(now time.Time) letters.Bounds {
	l := p.current().policy.Letters
	return letters.Bounds{Bytes: l.MaxBytes, Oldest: now.AddDate(0, 0, -l.MaxDays).UnixMicro()}
}

// expireEvery is how often letters are looked for that are too old.
const expireEvery = time.Minute

// ExpireLetters removes letters that are too old until ctx ends. New letters
// expire old ones, too; this is for a store that gets none.
func (p *Pipeline) ExpireLetters(ctx context.Context, ready func() error, now func() time.Time, limit time.Duration) {
	tick := time.NewTicker(expireEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if ready() != nil {
			continue
		}
		bounds := p.LetterBounds(now())
		if n, bytes, oldest := p.store.Letters().Len(); n == 0 || oldest >= bounds.Oldest && bytes <= bounds.Bytes {
			continue
		}
		wait, cancel := context.WithTimeout(ctx, limit)
		if _, _, err := p.store.RemoveLetters(wait, bounds, nil); err != nil && ctx.Err() == nil {
			p.log.Warn("dead letters could not be expired; it will be tried again", "error", err)
		}
		cancel()
	}
}

// letterEntry is a letter in an answer.
type letterEntry struct {
	ID       string         `json:"eventId"`
	Name     string         `json:"eventName"`
	Source   string         `json:"source,omitempty"`
	Reason   string         `json:"reason"`
	Message  string         `json:"message"`
	Path     string         `json:"path,omitempty"`
	Version  int            `json:"version,omitzero"`
	Received time.Time      `json:"receivedAt"`
	Event    jsontext.Value `json:"event"`
}

func letterFilter(c *call.Call) (f letters.Filter, err error) {
	f = letters.Filter{Name: c.Arg("event"), Reason: c.Arg("reason"), Source: c.Arg("source"), Path: c.Arg("path")}
	for _, t := range []struct {
		name string
		into *int64
	}{{"from", &f.From}, {"to", &f.To}} {
		text := c.Arg(t.name)
		if text == "" {
			continue
		}
		at, err := time.Parse(time.DateOnly, text)
		if err != nil {
			micros, ok := event.ParseTime([]byte(text))
			if !ok {
				return f, call.Fail(http.StatusBadRequest, "bad_time", "%s is %q; write a day like 2026-05-01, or a time of RFC 3339", t.name, quoted(text))
			}
			at = time.UnixMicro(micros)
		}
		*t.into = at.UnixMicro()
	}
	return f, nil
}

const (
	listedLetters = 100 // unless the argument limit says otherwise
	maxListed     = 1000
	maxListBytes  = 8 << 20 // of letters in one answer
)

// ListLetters answers dead letters, oldest first. Arguments: event, reason,
// source, path, from, to (of receipt), limit, and after, the eventId of the last one seen.
func (p *Pipeline) ListLetters(c *call.Call) (any, error) {
	f, err := letterFilter(c)
	if err != nil {
		return nil, err
	}
	limit := listedLetters
	if text := c.Arg("limit"); text != "" {
		if limit, err = strconv.Atoi(text); err != nil || limit < 1 || limit > maxListed {
			return nil, call.Fail(http.StatusBadRequest, "bad_limit", "limit is a number from 1 to %d", maxListed)
		}
	}
	list, more, err := p.store.Letters().List(f, c.Arg("after"), limit, maxListBytes)
	if err != nil {
		return nil, err
	}
	out := make([]letterEntry, 0, len(list))
	for _, l := range list {
		out = append(out, letterEntry{l.ID, l.Name, l.Source, l.Reason, l.Message, l.Path, l.Version, time.UnixMicro(l.Received).UTC(), l.Event})
	}
	answer := map[string]any{"letters": out}
	if more {
		answer["next"] = out[len(out)-1].ID
	}
	return answer, nil
}

// CountLetters answers how many letters there are by event name and reason.
func (p *Pipeline) CountLetters(c *call.Call) (any, error) {
	f, err := letterFilter(c)
	if err != nil {
		return nil, err
	}
	counts := p.store.Letters().Counts(f)
	total := 0
	for _, x := range counts {
		total += x.Letters
	}
	if counts = counts[:min(len(counts), maxListed)]; counts == nil {
		counts = []letters.Count{}
	}
	_, bytes, _ := p.store.Letters().Len()
	return map[string]any{"letters": total, "bytes": bytes, "counts": counts}, nil
}

// removeTimeout is how long the log may take to remove letters.
const removeTimeout = 10 * time.Second

// removedAtOnce bounds the ids of one log entry: 1,000 of at most 256 bytes.
const removedAtOnce = 1000

// PurgeLetters removes the letters that match.
func (p *Pipeline) PurgeLetters(c *call.Call) (any, error) {
	f, err := letterFilter(c)
	if err != nil {
		return nil, err
	}
	purged := 0
	for {
		ids, more := p.store.Letters().IDs(f, "", removedAtOnce)
		if len(ids) == 0 {
			break
		}
		n, err := p.remove(c, ids)
		if err != nil {
			return nil, err
		}
		if purged += n; !more {
			break
		}
	}
	return map[string]int{"purged": purged}, nil
}

func (p *Pipeline) remove(c *call.Call, ids []string) (n int, err error) {
	// Each entry has its own time: there may be many.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(c.Context), removeTimeout)
	defer cancel()
	n, c.Index, err = p.store.RemoveLetters(ctx, p.LetterBounds(c.Now), ids)
	return n, err
}

// Resend puts events of one source through the pipeline again. refused tells by index which events were refused.
type Resend func(lines []byte, source string) (refused map[int]bool, duplicates, dropped int, err error)

// replayBytes bounds a body that is sent again, unless it is one letter.
const replayBytes = 1 << 20

// ReplayLetters sends the letters that match through the pipeline as it is now.
// What is taken leaves the queue; what is refused again stays. An event that
// was stored before counts once, for it has the eventId of the letter: a replay
// that is cut off can be repeated.
func (p *Pipeline) ReplayLetters(c *call.Call, send Resend) (any, error) {
	f, err := letterFilter(c)
	if err != nil {
		return nil, err
	}
	// Letters that come while this runs are not meant.
	if now := c.Now.UnixMicro() + 1; f.To == 0 || f.To > now {
		f.To = now
	}
	answer := struct {
		Replayed   int `json:"replayed"`
		Duplicates int `json:"duplicates"`
		Dropped    int `json:"dropped"` // for want of consent
		Refused    int `json:"refused"` // they stay
	}{}
	after := ""
	for {
		list, _, err := p.store.Letters().List(f, after, removedAtOnce, replayBytes)
		if err != nil {
			return nil, err
		}
		if len(list) == 0 {
			return answer, nil
		}
		// One body is of one source.
		n := 0
		var body []byte
		for n < len(list) && list[n].Source == list[0].Source {
			body = append(append(body, list[n].Event...), '\n')
			n++
		}
		list = list[:n]
		refused, duplicates, dropped, err := send(body, list[0].Source)
		if err != nil {
			return nil, err
		}
		var taken []string
		for i, l := range list {
			if refused[i] {
				after = l.ID // stays, and is passed by
			} else {
				taken = append(taken, l.ID)
			}
		}
		answer.Refused += len(refused)
		answer.Duplicates += duplicates
		answer.Replayed += len(taken) - duplicates - dropped
		answer.Dropped += dropped
		if len(taken) > 0 {
			if _, err := p.remove(c, taken); err != nil {
				return nil, err
			}
		}
	}
}
