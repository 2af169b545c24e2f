package oracle

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Events is the answer to a question for events. Next is a cursor of the oracle's own.
type Events struct {
	Kind   string  `json:"kind"`
	Events []Row   `json:"events"`
	Next   *string `json:"next"`
}

// Row is one event. Its time is written in UTC, not as it was sent.
type Row struct {
	EventID     string         `json:"eventId"`
	UserID      string         `json:"userId,omitempty"`
	AnonymousID string         `json:"anonymousId,omitempty"`
	Name        string         `json:"eventName"`
	Source      string         `json:"source,omitempty"`
	Timestamp   string         `json:"timestamp"`
	ReceivedAt  string         `json:"receivedAt"`
	Person      string         `json:"person"`
	Properties  map[string]any `json:"properties,omitempty"`
	Context     map[string]any `json:"context,omitempty"`
}

// Users is the answer to a question for persons. Next is a cursor of the oracle's own.
type Users struct {
	Kind  string   `json:"kind"`
	Count int      `json:"count"`
	Users []string `json:"users"`
	Next  *string  `json:"next"`
}

// place is where a row stands in the order of an answer.
type place struct {
	time int64
	id   string
}

func (p place) cursor() *string {
	s := strconv.FormatInt(p.time, 10) + ":" + p.id
	return &s
}

// page sorts rows and takes those behind the cursor, up to the limit.
func page[T any](r *run, rows []T, at func(T) place) (out []T, next *string) {
	order := func(a, b place) int {
		c := cmp.Or(cmp.Compare(a.time, b.time), cmp.Compare(a.id, b.id))
		if r.q.Newest {
			return -c
		}
		return c
	}
	slices.SortStableFunc(rows, func(a, b T) int { return order(at(a), at(b)) })
	if r.q.After != "" {
		micros, id, _ := strings.Cut(r.q.After, ":")
		t, _ := strconv.ParseInt(micros, 10, 64)
		rows = slices.DeleteFunc(rows, func(x T) bool { return order(at(x), place{t, id}) <= 0 })
	}
	if len(rows) > r.q.Limit {
		rows = rows[:r.q.Limit]
		next = at(rows[r.q.Limit-1]).cursor()
	}
	return rows, next
}

func (r *run) events() *Events {
	type row struct {
		*Event
		person *person
	}
	var rows []row
	for _, p := range r.people {
		for _, e := range p.events {
			if r.inRange(e) && r.selects(&r.q.Events.Of, p, e) {
				rows = append(rows, row{e, p})
			}
		}
	}
	rows, next := page(r, rows, func(x row) place { return place{x.Time, x.EventID} })
	a := &Events{Kind: "events", Events: []Row{}, Next: next}
	for _, x := range rows {
		a.Events = append(a.Events, Row{
			EventID: x.EventID, UserID: x.UserID, AnonymousID: x.AnonymousID, Name: x.Name, Source: x.Source,
			Timestamp: formatTime(x.Time, time.UTC), ReceivedAt: formatTime(x.ReceivedAt, time.UTC), Person: x.person.id,
			Properties: x.Properties, Context: x.Context,
		})
	}
	return a
}

func (r *run) users() *Users {
	all := r.members()
	a := &Users{Kind: "users", Count: len(all), Users: []string{}}
	rows, next := page(r, all, func(m member) place { return place{m.since, m.id} })
	a.Next = next
	for _, m := range rows {
		a.Users = append(a.Users, m.id)
	}
	return a
}
