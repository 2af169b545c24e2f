package govern

import (
	"context"
	"fmt"
	"net/http"
	"strings"

	"github.com/go-json-experiment/json"

	"spoor/engine/event"
	"spoor/segment/batch"
	"spoor/server/call"
)

// ConsentPolicy says what an event needs the consent of its person for.
type ConsentPolicy struct {
	// Default is the purpose of every event that Events does not name; empty: it needs none.
	Default string `json:"default"`
	// Events are purposes by event name; empty: it needs none.
	Events map[string]string `json:"events,omitempty"`
	// Properties are purposes by path, such as properties.email: without consent
	// the event is stored without what stands there.
	Properties map[string]string `json:"properties,omitempty"`
	// Unknown says what counts where nothing is known of a purpose: "deny" or "allow".
	Unknown string `json:"unknown"`
	// Action says what becomes of an event without the consent that it needs: "drop"
	// stores nothing of it, "strip" its name, ids and time alone.
	Action string `json:"action"`
}

const (
	consentDeny  = "deny"
	consentAllow = "allow"
	consentDrop  = "drop"
	consentStrip = "strip"

	maxPurposes     = 64  // of one person, and in a policy
	maxPurposeBytes = 64  // of the name of one
	maxConsentRules = 500 // event names or properties of a policy
)

func (c *ConsentPolicy) empty() bool {
	return c.Default == "" && len(c.Events) == 0 && len(c.Properties) == 0
}

func checkPurpose(name string) error {
	if name == "" || len(name) > maxPurposeBytes {
		return fmt.Errorf("the name of a purpose has 1 to %d bytes", maxPurposeBytes)
	}
	return nil
}

func (c *ConsentPolicy) check() error {
	if len(c.Events) > maxConsentRules || len(c.Properties) > maxConsentRules {
		return fmt.Errorf("consent names at most %d events and %d properties", maxConsentRules, maxConsentRules)
	}
	for path, purpose := range c.Properties {
		if !strings.HasPrefix(path, "properties.") && !strings.HasPrefix(path, "context.") {
			return fmt.Errorf("consent.properties: %.100q is no path of properties or context", path)
		}
		if err := checkPurpose(purpose); err != nil {
			return fmt.Errorf("consent.properties: %w", err)
		}
	}
	for name, purpose := range c.Events {
		if purpose != "" && checkPurpose(purpose) != nil {
			return fmt.Errorf("consent.events: %.100q: %w", name, checkPurpose(purpose))
		}
	}
	if c.Default != "" {
		return checkPurpose(c.Default)
	}
	return nil
}

// purpose is one, with the paths at which a client may say something of it.
type purpose struct {
	name  string
	paths [2]string
}

func newPurpose(name string) *purpose {
	if name == "" {
		return nil
	}
	return &purpose{name, [2]string{
		batch.JoinPath("context.consent", name),
		batch.JoinPath("context.consent.categoryPreferences", name), // as Segment has it
	}}
}

// consentRules are a policy's, compiled.
type consentRules struct {
	otherwise *purpose
	events    map[string]*purpose
	paths     []consentPath
	allow     bool // where nothing is known
	strip     bool
}

type consentPath struct {
	path    string
	purpose *purpose
}

func newConsentRules(c *ConsentPolicy) *consentRules {
	if c.empty() {
		return nil
	}
	r := &consentRules{otherwise: newPurpose(c.Default), events: map[string]*purpose{}, allow: c.Unknown == consentAllow, strip: c.Action == consentStrip}
	for name, p := range c.Events {
		r.events[name] = newPurpose(p)
	}
	for path, p := range c.Properties {
		r.paths = append(r.paths, consentPath{path, newPurpose(p)})
	}
	return r
}

// Consents is what persons agreed to.
type Consents interface {
	// SetConsent replaces what a person agreed to. anonymous: id is an anonymousId.
	SetConsent(ctx context.Context, id string, anonymous bool, received int64, purposes map[string]bool) (index uint64, err error)
	// Consent is what the person of an event said of a purpose; known is false where nothing was said.
	Consent(userID, anonymousID []byte, purpose string) (granted, known bool)
	// ConsentsOf is all that the person of an id said; found is false where the id is not known.
	ConsentsOf(id string) (purposes map[string]bool, found bool)
}

// granted tells whether an event may be used for a purpose. A denial counts
// wherever it comes from; an event that carries a consent counts where the store
// knows nothing.
func (w *worker) granted(d *event.Draft, r *consentRules, p *purpose) bool {
	granted, known := w.pipeline.store.Consent(d.UserID(), d.AnonymousID(), p.name)
	if known && !granted {
		return false
	}
	for _, path := range p.paths {
		if i := d.FindEscaped(path); i >= 0 && d.Kind(i) == batch.KindBool {
			if !d.Leaf(i).Bool {
				return false
			}
			granted, known = true, true
		}
	}
	if !known {
		return r.allow
	}
	return granted
}

// verdicts of consent.
type use uint8

const (
	useAll  use = iota // but for fields that were taken out
	useBare            // name, ids and time: nothing may be added
	useNone
)

// consent drops or strips what may not be used.
func (w *worker) consent(d *event.Draft, r *consentRules) use {
	need, named := r.events[string(d.Name())]
	if !named {
		need = r.otherwise
	}
	if need != nil && !w.granted(d, r, need) {
		if !r.strip {
			w.pipeline.Stats.Dropped.Add(1)
			return useNone
		}
		w.pipeline.Stats.Stripped.Add(1)
		for i := range d.Len() {
			d.Remove(i)
		}
		w.changed = append(w.changed, "properties", "context")
		return useBare
	}
	stripped := false
	for i := range r.paths {
		x := &r.paths[i]
		first := true
		for k := range d.Len() {
			if d.Kind(k) == 0 || !isBelow(d.Path(k), x.path) {
				continue
			}
			if first && w.granted(d, r, x.purpose) {
				break
			}
			first, stripped = false, true
			w.drop(d, k)
		}
	}
	if stripped {
		w.pipeline.Stats.Stripped.Add(1)
	}
	return useAll
}

// isBelow tells whether path is that of a value at or below at.
func isBelow(path, at string) bool {
	return strings.HasPrefix(path, at) && (len(path) == len(at) || path[len(at)] == '.')
}

// GetConsent answers what a person agreed to.
func (p *Pipeline) GetConsent(c *call.Call) (any, error) {
	purposes, found := p.store.ConsentsOf(c.Name)
	if !found {
		return nil, call.Fail(http.StatusNotFound, "not_found", "no person is known as %q", quoted(c.Name))
	}
	return map[string]any{"id": c.Name, "purposes": purposes}, nil
}

// PutConsent replaces what a person agreed to: {"purposes":{"analytics":true}}.
// An id that is not known is that of a user, or with the argument id=anonymous
// an anonymousId.
func (p *Pipeline) PutConsent(c *call.Call) (any, error) {
	var body struct {
		Purposes map[string]bool `json:"purposes"`
	}
	if err := json.Unmarshal(c.Body, &body, json.RejectUnknownMembers(true)); err != nil || body.Purposes == nil {
		return nil, call.Fail(http.StatusBadRequest, "bad_consent", `the body is {"purposes":{"analytics":true}}, with true or false for each purpose`)
	}
	if len(body.Purposes) > maxPurposes {
		return nil, call.Fail(http.StatusBadRequest, "bad_consent", "a person has at most %d purposes", maxPurposes)
	}
	for name := range body.Purposes {
		if err := checkPurpose(name); err != nil {
			return nil, call.Fail(http.StatusBadRequest, "bad_consent", "%v", err)
		}
	}
	if c.Name == "" || len(c.Name) > c.Limits.PersonIDBytes {
		return nil, call.Fail(http.StatusBadRequest, event.CodeBadPerson, "the id has %d bytes; it has 1 to %d", len(c.Name), c.Limits.PersonIDBytes)
	}
	anonymous := false
	switch kind := c.Arg("id"); kind {
	case "", "user":
	case "anonymous":
		anonymous = true
	default:
		return nil, call.Fail(http.StatusBadRequest, "bad_argument", "id is user or anonymous, not %q", quoted(kind))
	}
	var err error
	c.Index, err = p.store.SetConsent(c.Context, c.Name, anonymous, c.Now.UnixMicro(), body.Purposes)
	return map[string]any{"id": c.Name, "purposes": body.Purposes}, err
}
