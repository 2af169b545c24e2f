package workload

import (
	"encoding/json"
	"fmt"
	"math/rand"
	"time"

	"spoor/engine/query/oracle"
)

// Size bounds a workload.
type Size struct {
	Persons int // at least one
	Events  int // in all, before duplicates
}

// Batch is what arrived at one time: events of one source, then links of ids.
type Batch struct {
	ReceivedAt int64 // microseconds; rises from batch to batch
	Source     string
	Events     []oracle.Event
	Links      []Link
}

// Link is an identify call.
type Link struct{ UserID, AnonymousID string }

// Workload is a log to be stored, and the time at which to ask about it.
type Workload struct {
	Batches []Batch
	Zone    string // in which days and changes of the clock are of interest
	From    int64  // about the time of the first event
	To      int64  // about the time of the last one
	Now     int64
}

// Store is an oracle over the workload.
func (w *Workload) Store() *oracle.Store {
	s := &oracle.Store{}
	for i := range w.Batches {
		b := &w.Batches[i]
		s.Add(b.Events...)
		for _, l := range b.Links {
			s.Identify(l.UserID, l.AnonymousID)
		}
	}
	for name, text := range Cohorts {
		s.SaveCohort(name, text)
	}
	return s
}

// Cohorts are the saved users queries that random questions name.
var Cohorts = map[string]string{
	"buyers":  "users of purchase at least 2 last 3000d",
	"lookers": "users of purchase exactly 0 last 3000d",
}

// JSON is an event as a client sends it.
func JSON(e *oracle.Event) []byte {
	body := map[string]any{
		"eventId": e.EventID, "eventName": e.Name, "timestamp": time.UnixMicro(e.Time).UTC().Format(time.RFC3339Nano),
	}
	if e.UserID != "" {
		body["userId"] = e.UserID
	}
	if e.AnonymousID != "" {
		body["anonymousId"] = e.AnonymousID
	}
	if e.Properties != nil {
		body["properties"] = e.Properties
	}
	if e.Context != nil {
		body["context"] = e.Context
	}
	data, err := json.Marshal(body)
	if err != nil {
		panic(fmt.Sprintf("workload: an event that is no JSON: %v", err))
	}
	return data
}

const (
	second = int64(1_000_000)
	minute = 60 * second
	day    = 24 * 60 * minute
)

// scenes are stretches of time with a change of the clock, a skipped day, a leap
// day or the end of a year in them; the range of their events begins at from.
var scenes = [...]struct{ zone, from string }{
	{"UTC", "2024-02-25"},
	{"Europe/Berlin", "2026-03-24"},
	{"Europe/Berlin", "2025-10-21"},
	{"America/St_Johns", "2026-03-03"},
	{"America/St_Johns", "2025-10-28"},
	{"Asia/Kathmandu", "2025-12-27"},
	{"Pacific/Apia", "2011-12-26"},
	{"Pacific/Apia", "2021-03-30"},
	{"UTC", "1969-12-28"},
}

var (
	names   = []string{"home", "search", "view", "cart", "purchase", "refund", "Order Done"}
	devices = []string{"mobile", "desktop", "tablet", "tv"}
	sources = []string{"", "web", "ios"}
)

// Random makes a workload. Everything follows from r.
func Random(r *rand.Rand, size Size) *Workload {
	scene := scenes[r.Intn(len(scenes))]
	start, err := time.Parse("2006-01-02", scene.from)
	if err != nil {
		panic(err)
	}
	// Most workloads last days, some a few hours, some months.
	length := []int64{6 * 60 * minute, 3 * day, 10 * day, 10 * day, 100 * day}[r.Intn(5)]
	w := &Workload{Zone: scene.zone, From: start.UnixMicro(), To: start.UnixMicro() + length}
	w.Now = w.To + []int64{0, 5 * minute, 3 * day, 40 * day}[r.Intn(4)]
	g := generator{r, w, size, nil}
	g.events()
	g.batches()
	return w
}

type generator struct {
	*rand.Rand
	w    *Workload
	size Size
	log  []oracle.Event
}

// one takes one of several.
func one[T any](r *rand.Rand, of ...T) T { return of[r.Intn(len(of))] }

func (g *generator) chance(percent int) bool { return g.Intn(100) < percent }

// events makes the events in the order of time, person by person mixed.
func (g *generator) events() {
	coarse := one(g.Rand, 1, 1000, second, second, minute)
	at := make([]int64, g.size.Persons)
	for i := range at {
		at[i] = g.w.From + g.Int63n(g.w.To-g.w.From)
	}
	for len(g.log) < g.size.Events {
		// The first persons do most.
		p := min(g.Intn(g.size.Persons), g.Intn(g.size.Persons))
		switch g.Intn(8) {
		case 0, 1: // at the same time
		case 2, 3, 4:
			at[p] += g.Int63n(10 * minute)
		case 5:
			at[p] += one(g.Rand, 10*minute, 30*minute, 30*minute+1, 60*minute, day)
		case 6:
			at[p] += g.Int63n(day)
		case 7:
			at[p] = g.w.From + g.Int63n(g.w.To-g.w.From)
		}
		if at[p] >= g.w.To {
			at[p] = g.w.From + g.Int63n(g.w.To-g.w.From)
		}
		e := oracle.Event{EventID: fmt.Sprintf("e%05d", len(g.log)), Time: at[p] - ((at[p]%coarse)+coarse)%coarse, Name: g.name()}
		e.UserID, e.AnonymousID = g.ids(p)
		e.Properties, e.Context = g.properties(), g.context(p)
		g.log = append(g.log, e)
	}
}

// name prefers the first names, so that funnels get somewhere.
func (g *generator) name() string { return names[min(g.Intn(len(names)), g.Intn(len(names)+2))] }

// ids are those of a person's event. Person p may have a user and two devices;
// one device in ten is shared with the next person, and some persons never log in.
func (g *generator) ids(p int) (user, anon string) {
	device := p
	if g.chance(10) {
		device = (p + 1) % g.size.Persons
	}
	user, anon = fmt.Sprintf("u%d", p), fmt.Sprintf("a%d.%d", device, g.Intn(2))
	switch {
	case p%4 == 3:
		return "", anon
	case p%7 == 5:
		return user, ""
	case g.chance(45):
		return "", anon
	case g.chance(50):
		return user, ""
	}
	return user, anon
}

func (g *generator) properties() map[string]any {
	if g.chance(5) {
		return nil
	}
	p := map[string]any{}
	if g.chance(85) {
		p["price"] = one[any](g.Rand, num("10"), num("10.5"), num("99.99"), num("100"), num("-3"), num("0"), num("250"), num("1e3"), "10", nil, true)
	}
	if g.chance(70) {
		p["category"] = one[any](g.Rand, "shoes", "shirts", "hats", "shoes", "Schuhe & Söhne", "", nil, num("7"), false, "7")
	}
	if g.chance(50) {
		p["productId"] = one[any](g.Rand, "p1", "p2", "p3", "p1", nil)
	}
	if g.chance(60) {
		p["variant"] = one[any](g.Rand, "control", "b", "b", "control", "c", "", nil)
	}
	if g.chance(25) {
		p["item"] = one[any](g.Rand,
			map[string]any{"size": num("40"), "color": "red"}, map[string]any{"size": "40"}, map[string]any{}, "plain", []any{"a", num("1")}, []any{})
	}
	if g.chance(20) {
		p["big"] = one[any](g.Rand, num("9007199254740993"), num("9007199254740992"), num("-9223372036854775808"), num("5"))
	}
	if g.chance(15) {
		p["item count"] = num(fmt.Sprint(g.Intn(4)))
	}
	return p
}

func num(s string) json.Number { return json.Number(s) }

func (g *generator) context(p int) map[string]any {
	if g.chance(5) {
		return nil
	}
	c := map[string]any{}
	if g.chance(90) { // mostly one device per person, that changes at times
		c["device"] = devices[p%len(devices)]
		if g.chance(25) {
			c["device"] = one(g.Rand, devices...)
		}
	}
	if g.chance(60) {
		c["country"] = one[any](g.Rand, "DE", "FR", "US", nil)
	}
	if g.chance(40) {
		c["campaign"] = one[any](g.Rand, "mail", "ads", "ads", "", nil, "social")
	}
	return c
}

// batches puts the events into the log: nearly in the order of time, some late,
// some twice, with calls that link ids in between.
func (g *generator) batches() {
	order := make([]oracle.Event, 0, len(g.log))
	for _, i := range g.arrival() {
		order = append(order, g.log[i])
		if g.chance(4) { // a resend, at times with other content
			again := g.log[g.Intn(i+1)]
			if g.chance(30) {
				again.Properties = g.properties()
			}
			order = append(order, again)
		}
	}
	received := g.w.To
	for len(order) > 0 {
		n := min(len(order), 1+g.Intn(40))
		received += (1 + g.Int63n(1000)) * 1000 // whole milliseconds, as answers write it
		b := Batch{ReceivedAt: received, Source: one(g.Rand, sources...)}
		for _, e := range order[:n] {
			e.ReceivedAt, e.Source = b.ReceivedAt, b.Source
			b.Events = append(b.Events, e)
		}
		order = order[n:]
		if g.chance(15) {
			b.Links = append(b.Links, Link{fmt.Sprintf("u%d", g.Intn(g.size.Persons)), fmt.Sprintf("a%d.%d", g.Intn(g.size.Persons), g.Intn(2))})
		}
		g.w.Batches = append(g.w.Batches, b)
	}
}

// arrival is the order in which events arrive: by time, one in ten anywhere.
func (g *generator) arrival() []int {
	order := make([]int, len(g.log))
	for i := range order {
		order[i] = i
	}
	if g.chance(20) { // in the order they were made, which jumps in time
		return order
	}
	sortBy(order, func(i int) int64 { return g.log[i].Time })
	for k := range order {
		if g.chance(10) {
			j := g.Intn(len(order))
			order[k], order[j] = order[j], order[k]
		}
	}
	return order
}
