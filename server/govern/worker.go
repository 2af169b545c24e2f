package govern

import (
	"bytes"
	"slices"
	"strings"
	"sync/atomic"

	"spoor/engine/erasure"
	"spoor/engine/event"
	"spoor/engine/schema"
	"spoor/segment"
	"spoor/segment/batch"
	"spoor/server/enrich"
	"spoor/server/quality"
	"spoor/server/redact"
)

// Codes of refused events. They are part of the API.
const (
	CodeViolation = "schema_violation"
	CodeUnknown   = "unknown_event"
	CodePersonal  = "personal_data"
	CodeLate      = "late_event"
	// Of events outside of the time for which eventIds are remembered.
	CodeTooOld      = "too_old"
	CodeTooFarAhead = "too_far_ahead"
)

// What an event is told apart by later. Where a client sent fields of these
// names, as of an export, texts are gone on with and other values replaced.
const (
	markRedacted   = "context.spoor.redacted"
	markViolations = "context.spoor.violations"
	markLate       = "context.spoor.late" // true
	maxMarkBytes   = 1024
)

// addressPlaces are where clients put addresses.
func addressPlaces() [4]event.Place {
	return [4]event.Place{{Path: "context.ip"}, {Path: "context.ipAddress"}, {Path: "properties.$ip"}, {Path: "properties.ip"}}
}

// worker governs the events of one decoder.
type worker struct {
	pipeline *Pipeline
	snap     *snapshot
	rules    map[*eventRules]map[string]*rule // behind the memos of the decoder's paths
	numRules int

	ips     [4]event.Place
	names   map[string]named // what is known of event names, of source
	source  []byte
	enrich  enrich.Worker
	checker schema.Checker
	matches []redact.Match
	text    []byte
	noted   quality.Event
	counts  bool     // the event was not counted before
	changed []string // paths of values that were replaced or dropped
	refuse  string   // path of personal data that refuses the event
}

// rule is what is done with values of one path, in events of one name.
type rule struct {
	schema *schema.Rule // nil: the path is none of the schema's
	pii    schema.PII
	scan   bool // texts are looked through
	named  bool // the name announces personal data
	inside bool // the path is one of properties
}

// maxRules bounds what a worker keeps.
const maxRules = 1 << 14

// Govern implements event.Governor.
func (w *worker) Govern(d *event.Draft) event.Verdict {
	s := w.pipeline.current()
	if s != w.snap {
		w.snap, w.rules, w.numRules = s, nil, 0
		w.names = nil
	}
	n := w.name(d)
	e := n.rules
	w.changed = w.changed[:0]
	w.refuse = ""
	w.noted = quality.Event{Received: d.Origin().ReceivedAt}
	w.counts = !d.Origin().Counted
	w.enrich.Begin()
	v := w.decide(d, s, e)
	w.note(d, n, &v)
	return v
}

// count counts the event once, however often its body is read.
func (w *worker) count(n *atomic.Uint64) {
	if w.counts {
		n.Add(1)
	}
}

// named is what holds for an event name and where it is counted.
type named struct {
	rules  *eventRules
	series *quality.Series
}

// maxNames bounds what a worker keeps of names.
const maxNames = 1024

// name finds what is known of the event's name and source.
func (w *worker) name(d *event.Draft) named {
	if string(w.source) != string(d.Source()) {
		w.source = append(w.source[:0], d.Source()...)
		w.names = nil
	}
	n, ok := w.names[string(d.Name())]
	if ok {
		return n
	}
	if n.rules = w.snap.events[string(d.Name())]; n.rules == nil {
		n.rules = w.snap.unknown
	}
	n.series = w.pipeline.board.Series(d.Name(), d.Source())
	if w.names == nil || len(w.names) >= maxNames {
		w.names = map[string]named{}
	}
	w.names[string(d.Name())] = n
	return n
}

// note counts the event for its quality.
func (w *worker) note(d *event.Draft, as named, v *event.Verdict) {
	n, e := &w.noted, as.rules
	if d.Origin().Again || !w.counts || n.Received == 0 { // it was counted when it came
		return
	}
	n.Time = n.Received
	if t, sent := d.Time(); sent {
		n.Time = t
	}
	n.Redacted = len(w.changed) > 0
	if v.Reject != nil {
		n.Refused, n.Dropped = v.Keep, !v.Keep
	}
	if e.schema != nil {
		n.Version = e.schema.Version
	}
	age, future := as.series.Note(n)
	if age > 0 {
		w.pipeline.Stats.LateBy[age].Add(1)
	}
	if future {
		w.pipeline.Stats.Future.Add(1)
	}
}

// decide is Govern without the counting.
func (w *worker) decide(d *event.Draft, s *snapshot, e *eventRules) event.Verdict {
	allowed := useAll
	if s.consent != nil {
		allowed = w.consent(d, s.consent)
	}
	if allowed == useNone {
		return event.Verdict{Reject: &event.Reject{Code: event.CodeNoConsent, Message: "the person has not consented to it; nothing was stored"}}
	}
	if !s.plain && allowed == useAll && !d.Origin().Again {
		w.enrich.Apply(d, s.policy.Enrich) // it may need the whole address
	}
	if s.policy.Redact.IP != ipKeep {
		w.addresses(d, s.policy.Redact.IP)
	}
	v := w.unsure(d, &s.cutoffs)
	if v.Reject == nil {
		v = w.late(d)
	}
	if !e.idle {
		if judged := w.judge(d, e); v.Reject == nil {
			v = judged
		}
	}
	if len(w.changed) > 0 {
		w.count(&w.pipeline.Stats.Redacted)
		w.mark(d, markRedacted, w.changed)
	}
	if v.Reject != nil {
		w.count(&w.pipeline.Stats.Refused)
	}
	return v
}

// unsure refuses an event of which nobody can tell whether it is stored already, or could tell when it
// comes again: its eventId may be forgotten.
func (w *worker) unsure(d *event.Draft, c *erasure.Cutoffs) event.Verdict {
	t, sent := d.Time()
	if c.Dedupe == 0 || !sent {
		return event.Verdict{}
	}
	received := d.Origin().ReceivedAt
	switch day := segment.Day(t); {
	case c.TooOld(day):
		return refusal(CodeTooOld, "timestamp", "the event is older than eventIds are remembered: it may be stored already", 0)
	case received != 0 && c.TooFarAhead(day, segment.Day(received)):
		return refusal(CodeTooFarAhead, "timestamp", "the event's time is so far ahead that its eventId would be forgotten before", 0)
	}
	return event.Verdict{}
}

// late tags or refuses an event that comes later than is allowed.
func (w *worker) late(d *event.Draft) event.Verdict {
	o, l := d.Origin(), &w.pipeline.lateness
	t, sent := d.Time()
	if l.Allowed <= 0 || !sent || o.ReceivedAt == 0 || o.Again || o.ReceivedAt-t <= l.Allowed.Microseconds() {
		return event.Verdict{}
	}
	w.noted.TooLate = true
	w.count(&w.pipeline.Stats.Late)
	if l.Refuse {
		return refusal(CodeLate, "timestamp", "the event is later than is allowed", 0)
	}
	d.RemoveAt(markLate)
	d.AddBool(markLate, true)
	return event.Verdict{}
}

// addresses replaces addresses of clients.
func (w *worker) addresses(d *event.Draft, what string) {
	for k := range w.ips {
		path := w.ips[k].Path
		i := d.FindAt(&w.ips[k])
		if i < 0 || d.Kind(i) != batch.KindString {
			continue
		}
		if what == ipDrop {
			d.Remove(i)
			w.changed = append(w.changed, path)
			continue
		}
		text, changed := redact.AppendTruncated(w.text[:0], d.Text(i))
		if w.text = text; changed {
			d.SetText(i, text)
			w.changed = append(w.changed, path)
		}
	}
}

// judge applies the schema and looks for personal data.
func (w *worker) judge(d *event.Draft, e *eventRules) event.Verdict {
	if e.schema != nil {
		w.checker.Begin(e.schema)
	}
	for i := range d.Len() {
		if d.Kind(i) == 0 {
			continue
		}
		r := w.ruleAt(e, d, i)
		if r.schema != nil && w.checker.Value(r.schema, d, i) && e.mode == schema.Enforce {
			w.drop(d, i)
			continue
		}
		if r.pii > schema.Permit {
			w.personal(d, i, r.pii)
		} else if r.scan && (r.named || !w.enrich.IsClean(i)) {
			w.search(d, i, r)
		}
	}
	if e.schema != nil {
		w.checker.End()
	}
	return w.verdict(d, e)
}

func (w *worker) verdict(d *event.Draft, e *eventRules) event.Verdict {
	switch {
	case e.schema == nil && e.name == "" && e.mode != schema.Off:
		w.violating(e)
		if e.mode == schema.Enforce {
			return refusal(CodeUnknown, "", "no schema is known for events of this name, and events without one are not taken", 0)
		}
		w.mark(d, markViolations, []string{"eventName:unknown"})
	case e.schema != nil && len(w.checker.Violations) > 0:
		w.violating(e)
		w.noted.Missing = slices.ContainsFunc(w.checker.Violations, schema.Violation.Missing)
		if first := w.checker.Violations[0]; e.mode == schema.Enforce {
			return refusal(CodeViolation, first.Path, e.schema.Explain(first), e.schema.Version)
		}
		marks := make([]string, 0, len(w.checker.Violations))
		for _, v := range w.checker.Violations {
			marks = append(marks, v.Path+":"+v.Keyword)
		}
		w.mark(d, markViolations, marks)
	}
	if w.refuse != "" {
		return refusal(CodePersonal, w.refuse, w.refuse+" holds personal data, which is not taken", 0)
	}
	return event.Verdict{}
}

func refusal(code, path, message string, version int) event.Verdict {
	return event.Verdict{Reject: &event.Reject{Code: code, Message: message + "; the event is kept as a dead letter"}, Keep: true, Path: path, Version: version}
}

func (w *worker) violating(e *eventRules) {
	w.noted.Violating, w.noted.Unknown = e.schema != nil, e.schema == nil
	w.count(e.violating)
	w.count(&w.pipeline.Stats.Violating)
}

// mark sets a field of the store's own to a list of paths.
func (w *worker) mark(d *event.Draft, path string, list []string) {
	w.text = w.text[:0]
	if d.Has("context.spoor") { // a letter that is sent again, an export that is imported
		if i := d.Find(path); i >= 0 && d.Kind(i) == batch.KindString && len(d.Text(i)) <= maxMarkBytes {
			w.text = append(w.text, d.Text(i)...)
		}
		d.RemoveAt(path)
	}
	before := len(w.text)
	for _, entry := range list {
		if listed(w.text[:before], entry) {
			continue // it says so already
		}
		if len(w.text)+len(entry) > before+maxMarkBytes {
			w.text = append(w.text, ",..."...)
			break
		}
		if len(w.text) > 0 {
			w.text = append(w.text, ',')
		}
		w.text = append(w.text, entry...)
	}
	d.AddText(path, w.text)
}

// listed tells whether an entry is in a text of entries with commas between.
func listed(text []byte, entry string) bool {
	for len(text) > 0 {
		var one []byte
		if one, text, _ = bytes.Cut(text, []byte{','}); string(one) == entry {
			return true
		}
	}
	return false
}

// recent are the rules of a path for the events that had it last: what of the path
// the decoder's memo keeps.
type recent struct {
	of [8]struct {
		event *eventRules
		rule  *rule
	}
	next int
}

// ruleAt is the rule of value i. What holds outside of properties holds for all names.
func (w *worker) ruleAt(e *eventRules, d *event.Draft, i int) *rule {
	m := d.Memo(i)
	if m.Key != any(w.snap) {
		m.Key, m.Rule = w.snap, nil
	}
	switch known := m.Rule.(type) {
	case *rule:
		return known
	case *recent:
		for k := range known.of {
			if x := &known.of[k]; x.event == e {
				return x.rule
			}
		}
	}
	r := w.rule(e, d.Path(i))
	if !r.inside {
		m.Rule = r
		return r
	}
	known, ok := m.Rule.(*recent)
	if !ok {
		known = &recent{}
		m.Rule = known
	}
	x := &known.of[known.next%len(known.of)]
	known.next++
	x.event, x.rule = e, r
	return r
}

// rule finds or makes the rule of a path.
func (w *worker) rule(e *eventRules, path string) *rule {
	if r := w.rules[e][path]; r != nil {
		return r
	}
	inside := strings.HasPrefix(path, schema.Root+".")
	r := &rule{inside: inside}
	if e.schema != nil && inside {
		r.schema = e.schema.Resolve(path)
		r.pii = r.schema.PII
	}
	if r.pii == schema.Unstated && (inside && e.scan || e.scanAll) && !strings.HasPrefix(path, "context.spoor.") {
		r.scan = true
		r.named = redact.NameIsSensitive(lastPart(path))
	}
	if w.numRules >= maxRules || w.rules == nil {
		w.rules, w.numRules = map[*eventRules]map[string]*rule{}, 0
	}
	if w.rules[e] == nil {
		w.rules[e] = map[string]*rule{}
	}
	w.rules[e][path] = r
	w.numRules++
	return r
}

// lastPart is the name of the field. A dot within it cuts it, which hides nothing.
func lastPart(path string) string { return path[strings.LastIndexByte(path, '.')+1:] }
