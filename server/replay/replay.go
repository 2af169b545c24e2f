// Package replay stores events as they were before: with their time of
// receipt and their source, past schemas and redaction, which they went through
// once. It is how a store is filled from the raw tier.
//
// On the way of an event it stands where package collect does, for events that have been
// on it before. Dedupe, erasures and retention decide as ever, for Apply does.
package replay

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"sync"
	"time"

	"github.com/go-json-experiment/json"

	"spoor/engine/erasure"
	"spoor/engine/event"
	"spoor/engine/identity"
	"spoor/engine/letters"
	"spoor/engine/traits"
	"spoor/segment/batch"
	"spoor/server/call"
	"spoor/server/collect"
	"spoor/server/govern"
)

// Log is where events and calls become log entries.
type Log interface {
	EventsEntry(dst []byte, b *batch.Batch) []byte
	CommitEvents(ctx context.Context, entry []byte) (v collect.Verdicts, index uint64, err error)
	Rules
}

// Rules is what governs a store, see governance.go.
type Rules interface {
	// RestorePersons links ids and sets traits, with what persons agreed to.
	RestorePersons(ctx context.Context, calls []traits.Call) (erased []int, index uint64, err error)
	Document(kind, name string) (govern.Document, bool)
	PutDocument(ctx context.Context, kind, name string, value []byte) (index uint64, err error)
	Refuse(ctx context.Context, r *identity.Refusals) (index uint64, err error)
	Letters() *letters.Store
	CommitLetters(ctx context.Context, bounds letters.Bounds, encoded []byte) (index uint64, err error)
	RestoreRetention(ctx context.Context, r *erasure.Retention, gone erasure.Cutoffs, now time.Time) (index uint64, err error)
}

const (
	// MaxLines bounds one request.
	MaxLines = 10_000
	// An entry is sealed at so many rows or bytes, as collect does it.
	sealRows  = 4096
	sealBytes = 384 << 10
	// commitsAtOnce is how many entries of one request wait for the log.
	commitsAtOnce = 16
	maxMessage    = 500 // bytes of why a line was rejected
)

// API answers requests for replays.
type API struct {
	log      Log
	decoders sync.Pool
}

// New returns the API over a log.
func New(log Log) *API { return &API{log: log} }

// Answer says what became of the lines of a request; every line is counted once.
type Answer struct {
	Accepted   int        `json:"accepted"`
	Duplicates int        `json:"duplicates"`
	Rejected   []Rejected `json:"rejected"`
}

// Rejected is a line that was not stored.
type Rejected struct {
	Index   int    `json:"index"`
	Code    string `json:"code"`
	Message string `json:"message"`
}

// said is what the store had added to an event.
type said struct {
	ReceivedAt string `json:"receivedAt"`
	Source     string `json:"source"`
}

// work is one request.
type work struct {
	api    *API
	ctx    context.Context
	d      *event.Decoder
	lines  []int // per row of the open batch: its line
	at     int64 // receivedAt of the open batch
	mu     sync.Mutex
	answer Answer
	index  uint64
	err    error
	slots  chan struct{}
	wg     sync.WaitGroup
}

// Events stores events, one a line, as an export gives them: with receivedAt and, if
// they had one, source.
func (a *API) Events(c *call.Call) (any, error) {
	lines, err := split(c.Body)
	if err != nil {
		return nil, err
	}
	d, _ := a.decoders.Get().(*event.Decoder)
	if d == nil {
		d = event.NewDecoder(event.DefaultLimits())
	}
	w := &work{api: a, ctx: c.Context, d: d, answer: Answer{Rejected: []Rejected{}}, slots: make(chan struct{}, commitsAtOnce)}
	for i, line := range lines {
		w.add(i, line)
	}
	w.seal()
	w.wg.Wait()
	if w.err != nil {
		return nil, w.err // some may be stored: they are duplicates when they come again
	}
	a.decoders.Put(d)
	c.Index = w.index
	return w.answer, nil
}

func split(body []byte) ([][]byte, error) {
	var lines [][]byte
	for line := range bytes.Lines(body) {
		if line = bytes.TrimSpace(line); len(line) > 0 {
			lines = append(lines, line)
		}
	}
	if len(lines) > MaxLines {
		return nil, call.Fail(http.StatusRequestEntityTooLarge, "too_many_events", "the body has %d lines, at most %d", len(lines), MaxLines)
	}
	return lines, nil
}

func (w *work) reject(line int, code, message string) {
	w.mu.Lock()
	w.answer.Rejected = append(w.answer.Rejected, Rejected{line, code, message[:min(len(message), maxMessage)]})
	w.mu.Unlock()
}

func (w *work) add(i int, line []byte) {
	var s said
	if err := json.Unmarshal(line, &s); err != nil {
		w.reject(i, event.CodeMalformed, "the line is no event as an export gives it")
		return
	}
	t, err := time.Parse(time.RFC3339Nano, s.ReceivedAt)
	if err != nil {
		w.reject(i, "bad_received_at", "receivedAt is missing or no RFC 3339 time: this is for events that were stored before; send others to /api/events/batch")
		return
	}
	if at := t.UnixMicro(); at != w.at || len(w.lines) >= sealRows || w.d.Size() >= sealBytes || w.d.Full() {
		w.seal()
		w.at = at
	}
	_, rej := w.d.Add(line, s.Source, nil)
	switch {
	case rej == nil:
		w.lines = append(w.lines, i)
	case rej.Code == event.CodeBatchFull && len(w.lines) > 0:
		w.seal()
		w.add(i, line)
	default:
		w.reject(i, rej.Code, rej.Message)
	}
}

// seal commits the rows of the open batch, beside those before.
func (w *work) seal() {
	if len(w.lines) == 0 {
		return
	}
	entry := w.api.log.EventsEntry(nil, w.d.Seal(w.at))
	lines := w.lines
	w.lines = nil
	w.slots <- struct{}{}
	w.wg.Go(func() {
		defer func() { <-w.slots }()
		v, index, err := w.api.log.CommitEvents(w.ctx, entry)
		w.mu.Lock()
		defer w.mu.Unlock()
		if err != nil {
			w.err = errors.Join(w.err, err)
			return
		}
		w.index = max(w.index, index)
		for row, line := range lines {
			switch {
			case v.Refused != nil && v.Refused[row] != nil:
				w.answer.Rejected = append(w.answer.Rejected, Rejected{line, v.Refused[row].Code, v.Refused[row].Message})
			case v.Duplicate != nil && v.Duplicate[row]:
				w.answer.Duplicates++
			default:
				w.answer.Accepted++
			}
		}
	})
}

// longAgo is the time of traits that are replayed: what was said since, stays.
const longAgo = 0

// Persons links ids and sets traits, a call as identify takes it on each line.
func (a *API) Persons(c *call.Call) (any, error) {
	lines, err := split(c.Body)
	if err != nil {
		return nil, err
	}
	answer := Answer{Rejected: []Rejected{}}
	d := event.NewDecoder(event.DefaultLimits())
	calls, bytes := []traits.Call{}, 0
	commit := func() error {
		if len(calls) == 0 {
			return nil
		}
		_, index, err := a.log.RestorePersons(c.Context, calls) // what is said of erased persons is left out by the log
		c.Index = index
		answer.Accepted += len(calls)
		calls, bytes = calls[:0], 0
		return err
	}
	for i, line := range lines {
		said, rej := d.Identify(line)
		if rej != nil {
			answer.Rejected = append(answer.Rejected, Rejected{i, rej.Code, rej.Message})
			continue
		}
		call := traits.Call{UserID: clone(said.UserID), AnonymousID: clone(said.AnonymousID), Time: longAgo}
		for _, l := range said.Traits {
			l.Text = clone(l.Text)
			call.Traits = append(call.Traits, l)
		}
		calls = append(calls, call)
		if bytes += len(line); len(calls) >= traits.MaxCalls || bytes >= sealBytes {
			if err := commit(); err != nil {
				return nil, err
			}
		}
	}
	if err := commit(); err != nil {
		return nil, err
	}
	return answer, nil
}

// clone copies what ends with the decoder's next call.
func clone(b []byte) []byte { return bytes.Clone(b) }
