package oracle

import (
	"cmp"
	"slices"

	"spoor/engine/query/lang"
)

// Sessions is the answer to a question about sessions.
type Sessions struct {
	Kind string `json:"kind"`
	SessionTotals
	By     []string        `json:"by,omitempty"`
	Points []SessionsPoint `json:"points,omitempty"`
	Groups []SessionsGroup `json:"groups,omitempty"`
}

// SessionTotals sums sessions up; means and rates are null without any.
type SessionTotals struct {
	Sessions       int      `json:"sessions"`
	Users          int      `json:"users"`
	MeanDuration   *float64 `json:"mean_duration_seconds"`
	MedianDuration *float64 `json:"median_duration_seconds"`
	MeanEvents     *float64 `json:"mean_events"`
	BounceRate     *float64 `json:"bounce_rate"`
}

// SessionsPoint is the sessions that began in the period at T.
type SessionsPoint struct {
	T string `json:"t"`
	SessionTotals
}

// SessionsGroup is the sessions whose first event has the key's values.
type SessionsGroup struct {
	Key   []any `json:"key"`
	Other bool  `json:"other,omitempty"`
	SessionTotals
	Points []SessionsPoint `json:"points,omitempty"`
}

// session is one session of a person.
type session struct {
	person *person
	events []*Event
}

func (s session) start() int64    { return s.events[0].Time }
func (s session) duration() int64 { return s.events[len(s.events)-1].Time - s.start() }

// split cuts events, which are in the order of time, where the gap to the one
// before is longer than gap, and where a session would last longer than longest (0: no bound).
func split(events []*Event, gap, longest int64) (out [][]*Event) {
	begin := 0
	for i := range events {
		if i == 0 {
			continue
		}
		t := events[i].Time
		if t-events[i-1].Time > gap || longest > 0 && t-events[begin].Time > longest {
			out = append(out, events[begin:i])
			begin = i
		}
	}
	if len(events) > 0 {
		out = append(out, events[begin:])
	}
	return out
}

// within are the events of a person in the range.
func (r *run) within(p *person) (out []*Event) {
	for _, e := range p.events {
		if r.inRange(e) {
			out = append(out, e)
		}
	}
	return out
}

func (r *run) sessions() *Sessions {
	var all []session
	var byKey groups[session]
	for _, p := range r.people {
		for _, events := range split(r.within(p), r.q.Sessions.Gap, r.q.Sessions.Max) {
			s := session{p, events}
			all = append(all, s)
			byKey.add(r.keyOf(p, events[0]), s)
		}
	}
	ps := divide(r.q.Every, r.loc, r.from, r.to)
	a := &Sessions{Kind: "sessions", SessionTotals: totals(all), By: r.by(), Points: r.sessionPoints(all, ps)}
	if len(r.q.By) > 0 {
		for _, g := range byKey.limited(r.q.Limit) {
			a.Groups = append(a.Groups, SessionsGroup{r.json(g.key), g.other, totals(g.items), r.sessionPoints(g.items, ps)})
		}
	}
	return a
}

func (r *run) sessionPoints(all []session, ps periods) (points []SessionsPoint) {
	if r.q.Every.IsZero() {
		return nil
	}
	for i, p := range ps {
		var mine []session
		for _, s := range all {
			if ps.of(s.start()) == i {
				mine = append(mine, s)
			}
		}
		points = append(points, SessionsPoint{formatTime(p.from, r.loc), totals(mine)})
	}
	return points
}

func totals(all []session) SessionTotals {
	var durations, events []float64
	bounces := 0
	users := map[personID]bool{}
	for _, s := range all {
		users[s.person.personID] = true
		durations = append(durations, float64(s.duration()))
		events = append(events, float64(len(s.events)))
		if len(s.events) == 1 {
			bounces++
		}
	}
	t := SessionTotals{Sessions: len(all), Users: len(users), MeanEvents: mean(events)}
	if len(all) > 0 {
		t.MeanDuration, t.MedianDuration = quotient(*mean(durations), 1e6), quotient(*median(durations), 1e6)
		t.BounceRate = quotient(float64(bounces), float64(len(all)))
	}
	return t
}

// Paths is the answer to a question for paths.
type Paths struct {
	Kind  string `json:"kind"`
	Links []Link `json:"links"`
}

// Link is how often one event followed another at a depth.
type Link struct {
	Depth int    `json:"depth"`
	From  string `json:"from"`
	To    string `json:"to"`
	Count int    `json:"count"`
	Users int    `json:"users"`
}

// stop is one or, collapsed, several events of one name on a path.
type stop struct {
	name   string
	anchor bool
}

func (r *run) paths() *Paths {
	q := r.q.Paths
	type place struct {
		depth    int
		from, to string
	}
	counts, users := map[place]int{}, map[place]map[personID]bool{}
	for _, p := range r.people {
		for _, events := range split(r.within(p), q.Gap, 0) {
			for depth, l := range r.path(p, events) {
				at := place{depth + 1, l[0], l[1]}
				counts[at]++
				if users[at] == nil {
					users[at] = map[personID]bool{}
				}
				users[at][p.personID] = true
			}
		}
	}
	links := []Link{}
	for at, n := range counts {
		links = append(links, Link{at.depth, at.from, at.to, n, len(users[at])})
	}
	byDepth := func(a, b Link) int {
		return cmp.Or(cmp.Compare(a.Depth, b.Depth), cmp.Compare(b.Count, a.Count), cmp.Compare(a.From, b.From), cmp.Compare(a.To, b.To))
	}
	slices.SortFunc(links, func(a, b Link) int { return cmp.Or(cmp.Compare(b.Count, a.Count), byDepth(a, b)) })
	links = links[:min(len(links), r.q.Limit)]
	slices.SortFunc(links, byDepth)
	return &Paths{Kind: "paths", Links: links}
}

// path are the transitions of one session, by depth from 0. Those of a path to an event count backwards.
func (r *run) path(p *person, events []*Event) (links [][2]string) {
	q := r.q.Paths
	var anchor *lang.EventSel
	if anchor = q.From; anchor == nil {
		anchor = q.To
	}
	var stops []stop
	for _, e := range events {
		is := anchor != nil && r.selects(anchor, p, e)
		if n := len(stops); q.Collapse && n > 0 && stops[n-1].name == e.Name {
			stops[n-1].anchor = stops[n-1].anchor || is
			continue
		}
		stops = append(stops, stop{e.Name, is})
	}
	at := 0
	if anchor != nil {
		if at = slices.IndexFunc(stops, func(s stop) bool { return s.anchor }); at < 0 {
			return nil
		}
	}
	if q.To != nil {
		for i := at; i > 0 && len(links) < q.Depth; i-- {
			links = append(links, [2]string{stops[i-1].name, stops[i].name})
		}
		return links
	}
	for i := at; i+1 < len(stops) && len(links) < q.Depth; i++ {
		links = append(links, [2]string{stops[i].name, stops[i+1].name})
	}
	return links
}
