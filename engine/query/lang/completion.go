package lang

import (
	"strings"
	"unicode/utf8"

	"spoor/segment/batch"
)

// Catalog knows the names and values in the data, for completion.
type Catalog interface {
	// EventNames are event names that begin with prefix, the most frequent first.
	EventNames(prefix string, limit int) []string
	// Fields are the column paths (Field.Path) that begin with prefix, of one
	// event or, if event is "", of all.
	Fields(event, prefix string, limit int) []string
	// Values are string values of a field that begin with prefix, the most frequent first.
	Values(event, field, prefix string, limit int) []string
	// Cohorts are names of saved users queries that begin with prefix.
	Cohorts(prefix string, limit int) []string
}

// Suggestion is a text that could stand at the cursor.
type Suggestion struct {
	Text string `json:"text"`
	Kind string `json:"kind"` // keyword, event, field or value
	// The text replaces the bytes [From, To) of the query.
	From int `json:"from"`
	To   int `json:"to"`
}

// MaxSuggestions bounds what one call of Complete asks the catalog for, and returns.
const MaxSuggestions = 50

// Complete suggests how the query could go on at pos, an offset in bytes. It
// parses the text before pos and takes what the parser looked for there. If
// that text has an error, or pos is in a comment, there are no suggestions.
func Complete(text string, pos int, catalog Catalog) []Suggestion {
	pos = max(0, min(pos, len(text)))
	for pos > 0 && pos < len(text) && !utf8.RuneStart(text[pos]) {
		pos--
	}
	if pos > MaxTextBytes {
		return nil
	}
	lx := lex(text[:pos])
	if n := len(lx.comments); n > 0 && !strings.Contains(text[lx.comments[n-1].at.Offset:pos], "\n") {
		return nil
	}
	tokens, ok := cursorAtEnd(lx.tokens)
	if !ok {
		return nil
	}
	p := parser{tokens: tokens}
	_ = p.run() // the cursor is always an error: what counts is what was expected there
	if p.cur().kind != tokenCursor {
		return nil
	}
	c := completion{parser: &p, cursor: *p.cur(), catalog: catalog, to: pos}
	switch rest := text[pos:]; {
	case c.cursor.open && strings.HasPrefix(rest, `"`):
		c.to++ // the quote that an editor has closed already
	case !c.cursor.open:
		for c.to < len(text) && (isWordStart(text[c.to]) || isDigit(text[c.to])) {
			c.to++
		}
	}
	c.names()
	c.keywords()
	return c.found[:min(len(c.found), MaxSuggestions)]
}

// cursorAtEnd makes the end of the text, with the word or open string before
// it, the cursor. ok is false if the text ends in an error.
func cursorAtEnd(tokens []token) (_ []token, ok bool) {
	last := &tokens[len(tokens)-1]
	if last.kind == tokenBad {
		last.kind = tokenCursor
		return tokens, last.open
	}
	last.kind = tokenCursor
	if n := len(tokens) - 1; n > 0 {
		if t := &tokens[n-1]; t.end == last.at.Offset && (t.kind == tokenWord || t.kind == tokenNumber || t.kind == tokenDuration) {
			t.kind = tokenCursor
			return tokens[:n], true
		}
	}
	return tokens, true
}

// completion collects the suggestions for one cursor.
type completion struct {
	parser  *parser
	cursor  token
	catalog Catalog
	to      int // Suggestion.To
	found   []Suggestion
}

func (c *completion) add(kind, text string, from int) {
	for _, s := range c.found {
		if s.Text == text && s.From == from {
			return
		}
	}
	c.found = append(c.found, Suggestion{Text: text, Kind: kind, From: from, To: c.to})
}

// matches tells whether a word goes on from what was typed.
func (c *completion) matches(word string) bool {
	return strings.HasPrefix(strings.ToLower(word), strings.ToLower(c.cursor.value))
}

// names suggests from the catalog.
func (c *completion) names() {
	for _, e := range c.parser.expected {
		switch e.kind {
		case wantEvent:
			if c.catalog == nil {
				continue
			}
			for _, name := range c.catalog.EventNames(c.cursor.value, MaxSuggestions) {
				text := name
				if c.cursor.open || !bareEvent(name) {
					text = quote(name)
				}
				c.add("event", text, c.cursor.at.Offset)
			}
		case wantField:
			c.fields(&e)
		case wantValue:
			if c.catalog == nil {
				continue
			}
			for _, v := range c.catalog.Values(c.event(), e.path, c.cursor.value, MaxSuggestions) {
				c.add("value", quote(v), c.cursor.at.Offset)
			}
		case wantCohort:
			if c.catalog == nil {
				continue
			}
			for _, name := range c.catalog.Cohorts(c.cursor.value, MaxSuggestions) {
				c.add("value", quote(name), c.cursor.at.Offset)
			}
		case wantZone:
			for _, zone := range strings.Fields(zoneNames) {
				if c.matches(zone) {
					c.add("value", quote(zone), c.cursor.at.Offset)
				}
			}
		}
	}
}

// fields suggests the fields that begin with what was typed. A bare beginning
// is a property's, or one of a scope.
func (c *completion) fields(e *expectation) {
	typed := c.cursor.value
	prefixes := []string{batch.JoinPath(strings.TrimSuffix(e.path, "."), typed)}
	if e.path == "" {
		prefixes = []string{batch.JoinPath("properties", typed), batch.JoinPath("context", typed), batch.JoinPath("user", typed)}
	}
	if c.catalog != nil {
		for _, prefix := range prefixes {
			for _, path := range c.catalog.Fields(c.event(), prefix, MaxSuggestions) {
				if f, ok := fieldOfPath(path); ok {
					c.add("field", f.String(), e.from)
				}
			}
		}
	}
	if e.path != "" || c.cursor.open {
		return
	}
	for s, name := range scopeNames {
		if c.matches(name) {
			if Scope(s).HasKeys() {
				name += "."
			}
			c.add("field", name, e.from)
		}
	}
}

// FieldName writes the field with a column path as the language does.
func FieldName(path string) string {
	if f, ok := fieldOfPath(path); ok {
		return f.String()
	}
	return path
}

// fieldOfPath is the field with a column path.
func fieldOfPath(path string) (Field, bool) {
	keys := batch.SplitPath(path)
	for s, name := range scopeNames {
		if keys[0] == name && Scope(s).HasKeys() == (len(keys) > 1) {
			return NewField(Scope(s), keys[1:]...), true
		}
	}
	return Field{}, false
}

// keywords suggests the words of the language.
func (c *completion) keywords() {
	if c.cursor.open {
		return
	}
	for _, e := range c.parser.expected {
		switch e.kind {
		case wantWord, wantClause:
			if c.matches(e.text) {
				c.add("keyword", e.text, c.cursor.at.Offset)
			}
		case wantSymbol:
			if e.text == "->" && c.cursor.value == "" {
				c.add("keyword", e.text, c.cursor.at.Offset)
			}
		case wantEvent:
			if c.matches("any") {
				c.add("keyword", "any", c.cursor.at.Offset)
			}
		}
	}
}

// event is the event whose fields are meant: that of the brackets around the
// cursor, else the only one that the head names, else "" for all.
func (c *completion) event() string {
	if s := c.parser.sel; s != nil {
		return soleEvent(s)
	}
	q := c.parser.q
	switch {
	case q.Trend != nil && len(q.Trend.Series) > 0:
		return soleEvent(&q.Trend.Series[0].Value.Of)
	case q.Top != nil:
		return soleEvent(&q.Top.Of)
	case q.Events != nil:
		return soleEvent(&q.Events.Of)
	case q.Users != nil:
		return soleEvent(&q.Users.Of)
	case q.Lifecycle != nil:
		return soleEvent(&q.Lifecycle.Of)
	case q.Stickiness != nil:
		return soleEvent(&q.Stickiness.Of)
	case q.Funnel != nil && len(q.Funnel.Steps) == 1:
		return soleEvent(&q.Funnel.Steps[0].EventSel)
	}
	return ""
}

func soleEvent(s *EventSel) string {
	if len(s.Alternatives) == 1 {
		return s.Alternatives[0].Name
	}
	return ""
}
