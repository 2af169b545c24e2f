package roster

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"spoor/cluster"
)

// Status is the cluster as its leader sees it; every node answers the same.
type Status struct {
	Cluster string `json:"cluster"`
	Leader  string `json:"leader"` // "" while there is none
	Term    uint64 `json:"term"`
	// CommandVersion is that of the newest entries which every member understands.
	CommandVersion uint32       `json:"command_version"`
	Nodes          []NodeStatus `json:"nodes"` // by id
}

// States of a node.
const (
	StateLeader      = "leader"
	StateFollower    = "follower"
	StateLearner     = "learner"     // it has no vote
	StateStalled     = "stalled"     // it answers, but its log stands still
	StateUnreachable = "unreachable" // it does not answer the leader
	StateUnknown     = "unknown"     // nobody leads who could say, or not for long enough
)

// NodeStatus is one member.
type NodeStatus struct {
	ID      string `json:"id"`
	Address string `json:"address"` // for other nodes
	HTTP    string `json:"http"`    // for clients
	Voter   bool   `json:"voter"`
	State   string `json:"state"`
	Applied uint64 `json:"applied_index"`
	Lag     uint64 `json:"lag"` // entries that the leader has applied and the node has not
	// Silent is how long ago the node answered the leader, in seconds; null: never.
	Silent  *float64 `json:"silent_seconds"`
	Version string   `json:"version"`
}

// Survey is the cluster as the leader sees it, or where it cannot be asked, as far as this node knows.
func (r *Roster) Survey(ctx context.Context) Status {
	leader, _ := r.Leader()
	if r.IsLeader() || leader == "" {
		return r.survey()
	}
	var s Status
	if err := r.call(ctx, leader, statusPath, struct{}{}, &s); err != nil {
		s = r.survey()
		for i := range s.Nodes {
			if n := &s.Nodes[i]; n.ID == leader {
				n.State = StateUnreachable
			}
		}
	}
	return s
}

func (r *Roster) survey() Status {
	own := r.Node.Status()
	s := Status{Cluster: own.ClusterID, Leader: own.LeaderID, Term: own.Term, CommandVersion: r.commandVersion(), Nodes: []NodeStatus{}}
	now := r.opts.Now()
	leads := r.IsLeader()
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, m := range own.Nodes {
		rec, _ := r.record(m.ID)
		n := NodeStatus{ID: m.ID, Address: m.Address, HTTP: rec.HTTP, Version: rec.Version, Voter: m.Voter, State: StateFollower}
		if !m.Voter {
			n.State = StateLearner
		}
		switch seen := r.seen[m.ID]; {
		case m.ID == own.ID:
			n.Applied, n.HTTP, n.Version = own.AppliedIndex, r.http, r.opts.Version
			if leads {
				n.State = StateLeader
				n.Silent = new(float64)
			}
		case !leads:
			n.State = StateUnknown
			if m.ID == own.LeaderID {
				n.State = StateLeader
			}
		case seen == nil || seen.at.IsZero() && now.Sub(seen.asked) <= unreachableAfter:
			n.State = StateUnknown
		case seen.at.IsZero():
			n.State = StateUnreachable
			n.Lag = own.AppliedIndex
		default:
			silent := now.Sub(seen.at)
			seconds := silent.Seconds()
			n.Silent = &seconds
			n.Applied, n.Lag = seen.vitals.AppliedIndex, seen.lag
			switch {
			case silent > unreachableAfter:
				n.State = StateUnreachable
				n.Lag = own.AppliedIndex - min(n.Applied, own.AppliedIndex)
			case seen.stalled(now):
				n.State = StateStalled
			}
		}
		s.Nodes = append(s.Nodes, n)
	}
	slices.SortFunc(s.Nodes, func(a, b NodeStatus) int { return strings.Compare(a.ID, b.ID) })
	return s
}

func (s *sighting) stalled(now time.Time) bool {
	return !s.behindSince.IsZero() && now.Sub(s.behindSince) >= stalledAfter
}

// Counts are the numbers of the last survey.
func (r *Roster) Counts() Counts {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.counts
}

// ask asks the other members how they are, without waiting.
func (r *Roster) ask(ctx context.Context, asking *sync.WaitGroup) {
	own := r.Node.Status()
	now := r.opts.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.begun {
		r.seen, r.begun = map[string]*sighting{}, true
	}
	for id := range r.seen {
		if !slices.ContainsFunc(own.Nodes, func(m cluster.Member) bool { return m.ID == id }) {
			delete(r.seen, id)
		}
	}
	for _, m := range own.Nodes {
		if m.ID == r.id {
			continue
		}
		seen := r.seen[m.ID]
		if seen == nil {
			seen = &sighting{asked: now}
			r.seen[m.ID] = seen
		}
		if seen.asking {
			continue
		}
		seen.asking = true
		asking.Go(func() {
			var v Vitals
			err := r.call(ctx, m.ID, vitalsPath, struct{}{}, &v)
			r.mu.Lock()
			defer r.mu.Unlock()
			seen.asking = false
			if err == nil && v.ID == m.ID {
				seen.note(v, own, r.opts.Now())
			}
		})
	}
}

// note takes an answer down. leader is what the leader was before the question was sent.
func (s *sighting) note(v Vitals, leader cluster.Status, now time.Time) {
	if v.LastIndex != s.vitals.LastIndex || v.LastIndex >= leader.LastIndex {
		s.behindSince = time.Time{}
	} else if s.behindSince.IsZero() {
		s.behindSince = now
	}
	s.lag = leader.AppliedIndex - min(v.AppliedIndex, leader.AppliedIndex)
	if v.Term != leader.Term || s.lag > promoteLag {
		s.keepsUp = time.Time{}
	} else if s.keepsUp.IsZero() {
		s.keepsUp = now
	}
	s.vitals, s.at = v, now
}

// care does what the answers call for: it tells of members that stall, keeps their
// records, and gives those a vote that keep up.
func (r *Roster) care(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, changeTimeout)
	defer cancel()
	release, err := r.change(ctx)
	if err != nil {
		return err
	}
	defer release()
	own := r.Node.Status()
	now := r.opts.Now()
	var errs []error
	if err := r.keepRecord(ctx, r.vitals(), true); err != nil {
		errs = append(errs, err)
	}
	var counts Counts
	for _, m := range own.Nodes {
		if m.ID == r.id {
			continue
		}
		r.mu.Lock()
		seen := r.seen[m.ID]
		var at sighting
		if seen != nil {
			at = *seen
			at.alarmed = r.alarm(m.ID, seen, now, &counts)
		}
		r.mu.Unlock()
		if at.at.IsZero() || now.Sub(at.at) > unreachableAfter {
			continue
		}
		if err := r.keepRecord(ctx, at.vitals, m.Voter); err != nil {
			errs = append(errs, err)
			continue
		}
		rec, ok := r.record(m.ID)
		if ok && rec.WantsVote && !m.Voter && !at.keepsUp.IsZero() && now.Sub(at.keepsUp) >= promoteAfter {
			r.log.Info("a node has caught up and gets a vote", "node", m.ID)
			errs = append(errs, r.GiveVote(ctx, m.ID))
		}
	}
	r.mu.Lock()
	r.counts = counts
	r.mu.Unlock()
	r.AllowCommands(r.commandVersion())
	return errors.Join(errs...)
}

// alarm tells the log of a member that goes or comes back.
func (r *Roster) alarm(id string, s *sighting, now time.Time, counts *Counts) bool {
	counts.MaxLag = max(counts.MaxLag, s.lag)
	silent := now.Sub(s.asked)
	if !s.at.IsZero() {
		silent = now.Sub(s.at)
	}
	switch {
	case silent > unreachableAfter:
		counts.Unreachable++
		if !s.alarmed {
			r.log.Error("a node does not answer", "node", id, "silent", silent.Round(time.Second))
		}
		s.alarmed = true
	case s.stalled(now):
		counts.Stalled++
		if !s.alarmed {
			r.log.Error("a node gets no entries, though it answers; if this does not end by itself, start it anew", "node", id, "last_index", s.vitals.LastIndex, "since", s.behindSince)
		}
		s.alarmed = true
	case s.alarmed && s.behindSince.IsZero():
		r.log.Info("a node is back", "node", id)
		s.alarmed = false
	}
	return s.alarmed
}

// keepRecord stores what a node says of itself where it is news.
func (r *Roster) keepRecord(ctx context.Context, v Vitals, votes bool) error {
	old, known := r.record(v.ID)
	rec := Record{Disk: v.Disk, HTTP: v.HTTP, Version: v.Version, Formats: v.Formats, WantsVote: old.WantsVote}
	if !known {
		rec.WantsVote = votes
	}
	if known && rec == old {
		return nil
	}
	if known && old.Disk != v.Disk && v.ID != r.id {
		return fmt.Errorf("node %s shows disk %.40s, but is known by disk %.40s: two nodes may have its id; stop one of them", v.ID, v.Disk, old.Disk)
	}
	return r.putRecord(ctx, v.ID, rec)
}

// commandVersion is that of the newest entries which every member understands.
func (r *Roster) commandVersion() uint32 {
	version := r.opts.Formats.Commands.Max
	for _, m := range r.Node.Status().Nodes {
		if m.ID == r.id {
			continue
		}
		if rec, ok := r.record(m.ID); ok {
			version = min(version, rec.Formats.Commands.Max)
		} else {
			version = min(version, r.opts.Formats.Commands.Min)
		}
	}
	return version
}

// announceAnswer is of a node that does not lead.
type announceAnswer struct {
	Leader string `json:"leader"`
}

// announce tells the leader where this node is, if that is not where the members know
// it. Nobody may have found it yet, so it does not know who leads, and asks.
func (r *Roster) announce(ctx context.Context) error {
	p := r.Peers()
	own := r.Node.Status()
	if p == nil || !slices.ContainsFunc(own.Nodes, func(m cluster.Member) bool { return m.ID == r.id && m.Address != p.Addr() }) {
		return nil
	}
	var errs []error
	for _, m := range own.Nodes {
		if m.ID == r.id {
			continue
		}
		var a announceAnswer
		err := r.call(ctx, m.ID, announcePath, r.vitals(), &a)
		if err == nil && a.Leader == "" {
			return nil // m leads, or nobody does yet
		}
		if err == nil && a.Leader != r.id {
			err = r.call(ctx, a.Leader, announcePath, r.vitals(), &a)
		}
		if err == nil {
			return nil
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// announced takes a member's new address.
func (r *Roster) announced(ctx context.Context, v Vitals) error {
	release, err := r.change(ctx)
	if err != nil {
		return err
	}
	defer release()
	if rec, ok := r.record(v.ID); ok && (rec.Disk != v.Disk || rec.Removed) {
		return fmt.Errorf("%w: node %s is known by another disk, or was removed", ErrRefused, v.ID)
	}
	if err := r.checkAddress(v.Address); err != nil {
		return err
	}
	if !slices.ContainsFunc(r.Node.Status().Nodes, func(m cluster.Member) bool { return m.ID == v.ID }) {
		return fmt.Errorf("%w: %s", ErrUnknown, v.ID)
	}
	r.log.Info("a node's address for others has changed", "node", v.ID, "to", v.Address)
	return r.AddMember(ctx, v.ID, v.Address)
}
