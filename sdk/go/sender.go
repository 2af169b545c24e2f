package spoor

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"time"
)

// Dead is an event that the server refused for good: sending it again would not help.
type Dead struct {
	EventID string
	Event   json.RawMessage // as it was sent
	Code    string          // the server's code, such as "bad_timestamp" or "unauthorized"
	Message string          // the server's words
}

// sender sends one batch after the other, each until its fate is known.
type sender struct {
	refused func(Dead) // is told of each event that was refused

	opts   *Options
	queue  *queue
	counts *counters
	http   *http.Client
	log    *slog.Logger

	// hurry is closed when the client is closing: waits between tries become
	// short again, so that what is left gets its chance.
	hurry  chan struct{}
	random func() float64 // in [0, 1)

	failing bool   // the last try failed; so that the log says it once
	dropped uint64 // events for which there was no room until then
	body    []byte
	packed  []byte
}

// run ends when the queue is closed and empty, or when ctx has ended.
func (s *sender) run(ctx context.Context) {
	var batch [][]byte
	for {
		if batch = s.queue.take(ctx, batch); batch == nil {
			return
		}
		if !s.deliver(ctx, batch) {
			return
		}
		s.queue.settle()
		clear(batch)
	}
}

// deliver sends a batch until every event of it is stored or refused; false
// where ctx has ended before.
func (s *sender) deliver(ctx context.Context, batch [][]byte) bool {
	hurry := s.hurry
	for try := 0; ; try++ {
		a := s.try(ctx, batch)
		if ctx.Err() != nil && a.verdict == again {
			return false
		}
		switch a.verdict {
		case stored:
			s.counts.accepted.Add(a.accepted)
			s.counts.duplicates.Add(a.duplicates)
			s.rejected(batch, a.rejected)
			s.recovered(try)
			return true
		case refused:
			s.allDead(batch, a)
			return true
		case divide:
			if len(batch) == 1 {
				s.allDead(batch, a)
				return true
			}
			half := len(batch) / 2
			return s.deliver(ctx, batch[:half]) && s.deliver(ctx, batch[half:])
		}
		wait := s.backoff(try, a.wait)
		s.failed(a, wait)
		timer := time.NewTimer(wait)
		hurried := hurry
		if a.wait > 0 {
			hurried = nil // the server has said when
		}
		select {
		case <-timer.C:
		case <-hurried:
			hurry, try = nil, -1
		case <-ctx.Done():
		}
		timer.Stop()
		if ctx.Err() != nil {
			return false
		}
		s.counts.retries.Add(1)
	}
}

// backoff is how long to wait behind a try, from 0 on: a random part of a bound
// that doubles. What the server asked for comes on top, so that clients that
// were refused together do not come back together.
func (s *sender) backoff(try int, asked time.Duration) time.Duration {
	bound := s.opts.RetryBase
	for range try {
		if bound *= 2; bound >= s.opts.RetryMax || bound <= 0 {
			break
		}
	}
	bound = min(bound, s.opts.RetryMax)
	if asked > 0 {
		bound = s.opts.RetryBase
	}
	return asked + time.Duration(s.random()*float64(bound))
}

// try sends a batch once.
func (s *sender) try(ctx context.Context, batch [][]byte) answer {
	s.body = append(s.body[:0], `{"sentAt":"`...)
	s.body = append(appendTime(s.body, time.Now()), `","batch":[`...)
	for i, event := range batch {
		if i > 0 {
			s.body = append(s.body, ',')
		}
		s.body = append(s.body, event...)
	}
	s.body = append(s.body, "]}"...)
	var err error
	if s.packed, err = s.opts.Coding.Append(s.packed[:0], s.body); err != nil {
		return answer{code: "no_request", message: fmt.Sprintf("compress the events: %v", err)}
	}
	// Not s.packed itself: a transport may still read it when the answer is there.
	body := bytes.Clone(s.packed)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.opts.Endpoint+"/api/events/batch", bytes.NewReader(body))
	if err != nil {
		return answer{code: "no_request", message: err.Error()}
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "spoor-go/"+Version)
	if s.opts.Coding.Name != "" {
		req.Header.Set("Content-Encoding", s.opts.Coding.Name)
	}
	if s.opts.WriteKey != "" {
		req.Header.Set("Authorization", "Bearer "+s.opts.WriteKey)
	}
	s.counts.requests.Add(1)
	s.counts.sentBytes.Add(uint64(len(body)))
	resp, err := s.http.Do(req)
	if err != nil {
		return answer{code: "no_answer", message: err.Error()}
	}
	defer resp.Body.Close()
	said, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswerBytes))
	if err != nil {
		return answer{code: "no_answer", message: fmt.Sprintf("the answer %d was cut off: %v", resp.StatusCode, err)}
	}
	return readAnswer(resp.StatusCode, resp.Header, said, len(batch), time.Now())
}

func (s *sender) failed(a answer, wait time.Duration) {
	level := slog.LevelDebug
	if !s.failing {
		s.failing, level, s.dropped = true, slog.LevelWarn, s.counts.dropped()
	}
	s.log.Log(context.Background(), level, "events could not be sent and will be sent again", "code", a.code, "message", a.message, "wait", wait)
}

func (s *sender) recovered(try int) {
	if !s.failing {
		return
	}
	s.failing = false
	if lost := s.counts.dropped() - s.dropped; lost > 0 {
		s.log.Error("events are sent again; meanwhile there was no room for all", "tries", try+1, "dropped", lost)
		return
	}
	s.log.Info("events are sent again", "tries", try+1)
}

// rejected reports the events that were refused among others.
func (s *sender) rejected(batch [][]byte, rejected []rejection) {
	for i, r := range rejected {
		if i == 0 && s.opts.OnDead == nil {
			s.log.Error("the server refuses events for good; OnDead would be told of each", "events", len(rejected),
				"eventId", idOf(batch[r.Index]), "code", r.Code, "message", r.Message)
		}
		s.dead(batch[r.Index], r.Code, r.Message)
	}
}

func (s *sender) allDead(batch [][]byte, a answer) {
	s.log.Error("the server refuses events for good", "events", len(batch), "code", a.code, "message", a.message)
	for _, event := range batch {
		s.dead(event, a.code, a.message)
	}
}

// dead reports an event that was refused. A panic of the callback ends with it:
// the other events must go on.
func (s *sender) dead(event []byte, code, message string) {
	s.counts.dead.Add(1)
	if s.opts.OnDead == nil && !s.opts.Synchronous {
		return
	}
	d := Dead{EventID: idOf(event), Event: bytes.Clone(event), Code: code, Message: message}
	s.refused(d)
	if s.opts.OnDead == nil {
		return
	}
	defer func() {
		if p := recover(); p != nil {
			s.log.Error("OnDead panicked", "eventId", d.EventID, "panic", fmt.Sprint(p))
		}
	}()
	s.opts.OnDead(d)
}

// idOf reads the eventId of an event that this package wrote.
func idOf(event []byte) string {
	var id string
	dec := json.NewDecoder(bytes.NewReader(event[min(len(event), len(eventPrefix)):]))
	if err := dec.Decode(&id); err != nil {
		return ""
	}
	return id
}
