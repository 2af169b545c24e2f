package oracle

import (
	"maps"
	"slices"
)

// Erase takes away the events for which gone holds. Their ids stay known.
func (s *Store) Erase(gone func(e *Event) bool) {
	s.through = s.DataThrough()
	s.events = slices.DeleteFunc(s.events, gone)
	s.people = nil
}

// Expire takes away the events for which old holds and forgets their ids; such
// events are refused from now on.
func (s *Store) Expire(old func(e *Event) bool) {
	s.through = s.DataThrough()
	s.expired = append(s.expired, old)
	s.events = slices.DeleteFunc(s.events, func(e *Event) bool {
		if old(e) {
			delete(s.ids, e.EventID)
			return true
		}
		return false
	})
	s.people = nil
}

// EraseProperty takes a property away from all events that are stored.
func (s *Store) EraseProperty(name string) {
	for i, e := range s.events {
		c := *e
		c.Properties = maps.Clone(e.Properties)
		delete(c.Properties, name)
		s.events[i] = &c
	}
	s.people = nil
}

// EraseUser takes away a user with events, traits and anonymousIds. What it sends later is refused.
func (s *Store) EraseUser(userID string) {
	user := personID{true, userID}
	is := func(u, a string) bool { return s.identify(u, a) == user }
	s.Erase(func(e *Event) bool { return is(e.UserID, e.AnonymousID) })
	s.traits = slices.DeleteFunc(s.traits, func(t traits) bool { return is(t.userID, t.anonymousID) })
	if s.refused == nil {
		s.refused = map[personID]bool{}
	}
	s.refused[user] = true
	for anon, u := range s.links {
		if u != userID {
			continue
		}
		delete(s.links, anon)
		s.refused[personID{false, anon}] = true
		for i, e := range s.events {
			if e.AnonymousID == anon { // another user's event on the device
				c := *e
				c.AnonymousID = ""
				s.events[i] = &c
			}
		}
	}
}

// refuses tells whether something with these ids is of a user who was erased.
func (s *Store) refuses(userID, anonymousID string) bool {
	if userID != "" {
		return s.refused[personID{true, userID}]
	}
	return s.refused[personID{false, anonymousID}]
}
