package lang

import (
	"math"
	"strconv"
	"strings"
)

// kindSet is a set of kinds, a bit each.
type kindSet uint16

func kinds(of ...Kind) (s kindSet) {
	for _, k := range of {
		s |= 1 << k
	}
	return s
}

func (s kindSet) has(k Kind) bool { return s>>k&1 != 0 }

// String lists the kinds: funnel, trend and retention.
func (s kindSet) String() string {
	var names []string
	for k := KindFunnel; k <= KindStickiness; k++ {
		if s.has(k) {
			names = append(names, k.String())
		}
	}
	if n := len(names); n > 1 {
		return strings.Join(names[:n-1], ", ") + " and " + names[n-1]
	}
	return names[0]
}

var (
	everyKind = kindSet(1<<(KindStickiness+1) - 1<<KindFunnel)
	grouped   = kinds(KindFunnel, KindTrend, KindRetention, KindSessions, KindAttribution)
	listed    = kinds(KindEvents, KindUsers)
)

// clause is one clause of the language.
type clause struct {
	word   string // its first word
	key    string // clauses with one key exclude each other
	kinds  kindSet
	repeat bool // it may stand more than once
}

// clauseTable is in the order in which canonical text has the clauses.
var clauseTable = [...]clause{
	{word: "within", key: "within", kinds: kinds(KindFunnel, KindExperiment)},
	{word: "order", key: "order", kinds: kinds(KindFunnel)},
	{word: "per", key: "per", kinds: kinds(KindFunnel)},
	{word: "excluding", key: "excluding", kinds: kinds(KindFunnel), repeat: true},
	{word: "never", key: "never", kinds: kinds(KindFunnel), repeat: true},
	{word: "holding", key: "holding", kinds: kinds(KindFunnel)},
	{word: "for", key: "for", kinds: kinds(KindRetention)},
	{word: "first", key: "first", kinds: kinds(KindRetention)},
	{word: "recurring", key: "first", kinds: kinds(KindRetention)},
	{word: "rolling", key: "rolling", kinds: kinds(KindRetention)},
	{word: "to", key: "anchor", kinds: kinds(KindPaths)},
	{word: "depth", key: "depth", kinds: kinds(KindPaths)},
	{word: "collapse", key: "collapse", kinds: kinds(KindPaths)},
	{word: "gap", key: "gap", kinds: kinds(KindSessions, KindPaths)},
	{word: "max", key: "max", kinds: kinds(KindSessions)},
	{word: "touch", key: "touch", kinds: kinds(KindAttribution)},
	{word: "model", key: "model", kinds: kinds(KindAttribution)},
	{word: "lookback", key: "lookback", kinds: kinds(KindAttribution)},
	{word: "half_life", key: "half_life", kinds: kinds(KindAttribution)},
	{word: "value", key: "value", kinds: kinds(KindAttribution)},
	{word: "goal", key: "goal", kinds: kinds(KindExperiment)},
	{word: "exposure", key: "exposure", kinds: kinds(KindExperiment)},
	{word: "control", key: "control", kinds: kinds(KindExperiment)},
	{word: "at", key: "times", kinds: kinds(KindUsers, KindRetention)},
	{word: "exactly", key: "times", kinds: kinds(KindUsers)},
	{word: "where", key: "where", kinds: everyKind},
	{word: "user", key: "user", kinds: everyKind},
	{word: "by", key: "by", kinds: grouped},
	{word: "every", key: "every", kinds: kinds(KindFunnel, KindTrend, KindRetention, KindSessions, KindLifecycle, KindStickiness)},
	{word: "from", key: "range", kinds: everyKind},
	{word: "last", key: "range", kinds: everyKind},
	{word: "tz", key: "tz", kinds: everyKind},
	{word: "limit", key: "limit", kinds: grouped | listed | kinds(KindTop, KindPaths)},
	{word: "newest", key: "newest", kinds: listed},
	{word: "after", key: "after", kinds: listed},
}

func findClause(word string) *clause {
	for i := range clauseTable {
		if clauseTable[i].word == word {
			return &clauseTable[i]
		}
	}
	return nil
}

// clauses reads all clauses up to the end of the text.
func (p *parser) clauses() {
	for p.cur().kind != tokenEnd {
		t := p.cur()
		c := findClause(t.value)
		if t.kind != tokenWord || c == nil || !c.kinds.has(p.q.Kind) {
			p.expectClauses()
			p.unexpected()
		}
		key := c.key
		if c.word == "from" && p.atAnchor() {
			key = "anchor"
		}
		if first, ok := p.q.clauses[key]; ok && !c.repeat {
			p.repeated(t, first)
		} else if !ok {
			p.q.clauses[key] = t.at
		}
		p.next()
		if key == "anchor" {
			p.anchor(c.word)
		} else {
			p.clause(c.word, t.at)
		}
	}
}

// expectClauses notes the clauses that can still follow.
func (p *parser) expectClauses() {
	for i := range clauseTable {
		c := &clauseTable[i]
		if _, used := p.q.clauses[c.key]; c.kinds.has(p.q.Kind) && (c.repeat || !used) {
			p.expect(wantClause, c.word)
		}
	}
	if p.q.Kind == KindPaths && p.q.clauses["anchor"] == (Pos{}) {
		p.expect(wantClause, "from")
	}
}

func (p *parser) repeated(t *token, first Pos) {
	hint := ""
	switch t.value {
	case "where":
		hint = "join the conditions with `and`"
	case "by", "holding":
		hint = "separate the fields by commas"
	case "from", "last":
		hint = "a query has one range of time"
	case "to":
		hint = "paths go from one event or to one"
	}
	p.fail(t.at, CodeRepeated, hint, "expected each clause at most once, found a second `%s` after line %d, column %d", t.value, first.Line, first.Column)
}

// clause reads what follows the clause's word.
func (p *parser) clause(word string, at Pos) {
	q := p.q
	switch word {
	case "where":
		q.Where = p.predicate()
	case "user":
		q.User = p.text("the userId of a person in double quotes", "user")
	case "by":
		p.by()
	case "every":
		q.Every = p.interval()
	case "from":
		q.Range = Range{At: at, From: p.time()}
		p.need("to")
		q.Range.To = p.time()
	case "last":
		q.Range = Range{At: at, Last: p.duration("last", MaxLast)}
	case "tz":
		q.TZ = p.zone()
	case "limit":
		q.Limit = int(p.integer("limit", 1, MaxLimit))
	case "newest":
		q.Newest = true
	case "after":
		q.After = p.text("a cursor in double quotes", "after")
		if len(q.After) > MaxCursorBytes {
			p.fail(at, CodeLimit, "", "expected a cursor of at most %d bytes, found %d", MaxCursorBytes, len(q.After))
		}
	default:
		p.headClause(word, at)
	}
}

// by reads the fields of the breakdown.
func (p *parser) by() {
	for {
		if len(p.q.By) == MaxByFields {
			p.fail(p.cur().at, CodeLimit, "", "expected at most %d fields after `by`, found more", MaxByFields)
		}
		f := ByField{Field: p.field()}
		if p.q.Kind == KindFunnel {
			f.Step = 1
			if p.take("at") {
				if p.take("last") {
					f.Step = AtLast
				} else {
					p.need("step")
					f.Step = p.stepNumber("step")
				}
			}
		}
		p.q.By = append(p.q.By, f)
		if !p.takeSymbol(",") {
			return
		}
	}
}

// interval reads what follows `every`.
func (p *parser) interval() Interval {
	at := p.cur().at
	for u := UnitMinute; u <= UnitMonth; u++ {
		if p.take(unitNames[u]) {
			return Interval{At: at, Unit: u}
		}
	}
	hint := ""
	if t := p.cur(); t.kind == tokenNumber {
		hint = "write the number and the unit as one word, such as 15m"
	}
	if p.cur().kind != tokenDuration {
		p.expect(wantOther, "a duration such as 15m")
		p.unexpectedHint(hint)
	}
	return Interval{At: at, Unit: UnitDuration, Length: p.duration("every", MaxDuration)}
}

// duration reads the duration of a clause: above zero, at most longest.
func (p *parser) duration(clause string, longest int64) int64 {
	t := p.cur()
	if t.kind != tokenDuration {
		p.expect(wantOther, "a duration such as 7d")
		hint := ""
		if t.kind == tokenNumber {
			hint = "a duration has its unit right behind the number: ms, s, m, h, d or w"
		}
		p.unexpectedHint(hint)
	}
	p.next()
	number := strings.TrimPrefix(t.value, "-")
	n := digits(number)
	unit := int64(0)
	for _, u := range durationUnits {
		if number[n:] == u.name {
			unit = u.micros
		}
	}
	if unit == 0 {
		p.fail(t.at, CodeValue, durationHint(number, n), "expected a duration in ms, s, m, h, d or w for `%s`, found `%s`", clause, t.value)
	}
	count, err := strconv.ParseInt(number[:n], 10, 64)
	if err != nil || count > longest/unit {
		p.fail(t.at, CodeLimit, "", "expected at most %s for `%s`, found `%s`", FormatDuration(longest), clause, t.value)
	}
	if count == 0 || t.value[0] == '-' {
		p.fail(t.at, CodeValue, "", "expected a duration above zero for `%s`, found `%s`", clause, t.value)
	}
	return count * unit
}

// durationHint says how a duration with a foreign unit is written.
func durationHint(number string, n int) string {
	switch unit := strings.ToLower(number[n:]); {
	case strings.HasPrefix(unit, "mo"):
		return "a month has no fixed length; write days, such as 30d"
	case strings.HasPrefix(unit, "y"):
		return "a year has no fixed length; write days, such as 365d"
	case unit[0] == '.':
		return "write a whole number of a smaller unit, such as 90m for 1.5h"
	case digits(unit[1:]) > 0 || strings.ContainsAny(unit, "0123456789"):
		return "write one number and one unit, such as 90m for 1h30m"
	case strings.HasPrefix(unit, "ms"), strings.HasPrefix(unit, "mil"):
		return "did you mean " + number[:n] + "ms?"
	case strings.IndexByte("mshdw", unit[0]) >= 0:
		return "did you mean " + number[:n] + unit[:1] + "?"
	}
	return ""
}

// integer reads the whole number of a clause, within [least, most].
func (p *parser) integer(clause string, least, most int64) int64 {
	t := p.cur()
	if t.kind != tokenNumber {
		p.expect(wantOther, "a whole number")
		p.unexpected()
	}
	p.next()
	n, err := strconv.ParseInt(t.value, 10, 64)
	switch {
	case err != nil && strings.ContainsAny(t.value, ".eE"):
		p.fail(t.at, CodeValue, "", "expected a whole number for `%s`, found %s", clause, t.value)
	case err != nil && t.value[0] == '-':
		n = math.MinInt64
	case err != nil:
		n = math.MaxInt64
	}
	if n < least || n > most {
		p.fail(t.at, CodeLimit, "", "expected a number from %d to %d for `%s`, found %s", least, most, clause, t.describe())
	}
	return n
}

// text reads a string that must not be empty.
func (p *parser) text(what, clause string) string {
	t := p.cur()
	if t.kind != tokenString {
		p.expect(wantOther, what)
		p.unexpectedHint(stringHint(t))
	}
	p.next()
	if t.value == "" {
		p.fail(t.at, CodeValue, "", "expected %s after `%s`, found an empty string", what, clause)
	}
	return t.value
}

// stringHint is for a word where a string is due.
func stringHint(t *token) string {
	if t.kind == tokenWord || t.kind == tokenTime {
		return "strings stand in double quotes: " + quote(t.value)
	}
	return ""
}

// zone reads the name of a time zone.
func (p *parser) zone() string {
	t := p.cur()
	if t.kind != tokenString {
		p.expect(wantZone, "the name of a time zone in double quotes")
		p.unexpectedHint(`such as "Europe/Berlin"`)
	}
	p.next()
	if _, err := LoadZone(t.value); err != nil {
		p.fail(t.at, CodeValue, nearestZone(t.value), "expected a time zone of the IANA database, found %s", t.describe())
	}
	return t.value
}

func (p *parser) usersClause(word string) {
	u := p.q.Users
	least := int64(0)
	switch {
	case word == "exactly":
		u.Bound = Exactly
	case p.take("least"):
		u.Bound, least = AtLeast, 1
	default:
		p.need("most")
		u.Bound = AtMost
	}
	u.Times = p.integer(u.Bound.String(), least, MaxTimes)
}

func (p *parser) retentionClause(word string) {
	r := p.q.Retention
	switch word {
	case "for":
		r.Periods = int(p.integer("for", 1, MaxPeriods))
	case "rolling":
		r.Rolling = true
	case "at":
		p.need("least")
		r.Times = p.integer(AtLeast.String(), 1, MaxTimes)
	default:
		r.First = word == "first"
	}
}
