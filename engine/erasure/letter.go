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

// Letters tells which dead letters go with an erasure: of a person by its
// ids, of a field if its event has it. Of an erasure by a condition it is enough that name and time
// fit: what was refused may lack the very field that is asked for. One that cannot be read goes, too.
func (r *Request) Letters(userID []byte, anonymousIDs [][]byte) (taken func(body []byte) bool, err error) {
	switch r.Kind {
	case Person, History, Anonymise:
		user, anons := string(userID), make(map[string]bool, 1+len(anonymousIDs)) // a person may have very many
		for _, a := range anonymousIDs {
			anons[string(a)] = true
		}
		anons[r.User] = true
		return func(body []byte) bool {
			var l struct { // the rest need not be taken apart
				UserID      string `json:"userId"`
				AnonymousID string `json:"anonymousId"`
			}
			switch {
			case json.Unmarshal(body, &l) != nil:
				return true
			case l.UserID != "":
				return l.UserID == user || l.UserID == r.User
			}
			return anons[l.AnonymousID]
		}, nil
	case Events, Field:
	default:
		return func([]byte) bool { return false }, nil
	}
	p, err := r.compile()
	if err != nil {
		return nil, err
	}
	return func(body []byte) bool {
		var l letter
		switch {
		case json.Unmarshal(body, &l) != nil:
			return true
		case r.Events != nil && !slices.Contains(r.Events, l.EventName):
			return false
		case r.Kind == Field:
			return slices.ContainsFunc(p.paths, l.has)
		}
		text, _ := l.Timestamp.(string)
		t, ok := event.ParseTime([]byte(text))
		return !ok || t >= p.from && t < p.to
	}, nil
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
