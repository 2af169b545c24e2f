package govern

import (
	"crypto/rand"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"spoor/engine/event"
	"spoor/engine/schema"
	"spoor/server/call"
	"spoor/server/export"
	"spoor/server/redact"
)

const maxQuoted = 100 // bytes of input in a message

func quoted(s string) string { return s[:min(len(s), maxQuoted)] }

// GetPolicy answers the policy in force.
func (p *Pipeline) GetPolicy(*call.Call) (any, error) { return p.current().policy, nil }

// PutPolicy replaces the policy; what the body leaves out has its default.
func (p *Pipeline) PutPolicy(c *call.Call) (any, error) {
	policy, err := ReadPolicy(c.Body)
	if err != nil {
		return nil, call.Fail(http.StatusBadRequest, "bad_policy", "%v", err)
	}
	value, err := json.Marshal(policy)
	if err != nil {
		return nil, err
	}
	p.change.Lock()
	defer p.change.Unlock()
	if err := p.secret(c); err != nil {
		return nil, err
	}
	c.Index, err = p.store.PutDocument(c.Context, policyKind, policyName, value)
	return policy, err
}

// secret makes the key of keyed hashes, once in the life of a store. The caller holds change.
func (p *Pipeline) secret(c *call.Call) error {
	if _, ok := p.store.Document(secretKind, secretName); ok {
		return nil
	}
	key := make([]byte, 32)
	if _, err := rand.Read(key); err != nil {
		return err
	}
	_, err := p.store.PutDocument(c.Context, secretKind, secretName, key)
	return err
}

// schemaEntry is an event name's schemas in an answer.
type schemaEntry struct {
	Event      string           `json:"event"`
	Mode       schema.Mode      `json:"mode"`
	Version    int              `json:"version"`
	At         *time.Time       `json:"at,omitempty"`
	Violations uint64           `json:"violations"` // events since the start of this server
	Schema     jsontext.Value   `json:"schema,omitempty"`
	Versions   []schema.Version `json:"versions,omitempty"`
	Changes    []schema.Change  `json:"changes,omitempty"`
}

func (p *Pipeline) entry(name string, r *schema.Record) schemaEntry {
	e := schemaEntry{Event: name, Mode: r.Mode}
	if v := r.Last(); v != nil {
		e.Version, e.At = v.Version, &v.At
	}
	if rules := p.current().events[name]; rules != nil {
		e.Violations = rules.violating.Load()
	}
	return e
}

// ListSchemas answers all event names that have a schema.
func (p *Pipeline) ListSchemas(*call.Call) (any, error) {
	list := []schemaEntry{}
	for _, d := range p.store.Documents(schema.Kind) {
		r, err := schema.ReadRecord(d.Value)
		if err != nil {
			return nil, err
		}
		list = append(list, p.entry(d.Name, r))
	}
	return map[string]any{"schemas": list, "unknownEvents": p.current().policy.UnknownEvents, "unknownViolations": p.current().unknown.violating.Load()}, nil
}

func (p *Pipeline) record(name string) (*schema.Record, error) {
	d, ok := p.store.Document(schema.Kind, name)
	if !ok {
		return nil, call.Fail(http.StatusNotFound, "not_found", "the event %q has no schema; put one with PUT /api/schemas/EVENT", quoted(name))
	}
	return schema.ReadRecord(d.Value)
}

// GetSchema answers the schema of an event name; of the argument version, if that is given.
func (p *Pipeline) GetSchema(c *call.Call) (any, error) {
	r, err := p.record(c.Name)
	if err != nil {
		return nil, err
	}
	e := p.entry(c.Name, r)
	v, err := version(r, c.Arg("version"), r.Last())
	if err != nil {
		return nil, err
	}
	e.Version, e.At, e.Schema = v.Version, &v.At, v.Schema
	return e, nil
}

func version(r *schema.Record, text string, otherwise *schema.Version) (*schema.Version, error) {
	if text == "" {
		return otherwise, nil
	}
	n, err := strconv.Atoi(text)
	if v := r.Find(n); err == nil && v != nil {
		return v, nil
	}
	return nil, call.Fail(http.StatusNotFound, "not_found", "there is no version %q; there are %d to %d", quoted(text), r.Versions[0].Version, r.Last().Version)
}

// ListVersions answers the history of an event name's schema.
func (p *Pipeline) ListVersions(c *call.Call) (any, error) {
	r, err := p.record(c.Name)
	if err != nil {
		return nil, err
	}
	e := p.entry(c.Name, r)
	e.Versions = r.Versions
	return e, nil
}

// DiffSchema answers what changed between the versions of the arguments from
// and to; by default between the last two.
func (p *Pipeline) DiffSchema(c *call.Call) (any, error) {
	r, err := p.record(c.Name)
	if err != nil {
		return nil, err
	}
	before := &r.Versions[max(0, len(r.Versions)-2)]
	from, err := version(r, c.Arg("from"), before)
	if err != nil {
		return nil, err
	}
	to, err := version(r, c.Arg("to"), r.Last())
	if err != nil {
		return nil, err
	}
	changes, err := changesBetween(c.Name, from, to)
	if err != nil {
		return nil, err
	}
	return map[string]any{"event": c.Name, "from": from.Version, "to": to.Version, "changes": changes}, nil
}

func changesBetween(name string, from, to *schema.Version) ([]schema.Change, error) {
	a, err := schema.Compile(name, from.Version, from.Schema)
	if err != nil {
		return nil, err
	}
	b, err := schema.Compile(name, to.Version, to.Schema)
	if err != nil {
		return nil, err
	}
	return schema.Compare(a, b), nil
}

// PutSchema makes the schema in the body the next version, if it is compatible
// with the one before; an empty body changes the mode alone. Arguments: mode,
// compatibility.
func (p *Pipeline) PutSchema(c *call.Call) (any, error) {
	mode, compatibility := schema.Mode(c.Arg("mode")), schema.Compatibility(c.Arg("compatibility"))
	switch compatibility {
	case "":
		compatibility = schema.Backward
	case schema.Backward, schema.Forward, schema.Full, schema.None:
	default:
		return nil, call.Fail(http.StatusBadRequest, "bad_compatibility", "the compatibility %q is not known; use backward, forward, full or none", quoted(string(compatibility)))
	}
	if mode != "" && !mode.Valid() {
		return nil, call.Fail(http.StatusBadRequest, "bad_mode", "the mode %q is not known; use off, observe or enforce", quoted(string(mode)))
	}
	p.change.Lock()
	defer p.change.Unlock()
	r := &schema.Record{Mode: schema.Observe}
	if _, ok := p.store.Document(schema.Kind, c.Name); ok {
		var err error
		if r, err = p.record(c.Name); err != nil {
			return nil, err
		}
	} else if len(c.Body) == 0 {
		return nil, call.Fail(http.StatusBadRequest, "bad_schema", "the body is the schema; it is empty, and the event has none yet")
	}
	before := r.Last()
	if before != nil {
		kept := *before
		before = &kept
	}
	if mode != "" {
		r.Mode = mode
	}
	if len(c.Body) > 0 {
		_, breaks, err := r.Put(c.Name, jsontext.Value(c.Body), compatibility, c.Now)
		if err != nil {
			return nil, call.Fail(http.StatusBadRequest, "bad_schema", "%.500v", err)
		}
		if len(breaks) > 0 {
			return nil, call.Fail(http.StatusConflict, "incompatible_schema", "%s; %d changes are not %s compatible; send compatibility=none to put it all the same", describe(breaks[0]), len(breaks), compatibility)
		}
	}
	value, err := r.Append(nil)
	if err != nil {
		return nil, err
	}
	if err := p.secret(c); err != nil {
		return nil, err
	}
	if c.Index, err = p.store.PutDocument(c.Context, schema.Kind, c.Name, value); err != nil {
		return nil, err
	}
	e := p.entry(c.Name, r)
	if before != nil {
		e.Changes, err = changesBetween(c.Name, before, r.Last())
	}
	return e, err
}

func describe(x schema.Change) string {
	switch {
	case x.From != "" && x.To != "":
		return fmt.Sprintf("%.200s: %s changes from %.100s to %.100s", x.Path, x.What, x.From, x.To)
	case x.To != "":
		return fmt.Sprintf("%.200s: %s %.100s", x.Path, x.What, x.To)
	}
	return fmt.Sprintf("%.200s: %s %.100s", x.Path, x.What, x.From)
}

// DeleteSchema forgets an event name's schemas with their history.
func (p *Pipeline) DeleteSchema(c *call.Call) (any, error) {
	p.change.Lock()
	defer p.change.Unlock()
	found, index, err := p.store.DeleteDocument(c.Context, schema.Kind, c.Name)
	if err == nil && !found {
		err = call.Fail(http.StatusNotFound, "not_found", "the event %q has no schema", quoted(c.Name))
	}
	c.Index = index
	return map[string]bool{"deleted": true}, err
}

// CheckSchema judges the events in the body by the last version of a schema,
// whatever its mode. Nothing is stored and nothing counted.
func (p *Pipeline) CheckSchema(c *call.Call) (any, error) {
	r, err := p.record(c.Name)
	if err != nil {
		return nil, err
	}
	s, err := schema.Compile(c.Name, r.Last().Version, r.Last().Schema)
	if err != nil {
		return nil, err
	}
	k := &checking{schema: s}
	d := event.NewDecoder(c.Limits)
	d.Govern(k)
	verdicts := []checkVerdict{}
	err = d.AddAll(c.Body, "", func() [16]byte { return [16]byte{} }, func(it event.Item) error {
		if d.Full() {
			d.Seal(0)
		}
		if len(verdicts) >= maxChecked {
			return call.Fail(http.StatusRequestEntityTooLarge, "too_many_events", "at most %d events are checked in one request", maxChecked)
		}
		v := checkVerdict{Index: it.Index, Violations: []checkViolation{}}
		if it.Reject != nil {
			v.Violations = append(v.Violations, checkViolation{Keyword: it.Reject.Code, Message: it.Reject.Message})
		} else {
			for _, x := range k.checker.Violations {
				v.Violations = append(v.Violations, checkViolation{x.Path, x.Keyword, s.Explain(x)})
			}
		}
		v.Valid = len(v.Violations) == 0
		verdicts = append(verdicts, v)
		return nil
	})
	return map[string]any{"event": c.Name, "version": s.Version, "mode": r.Mode, "events": verdicts}, err
}

const maxChecked = 1000

type checkVerdict struct {
	Index      int              `json:"index"`
	Valid      bool             `json:"valid"`
	Violations []checkViolation `json:"violations"`
}

type checkViolation struct {
	Path    string `json:"path,omitempty"`
	Keyword string `json:"keyword"`
	Message string `json:"message"`
}

// checking is a governor that judges and changes nothing.
type checking struct {
	schema  *schema.Schema
	checker schema.Checker
}

func (k *checking) Govern(d *event.Draft) event.Verdict {
	k.checker.Begin(k.schema)
	for i := range d.Len() {
		if path := d.Path(i); len(path) > len(schema.Root) && path[:len(schema.Root)+1] == schema.Root+"." {
			k.checker.Value(k.schema.Resolve(path), d, i)
		}
	}
	k.checker.End()
	return event.Verdict{}
}

// maxInferred is how many stored events a proposal follows from.
const maxInferred = 10_000

// InferSchema proposes a schema from stored events of a name; arguments from and to bound the time.
func (p *Pipeline) InferSchema(c *call.Call) (any, error) {
	profile := &schema.Profile{Personal: func(path string, text []byte) bool {
		return redact.NameIsSensitive(lastPart(path)) || len(redact.Scan(nil, text)) > 0
	}}
	d := event.NewDecoder(c.Limits)
	d.Govern(profile)
	spec := export.Spec{Events: []string{c.Name}, Limit: maxInferred, From: c.Arg("from"), To: c.Arg("to")}
	err := p.store.Export(c.Reading, spec, func(line []byte) error {
		if d.Full() {
			d.Seal(0)
		}
		if _, rej := d.Add(line, "", func() [16]byte { return [16]byte{} }); rej != nil && rej.Code != event.CodeMissingPerson { // who it was may be erased
			return rej
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if profile.Events == 0 {
		return nil, call.Fail(http.StatusNotFound, "not_found", "no events %q are stored that a schema could follow from", quoted(c.Name))
	}
	text, err := profile.Schema()
	return map[string]any{"event": c.Name, "events": profile.Events, "schema": text}, err
}
