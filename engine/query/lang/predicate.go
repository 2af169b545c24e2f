package lang

import (
	"fmt"
	"math"
	"regexp"
	"regexp/syntax"
	"strconv"
	"strings"
	"time"

	"spoor/segment/batch"
)

// Binding powers of the operators of a predicate: a higher one binds tighter.
const (
	bindOr = 1 + iota
	bindAnd
)

// predicate reads a whole predicate.
func (p *parser) predicate() Expr { return p.expr(bindOr) }

// expr reads a predicate whose operators bind at least as tightly as least.
func (p *parser) expr(least int) Expr {
	left := p.operand()
	for {
		switch {
		case least <= bindAnd && p.at("and"):
			terms := p.terms("and", bindAnd+1, left)
			left = &And{At: left.Pos(), Terms: flatten(terms, andTerms)}
		case least <= bindOr && p.at("or"):
			terms := p.terms("or", bindOr+1, left)
			left = &Or{At: left.Pos(), Terms: flatten(terms, orTerms)}
		default:
			return left
		}
	}
}

// terms reads the operands of a row of one operator.
func (p *parser) terms(word string, least int, first Expr) []Expr {
	terms := []Expr{first}
	for p.take(word) {
		terms = append(terms, p.expr(least))
	}
	return terms
}

func andTerms(e Expr) []Expr {
	if and, ok := e.(*And); ok {
		return and.Terms
	}
	return nil
}

func orTerms(e Expr) []Expr {
	if or, ok := e.(*Or); ok {
		return or.Terms
	}
	return nil
}

// flatten puts the terms of a term of the same operator in its place.
func flatten(terms []Expr, inner func(Expr) []Expr) []Expr {
	flat := make([]Expr, 0, len(terms))
	for _, t := range terms {
		if in := inner(t); in != nil {
			flat = append(flat, in...)
		} else {
			flat = append(flat, t)
		}
	}
	return flat
}

// operand reads a not, a predicate in parentheses, or a single test.
func (p *parser) operand() Expr {
	t := p.cur()
	p.expect(wantWord, "not")
	p.expect(wantSymbol, "(")
	switch {
	case t.isWord("not"):
		p.next()
		p.enter(t.at)
		term := p.operand()
		p.depth--
		return &Not{At: t.at, Term: term}
	case t.isSymbol("("):
		p.next()
		p.enter(t.at)
		e := p.predicate()
		p.needSymbol(")")
		p.depth--
		return e
	case t.isWord("user") && !p.peek(1).isSymbol("."):
		return p.inCohort()
	}
	p.expect(wantWord, "user")
	return p.test()
}

func (p *parser) inCohort() Expr {
	e := &InCohort{At: p.next().at}
	e.Negated = p.take("not")
	if !p.take("in") {
		p.unexpectedHint("`user` alone is no field: write userId, a trait such as user.plan, or properties.user")
	}
	p.need("cohort")
	e.NameAt = p.cur().at
	if p.cur().kind != tokenString {
		p.expect(wantCohort, "the name of a cohort in double quotes")
		p.unexpectedHint(stringHint(p.cur()))
	}
	e.Name = p.text("the name of a cohort in double quotes", "cohort")
	return e
}

// test reads a field, an operator and what it needs.
func (p *parser) test() Expr {
	f := p.field()
	for op, name := range compareNames {
		if p.takeSymbol(name) {
			value := p.literal(&f)
			if op := CompareOp(op); op != Equal && op != NotEqual && (value.Kind == LitBool || value.Kind == LitNull) {
				p.fail(value.At, CodeType, "only = and != take it", "expected a number or a string after `%s`, found %s", op, litNames[value.Kind])
			}
			return &Compare{Field: f, Op: CompareOp(op), Value: value}
		}
	}
	if p.take("in") {
		return p.in(f, false)
	}
	if p.take("not") {
		if !p.take("in") {
			p.unexpectedHint("any other test is turned round in front of it: not " + f.String() + " contains ...")
		}
		return p.in(f, true)
	}
	for op, name := range matchNames {
		first, second, two := strings.Cut(name, " ")
		if p.take(first) {
			if two {
				p.need(second)
			}
			return p.match(f, MatchOp(op))
		}
	}
	if p.take("exists") {
		return &Exists{Field: f}
	}
	if p.take("missing") {
		return &Exists{Field: f, Missing: true}
	}
	p.unexpectedHint(testHint(p.cur(), &f))
	return nil
}

// testHint is for what other languages have where a test's operator is due.
func testHint(t *token, f *Field) string {
	switch {
	case t.isWord("is"):
		return "write exists, missing, or = null for an explicit null"
	case t.isWord("like"):
		return "write contains, starts with, ends with or matches"
	case t.isWord("between"):
		return "write " + f.String() + " >= a and " + f.String() + " <= b"
	case t.kind == tokenEnd || t.isWord("and") || t.isWord("or") || t.isSymbol("]") || t.isSymbol(")"):
		return "a boolean is tested by " + f.String() + " = true"
	}
	return ""
}

func (p *parser) in(f Field, negated bool) Expr {
	if !p.cur().isSymbol("(") && p.cur().isWord("cohort") {
		p.fail(p.cur().at, CodeSyntax, "write `user in cohort`", "expected `(` after `in`, found `cohort`: persons are in cohorts, not fields")
	}
	p.needSymbol("(")
	e := &In{Field: f, Negated: negated}
	for {
		if len(e.Values) == MaxInValues {
			p.fail(p.cur().at, CodeLimit, "", "expected at most %d values after `in`, found more", MaxInValues)
		}
		e.Values = append(e.Values, p.literal(&f))
		if p.takeSymbol(")") {
			return e
		}
		p.needSymbol(",")
	}
}

func (p *parser) match(f Field, op MatchOp) Expr {
	t := p.cur()
	if f.Scope.IsTime() {
		p.fail(f.At, CodeType, "compare it with < <= > >=", "expected a field with text before `%s`, found `%s`, which is a time", op, f.Path)
	}
	if t.kind != tokenString {
		p.expectValue(&f, "a string")
		p.unexpectedHint(stringHint(t))
	}
	p.next()
	e := &Match{Field: f, Op: op, Text: t.value, TextAt: t.at}
	if op != Matches {
		return e
	}
	if len(t.value) > MaxRegexpBytes {
		p.fail(t.at, CodeLimit, "use `in` for a list of values", "expected a regular expression of at most %d bytes, found %d", MaxRegexpBytes, len(t.value))
	}
	re, err := compile(t.value)
	if err != nil {
		reason := strings.TrimPrefix(err.Error(), "error parsing regexp: ")
		p.fail(t.at, CodeValue, "the syntax is RE2's: no look-around and no back references", "expected a regular expression, found %s: %s", t.describe(), reason)
	}
	e.Regexp = re
	return e
}

// compile is regexp.Compile with a bound on the program: a short text can
// stand for a long one by its repetitions, and a match takes time by its length.
func compile(text string) (*regexp.Regexp, error) {
	tree, err := syntax.Parse(text, syntax.Perl)
	if err != nil {
		return nil, err
	}
	program, err := syntax.Compile(tree.Simplify())
	if err != nil {
		return nil, err
	}
	if n := len(program.Inst); n > MaxRegexpSteps {
		return nil, fmt.Errorf("it stands for %d steps of matching, more than %d", n, MaxRegexpSteps)
	}
	return regexp.Compile(text)
}

// field reads a field.
func (p *parser) field() Field {
	t := p.cur()
	f := Field{At: t.at}
	p.needName("a field", t.at.Offset, "")
	scope, known := scopeOf(t)
	f.Scope = scope
	typed := scope.String()
	if !known {
		f.Keys = []string{t.value}
		typed = batch.JoinPath(typed, t.value)
	}
	for p.takeSymbol(".") {
		if !f.Scope.HasKeys() {
			p.fail(t.at, CodeSyntax, "for a property of that name write properties."+t.value, "expected `%s` to stand alone, found a member of it", t.value)
		}
		key := p.cur()
		p.needName("the name of a member", t.at.Offset, typed+".")
		typed = batch.JoinPath(typed, key.value)
		f.Keys = append(f.Keys, key.value)
	}
	if f.Scope.HasKeys() && len(f.Keys) == 0 {
		p.fail(t.at, CodeSyntax, "for a property of that name write properties."+t.value, "expected a member after `%s`, such as %s.name, found %s", t.value, t.value, p.cur().describe())
	}
	at := f.At
	f = NewField(f.Scope, f.Keys...)
	f.At = at
	if len(f.Path) > batch.MaxPathBytes {
		p.fail(at, CodeLimit, "", "expected a field of at most %d bytes, found %d", batch.MaxPathBytes, len(f.Path))
	}
	return f
}

// needName passes a word or string that is part of a field.
func (p *parser) needName(what string, from int, typed string) {
	t := p.cur()
	if t.kind == tokenWord || t.kind == tokenString {
		p.name()
		return
	}
	p.expected = append(p.expected, expectation{kind: wantField, text: what, from: from, path: typed})
	hint := ""
	if t.kind == tokenNumber || t.kind == tokenDuration {
		hint = "quote a name that begins with a digit: " + quote(t.value)
	}
	p.unexpectedHint(hint)
}

// scopeOf is the scope that a word names. A quoted word names a property.
func scopeOf(t *token) (Scope, bool) {
	if t.kind == tokenWord {
		for s, name := range scopeNames {
			if t.value == name {
				return Scope(s), true
			}
		}
	}
	return ScopeProperty, false
}

func (p *parser) expectValue(f *Field, what string) {
	p.expected = append(p.expected, expectation{kind: wantValue, text: what, path: f.Path})
}

// literal reads a value that a field can have.
func (p *parser) literal(f *Field) Literal {
	t := p.cur()
	v := Literal{At: t.at, Text: t.value}
	switch {
	case t.kind == tokenString && f.Scope.IsTime():
		v.Text = ""
	case t.kind == tokenString:
	case t.kind == tokenNumber:
		v = p.number(t)
	case t.isWord("true"), t.isWord("false"):
		v = Literal{At: t.at, Kind: LitBool, Bool: t.value == "true"}
	case t.isWord("null"):
		v = Literal{At: t.at, Kind: LitNull}
	case t.kind == tokenTime:
		v = Literal{At: t.at, Kind: LitTime}
	default:
		what := "a value (a string, a number, true, false or null)"
		if f.Scope.IsTime() {
			what = "a time such as \"2026-05-01\""
		}
		p.expectValue(f, what)
		p.unexpectedHint(stringHint(t))
	}
	switch {
	case f.Scope.IsTime():
		if t.kind != tokenString && t.kind != tokenTime {
			p.fail(t.at, CodeType, `write a time such as "2026-05-01" or "2026-05-01T10:00:00Z"`, "expected a time to compare `%s` with, found %s", f.Path, t.describe())
		}
		return Literal{At: t.at, Kind: LitTime, Time: p.time()}
	case v.Kind == LitTime:
		p.fail(t.at, CodeType, "only timestamp and receivedAt are times; as a string write "+quote(t.value), "expected a value to compare `%s` with, found %s", f.Path, t.describe())
	case !f.Scope.HasKeys() && v.Kind != LitString:
		hint := "it is always a string"
		if v.Kind == LitNull {
			hint = "write missing"
		}
		p.fail(t.at, CodeType, hint, "expected a string to compare `%s` with, found %s", f.Path, t.describe())
	}
	p.next()
	return v
}

// number is a literal of a number's text.
func (p *parser) number(t *token) Literal {
	if len(t.value) > MaxNumberBytes {
		p.fail(t.at, CodeLimit, "", "expected a number of at most %d characters, found %d", MaxNumberBytes, len(t.value))
	}
	v, ok := numberLiteral(t.value)
	if !ok {
		p.fail(t.at, CodeValue, "", "expected a number of a size from 5e-324 to 1.8e308, found %s", t.value)
	}
	v.At = t.at
	return v
}

// numberLiteral reads a decimal; ok is false if it is beyond
// float64's range, or so small that only zero is near it.
func numberLiteral(text string) (v Literal, ok bool) {
	num, err := strconv.ParseFloat(text, 64)
	if err != nil || math.IsInf(num, 0) {
		return v, false
	}
	v = Literal{Kind: LitNumber, Num: num + 0} // -0 + 0 is 0
	digits, exponent, negative := decimal(text)
	if v.Num == 0 && digits != "" {
		return v, false
	}
	v.Text = strconv.FormatFloat(v.Num, 'g', -1, 64)
	if d, e, _ := decimal(v.Text); d == digits && e == exponent {
		if math.Abs(v.Num) < 1e15 && v.Num == math.Trunc(v.Num) {
			v.Text = strconv.FormatInt(int64(v.Num), 10)
		}
		return v, true
	}
	sign := ""
	if negative {
		sign = "-"
	}
	if exponent >= 0 && len(digits)+exponent <= len("9223372036854775807") {
		whole := sign + digits + strings.Repeat("0", exponent)
		if n, err := strconv.ParseInt(whole, 10, 64); err == nil {
			v.Form, v.Int, v.Text = NumInt, n, whole
			return v, true
		}
	}
	v.Form = NumText
	v.Text = sign + digits
	if exponent != 0 {
		v.Text += "e" + strconv.Itoa(exponent)
	}
	return v, true
}

// decimal is the value of a number's text as digits times ten to the exponent,
// without zeros at either end of the digits. Zero has no digits.
func decimal(text string) (digits string, exponent int, negative bool) {
	if text[0] == '-' {
		negative, text = true, text[1:]
	}
	if e := strings.IndexAny(text, "eE"); e >= 0 {
		exponent, _ = strconv.Atoi(text[e+1:])
		text = text[:e]
	}
	whole, fraction, _ := strings.Cut(text, ".")
	exponent -= len(fraction)
	digits = strings.TrimLeft(whole+fraction, "0")
	n := len(digits)
	digits = strings.TrimRight(digits, "0")
	exponent += n - len(digits)
	if digits == "" {
		return "", 0, false
	}
	return digits, exponent, negative
}

// time reads a date or a time, bare or in quotes.
func (p *parser) time() Time {
	t := p.cur()
	if t.kind != tokenTime && t.kind != tokenString {
		p.expect(wantOther, "a time such as 2026-05-01 or 2026-05-01T10:00:00Z")
		hint := ""
		if t.kind == tokenWord {
			hint = "for a range up to now write last 30d"
		}
		p.unexpectedHint(hint)
	}
	p.next()
	v, ok := parseTime(t.value)
	if !ok {
		p.fail(t.at, CodeValue, "write 2026-05-01, 2026-05-01T10:00 or 2026-05-01T10:00:00Z", "expected a time, found %s", t.describe())
	}
	if v.Micros < batch.MinTime || v.Micros >= batch.MaxTime {
		p.fail(t.at, CodeValue, "", "expected a time from 1900 to 2199, found %s", t.describe())
	}
	v.At = t.at
	return v
}

// parseTime reads a date, a time of the clock, or an RFC 3339 time, to the microsecond.
func parseTime(text string) (Time, bool) {
	const finest = len("2006-01-02T15:04:05.000000+00:00")
	if len(text) > finest || strings.ContainsRune(text, ',') || len(text) < len("2006-01-02") {
		return Time{}, false
	}
	if dot := strings.IndexByte(text, '.'); dot >= 0 && digits(text[dot+1:]) > 6 {
		return Time{}, false
	}
	text = strings.Replace(strings.ToUpper(text), " ", "T", 1)
	for _, layout := range [...]string{"2006-01-02", "2006-01-02T15:04:05", "2006-01-02T15:04"} {
		if t, err := time.Parse(layout, text); err == nil {
			return Time{Local: true, Micros: t.UnixMicro()}, true
		}
	}
	for _, layout := range [...]string{"2006-01-02T15:04:05Z07:00", "2006-01-02T15:04Z07:00"} {
		if t, err := time.Parse(layout, text); err == nil {
			return Time{Micros: t.UnixMicro()}, true
		}
	}
	return Time{}, false
}
