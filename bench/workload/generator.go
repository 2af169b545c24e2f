package workload

import (
	"fmt"
	"time"
)

// Config says which stream to make.
type Config struct {
	Events int64     // lines of the stream, resends among them
	Seed   uint64    // another seed, another stream
	Start  time.Time // begin of the range of timestamps; zero is DefaultStart
	Days   int       // length of the range; zero is DefaultDays
}

// What a Config leaves open.
var DefaultStart = time.Date(2026, time.May, 1, 0, 0, 0, 0, time.UTC)

// DefaultDays is the length of the range where a Config names none.
const DefaultDays = 30

// Bounds of a Config. The first keeps the persons within 32 bits.
const (
	MaxEvents = 100_000_000_000
	MaxDays   = 3660
)

// EventsPerPerson is how many events a person has on average.
const EventsPerPerson = 50

// Shares of a stream.
const (
	resentPerMille   = 10
	knownPerMille    = 800 // sessions that carry the userId, of a person who has one
	latePerMille     = 20
	minLateMillis    = 1 * millisPerHour
	maxLateMillis    = 14 * millisPerHour
	minResendMillis  = 2_000
	resendSpanMillis = 5 * 60_000
)

// Generator makes one stream. It is not safe for use by several goroutines.
type Generator struct {
	config   Config
	rng      rng
	calendar *calendar
	people   *population
	shop     []item

	planned uint64 // events of the sessions begun so far, and their resends
	made    int64  // lines given out

	next    *session // the next to begin, or nil at the end; begins at next.now
	open    queue[*session]
	resends queue[*Event]
}

// New returns a generator at the begin of its stream.
func New(config Config) (*Generator, error) {
	if config.Start.IsZero() {
		config.Start = DefaultStart
	}
	if config.Days == 0 {
		config.Days = DefaultDays
	}
	if config.Events < 1 || config.Events > MaxEvents {
		return nil, fmt.Errorf("workload: %d events asked for, want 1 to %d", config.Events, int64(MaxEvents))
	}
	if config.Days < 1 || config.Days > MaxDays {
		return nil, fmt.Errorf("workload: a range of %d days asked for, want 1 to %d", config.Days, MaxDays)
	}
	g := &Generator{
		config:   config,
		rng:      rng{scramble(config.Seed ^ goldenGamma)},
		calendar: newCalendar(config.Start, config.Days),
		people:   newPopulation(scramble(config.Seed), uint32(max(config.Events/EventsPerPerson, 1))),
		shop:     newItems(scramble(config.Seed)),
	}
	g.next = g.plan()
	return g, nil
}

// Persons is how many persons the stream is made of.
func (g *Generator) Persons() int { return int(g.people.size) }

// Next appends the next event to dst as one line of JSON, without a line feed.
// It returns dst unchanged and false after the last one.
func (g *Generator) Next(dst []byte) ([]byte, bool) {
	var e Event
	if !g.NextEvent(&e) {
		return dst, false
	}
	return e.AppendJSON(dst), true
}

// NextEvent fills e with the next event of the stream and returns false after the last.
func (g *Generator) NextEvent(e *Event) bool {
	if g.made == g.config.Events {
		return false
	}
	g.made++

	g.begin()
	if g.resends.len() > 0 && (g.open.len() == 0 || g.resends.first().at <= g.open.first().at) {
		*e = *g.resends.first().thing
		g.resends.dropFirst()
		e.Resent = true
		return true
	}
	top := g.open.first()
	s, at := top.thing, top.at
	s.next(e, g.shop, g.calendar.end)
	if s.left > 0 {
		top.at = s.now + s.delay
		g.open.settleFirst()
	} else {
		g.open.dropFirst()
	}
	if g.rng.chance(resentPerMille) {
		again := *e
		g.resends.push(at+minResendMillis+int64(g.rng.below(resendSpanMillis)), &again)
		g.planned++
	}
	return true
}

// begin opens the sessions that start before anything else happens. The stream
// never runs dry before its end: sessions are planned until their events and
// resends are as many as the lines asked for.
func (g *Generator) begin() {
	for g.next != nil && !g.earlier(g.next.now) {
		s := g.next
		g.open.push(s.now+s.delay, s)
		g.next = g.plan()
	}
}

// earlier tells whether something is due before the moment.
func (g *Generator) earlier(moment int64) bool {
	return g.open.len() > 0 && g.open.first().at < moment ||
		g.resends.len() > 0 && g.resends.first().at < moment
}

// plan makes the next session, nil when enough are planned. Its begin follows
// from how much of the stream is planned before it, so that the stream fills its
// range whatever the number of events.
func (g *Generator) plan() *session {
	whole := uint64(g.config.Events)
	if g.planned >= whole {
		return nil
	}
	r := &g.rng
	length := drawLength(r)
	part := min(g.planned+uint64(r.below(uint32(length))), whole-1)
	begin := g.calendar.at(part, whole)

	var person uint32
	fresh := g.people.due(g.planned, whole)
	if fresh {
		person = g.people.appear()
	} else {
		person = g.people.returning(r, g.calendar.day(begin), g.config.Days)
	}
	g.planned += uint64(length)
	return g.visit(person, fresh, begin, length)
}

func (g *Generator) visit(person uint32, fresh bool, begin int64, length int32) *session {
	r, p := &g.rng, g.people
	known := p.known(person)
	device := r.below(p.devices(person))
	home, machine := p.home(person), p.machine(person, device)
	s := &session{
		rng:         rng{r.next()},
		person:      person,
		anonymousID: p.anonymousID(person, device),
		currency:    home.currency,
		now:         begin,
		left:        length,
		variant:     p.variant(person),
		quantity:    1,
	}
	if known && r.chance(knownPerMille) {
		s.userID = p.userID(person)
	}
	// Those who appear in the first half of all were customers before.
	s.arrives = fresh && s.userID != "" && person > p.size/2
	if r.chance(latePerMille) {
		s.delay = minLateMillis + int64(scaleWide(r.next(), uint64(maxLateMillis-minLateMillis)))
	}
	release := min(g.calendar.day(begin)/7+4, len(releases)-1)
	s.context = &Context{
		Device:     machine.device,
		OS:         machine.os,
		Browser:    machine.browser,
		Country:    home.country,
		Locale:     home.locale,
		AppVersion: releases[release-int(scale(trait(p.seed, uint64(person), traitDevice+uint64(device)), 16))/4%4],
		Campaign:   campaigns.draw(r.next()),
	}
	s.context.render()
	s.pick(g.shop)
	return s
}
