// Package lang is Spoor's query language: it turns the text of a question into
// a Query, and a Query back into its canonical text.
//
// In the way of an event it stands at the far end: the planner reads the Query
// that Parse returns and decides which partitions, sections and columns of the
// stored events answer it. The language knows nothing of storage but how a
// field's column path is spelled (spoor/segment/batch). The grammar is in
// grammar.md, which the tests read and the documentation is made from.
//
// A Query holds effective values: where the text left a clause out, the default
// stands in its place, so that a reader of the tree has no defaults of its own.
// All durations are int64 microseconds, all step numbers begin with 1.
package lang

import "time"

// Kind is the kind of a question: the word that a query begins with.
type Kind uint8

// The kinds; each has its head in the field of Query with the same name.
const (
	KindFunnel Kind = 1 + iota
	KindTrend
	KindRetention
	KindSessions
	KindPaths
	KindAttribution
	KindExperiment
	KindTop
	KindEvents
	KindUsers
	KindLifecycle
	KindStickiness
)

var kindNames = [...]string{
	KindFunnel: "funnel", KindTrend: "trend", KindRetention: "retention", KindSessions: "sessions",
	KindPaths: "paths", KindAttribution: "attribution", KindExperiment: "experiment", KindTop: "top",
	KindEvents: "events", KindUsers: "users", KindLifecycle: "lifecycle", KindStickiness: "stickiness",
}

// String is the word of the language, which is also "kind" in an answer.
func (k Kind) String() string {
	if int(k) < len(kindNames) && k != 0 {
		return kindNames[k]
	}
	return "unknown"
}

// Pos is a place in the text of a query. The zero Pos is no place.
type Pos struct {
	Offset int // bytes before it
	Line   int // from 1
	Column int // from 1, in characters
}

// Query is one parsed question. Exactly one of the heads is set, that of Kind.
// A Query is immutable once parsed; readers share it.
type Query struct {
	Kind Kind
	At   Pos

	Funnel      *Funnel
	Trend       *Trend
	Retention   *Retention
	Sessions    *Sessions
	Paths       *Paths
	Attribution *Attribution
	Experiment  *Experiment
	Top         *Top
	Events      *Events
	Users       *Users
	Lifecycle   *Lifecycle
	Stickiness  *Stickiness

	// Where filters every event that the query looks at, of all steps and
	// selections; nil without the clause. To `order strict` the events that it
	// leaves out do not exist.
	Where Expr

	// User, if not "", keeps the events of one person: the one that this userId
	// (or, of a person without one, anonymousId) belongs to.
	User string

	// By are the fields of the breakdown, or the channel fields of an
	// attribution. Empty: no breakdown.
	By []ByField

	// Range is the queried time. It is never zero: without a clause it is the
	// last DefaultLast.
	Range Range

	// Every is the period of the points. It is zero if the text had no `every`
	// and the kind needs none: a trend then has one point for the whole range,
	// the others have no points. Retention, lifecycle and stickiness have the
	// day as their default.
	Every Interval

	// TZ is the IANA name of the time zone that dates, days, weeks and months
	// are meant in; DefaultTZ without the clause. Location gives its rules.
	TZ string

	// Limit bounds the groups of a breakdown (the rest is one group "other"),
	// the rows of events and users, the values of top, the links of paths and
	// the keys of an attribution. It is the default of the kind
	// (DefaultGroups, DefaultRows, DefaultLinks) without the clause.
	Limit int

	// Newest reverses the order of events and users: newest first.
	Newest bool

	// After is the cursor to go on behind; "" begins at the beginning.
	After string

	clauses map[string]Pos // where each clause was written; absent: it was not
	loc     *time.Location // of TZ; nil in a Query that was not parsed
}

// Location is the rules of the time zone TZ.
func (q *Query) Location() *time.Location {
	if q.loc != nil {
		return q.loc
	}
	loc, err := LoadZone(q.TZ)
	if err != nil {
		panic("lang: query with an unchecked time zone: " + err.Error())
	}
	return loc
}

// PosOf is where the clause with the given first word was written ("within",
// "limit", "every", ...), or the query's beginning if it was not. Both `from`
// and `last` are under "range".
func (q *Query) PosOf(clause string) Pos {
	if at, ok := q.clauses[clause]; ok {
		return at
	}
	return q.At
}

// EventSel selects events: those that match one of the alternatives, and for
// which Where holds.
//
//	home                    one alternative
//	home[context.app = 1]   one alternative with a predicate
//	any                     one alternative with Any
//	(a or b[x = 1])[y = 2]  two alternatives; y = 2 is Where
//
// Where is only set if there are several alternatives. Predicate joins the two.
type EventSel struct {
	At           Pos
	Alternatives []EventMatch // never empty
	Where        Expr         // nil: no condition
}

// EventMatch is one alternative of an EventSel.
type EventMatch struct {
	At    Pos
	Any   bool   // every event; Name is ""
	Name  string // eventName, exactly
	Where Expr   // nil: no condition
}

// Predicate is the whole condition of alternative i beside its event name: its
// own and the common one. nil: no condition.
func (s *EventSel) Predicate(i int) Expr {
	own := s.Alternatives[i].Where
	return conjoin(own, s.Where)
}

// IsAny tells whether the selection is every event, without a condition.
func (s *EventSel) IsAny() bool {
	return len(s.Alternatives) == 1 && s.Alternatives[0].Any && s.Alternatives[0].Where == nil
}

// Label is the selection's text in canonical form, as answers name a step.
// A single event without a condition is its plain name, without quotes.
func (s *EventSel) Label() string {
	if len(s.Alternatives) == 1 {
		if a := &s.Alternatives[0]; a.Where == nil && !a.Any {
			return a.Name
		}
	}
	var p printer
	p.sel(s)
	return p.text()
}

// Step is one step of a funnel.
type Step struct {
	EventSel
	Optional bool // `s?`: a chain may pass it by; never the first or last step
}

// Order says how the events of a chain follow each other.
type Order uint8

// The orders of a funnel.
const (
	OrderOrdered Order = iota // the default: other events may lie between
	OrderStrict               // no other event of the person between consecutive steps
	OrderAny                  // the steps in any order
)

var orderNames = [...]string{OrderOrdered: "ordered", OrderStrict: "strict", OrderAny: "any"}

// String is the word of the language.
func (o Order) String() string { return orderNames[o] }

// Funnel is the head of
//
//	funnel a -> b? -> c within 7d order strict per session gap 30m
//	  excluding x between 1 and 2 never y holding f
type Funnel struct {
	Steps     []Step // at most MaxSteps, at least one
	Order     Order
	Per       Per
	Within    int64 // time from the first event of a chain to its last, inclusive; DefaultWithin
	Excluding []Excluding
	Never     []Never // persons who did one of them in the range are left out
	Holding   []Field // every event of a chain has the same non-missing value of each
}

// PerKind is what a funnel counts.
type PerKind uint8

// What a funnel counts.
const (
	PerUser    PerKind = iota // persons, the default
	PerSession                // sessions: a chain lies within one
	PerField                  // pairs of a person and a value of Per.Field: a chain has one value
)

// Per is the unit that a funnel counts.
type Per struct {
	At    Pos
	Kind  PerKind
	Gap   int64 // PerSession: a longer gap begins a new session; DefaultGap
	Field Field // PerField
}

// Excluding voids a chain if one of its events happens after the event of step
// From and before the event of step To. Numbers count all steps, optional ones
// too; 1 <= From < To <= len(Steps). Without `between` they are the first and
// the last step.
type Excluding struct {
	EventSel
	From, To int
}

// Never is an event that a person must not have done in the queried range.
type Never struct{ EventSel }

// Trend is the head of `trend users, sum(f) of a, count of a / count of b`.
type Trend struct {
	Series []Series // in the order of the text, at least one, at most MaxSeries
}

// Series is one measure, or the ratio of two.
type Series struct {
	At    Pos
	Value Measure
	Per   *Measure // the denominator; nil: no ratio. x / 0 is no value (null)
}

// Label is the series' text in canonical form, without its events: count,
// sum(properties.price), count / users.
func (s *Series) Label() string {
	var p printer
	p.measure(&s.Value)
	if s.Per != nil {
		p.raw(" / ")
		p.measure(s.Per)
	}
	return p.text()
}

// Agg is how a measure makes one number of many events.
type Agg uint8

// The aggregations. All but AggDistinct read numbers only and pass other
// values by; AggDistinct tells values of different types apart.
const (
	AggCount      Agg = iota // events
	AggUsers                 // persons
	AggPerUser               // events per person who has any: count / users
	AggSum                   // of Field, as are all below
	AggAvg                   // mean over events that have the field
	AggMin                   //
	AggMax                   //
	AggMedian                // the same as AggPercentile with 50
	AggPercentile            // Measure.Percentile
	AggDistinct              // different values
)

var aggNames = [...]string{
	AggCount: "count", AggUsers: "users", AggPerUser: "per_user", AggSum: "sum", AggAvg: "avg", AggMin: "min",
	AggMax: "max", AggMedian: "median", AggPercentile: "p", AggDistinct: "distinct",
}

// HasField tells whether the aggregation reads a field.
func (a Agg) HasField() bool { return a >= AggSum }

// Measure is an aggregation over the events of a selection.
type Measure struct {
	At         Pos
	Agg        Agg
	Field      Field   // if Agg.HasField()
	Percentile float64 // AggPercentile: 0..100, at most three decimals; p99.9 is 99.9
	Of         EventSel
}

// Retention is the head of `retention A -> B every day for 30 first`.
type Retention struct {
	Start, Return EventSel
	// Periods is the number of columns k = 0 .. Periods-1 of each cohort; k = 0
	// is the period of the start itself. DefaultPeriods, at most MaxPeriods.
	Periods int
	// First counts a person in the period of their first start in the range
	// only; otherwise (`recurring`) in every period with a start.
	First bool
	// Times is how many of the second event a person needs in a period to be retained
	// there; 1 unless said.
	Times int64
	// Rolling counts in column k who was retained in that period or in a later one of the
	// row.
	Rolling bool
}

// Sessions is the head of `sessions gap 30m max 24h`.
type Sessions struct {
	Gap int64 // a strictly longer gap begins a new session; DefaultGap
	Max int64 // cuts a longer session; 0: no bound
}

// Paths is the head of `paths from home depth 5 collapse gap 30m`. From and To
// are never both set. Neither: paths begin with the first event of a session.
type Paths struct {
	From     *EventSel // paths begin with this event
	To       *EventSel // paths end with this event; depth counts backwards
	Depth    int       // transitions per path; DefaultDepth, at most MaxDepth
	Collapse bool      // repeats of one event name count once
	Gap      int64     // of the sessions; DefaultGap
}

// Model is how an attribution shares a conversion among its touches.
type Model uint8

// The attribution models.
const (
	ModelLastTouch  Model = iota // the default
	ModelFirstTouch              //
	ModelLinear                  //
	ModelTimeDecay               // 2^(-age/HalfLife), age measured from the conversion
	ModelPosition                // 40/20/40
)

var modelNames = [...]string{
	ModelLastTouch: "last_touch", ModelFirstTouch: "first_touch", ModelLinear: "linear",
	ModelTimeDecay: "time_decay", ModelPosition: "position",
}

// String is the word of the language.
func (m Model) String() string { return modelNames[m] }

// Attribution is the head of
//
//	attribution E by f touch T model time_decay lookback 7d half_life 2d value g
//
// The channel fields are Query.By, at least one.
type Attribution struct {
	Conversion EventSel
	Touch      EventSel // any without the clause
	Model      Model
	Lookback   int64  // touches lie in [conversion - Lookback, conversion]; DefaultLookback
	HalfLife   int64  // DefaultHalfLife with ModelTimeDecay, otherwise 0
	Value      *Field // of the conversion event; nil: conversions have no value
}

// Experiment is the head of
//
//	experiment f goal G exposure E control "a" within 14d
type Experiment struct {
	Variant  Field // read from the exposure event
	Goal     EventSel
	Exposure EventSel
	Control  *Literal // a string, number or boolean; nil: the first variant in order of names
	Within   int64    // from the exposure to the goal, inclusive; 0: no bound but the range's end
}

// Top is the head of `top f of E`.
type Top struct {
	Field Field
	Of    EventSel
}

// Events is the head of `events of E`; any without `of`.
type Events struct {
	Of EventSel
}

// Bound is how the times that a person did something are bounded.
type Bound uint8

// The bounds of users.
const (
	AtLeast Bound = iota
	AtMost
	Exactly
)

var boundNames = [...]string{AtLeast: "at least", AtMost: "at most", Exactly: "exactly"}

// String is the words of the language.
func (b Bound) String() string { return boundNames[b] }

// Users is the head of `users of E at least 3`: the persons with so many
// events of E in the range; any and at least 1 by default. A saved users query
// is a cohort. `at most` and `exactly 0` also count persons with no event of
// E, if they have any event in the range for which Query.Where holds.
type Users struct {
	Of    EventSel
	Bound Bound
	Times int64 // 0..MaxTimes; `at least 0` is refused
}

// Lifecycle is the head of `lifecycle E every week`.
type Lifecycle struct {
	Of EventSel
}

// Stickiness is the head of `stickiness E every day`: in how many periods of
// the range persons did E.
type Stickiness struct {
	Of EventSel
}

// ByField is one field of a breakdown.
type ByField struct {
	Field
	// Step is the step of a funnel whose event's value counts: 1 by default,
	// AtLast for `at last`, the last event of the counted chain. Outside of
	// funnels it is 0.
	Step int
}

// AtLast is ByField.Step for `at last`.
const AtLast = -1
