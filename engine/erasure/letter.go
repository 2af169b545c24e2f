package erasure

import (
	"slices"
	"strings"

	"github.com/go-json-experiment/json"

	"spoor/engine/event"
	"spoor/segment/batch"
)

// letter is what a dead letter's event says of itself.
type letter struct {
	UserID      string `json:"userId"`
	AnonymousID string `json:"anonymousId"`
	EventName   string `json:"eventName"`
	Timestamp   any    `json:"timestamp"`

	Properties map[string]any `json:"properties"`
	Context    map[string]any `json:"context"`
}

// IDs are the userId and the anonymousId of a dead letter's event, nil where it has none.
func IDs(body []byte) (userID, anonymousID []byte) {
	var l letter
	if json.Unmarshal(body, &l) != nil {
		return nil, nil
	}
	if l.UserID != "" {
		userID = []byte(l.UserID)
	}
	if l.AnonymousID != "" {
		anonymousID = []byte(l.AnonymousID)
	}
	return userID, anonymousID
}

// TakesLetter tells whether a dead letter goes with an erasure: of a person by its
// ids, of a field if its event has it. Of an erasure by a condition it is enough that name and time
// fit: what was refused may lack the very field that is asked for. One that cannot be read goes, too.
func (r *Request) TakesLetter(body, userID []byte, anonymousIDs [][]byte) bool {
	var l letter
	if json.Unmarshal(body, &l) != nil {
		return true
	}
	switch r.Kind {
	case Person, History, Anonymise:
		if l.UserID != "" {
			return l.UserID == string(userID) || l.UserID == r.User
		}
		return l.AnonymousID == r.User || slices.ContainsFunc(anonymousIDs, func(a []byte) bool { return string(a) == l.AnonymousID })
	case Events, Field:
		if r.Events != nil && !slices.Contains(r.Events, l.EventName) {
			return false
		}
	default:
		return false
	}
	p, err := r.compile()
	if err != nil {
		return true
	}
	if r.Kind == Field {
		return slices.ContainsFunc(p.paths, l.has)
	}
	text, _ := l.Timestamp.(string)
	t, ok := event.ParseTime([]byte(text))
	return !ok || t >= p.from && t < p.to
}

// has tells whether the event has a value at the column path of a field, or below it.
func (l *letter) has(path string) bool {
	scope, rest, _ := strings.Cut(path, ".")
	at := l.Properties
	if scope == "context" {
		at = l.Context
	}
	keys := batch.SplitPath(rest)
	for i, k := range keys {
		v, ok := at[k]
		if !ok || i == len(keys)-1 {
			return ok
		}
		if at, ok = v.(map[string]any); !ok {
			return false
		}
	}
	return false
}
