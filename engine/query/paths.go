package query

import (
	"cmp"
	"slices"

	"spoor/engine/query/kernel"
	"spoor/engine/query/lang"
	"spoor/engine/query/scan"
)

// PathsAnswer is the answer to a question for paths.
type PathsAnswer struct {
	Common
	Links []PathLink `json:"links"`
}

// PathLink is how often one event followed another at a depth, and of how many
// persons. Backwards paths, those to an event, count depth from their end.
type PathLink struct {
	Depth int    `json:"depth"`
	From  string `json:"from"`
	To    string `json:"to"`
	Count int    `json:"count"`
	Users int    `json:"users"`
}

type linkKey struct {
	depth    int
	from, to uint32
}

type linkCount struct {
	count, users int
	last         uint32 // 1 + the last person counted
}

func (x *exec) paths() (Answer, error) {
	p := x.q.Paths
	all, err := x.selects(&lang.EventSel{Alternatives: []lang.EventMatch{{Any: true}}})
	if err != nil {
		return nil, err
	}
	sels := []*selection{all}
	if anchor := cmp.Or(p.From, p.To); anchor != nil {
		s, err := x.selects(anchor)
		if err != nil {
			return nil, err
		}
		sels = append(sels, s)
	}
	times := scan.Times{From: x.from, To: x.to}
	days := x.daysOf(times)
	ranges, err := x.gatherRanges(days, all)
	if err != nil {
		return nil, err
	}
	counts := make([]map[linkKey]linkCount, len(ranges))
	err = x.parallel(ranges, func(i int, w *scan.Worker) error {
		counts[i] = map[linkKey]linkCount{}
		return x.eachPerson(w, days, sels, times, &scan.Gather{}, func(person uint32, events []kernel.Event) error {
			kernel.EachSession(events, p.Gap, func(session []kernel.Event) {
				x.sessionLinks(session, person, counts[i])
			})
			return nil
		})
	})
	if err != nil {
		return nil, err
	}
	total := map[linkKey]linkCount{}
	for _, m := range counts {
		for k, c := range m {
			t := total[k]
			t.count += c.count
			t.users += c.users
			total[k] = t
		}
	}
	a := &PathsAnswer{Links: []PathLink{}}
	for k, c := range total {
		a.Links = append(a.Links, PathLink{k.depth, x.nameList[k.from], x.nameList[k.to], c.count, c.users})
	}
	slices.SortFunc(a.Links, func(p, q PathLink) int {
		return cmp.Or(cmp.Compare(p.Depth, q.Depth), cmp.Compare(q.Count, p.Count), cmp.Compare(p.From, q.From), cmp.Compare(p.To, q.To))
	})
	if len(a.Links) > x.q.Limit {
		x.limitLinks(a)
	}
	return a, nil
}

// limitLinks keeps the most frequent links, and the order by depth.
func (x *exec) limitLinks(a *PathsAnswer) {
	bySize := slices.Clone(a.Links)
	slices.SortStableFunc(bySize, func(p, q PathLink) int { return cmp.Compare(q.Count, p.Count) })
	keep := map[linkName]bool{}
	for _, l := range bySize[:x.q.Limit] {
		keep[linkName{l.Depth, l.From, l.To}] = true
	}
	a.Links = slices.DeleteFunc(a.Links, func(l PathLink) bool { return !keep[linkName{l.Depth, l.From, l.To}] })
}

type linkName struct {
	depth    int
	from, to string
}

// sessionLinks counts the transitions of one session; bit 1 of an event's steps
// marks the anchor.
func (x *exec) sessionLinks(session []kernel.Event, person uint32, counts map[linkKey]linkCount) {
	p := x.q.Paths
	events := session
	if p.Collapse {
		events = make([]kernel.Event, 0, len(session))
		for i, e := range session {
			if i > 0 && e.Tag == session[i-1].Tag {
				events[len(events)-1].Steps |= e.Steps
				continue
			}
			events = append(events, e)
		}
	}
	count := func(depth int, from, to uint32) {
		k := linkKey{depth, from, to}
		c := counts[k]
		c.count++
		if c.last != person+1 {
			c.last = person + 1
			c.users++
		}
		counts[k] = c
	}
	if p.To != nil {
		end := slices.IndexFunc(events, func(e kernel.Event) bool { return e.Steps&2 != 0 })
		for d := 1; d <= p.Depth && end-d >= 0; d++ {
			count(d, events[end-d].Tag, events[end-d+1].Tag)
		}
		return
	}
	start := 0
	if p.From != nil {
		if start = slices.IndexFunc(events, func(e kernel.Event) bool { return e.Steps&2 != 0 }); start < 0 {
			return
		}
	}
	for d := 1; d <= p.Depth && start+d < len(events); d++ {
		count(d, events[start+d-1].Tag, events[start+d].Tag)
	}
}
