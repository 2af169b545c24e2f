package lang

import (
	"regexp"

	"spoor/segment/batch"
)

// Scope is where in an event a field is found.
type Scope uint8

// The scopes. Only the first three have Keys.
const (
	ScopeProperty Scope = iota // properties.x, or a bare x
	ScopeContext               // context.x
	ScopeUser                  // user.x: the person's latest trait
	ScopeUserID
	ScopeAnonymousID
	ScopeEventName
	ScopeSource
	ScopeTimestamp
	ScopeReceivedAt
)

var scopeNames = [...]string{
	ScopeProperty: "properties", ScopeContext: "context", ScopeUser: "user", ScopeUserID: "userId",
	ScopeAnonymousID: "anonymousId", ScopeEventName: "eventName", ScopeSource: "source",
	ScopeTimestamp: "timestamp", ScopeReceivedAt: "receivedAt",
}

// String is the scope's word in a query.
func (s Scope) String() string { return scopeNames[s] }

// HasKeys tells whether fields of the scope name a member: the scope alone is none.
func (s Scope) HasKeys() bool { return s <= ScopeUser }

// IsTime tells whether values of the scope are points in time.
func (s Scope) IsTime() bool { return s == ScopeTimestamp || s == ScopeReceivedAt }

// Field is a value of an event or of its person. Other members of an event's
// top level cannot be asked for.
type Field struct {
	At    Pos
	Scope Scope
	// Keys is the way to the value below the scope, unescaped. It is empty if
	// and only if the scope has no keys.
	Keys []string
	// Path is the column path: of properties and context as in
	// batch.Column.Path (properties.item.price, a dot or backslash in a key
	// escaped); of traits the same with "user"; of the others the member's name.
	Path string
}

// NewField makes a field; its Path follows from scope and keys.
func NewField(scope Scope, keys ...string) Field {
	f := Field{Scope: scope, Keys: keys, Path: scope.String()}
	for _, key := range keys {
		f.Path = batch.JoinPath(f.Path, key)
	}
	return f
}

// String is the field's canonical text, as answers name it under "by".
func (f Field) String() string {
	var p printer
	p.field(&f)
	return p.text()
}

// Expr is a predicate over one event: *And, *Or, *Not, *Compare, *In, *Match,
// *Exists or *InCohort. Predicates have two values: on a missing field every
// comparison is false, except != and not in.
type Expr interface {
	// Pos is where the predicate begins.
	Pos() Pos
	expr()
}

// And holds if all terms do. No term is an *And, there are two or more.
type And struct {
	At    Pos
	Terms []Expr
}

// Or holds if one of the terms does. No term is an *Or, there are two or more.
type Or struct {
	At    Pos
	Terms []Expr
}

// conjoin is the predicate that both hold; nil is no condition.
func conjoin(a, b Expr) Expr {
	if a == nil {
		return b
	}
	if b == nil {
		return a
	}
	var terms []Expr
	for _, e := range [2]Expr{a, b} {
		if and, ok := e.(*And); ok {
			terms = append(terms, and.Terms...)
		} else {
			terms = append(terms, e)
		}
	}
	return &And{At: a.Pos(), Terms: terms}
}

// Not holds if Term does not.
type Not struct {
	At   Pos
	Term Expr
}

// CompareOp is the operator of a Compare.
type CompareOp uint8

// The comparisons.
const (
	Equal CompareOp = iota
	NotEqual
	Less
	LessEqual
	Greater
	GreaterEqual
)

var compareNames = [...]string{
	Equal: "=", NotEqual: "!=", Less: "<", LessEqual: "<=", Greater: ">", GreaterEqual: ">=",
}

// String is the operator as it is written.
func (o CompareOp) String() string { return compareNames[o] }

// Compare compares a field with a value. Numbers compare with numbers, strings
// with strings (by bytes), booleans with booleans; a field whose value has
// another type than the literal is unequal to it, and neither less nor greater.
//
// Parsing sees to it that the types can meet: a timestamp or receivedAt has a
// LitTime, a userId, anonymousId, eventName or source has a LitString, and only
// Equal and NotEqual take a LitBool or LitNull. `= null` holds for an explicit
// null in the event and for nothing else: a missing field is not null.
type Compare struct {
	Field Field
	Op    CompareOp
	Value Literal
}

// In holds if the field equals one of the values; Negated if it equals none,
// as on a missing field. The types are those of Compare; at most MaxInValues.
type In struct {
	Field   Field
	Values  []Literal
	Negated bool
}

// MatchOp is the operator of a Match.
type MatchOp uint8

// The tests of text.
const (
	Contains MatchOp = iota
	StartsWith
	EndsWith
	Matches
)

var matchNames = [...]string{
	Contains: "contains", StartsWith: "starts with", EndsWith: "ends with", Matches: "matches",
}

// String is the operator as it is written.
func (o MatchOp) String() string { return matchNames[o] }

// Match tests the text of a field, by bytes and with regard to case. It is
// false for values that are no strings.
type Match struct {
	Field  Field
	Op     MatchOp
	Text   string         // for Matches the expression's source, RE2 syntax, unanchored
	TextAt Pos            // of Text
	Regexp *regexp.Regexp // Matches only
}

// Exists holds if the event has the field, be it an explicit null; Missing
// turns it round.
type Exists struct {
	Field   Field
	Missing bool
}

// InCohort holds if the event's person is in the saved cohort; Negated if not.
type InCohort struct {
	At      Pos
	Name    string
	NameAt  Pos
	Negated bool
}

func (e *And) Pos() Pos      { return e.At }
func (e *Or) Pos() Pos       { return e.At }
func (e *Not) Pos() Pos      { return e.At }
func (e *Compare) Pos() Pos  { return e.Field.At }
func (e *In) Pos() Pos       { return e.Field.At }
func (e *Match) Pos() Pos    { return e.Field.At }
func (e *Exists) Pos() Pos   { return e.Field.At }
func (e *InCohort) Pos() Pos { return e.At }

func (*And) expr()      {}
func (*Or) expr()       {}
func (*Not) expr()      {}
func (*Compare) expr()  {}
func (*In) expr()       {}
func (*Match) expr()    {}
func (*Exists) expr()   {}
func (*InCohort) expr() {}

// LitKind is the type of a literal.
type LitKind uint8

// The types of literals.
const (
	LitString LitKind = iota // Text
	LitNumber                // Num, Form, Int, Text
	LitBool                  // Bool
	LitNull                  //
	LitTime                  // Time
)

var litNames = [...]string{
	LitString: "a string", LitNumber: "a number", LitBool: "a boolean", LitNull: "null", LitTime: "a time",
}

// NumForm says which member holds a number exactly. The forms are the kinds
// that the columns of a batch tell apart (batch.KindNumber, KindInt, KindNumText).
type NumForm uint8

// The forms of numbers.
const (
	NumFloat NumForm = iota // Num: the float64 whose shortest decimal form is the number
	NumInt                  // Int: an integer within int64 that a float64 does not hold
	NumText                 // Text only; Num is the nearest float64
)

// Literal is a value in a query.
type Literal struct {
	At   Pos
	Kind LitKind
	Text string  // LitString: the value. LitNumber: its canonical decimal text
	Num  float64 // LitNumber, in every form at least the nearest; never NaN or infinite, never -0
	Int  int64   // LitNumber with NumInt
	Form NumForm // LitNumber
	Bool bool    // LitBool
	Time Time    // LitTime
}
