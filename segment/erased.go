package segment

import (
	"slices"
	"strings"
)

// ErasedPrefix begins the name of a section of erased events. It is no UTF-8, so
// no event has such a name, and sorts behind all names. What follows is the name that the events
// had. Their rows keep the eventIds, so that a resend is still known, the days of receipt, which say
// how long it is to be known, and nothing else: person 0 at the beginning of the day. No day counts their persons.
const ErasedPrefix = "\xff"

// Erased tells whether the section holds erased events. Queries pass it by.
func (s *Section) Erased() bool { return strings.HasPrefix(s.name, ErasedPrefix) }

// Hide makes the section look as if it had no columns of a path and of those
// below it. It may be called beside readers.
func (s *Section) Hide(path string) {
	for !s.isHidden(path) {
		old := s.hidden.Load()
		var hidden []string
		if old != nil {
			hidden = slices.Clone(*old)
		}
		hidden = append(hidden, path)
		s.hidden.CompareAndSwap(old, &hidden)
	}
}

// isHidden tells whether a path is one of those that Hide named, or below one.
func (s *Section) isHidden(path string) bool {
	h := s.hidden.Load()
	return h != nil && slices.ContainsFunc(*h, func(hidden string) bool {
		return path == hidden || len(path) > len(hidden) && path[len(hidden)] == '.' && path[:len(hidden)] == hidden
	})
}
