package audit

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/valyala/fasthttp"

	"spoor/engine"
)

// Verdict is the outcome of a comparison.
type Verdict struct {
	Index uint64    `json:"index"` // of the entry at which all were compared
	Time  time.Time `json:"time"`
	// Equal: all nodes answered, and alike.
	Equal      bool        `json:"equal"`
	Nodes      []Finding   `json:"nodes"`
	Partitions []Partition `json:"partitions"`
}

// Finding is what a comparison found of a node.
type Finding struct {
	ID    string `json:"id"`
	State string `json:"state"` // one of the constants below
	// Different are the partitions in which it differs from the majority.
	Different []string `json:"different,omitempty"`
	Error     string   `json:"error,omitempty"`
	Repair    string   `json:"repair,omitempty"` // what is done about it
}

// States of a Finding.
const (
	Equal     = "equal"
	Different = "different"
	Damaged   = "damaged" // a file could not be read
	Unknown   = "unknown" // it did not answer, or something was erased meanwhile: the next comparison will tell
)

// Partition is a part of the state: a UTC day of events, or persons, traits, documents, dead_letters.
type Partition struct {
	Name   string `json:"partition"`
	Events int64  `json:"events,omitempty"`
	Equal  bool   `json:"equal"`
	// Hashes by node, of those that answered; where a node has none, it has no such partition.
	Hashes map[string]string `json:"hashes"`
}

// ErrNotLeader is answered by Round on a node that does not lead.
var ErrNotLeader = errors.New("only the leader compares the replicas")

// Report is what there is to say about the replicas.
type Report struct {
	Running bool     `json:"running"`         // a comparison is at work
	Last    *Verdict `json:"last,omitempty"`  // of this leader; none since it leads
	Error   string   `json:"error,omitempty"` // why the last one that was asked for came to none
}

// Compare begins a comparison on this node, which has to lead, unless begin is false or one is at work, and
// tells what there is.
func (a *Auditor) Compare(begin bool) (Report, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.node == nil || !a.node.IsLeader() {
		return Report{}, ErrNotLeader
	}
	if begin && !a.asked && a.ctx.Err() == nil {
		a.asked, a.failed = true, nil
		a.wg.Go(func() {
			_, err := a.Round(a.ctx)
			a.mu.Lock()
			defer a.mu.Unlock()
			a.asked, a.failed = false, err
		})
	}
	r := Report{Running: a.asked, Last: a.last}
	if a.failed != nil {
		r.Error = a.failed.Error()
	}
	return r, nil
}

// Round compares all members now, and repairs what it can if that is wanted. It takes as long as it takes to
// read every event at the share of a core that is set.
func (a *Auditor) Round(ctx context.Context) (*Verdict, error) {
	a.round.Lock()
	defer a.round.Unlock()
	a.mu.Lock()
	node := a.node
	a.mu.Unlock()
	if node == nil || !node.IsLeader() {
		return nil, ErrNotLeader
	}
	_, index, err := node.Propose(ctx, engine.HashEntry())
	if err != nil {
		return nil, fmt.Errorf("compare the replicas: %w", err)
	}
	results, errs := a.gather(ctx, node, index)
	v := judge(index, results, errs)
	v.Time = a.opts.Now().UTC()
	a.act(ctx, node, v)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.last = v
	a.counts.Rounds++
	for _, f := range v.Nodes {
		if f.State == Different || f.State == Damaged {
			a.counts.Different++
		}
	}
	return v, nil
}

// gather gets the sums of all members.
func (a *Auditor) gather(ctx context.Context, node Node, index uint64) (map[string]Result, map[string]error) {
	var mu sync.Mutex
	var wg sync.WaitGroup
	results, errs := map[string]Result{}, map[string]error{}
	s := node.Status()
	for _, m := range s.Nodes {
		wg.Go(func() {
			var r Result
			var err error
			if m.ID == s.ID {
				r, err = a.own(ctx, index)
			} else {
				r, err = a.ask(ctx, m.ID, index)
			}
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				errs[m.ID] = err
			} else {
				results[m.ID] = r
			}
		})
	}
	wg.Wait()
	return results, errs
}

func (a *Auditor) own(ctx context.Context, index uint64) (Result, error) {
	for {
		r, found, making := a.result(index)
		switch {
		case found:
			return r, nil
		case !making:
			return r, fmt.Errorf("this node was still summing an earlier entry, or has not caught up since its start")
		case ctx.Err() != nil:
			return r, ctx.Err()
		}
		pause(ctx, askEvery/4)
	}
}

// parts are the partitions of a state and their hashes.
func parts(r *Result) (hashes map[string]string, events map[string]int64) {
	hashes, events = map[string]string{}, map[string]int64{}
	s := r.State
	for _, d := range s.Days {
		name := time.Unix(int64(d.Day)*86400, 0).UTC().Format(time.DateOnly)
		hashes[name], events[name] = d.Hash.String(), d.Rows
	}
	hashes["persons"], hashes["traits"] = s.Identity.String(), s.Traits.String()
	hashes["documents"], hashes["dead_letters"] = s.Documents.String(), s.Letters.String()
	return hashes, events
}

// judge compares sums. What more than half of those who answered say is taken for right.
func judge(index uint64, results map[string]Result, errs map[string]error) *Verdict {
	v := &Verdict{Index: index}
	hashes, events := map[string]map[string]string{}, map[string]int64{}
	findings := map[string]*Finding{}
	for id, r := range results {
		f := &Finding{ID: id, State: Equal, Error: r.Error}
		findings[id] = f
		switch {
		case r.Damaged:
			f.State = Damaged
		case r.State == nil:
			f.State = Unknown
		default:
			of, n := parts(&r)
			for name, h := range of {
				if hashes[name] == nil {
					hashes[name] = map[string]string{}
				}
				hashes[name][id] = h
				events[name] = max(events[name], n[name])
			}
		}
	}
	for id, err := range errs {
		findings[id] = &Finding{ID: id, State: Unknown, Error: err.Error()}
	}
	answered := 0
	for _, f := range findings {
		if f.State == Equal {
			answered++
		}
	}
	for name, of := range hashes {
		p := Partition{Name: name, Events: events[name], Hashes: of, Equal: true}
		count, right, decided := map[string]int{}, "", false
		for id, f := range findings {
			if f.State == Equal || f.State == Different { // "" stands for having no such partition
				count[of[id]]++
			}
		}
		for h, n := range count {
			if 2*n > answered {
				right, decided = h, true
			}
		}
		p.Equal = len(count) == 1
		for id, f := range findings {
			if f.State != Equal && f.State != Different || p.Equal {
				continue
			}
			if !decided || of[id] != right {
				f.State = Different
				f.Different = append(f.Different, name)
			}
		}
		v.Partitions = append(v.Partitions, p)
	}
	slices.SortFunc(v.Partitions, func(a, b Partition) int { return strings.Compare(a.Name, b.Name) })
	v.Equal = true
	for _, f := range findings {
		slices.Sort(f.Different)
		v.Equal = v.Equal && f.State == Equal
		v.Nodes = append(v.Nodes, *f)
	}
	slices.SortFunc(v.Nodes, func(a, b Finding) int { return strings.Compare(a.ID, b.ID) })
	return v
}

// act tells of what is wrong and lets it be repaired.
func (a *Auditor) act(ctx context.Context, node Node, v *Verdict) {
	own := node.Status().ID
	sound := "" // a node that a majority confirms in every partition
	for _, f := range v.Nodes {
		if f.State == Equal && (sound == "" || f.ID == own) { // the leader is the nearest to everything
			sound = f.ID
		}
	}
	for i := range v.Nodes {
		f := &v.Nodes[i]
		switch {
		case f.State == Equal:
			delete(a.repaired, f.ID)
			continue
		case f.State == Unknown:
			continue
		}
		switch {
		case !a.opts.Repair || len(v.Nodes) < 2:
			f.Repair = "none: it was not asked for"
		case sound == "":
			f.Repair = "none: no majority says what is right; compare with a backup and replace the node that is wrong"
		case a.repaired[f.ID] >= maxRepairs:
			f.Repair = fmt.Sprintf("none: it was repaired %d times in a row and differs again; look at its memory and its disk, and replace it", maxRepairs)
		case f.ID == own:
			f.Repair = "it hands the lead to " + sound + ", which repairs it"
			if err := node.TransferLead(ctx, sound); err != nil {
				f.Repair = "none: the lead could not be handed to " + sound + ": " + err.Error()
			}
		default:
			a.repaired[f.ID]++
			f.Repair = "it takes over the state of " + sound
			if _, err := a.call(ctx, f.ID, fasthttp.MethodPost, pathRepair, url.Values{"from": {sound}}, nil); err != nil {
				f.Repair = "none: " + err.Error()
			}
		}
		a.opts.Logger.Error("a replica does not hold what the others hold", "node", f.ID, "state", f.State, "partitions", strings.Join(f.Different, " "), "error", f.Error, "repair", f.Repair)
	}
}
