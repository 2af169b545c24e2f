package lang

import (
	_ "embed"
	"fmt"
	"strings"
	"time"
)

// grammar.md is the grammar of the language, with an example to each
// production. The tests parse the examples and hold its words against the parser's.
//
//go:embed grammar.md
var grammar string

// Grammar is the grammar of the language in EBNF, as Markdown.
func Grammar() string { return grammar }

// Parse reads the text of one query. The error is an *Error.
func Parse(text string) (*Query, error) {
	if len(text) > MaxTextBytes {
		return nil, ErrorAt(Pos{Line: 1, Column: 1}, CodeLimit,
			fmt.Sprintf("expected a query of at most %d bytes, found %d", MaxTextBytes, len(text)), "save long lists as a cohort")
	}
	return parse(text)
}

// parse is Parse without the bound on the text: canonical text can be longer
// than what it was made from.
func parse(text string) (*Query, error) {
	p := parser{tokens: lex(text).tokens}
	if err := p.run(); err != nil {
		return nil, err
	}
	return p.q, nil
}

// parser goes through the tokens from left to right, deciding by the current
// one and at most three behind it. It is a Pratt parser for predicates and descends
// recursively for the rest. Keywords are only words: a place where an event or
// a field is due takes any word as its name.
//
// Whatever the parser looks for at the current token and does not find goes to
// expected; an error lists it, and completion suggests it.
type parser struct {
	tokens   []token
	i        int
	expected []expectation
	depth    int // open parentheses, brackets and nots
	q        *Query

	// sel is the selection whose predicate is being read; nil outside of brackets.
	sel *EventSel
}

// expectation is something that could have stood at the current token.
type expectation struct {
	kind expectKind
	text string // the keyword or symbol, or the description of what is due
	from int    // wantField: offset of its beginning
	path string // wantField: what was typed of it. wantValue: the field's path
}

type expectKind uint8

const (
	wantSymbol expectKind = iota
	wantWord
	wantClause // the first word of a clause
	wantEvent
	wantField
	wantValue // of a field
	wantZone
	wantCohort
	wantOther // a number, a duration: nothing that could be suggested
)

// bailout carries an *Error from where it is found to run.
type bailout struct{ err *Error }

func (p *parser) run() (err error) {
	defer func() {
		if r := recover(); r != nil {
			b, ok := r.(bailout)
			if !ok {
				panic(r)
			}
			err = b.err
		}
	}()
	p.query()
	return nil
}

func (p *parser) cur() *token { return &p.tokens[p.i] }

// peek is the token n behind the current one.
func (p *parser) peek(n int) *token { return &p.tokens[min(p.i+n, len(p.tokens)-1)] }

func (p *parser) next() *token {
	t := p.cur()
	if p.i < len(p.tokens)-1 {
		p.i++
	}
	p.expected = p.expected[:0]
	return t
}

// name passes a token that names an event or a part of a field.
func (p *parser) name() {
	p.cur().named = p.cur().kind == tokenWord
	p.next()
}

func (t *token) isWord(word string) bool     { return t.kind == tokenWord && t.value == word }
func (t *token) isSymbol(symbol string) bool { return t.kind == tokenSymbol && t.value == symbol }

// expect notes what could stand here, for the message or the completion.
func (p *parser) expect(kind expectKind, text string) {
	for _, e := range p.expected {
		if e.kind == kind && e.text == text {
			return
		}
	}
	p.expected = append(p.expected, expectation{kind: kind, text: text})
}

// at tells whether the current token is the word.
func (p *parser) at(word string) bool {
	if p.cur().isWord(word) {
		return true
	}
	p.expect(wantWord, word)
	return false
}

// take passes the word if it is there.
func (p *parser) take(word string) bool {
	if !p.at(word) {
		return false
	}
	p.next()
	return true
}

// takeSymbol passes the symbol if it is there.
func (p *parser) takeSymbol(symbol string) bool {
	if p.cur().isSymbol(symbol) {
		p.next()
		return true
	}
	p.expect(wantSymbol, symbol)
	return false
}

func (p *parser) need(word string) {
	if !p.take(word) {
		p.unexpected()
	}
}

func (p *parser) needSymbol(symbol string) {
	if !p.takeSymbol(symbol) {
		p.unexpected()
	}
}

// oneOf passes one of the words and returns its index in names.
func (p *parser) oneOf(names []string) int {
	for i, name := range names {
		if p.take(name) {
			return i
		}
	}
	p.unexpected()
	return -1
}

func (p *parser) fail(at Pos, code, hint, format string, args ...any) {
	panic(bailout{ErrorAt(at, code, fmt.Sprintf(format, args...), hint)})
}

// unexpected fails at the current token with what was expected.
func (p *parser) unexpected() { p.unexpectedHint("") }

// unexpectedHint does so with a hint of the caller's if there is no better one.
func (p *parser) unexpectedHint(hint string) {
	t := p.cur()
	if t.kind == tokenBad {
		if t.bad.Message == "" {
			p.fail(t.at, CodeSyntax, t.bad.Hint, "expected %s, found %s", p.wanted(), t.value)
		}
		panic(bailout{t.bad})
	}
	if h := p.slip(t); h != "" {
		hint = h
	} else if hint == "" {
		hint = p.advice(t)
	}
	code := CodeSyntax
	if t.kind == tokenWord {
		for _, e := range p.expected {
			if e.kind == wantClause {
				code = CodeClause
			}
		}
	}
	p.fail(t.at, code, hint, "expected %s, found %s", p.wanted(), t.describe())
}

// wanted is the list of what could stand here.
func (p *parser) wanted() string {
	var things, clauses []string
	for _, e := range p.expected {
		switch e.kind {
		case wantClause:
			clauses = append(clauses, e.text)
		case wantSymbol, wantWord:
			things = append(things, "`"+e.text+"`")
		default:
			things = append(things, e.text)
		}
	}
	if len(clauses) > 0 {
		things = append(things, "a clause ("+strings.Join(clauses, ", ")+")")
	}
	if len(things) == 0 {
		things = append(things, "the end of the query")
	}
	return list(things)
}

// slip is the hint for a word that resembles one that could stand here.
func (p *parser) slip(t *token) string {
	if t.kind != tokenWord {
		return ""
	}
	var words []string
	for _, e := range p.expected {
		if e.kind == wantWord || e.kind == wantClause {
			words = append(words, e.text)
		}
	}
	if best := nearest(t.value, words); best != "" {
		return "did you mean `" + best + "`?"
	}
	return ""
}

// advice is the hint for common mistakes.
func (p *parser) advice(t *token) string {
	if t.kind == tokenWord && p.q.Kind != 0 && p.depth == 0 {
		if c := findClause(t.value); c != nil {
			if !c.kinds.has(p.q.Kind) {
				return "`" + c.word + "` is a clause of " + c.kinds.String() + ", not of " + p.q.Kind.String()
			}
		} else if kindOf(t.value) != 0 {
			return "send one query at a time"
		}
	}
	if p.i > 0 {
		if last := &p.tokens[p.i-1]; last.named && (findClause(last.value) != nil || last.value == "of") {
			return "`" + last.value + "` was read as the name of an event or field, since one is due there"
		}
	}
	switch {
	case t.isSymbol("=") && p.i > 0 && p.tokens[p.i-1].isSymbol("="):
		return "equality is written ="
	case t.isSymbol(">") && p.i > 0 && p.tokens[p.i-1].isSymbol("<"):
		return "inequality is written !="
	case t.isWord("AND") || t.isWord("OR") || t.isWord("NOT"):
		return "keywords are in lower case"
	}
	return ""
}

// describe names a token in a message.
func (t *token) describe() string {
	const longest = 40 // characters of a token that a message repeats
	value := []rune(t.value)
	if len(value) > longest {
		value = append(value[:longest], '…')
	}
	switch t.kind {
	case tokenEnd:
		return "the end of the query"
	case tokenString:
		return "the string " + quote(string(value))
	case tokenNumber:
		return "the number " + string(value)
	case tokenTime:
		return "the time " + string(value)
	}
	return "`" + string(value) + "`"
}

// enter goes one level deeper into a predicate; the caller leaves by p.depth--.
func (p *parser) enter(at Pos) {
	if p.depth++; p.depth > MaxDepthOfExpr {
		p.fail(at, CodeLimit, "", "expected at most %d nested parentheses, brackets and nots, found more", MaxDepthOfExpr)
	}
}

// query reads a whole text.
func (p *parser) query() {
	t := p.cur()
	p.q = &Query{At: t.at, TZ: DefaultTZ, Range: Range{Last: DefaultLast}, clauses: map[string]Pos{}}
	if t.kind == tokenWord {
		p.q.Kind = kindOf(t.value)
	}
	if p.q.Kind == 0 {
		for _, name := range kindNames[1:] {
			p.expect(wantWord, name)
		}
		p.unexpectedHint("a query begins with its kind, in lower case")
	}
	p.next()
	p.head()
	p.clauses()
	p.finish()
}

func kindOf(word string) Kind {
	for k, name := range kindNames {
		if k > 0 && name == word {
			return Kind(k)
		}
	}
	return 0
}

// finish checks what needs the whole query, and sets the defaults that do.
func (p *parser) finish() {
	q := p.q
	loc, err := LoadZone(q.TZ)
	if err != nil {
		p.fail(q.PosOf("tz"), CodeValue, "", "%v", err)
	}
	q.loc = loc
	if q.Range.Last == 0 {
		from, to := q.Range.Resolve(time.Time{}, loc)
		if from == to {
			p.fail(q.Range.To.At, CodeValue, "the range ends before its `to`: for one day write the next day there",
				"expected a range that is not empty, found `to` equal to `from`")
		}
		if from > to {
			p.fail(q.Range.To.At, CodeValue, "swap the two", "expected `to` behind `from`, found it before")
		}
	}
	p.finishHead()
	if q.Limit == 0 {
		q.Limit = q.Kind.defaultLimit()
	}
}

func (k Kind) defaultLimit() int {
	switch k {
	case KindEvents, KindUsers:
		return DefaultRows
	case KindPaths:
		return DefaultLinks
	}
	return DefaultGroups
}
