package oracle

import "spoor/engine/query/lang"

// Lifecycle is the answer to a lifecycle.
type Lifecycle struct {
	Kind   string           `json:"kind"`
	Every  string           `json:"every"`
	Points []LifecyclePoint `json:"points"`
}

// LifecyclePoint sorts the persons of the period that begins at T.
type LifecyclePoint struct {
	T            string `json:"t"`
	New          int    `json:"new"`
	Returning    int    `json:"returning"`
	Resurrecting int    `json:"resurrecting"`
	Dormant      int    `json:"dormant"`
}

func (r *run) lifecycle() *Lifecycle {
	a := &Lifecycle{Kind: "lifecycle", Every: r.q.Every.String(), Points: []LifecyclePoint{}}
	for _, period := range divide(r.q.Every, r.loc, r.from, r.to) {
		point := LifecyclePoint{T: formatTime(period.from, r.loc)}
		previous := periodOf(r.q.Every, r.loc, period.from-1)
		for _, p := range r.people {
			var before, justBefore, here, counted bool
			for _, e := range p.events {
				if e.Time >= r.to || !r.selects(&r.q.Lifecycle.Of, p, e) {
					continue
				}
				before = before || e.Time < period.from
				justBefore = justBefore || previous.from <= e.Time && e.Time < previous.to
				if period.from <= e.Time && e.Time < period.to {
					here = true
					counted = counted || r.inRange(e)
				}
			}
			switch {
			case counted && !before:
				point.New++
			case counted && justBefore:
				point.Returning++
			case counted:
				point.Resurrecting++
			case justBefore && !here:
				point.Dormant++
			}
		}
		a.Points = append(a.Points, point)
	}
	return a
}

// Stickiness is the answer to a stickiness.
type Stickiness struct {
	Kind  string          `json:"kind"`
	Every string          `json:"every"`
	Days  []StickinessDay `json:"days"`
}

// StickinessDay is how many persons did it in exactly so many periods.
type StickinessDay struct {
	Periods int `json:"periods"`
	Users   int `json:"users"`
}

func (r *run) stickiness() *Stickiness {
	ps := divide(r.q.Every, r.loc, r.from, r.to)
	a := &Stickiness{Kind: "stickiness", Every: r.q.Every.String(), Days: make([]StickinessDay, len(ps))}
	for i := range a.Days {
		a.Days[i].Periods = i + 1
	}
	for _, p := range r.people {
		active := map[int]bool{}
		for _, e := range p.events {
			if r.inRange(e) && r.selects(&r.q.Stickiness.Of, p, e) {
				active[ps.of(e.Time)] = true
			}
		}
		if len(active) > 0 {
			a.Days[len(active)-1].Users++
		}
	}
	return a
}

// member is a person of a users query, with the time that orders them.
type member struct {
	personID
	since int64
}

// members are the persons that a users query means, in no particular order.
func (r *run) members() (out []member) {
	u := r.q.Users
	for _, p := range r.people {
		times := int64(0)
		var did, any *Event
		for _, e := range p.events {
			if !r.inRange(e) {
				continue
			}
			if any == nil {
				any = e
			}
			if r.selects(&u.Of, p, e) {
				times++
				if did == nil {
					did = e
				}
			}
		}
		if any == nil {
			continue
		}
		since := any // of those who need not have done it
		if u.Bound == lang.AtLeast || u.Bound == lang.Exactly && u.Times > 0 {
			since = did
		}
		if u.Bound == lang.AtLeast && times >= u.Times || u.Bound == lang.AtMost && times <= u.Times || u.Bound == lang.Exactly && times == u.Times {
			out = append(out, member{p.personID, since.Time})
		}
	}
	return out
}
