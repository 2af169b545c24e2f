package schema

import (
	"fmt"
	"slices"
	"strings"
)

// Change is one difference between two versions of a schema.
type Change struct {
	Path string `json:"path"`
	What string `json:"what"` // keyword, or "added", "removed"
	From string `json:"from,omitempty"`
	To   string `json:"to,omitempty"`
	// Narrows: an event that obeys the old version may not obey the new one.
	Narrows bool `json:"narrows"`
	// Widens: an event that obeys the new version may not obey the old one.
	Widens bool `json:"widens"`
}

// Compatibility is what a new version must keep.
type Compatibility string

// The kinds of compatibility.
const (
	Backward Compatibility = "backward" // events of the old version obey the new one; the default
	Forward  Compatibility = "forward"  // events of the new version obey the old one
	Full     Compatibility = "full"     // both
	None     Compatibility = "none"     // nothing
)

// Breaks lists the changes that the compatibility forbids.
func (c Compatibility) Breaks(changes []Change) []Change {
	var out []Change
	for _, x := range changes {
		if x.Narrows && (c == Backward || c == Full) || x.Widens && (c == Forward || c == Full) {
			out = append(out, x)
		}
	}
	return out
}

// Compare lists what is different in next, by path. A property that is new and
// not required narrows nothing, also where the old version allowed any value of
// it: nobody may be expected to have sent another one.
func Compare(old, next *Schema) []Change {
	c := comparison{}
	c.fields(old.root, next.root)
	slices.SortStableFunc(c.changes, func(a, b Change) int { return strings.Compare(a.Path, b.Path) })
	return c.changes
}

type comparison struct{ changes []Change }

func (c *comparison) note(path, what, from, to string, narrows, widens bool) {
	c.changes = append(c.changes, Change{path, what, from, to, narrows, widens})
}

func (c *comparison) fields(a, b *field) {
	if wide(a.kinds) != wide(b.kinds) {
		c.note(b.path, "type", a.kinds.String(), b.kinds.String(), wide(a.kinds)&^wide(b.kinds) != 0, wide(b.kinds)&^wide(a.kinds) != 0)
	}
	c.enums(a, b)
	c.bounds(b.path, "minimum", a.minimum, b.minimum, 1)
	c.bounds(b.path, "maximum", a.maximum, b.maximum, -1)
	c.bounds(b.path, "exclusiveMinimum", a.exclusiveMin, b.exclusiveMin, 1)
	c.bounds(b.path, "exclusiveMaximum", a.exclusiveMax, b.exclusiveMax, -1)
	c.counts(b.path, "minLength", a.minLength, b.minLength, 1)
	c.counts(b.path, "maxLength", a.maxLength, b.maxLength, -1)
	c.counts(b.path, "minItems", a.minItems, b.minItems, 1)
	c.counts(b.path, "maxItems", a.maxItems, b.maxItems, -1)
	if from, to := patternText(a), patternText(b); from != to {
		c.note(b.path, "pattern", from, to, to != "", from != "")
	}
	if a.pii != b.pii {
		c.note(b.path, "pii", piiNames[a.pii], piiNames[b.pii], b.pii == Forbid, a.pii == Forbid)
	}
	if a.additional != b.additional {
		c.note(b.path, "additional", additionalNames[a.additional], additionalNames[b.additional], b.additional == Reject, a.additional == Reject)
	}
	if a.items != nil || b.items != nil {
		c.fields(orAny(a.items, b.path+"[]"), orAny(b.items, b.path+"[]"))
	}
	c.members(a, b)
}

func (c *comparison) members(a, b *field) {
	for _, kid := range b.fields {
		was := a.field(kid.name)
		needed, neededBefore := slices.Contains(b.required, kid), was != nil && slices.Contains(a.required, was)
		if was == nil {
			c.note(kid.path, "added", "", kid.kinds.String(), needed, a.additional == Reject)
		} else {
			c.fields(was, kid)
		}
		if was != nil && needed != neededBefore {
			c.note(kid.path, "required", fmt.Sprint(neededBefore), fmt.Sprint(needed), needed, neededBefore)
		}
	}
	for _, was := range a.fields {
		if b.field(was.name) == nil {
			c.note(was.path, "removed", was.kinds.String(), "", b.additional == Reject, slices.Contains(a.required, was))
		}
	}
}

// wide gives whole numbers to those kinds that hold all numbers.
func wide(k kinds) kinds {
	if k&isNumber != 0 {
		k |= isInteger
	}
	return k
}

func orAny(f *field, path string) *field {
	if f != nil {
		return f
	}
	return &field{path: path, kinds: anyKind, minLength: -1, maxLength: -1, minItems: -1, maxItems: -1}
}

func patternText(f *field) string {
	if f.pattern == nil {
		return ""
	}
	return f.pattern.String()
}

func (c *comparison) enums(a, b *field) {
	from, to := enumTexts(a), enumTexts(b)
	if slices.Equal(from, to) {
		return
	}
	lost := b.enum != nil && (a.enum == nil || !subset(from, to))
	won := a.enum != nil && (b.enum == nil || !subset(to, from))
	c.note(b.path, "enum", strings.Join(from, ", "), strings.Join(to, ", "), lost, won)
}

func enumTexts(f *field) []string {
	var texts []string
	for i := range f.enum {
		x := &f.enum[i]
		text := x.json
		if x.bound != nil {
			text = x.bound.rat.RatString() // 1 and 1.0 are one value
		}
		texts = append(texts, text)
	}
	slices.Sort(texts)
	return slices.Compact(texts)
}

func subset(a, b []string) bool {
	for _, x := range a {
		if _, ok := slices.BinarySearch(b, x); !ok {
			return false
		}
	}
	return true
}

// bounds compares two limits; sign is 1 where a higher one is narrower.
func (c *comparison) bounds(path, what string, a, b *bound, sign int) {
	from, to, order := "", "", 0
	switch {
	case a == nil && b == nil:
		return
	case a == nil:
		to, order = b.text, 1
	case b == nil:
		from, order = a.text, -1
	default:
		from, to, order = a.text, b.text, b.rat.Cmp(a.rat)*sign
	}
	if order != 0 {
		c.note(path, what, from, to, order > 0, order < 0)
	}
}

func (c *comparison) counts(path, what string, a, b, sign int) {
	if a == b {
		return
	}
	from, to, order := fmt.Sprint(a), fmt.Sprint(b), sign
	switch {
	case a < 0:
		from, order = "", 1
	case b < 0:
		to, order = "", -1
	case b < a:
		order = -sign
	}
	c.note(path, what, from, to, order > 0, order < 0)
}
