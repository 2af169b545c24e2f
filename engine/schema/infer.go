package schema

import (
	"math"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"spoor/engine/event"
	"spoor/segment/batch"
)

// Profile is what the properties of some events are like. It is an
// event.Governor: what a decoder reads is counted.
type Profile struct {
	Events int
	fields map[string]*fieldProfile
	// Personal tells whether a text holds personal data; nil: nobody looks.
	Personal func(path string, text []byte) bool
}

type fieldProfile struct {
	events   int
	kinds    kinds
	texts    map[string]int // nil once there are too many
	count    int            // of texts
	personal bool
}

const (
	maxProfileFields = 400 // fits maxFields with the objects between
	maxProfileTexts  = 12  // distinct values that may be an enum
	enumEvents       = 20  // events per value, before an enum is proposed
	rareText         = 10  // a value that is rarer tells of others that were not seen
	maxEnumText      = 64  // bytes
)

// Govern counts an event.
func (p *Profile) Govern(d *event.Draft) event.Verdict {
	if p.fields == nil {
		p.fields = map[string]*fieldProfile{}
	}
	p.Events++
	for i := range d.Len() {
		path := d.Path(i)
		if !strings.HasPrefix(path, Root+".") {
			continue
		}
		f := p.fields[path]
		if f == nil {
			if len(p.fields) >= maxProfileFields {
				continue
			}
			f = &fieldProfile{texts: map[string]int{}}
			p.fields[path] = f
		}
		f.events++
		f.note(d, i)
		if k := d.Kind(i); p.Personal != nil && !f.personal && (k == batch.KindString || k == batch.KindJSON) {
			f.personal = p.Personal(path, d.Text(i))
		}
	}
	return event.Verdict{}
}

func (f *fieldProfile) note(d *event.Draft, i int) {
	switch d.Kind(i) {
	case batch.KindString:
		f.kinds |= isString
		f.count++
		if f.texts == nil {
			return
		}
		text := d.Text(i)
		if f.texts[string(text)]++; len(f.texts) > maxProfileTexts || len(text) > maxEnumText {
			f.texts = nil
		}
	case batch.KindNumber:
		if v := d.Number(i); v == math.Trunc(v) {
			f.kinds |= isInteger
		} else {
			f.kinds |= isNumber
		}
	case batch.KindInt:
		f.kinds |= isInteger
	case batch.KindNumText:
		f.kinds |= isNumber
	case batch.KindBool:
		f.kinds |= isBoolean
	case batch.KindNull:
		f.kinds |= isNull
	case batch.KindJSON:
		if d.Text(i)[0] == '[' {
			f.kinds |= isArray
		} else {
			f.kinds |= isObject
		}
	}
}

type draftSchema struct {
	Type       any                     `json:"type,omitempty"`
	Enum       []string                `json:"enum,omitempty"`
	PII        string                  `json:"pii,omitempty"`
	Properties map[string]*draftSchema `json:"properties,omitempty"`
	Required   []string                `json:"required,omitempty"`

	events int
}

// Schema proposes a schema that all events that were counted obey: types, what
// every event had, few texts as an enum, and personal data to be masked.
func (p *Profile) Schema() (jsontext.Value, error) {
	root := &draftSchema{Type: "object", events: p.Events}
	paths := make([]string, 0, len(p.fields))
	for path := range p.fields {
		paths = append(paths, path)
	}
	slices.Sort(paths)
	for _, path := range paths {
		f := p.fields[path]
		at, parts := root, batch.SplitPath(path[len(Root)+1:])
		for i, name := range parts {
			if at.Properties == nil {
				at.Properties = map[string]*draftSchema{}
			}
			next := at.Properties[name]
			if next == nil {
				next = &draftSchema{}
				at.Properties[name] = next
			}
			next.events += f.events
			if i == len(parts)-1 {
				f.describe(next)
			} else {
				next.Type = withKind(next.Type, isObject)
			}
			at = next
		}
	}
	root.require()
	return json.Marshal(root, json.Deterministic(true), jsontext.WithIndent("  "))
}

func (f *fieldProfile) describe(s *draftSchema) {
	s.Type = withKind(s.Type, f.kinds)
	if f.kinds == isString && len(f.texts) > 0 && f.count >= enumEvents*len(f.texts) && f.rarest() >= rareText {
		for text := range f.texts {
			s.Enum = append(s.Enum, text)
		}
		slices.Sort(s.Enum)
	}
	if f.personal {
		s.PII, s.Enum = piiNames[Mask], nil
	}
}

// rarest is how many events had the text that the fewest had.
func (f *fieldProfile) rarest() int {
	least := f.count
	for _, n := range f.texts {
		least = min(least, n)
	}
	return least
}

// withKind adds types to those that stand in a schema.
func withKind(have any, k kinds) any {
	var names []string
	switch t := have.(type) {
	case string:
		names = []string{t}
	case []string:
		names = t
	}
	for i, name := range kindNames {
		if k&(1<<i) == 0 || slices.Contains(names, name) || name == "integer" && k&isNumber != 0 {
			continue
		}
		names = append(names, name)
	}
	if len(names) == 1 {
		return names[0]
	}
	return names
}

// require names what every event had. A nested object is counted once per leaf,
// so it is left to its own fields.
func (s *draftSchema) require() {
	for name, kid := range s.Properties {
		if kid.Properties == nil && kid.events == s.events && s.events > 0 {
			s.Required = append(s.Required, name)
		}
		if kid.Properties != nil {
			kid.events = 0
			kid.require()
		}
	}
	slices.Sort(s.Required)
}
