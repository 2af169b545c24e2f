package oracle

import (
	"cmp"
	"maps"
	"slices"
)

// Event is one event as it was sent. Times are microseconds since the Unix
// epoch. Properties and Context are JSON as encoding/json decodes it with
// UseNumber; a nil map is an empty object. An empty id, name or source is none.
type Event struct {
	EventID, UserID, AnonymousID, Name, Source string
	Time, ReceivedAt                           int64
	Properties, Context                        map[string]any
}

// Store is everything that was ever written, in the order of the log. Its zero
// value is empty. It keeps what it is given; callers do not change it afterwards.
type Store struct {
	events  []*Event
	ids     map[string]bool
	links   map[string]string // anonymousId -> the user it was first linked to
	traits  []traits
	cohorts map[string]string
	refused map[personID]bool     // users who were erased, and their anonymousIds
	expired []func(e *Event) bool // what is too old
	through int64                 // DataThrough before events were erased

	people []*person // made when a question is asked; nil after a change
}

// traits are what one call said of a user or of an anonymousId.
type traits struct {
	userID, anonymousID string
	time                int64
	values              map[string]any
}

// personID is who a person is: users and anonymous ids of one spelling are two.
type personID struct {
	user bool
	id   string
}

// person is one person and all they did, in the order of time and then of the log.
type person struct {
	personID
	events []*Event
	traits map[string]any
}

// Add stores events in the order of the log. One whose EventID is there is left
// out with all that it says; an event without an EventID is never a duplicate.
func (s *Store) Add(events ...Event) {
	if s.ids == nil {
		s.ids = map[string]bool{}
	}
	for i := range events {
		e := events[i]
		if s.refuses(e.UserID, e.AnonymousID) || slices.ContainsFunc(s.expired, func(old func(*Event) bool) bool { return old(&e) }) {
			continue
		}
		if e.EventID != "" {
			if s.ids[e.EventID] {
				continue
			}
			s.ids[e.EventID] = true
		}
		s.Identify(e.UserID, e.AnonymousID)
		s.events = append(s.events, &e)
	}
	s.people = nil
}

// Identify links an anonymousId to a user, unless it is linked already.
func (s *Store) Identify(userID, anonymousID string) {
	if userID == "" || anonymousID == "" || s.refuses(userID, anonymousID) {
		return
	}
	if s.links == nil {
		s.links = map[string]string{}
	}
	if _, linked := s.links[anonymousID]; !linked {
		s.links[anonymousID] = userID
		s.people = nil
	}
}

// SetTraits tells traits of a user, or of an anonymousId when userID is empty, as
// of a time. The latest value of each trait counts, by time and then in the order of the log.
func (s *Store) SetTraits(userID, anonymousID string, time int64, values map[string]any) {
	if s.refuses(userID, anonymousID) {
		return
	}
	s.traits = append(s.traits, traits{userID, anonymousID, time, values})
	s.people = nil
}

// SaveCohort saves a users query under a name, for `user in cohort`.
func (s *Store) SaveCohort(name, query string) {
	if s.cohorts == nil {
		s.cohorts = map[string]string{}
	}
	s.cohorts[name] = query
}

// Events are the stored events in the order of the log, duplicates left out.
func (s *Store) Events() []*Event { return s.events }

// DataThrough is the latest time of an event, also of one that was erased; 0 without events.
func (s *Store) DataThrough() (through int64) {
	through = s.through
	for i, e := range s.events {
		if through == 0 && i == 0 || e.Time > through {
			through = e.Time
		}
	}
	return through
}

// Person is the name of the person that the ids of an event belong to.
func (s *Store) Person(userID, anonymousID string) string {
	return s.identify(userID, anonymousID).id
}

func (s *Store) identify(userID, anonymousID string) personID {
	if userID != "" {
		return personID{true, userID}
	}
	if user, linked := s.links[anonymousID]; linked {
		return personID{true, user}
	}
	return personID{false, anonymousID}
}

// everyone is all persons with events, sorted by name, users first.
func (s *Store) everyone() []*person {
	if s.people != nil {
		return s.people
	}
	byID := map[personID]*person{}
	for _, e := range s.events {
		id := s.identify(e.UserID, e.AnonymousID)
		p := byID[id]
		if p == nil {
			p = &person{personID: id, traits: map[string]any{}}
			byID[id] = p
		}
		p.events = append(p.events, e)
	}
	said := slices.Clone(s.traits)
	slices.SortStableFunc(said, func(a, b traits) int { return cmp.Compare(a.time, b.time) })
	for _, t := range said {
		if p := byID[s.identify(t.userID, t.anonymousID)]; p != nil {
			maps.Copy(p.traits, t.values)
		}
	}
	s.people = slices.SortedFunc(maps.Values(byID), comparePersons)
	for _, p := range s.people {
		slices.SortStableFunc(p.events, func(a, b *Event) int { return cmp.Compare(a.Time, b.Time) })
	}
	return s.people
}

func comparePersons(a, b *person) int {
	if c := cmp.Compare(a.id, b.id); c != 0 || a.user == b.user {
		return c
	}
	if a.user {
		return -1
	}
	return 1
}
