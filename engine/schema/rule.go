package schema

import (
	"fmt"

	"spoor/engine/event"
	"spoor/segment/batch"
)

// Rule is what a schema says of one path. It never changes.
type Rule struct {
	PII  PII
	drop bool // the value is additional and dropped

	field   *field // judges the value; nil: none does
	at      string // path of the fault that every value here is
	keyword string // "": none
	seen    []int  // fields that are there, if this path is
	objects []int  // those of them that are objects then
}

// Violation is one way in which an event does not obey.
type Violation struct {
	Path    string // of the value, as in the query language
	Keyword string // of the schema
}

// Missing tells that there is no value where one is required.
func (v Violation) Missing() bool { return v.Keyword == "required" }

func (v Violation) String() string {
	return v.Path + " does not obey " + v.Keyword
}

// Resolve finds the rule of a path below Root.
func (s *Schema) Resolve(path string) *Rule {
	r := &Rule{}
	at := path
	f := s.byPath[at]
	for f == nil {
		at = parentOf(at)
		f = s.byPath[at]
	}
	if exact := at == path; exact {
		r.field = f
		r.seen = append(r.seen, f.index)
	} else {
		r.parent(f)
		switch f.additional {
		case Drop:
			r.drop = true
		case Reject:
			r.fault(path, "additional")
		}
	}
	for a := f; a != nil; a = a.parent {
		if a != r.field {
			r.parent(a)
		}
		if r.PII == Unstated {
			r.PII = a.pii
		}
		if a.implied {
			r.drop = r.drop || a.parent.additional == Drop
			if a.parent.additional == Reject {
				r.fault(a.path, "additional")
			}
		}
	}
	if r.keyword != "" {
		r.field, r.drop = nil, false
	}
	return r
}

// parent notes that the path makes f an object.
func (r *Rule) parent(f *field) {
	switch {
	case f.kinds&isObject == 0:
		r.fault(f.path, "type")
	case f.enum != nil:
		r.fault(f.path, "enum")
	}
	for _, i := range r.objects {
		if i == f.index {
			return
		}
	}
	r.seen = append(r.seen, f.index)
	r.objects = append(r.objects, f.index)
}

// fault: that of the outermost field stands, for it is named last.
func (r *Rule) fault(path, keyword string) { r.at, r.keyword = path, keyword }

// parentOf cuts the last part off a path.
func parentOf(path string) string {
	for i := len(path) - 1; i > 0; i-- {
		if path[i] != '.' {
			continue
		}
		slashes := 0
		for i-1-slashes >= 0 && path[i-1-slashes] == '\\' {
			slashes++
		}
		if slashes%2 == 0 {
			return path[:i]
		}
	}
	return Root
}

// maxViolations are listed of one event; the others are not looked for.
const maxViolations = 16

// Checker judges one event after the other. Not for concurrent use.
type Checker struct {
	Violations []Violation // of the event
	s          *Schema
	seen       []bool // per field
	objects    []bool
}

// Begin starts with an event of s.
func (c *Checker) Begin(s *Schema) {
	c.s, c.Violations = s, c.Violations[:0]
	if n := len(s.all); cap(c.seen) < n {
		c.seen, c.objects = make([]bool, n), make([]bool, n)
	} else {
		c.seen, c.objects = c.seen[:n], c.objects[:n]
		clear(c.seen)
		clear(c.objects)
	}
	c.seen[0], c.objects[0] = true, true // the properties themselves
}

func (c *Checker) fault(path, keyword string) {
	if len(c.Violations) >= maxViolations {
		return
	}
	for _, v := range c.Violations {
		if v.Path == path && v.Keyword == keyword {
			return
		}
	}
	c.Violations = append(c.Violations, Violation{path, keyword})
}

// Value judges value i of the event by the rule of its path. drop tells that
// the schema wants it dropped.
func (c *Checker) Value(r *Rule, d *event.Draft, i int) (drop bool) {
	for _, i := range r.seen {
		c.seen[i] = true
	}
	for _, i := range r.objects {
		c.objects[i] = true
	}
	if r.keyword != "" {
		c.fault(r.at, r.keyword)
		return false
	}
	if r.PII == Forbid {
		c.fault(d.Path(i), "pii")
	}
	f := r.field
	if f == nil || r.drop {
		return r.drop
	}
	// The common kinds are judged without a copy of the value.
	v := value{}
	switch d.Kind(i) {
	case batch.KindString:
		v.kind, v.text = isString, d.Text(i)
	case batch.KindNumber:
		v.kind, v.num = isNumber, d.Number(i)
	case batch.KindJSON:
		if path, keyword := f.tree(d.Text(i)); keyword != "" {
			c.fault(path, keyword)
		}
		return false
	default:
		l := d.Leaf(i)
		v = leafValue(&l)
	}
	if keyword := f.scalar(&v); keyword != "" {
		c.fault(f.path, keyword)
	}
	return false
}

// End looks for what is missing.
func (c *Checker) End() {
	for i, f := range c.s.all {
		if len(f.required) == 0 || !c.objects[i] {
			continue
		}
		for _, kid := range f.required {
			if !c.seen[kid.index] {
				c.fault(kid.path, "required")
			}
		}
	}
}

// Explain says what a violation is, for persons.
func (s *Schema) Explain(v Violation) string {
	f := s.byPath[v.Path]
	say := ""
	switch {
	case v.Keyword == "additional":
		say = "is not named in the schema"
	case v.Missing():
		say = "is required and missing"
	case v.Keyword == "pii":
		say = "is personal data, which must not be sent"
	case f == nil:
		say = "does not obey " + v.Keyword
	case v.Keyword == "type":
		say = "must be of type " + f.kinds.String()
	case v.Keyword == "enum":
		say = "is none of the values that are allowed"
	case v.Keyword == "pattern":
		say = fmt.Sprintf("does not match %.100q", f.pattern.String())
	case v.Keyword == "minLength":
		say = fmt.Sprintf("has fewer than %d characters", f.minLength)
	case v.Keyword == "maxLength":
		say = fmt.Sprintf("has more than %d characters", f.maxLength)
	case v.Keyword == "minimum":
		say = "is below " + f.minimum.text
	case v.Keyword == "maximum":
		say = "is above " + f.maximum.text
	default:
		say = "does not obey " + v.Keyword
	}
	return fmt.Sprintf("%.300s %s (schema %.100q, version %d)", v.Path, say, s.Event, s.Version)
}
