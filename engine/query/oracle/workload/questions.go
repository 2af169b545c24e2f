package workload

import (
	"cmp"
	"fmt"
	"math/rand"
	"slices"
	"strings"
	"time"
)

func sortBy(order []int, key func(int) int64) {
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(key(a), key(b)) })
}

// questions makes the text of questions.
type questions struct {
	*rand.Rand
	w *Workload
	b strings.Builder
}

// Query makes a random question about a workload, in the query language. It uses
// all kinds and clauses but cursors, which are each engine's own.
func Query(r *rand.Rand, w *Workload) string {
	q := &questions{Rand: r, w: w}
	kinds := []func(){
		q.funnel, q.funnel, q.funnel, q.funnel, q.trend, q.trend, q.retention, q.sessions, q.paths, q.attribution,
		q.experiment, q.top, q.events, q.users, q.lifecycle, q.stickiness,
	}
	kinds[r.Intn(len(kinds))]()
	q.times()
	if q.chance(35) {
		q.add("where %s", q.predicate(2))
	}
	if q.chance(8) {
		q.add("user %q", q.id())
	}
	return q.b.String()
}

func (q *questions) add(format string, args ...any) {
	if q.b.Len() > 0 {
		q.b.WriteByte(' ')
	}
	fmt.Fprintf(&q.b, format, args...)
}

func (q *questions) chance(percent int) bool { return q.Intn(100) < percent }

// pick takes one of several words.
func (q *questions) pick(of ...string) string { return of[q.Intn(len(of))] }

func (q *questions) id() string {
	return q.pick(fmt.Sprint("u", q.Intn(6)), fmt.Sprint("a", q.Intn(6), ".", q.Intn(2)), "nobody")
}

// times adds the range and the zone.
func (q *questions) times() {
	span := q.w.To - q.w.From
	switch q.Intn(6) {
	case 0, 1: // all of it
		q.add("from %s to %s", instant(q.w.From-day), instant(q.w.Now+day))
	case 2:
		from := q.w.From + q.Int63n(span)
		q.add("from %s to %s", instant(from), instant(from+1+q.Int63n(span)))
	case 3, 4: // whole days of the zone
		first := time.UnixMicro(q.w.From).UTC().AddDate(0, 0, q.Intn(3))
		q.add("from %s to %s", first.Format("2006-01-02"), first.AddDate(0, 0, 1+q.Intn(int(span/day)+3)).Format("2006-01-02"))
	case 5:
		q.add("last %s", q.pick("1h", "1d", "7d", "30d", "400d"))
	}
	if q.chance(60) {
		q.add("tz %q", q.w.Zone)
	} else if q.chance(20) {
		q.add("tz %q", q.pick("Europe/Berlin", "America/St_Johns", "Asia/Kathmandu", "Pacific/Apia"))
	}
}

func instant(micros int64) string {
	return time.UnixMicro(micros).UTC().Format("2006-01-02T15:04:05.999999Z")
}

func (q *questions) every() string {
	if q.w.To-q.w.From > 4*day {
		return q.pick("day", "day", "week", "month", "12h", "3d")
	}
	return q.pick("hour", "day", "90m", "6h", "week")
}

func (q *questions) event() string {
	return q.pick("home", "home", "search", "search", "view", "view", "cart", "purchase", "purchase", "refund", `"Order Done"`, "any", "unheard")
}

// selection is an event, maybe with a condition, or several.
func (q *questions) selection() string {
	switch q.Intn(10) {
	case 0:
		return fmt.Sprintf("(%s or %s)", q.event(), q.event())
	case 1:
		return fmt.Sprintf("(%s[%s] or %s)[%s]", q.event(), q.predicate(0), q.event(), q.predicate(0))
	case 2, 3:
		return fmt.Sprintf("%s[%s]", q.event(), q.predicate(1))
	}
	return q.event()
}

func (q *questions) field() string {
	return q.pick("properties.price", "category", "productId", "variant", "properties.item.size", "properties.item", "big", `properties."item count"`,
		"context.device", "context.device", "context.country", "context.campaign", "userId", "anonymousId", "eventName", "source", "nowhere")
}

func (q *questions) numeric() string {
	return q.pick("price", "price", "properties.item.size", "big", `"item count"`, "category", "nowhere")
}

// predicate is a condition of at most so many levels.
func (q *questions) predicate(depth int) string {
	if depth > 0 {
		switch q.Intn(6) {
		case 0:
			return q.predicate(depth-1) + " and " + q.predicate(depth-1)
		case 1:
			return "(" + q.predicate(depth-1) + " or " + q.predicate(depth-1) + ")"
		case 2:
			return "not (" + q.predicate(depth-1) + ")"
		}
	}
	switch q.Intn(12) {
	case 0, 1:
		return fmt.Sprintf("context.device %s %q", q.pick("=", "!="), q.pick(devices...))
	case 2:
		return fmt.Sprintf("price %s %s", q.pick("=", "!=", "<", "<=", ">", ">="), q.pick("10", "10.5", "100", "0", "-3", "99.99", "1000"))
	case 3:
		return fmt.Sprintf("category %s %s", q.pick("=", "!=", "<", ">="), q.pick(`"shoes"`, `"7"`, "7", `""`))
	case 4:
		return fmt.Sprintf("category %s (%s)", q.pick("in", "not in"), q.pick(`"shoes", "hats"`, `7, "7"`, "null, false", `"shoes"`))
	case 5:
		return q.field() + " " + q.pick("exists", "missing")
	case 6:
		return fmt.Sprintf("%s = %s", q.pick("category", "price", "context.country", "productId"), q.pick("null", "true", "false"))
	case 7:
		return "category " + q.pick(`contains "h"`, `starts with "sh"`, `ends with "s"`, `matches "^s.*s$"`, `contains "ö"`)
	case 8:
		return fmt.Sprintf("big %s %s", q.pick("=", ">", "<=", "!="), q.pick("9007199254740993", "9007199254740992", "5", "-9223372036854775808"))
	case 9:
		return fmt.Sprintf("timestamp %s %s", q.pick("<", ">="), instant(q.w.From+q.Int63n(q.w.To-q.w.From)))
	case 10:
		return q.pick("user in cohort", "user not in cohort") + " " + q.pick(`"buyers"`, `"lookers"`)
	}
	return fmt.Sprintf("%s = %q", q.pick("userId", "anonymousId", "source", "eventName"), q.pick("u1", "a1.0", "web", "view"))
}

// by adds a breakdown.
func (q *questions) by(percent int) {
	if !q.chance(percent) {
		return
	}
	fields := q.field()
	if q.chance(25) {
		fields += ", " + q.field()
	}
	q.add("by %s", fields)
	if q.chance(40) {
		q.add("limit %d", 1+q.Intn(4))
	}
}

func (q *questions) funnel() {
	n := 1 + q.Intn(4)
	if q.chance(10) {
		n = 6
	}
	order := q.pick("ordered", "ordered", "ordered", "strict", "any")
	var steps []string
	optional := false
	for k := range n {
		s := q.selection()
		if k > 0 && k < n-1 && q.chance(20) && order != "any" {
			s += "?"
			optional = true
		}
		steps = append(steps, s)
	}
	q.add("funnel %s", strings.Join(steps, " -> "))
	if q.chance(80) {
		q.add("within %s", q.pick("1ms", "1s", "10m", "30m", "1h", "6h", "1d", "7d", "100d"))
	}
	if order != "ordered" {
		q.add("order %s", order)
	}
	for n > 1 && q.chance(20) {
		q.add("excluding %s", q.selection())
		if from := 1 + q.Intn(n-1); q.chance(60) {
			q.add("between %d and %d", from, from+1+q.Intn(n-from))
		}
	}
	if q.chance(8) {
		q.add("never %s", q.selection())
	}
	if q.chance(15) {
		q.add("holding %s", q.pick("productId", "context.device", "category, productId"))
	}
	if q.chance(30) {
		q.add("per %s", q.pick("user", "session", "session gap 10m", "productId", "context.device"))
	}
	if q.chance(20) {
		q.add("every %s", q.every())
	}
	if !q.chance(35) {
		return
	}
	field := q.field()
	switch step := 1 + q.Intn(n); {
	case q.chance(50) || optional: // what a step that is passed by has is a matter of taste
		q.add("by %s", field)
	case q.chance(50):
		q.add("by %s at last", field)
	default:
		q.add("by %s at step %d", field, step)
	}
	if q.chance(40) {
		q.add("limit %d", 1+q.Intn(3))
	}
}

func (q *questions) measure() string {
	switch q.Intn(3) {
	case 0:
		return q.pick("count", "users", "per_user")
	case 1:
		return q.pick("sum", "avg", "min", "max", "median", "p90", "p95", "p99.9", "p0") + "(" + q.numeric() + ")"
	}
	return q.pick("count", "users", "distinct("+q.field()+")")
}

func (q *questions) trend() {
	var series []string
	for range 1 + q.Intn(3) {
		s := q.measure() + " of " + q.selection()
		if q.chance(25) {
			s += " / " + q.measure() + " of " + q.selection()
		}
		series = append(series, s)
	}
	q.add("trend %s", strings.Join(series, ", "))
	q.by(50)
	if q.chance(60) {
		q.add("every %s", q.every())
	}
}

func (q *questions) retention() {
	q.add("retention %s -> %s for %d", q.selection(), q.selection(), 1+q.Intn(6))
	q.add("every %s", q.every())
	if q.chance(50) {
		q.add("first")
	}
	if q.chance(25) {
		q.add("rolling")
	}
	if q.chance(25) {
		q.add("at least %d", 1+q.Intn(3))
	}
	q.by(25)
}

func (q *questions) sessions() {
	q.add("sessions gap %s", q.pick("1s", "10m", "30m", "1h", "6h"))
	if q.chance(25) {
		q.add("max %s", q.pick("5m", "1h", "2d"))
	}
	q.by(40)
	if q.chance(50) {
		q.add("every %s", q.every())
	}
}

func (q *questions) paths() {
	q.add("paths")
	switch q.Intn(3) {
	case 0:
		q.add("from %s", q.selection())
	case 1:
		q.add("to %s", q.selection())
	}
	q.add("depth %d", 1+q.Intn(5))
	if q.chance(30) {
		q.add("collapse")
	}
	if q.chance(50) {
		q.add("gap %s", q.pick("1s", "10m", "30m", "6h"))
	}
	if q.chance(30) {
		q.add("limit %d", 1+q.Intn(10))
	}
}

func (q *questions) attribution() {
	q.add("attribution %s by %s", q.selection(), q.pick("context.campaign", "context.campaign", "context.device", "category", "context.campaign, context.device"))
	if q.chance(50) {
		q.add("touch %s", q.selection())
	}
	switch model := q.pick("last_touch", "first_touch", "linear", "time_decay", "position"); model {
	case "time_decay":
		q.add("model time_decay")
		if q.chance(60) {
			q.add("half_life %s", q.pick("1s", "1h", "2d"))
		}
	default:
		q.add("model %s", model)
	}
	if q.chance(60) {
		q.add("lookback %s", q.pick("1ms", "1h", "1d", "7d"))
	}
	if q.chance(50) {
		q.add("value %s", q.numeric())
	}
}

func (q *questions) experiment() {
	q.add("experiment %s goal %s exposure %s", q.pick("variant", "variant", "context.device", "category"), q.selection(), q.selection())
	if q.chance(50) {
		q.add("control %s", q.pick(`"control"`, `"b"`, `"mobile"`, "7"))
	}
	if q.chance(50) {
		q.add("within %s", q.pick("1s", "10m", "1d"))
	}
}

func (q *questions) top() {
	q.add("top %s of %s", q.field(), q.selection())
	if q.chance(40) {
		q.add("limit %d", 1+q.Intn(5))
	}
}

func (q *questions) events() {
	q.add("events of %s", q.selection())
	q.list()
}

func (q *questions) users() {
	q.add("users of %s", q.selection())
	switch q.Intn(5) {
	case 0:
		q.add("at least %d", 1+q.Intn(4))
	case 1:
		q.add("at most %d", q.Intn(4))
	case 2:
		q.add("exactly %d", q.Intn(3))
	}
	q.list()
}

func (q *questions) list() {
	if q.chance(40) {
		q.add("limit %d", 1+q.Intn(8))
	}
	if q.chance(30) {
		q.add("newest")
	}
}

func (q *questions) lifecycle() { q.add("lifecycle %s every %s", q.selection(), q.every()) }

func (q *questions) stickiness() { q.add("stickiness %s every %s", q.selection(), q.every()) }
