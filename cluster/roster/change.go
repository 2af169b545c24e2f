package roster

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/url"
	"sync"
	"time"

	"spoor/cluster"
	"spoor/cluster/peer"
	"spoor/engine"
)

// JoinRequest is what a node sends that wants to become a member.
type JoinRequest struct {
	ID      string       `json:"id"`
	Disk    string       `json:"disk"`
	Address string       `json:"address"` // for other nodes
	HTTP    string       `json:"http"`    // for clients
	Version string       `json:"version"`
	Formats peer.Formats `json:"formats"`
	Voter   *bool        `json:"voter,omitempty"` // whether it shall have a vote once it keeps up; default true
	Token   string       `json:"token,omitempty"`
}

// JoinAnswer is what it has to know to start.
type JoinAnswer struct {
	Cluster string `json:"cluster"` // 32 hexadecimal digits
	Leader  string `json:"leader"`
}

// Join makes a node a member without a vote; it gets one when it has caught up.
// trusted tells that whoever asks may change the members; others need a token. The same
// node may ask again, as after a crash before it had the answer.
func (r *Roster) Join(ctx context.Context, q JoinRequest, trusted bool) (JoinAnswer, error) {
	var none JoinAnswer
	release, err := r.change(ctx)
	if err != nil {
		return none, err
	}
	defer release()
	if !r.IsLeader() {
		return none, cluster.ErrNotLeader
	}
	if err := r.checkJoin(&q); err != nil {
		return none, err
	}
	rec, known := r.record(q.ID)
	_, member := r.member(q.ID)
	switch {
	case known && rec.Disk != q.Disk, member && !known:
		if !trusted && !r.hasToken(q.Token) {
			return none, ErrToken // who may not join learns no names
		}
		if member {
			return none, fmt.Errorf("%w: node %s is a member, with another data directory. A node that has lost its data must not come back under its name, for it has forgotten its votes: remove it (spoor cluster remove %s) and join with an empty directory and a new --node-id", ErrRefused, q.ID, q.ID)
		}
		return none, fmt.Errorf("%w: there was a node %s in this cluster, and names are not used again; join with a new --node-id", ErrRefused, q.ID)
	case known && rec.Removed:
		return none, fmt.Errorf("%w: node %s was removed from this cluster; join with an empty data directory and a new --node-id", ErrRefused, q.ID)
	case !known && len(r.store.Documents(nodeKind)) >= MaxNodes:
		return none, fmt.Errorf("%w: this cluster has had %d nodes", ErrRefused, MaxNodes)
	case !known && !trusted:
		if err := r.spendToken(ctx, q.Token); err != nil {
			return none, err
		}
	}
	// The record comes first: a member without one could be mistaken for another disk.
	if !known {
		rec.WantsVote = q.Voter == nil || *q.Voter
	}
	rec.Disk, rec.HTTP, rec.Version, rec.Formats = q.Disk, q.HTTP, q.Version, q.Formats
	if err := r.putRecord(ctx, q.ID, rec); err != nil {
		return none, err
	}
	if err := r.AddMember(ctx, q.ID, q.Address); err != nil {
		return none, err
	}
	r.log.Info("a node has joined", "node", q.ID, "address", q.Address)
	return JoinAnswer{Cluster: r.Node.Status().ClusterID, Leader: r.id}, nil
}

func (r *Roster) checkJoin(q *JoinRequest) error {
	if err := peer.CheckNodeID(q.ID); err != nil {
		return fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	if len(q.Disk) != diskDigits || len(q.Version) > 100 {
		return fmt.Errorf("%w: the disk is named by %d hexadecimal digits", ErrInvalid, diskDigits)
	}
	if u, err := url.Parse(q.HTTP); q.HTTP != "" && (err != nil || u.Host == "" || len(q.HTTP) > 200) {
		return fmt.Errorf("%w: %.100q is no URL of a server", ErrInvalid, q.HTTP)
	}
	if err := r.checkAddress(q.Address); err != nil {
		return err
	}
	p := r.Peers()
	switch {
	case p == nil:
		return fmt.Errorf("%w: this node has no port for others; start it with --raft HOST:PORT", ErrRefused)
	case p.Addr() == q.Address:
		return fmt.Errorf("%w: %s is the address of node %s", ErrRefused, q.Address, r.id)
	case !q.Formats.Commands.Holds(r.commandVersion()) || q.Formats.Segments.Max < r.opts.Formats.Segments.Min || q.Formats.Segments.Min > r.opts.Formats.Segments.Max:
		return fmt.Errorf("%w: the node understands log entries of versions %d to %d and segments of %d to %d, the cluster has entries of version %d and segments of %d to %d; take the same release", ErrRefused,
			q.Formats.Commands.Min, q.Formats.Commands.Max, q.Formats.Segments.Min, q.Formats.Segments.Max, r.commandVersion(), r.opts.Formats.Segments.Min, r.opts.Formats.Segments.Max)
	}
	return nil
}

func (r *Roster) checkAddress(address string) error {
	host, port, err := net.SplitHostPort(address)
	switch {
	case err != nil || host == "" || port == "" || port == "0" || len(address) > 200:
		return fmt.Errorf("%w: %.100q is no address of a node; it is HOST:PORT", ErrInvalid, address)
	case !r.opts.TLS:
		if err := peer.CheckLoopback(address); err != nil {
			return fmt.Errorf("%w: %w", ErrInvalid, err)
		}
	}
	return nil
}

func (r *Roster) member(id string) (cluster.Member, bool) {
	for _, m := range r.Node.Status().Nodes {
		if m.ID == id {
			return m, true
		}
	}
	return cluster.Member{}, false
}

// Remove takes a member out of the cluster for good. Unless force is set, it refuses
// where too few voters would be left that answer. A leader hands the lead over
// and answers cluster.ErrNotLeader: ask the next one.
func (r *Roster) Remove(ctx context.Context, id string, force bool) error {
	release, err := r.changing(ctx, id)
	if err != nil {
		return err
	}
	defer release()
	s := r.survey()
	voters, alive := 0, 0
	for _, n := range s.Nodes {
		if n.Voter && n.ID != id {
			voters++
			if n.State == StateLeader || n.State == StateFollower {
				alive++
			}
		}
	}
	switch {
	case voters == 0:
		return fmt.Errorf("%w: %s is the only node with a vote", ErrRefused, id)
	case alive <= voters/2 && !force:
		return fmt.Errorf("%w: without %s, %d of %d voters would be left that answer, and writes would stop; bring a node back first, or force it", ErrRefused, id, alive, voters)
	case id == r.id:
		if err := r.handOver(ctx, ""); err != nil {
			return err
		}
		return fmt.Errorf("%w: it has handed the lead over to be removed", cluster.ErrNotLeader)
	}
	rec, _ := r.record(id)
	rec.Removed, rec.WantsVote = true, false
	if err := r.RemoveMember(ctx, id); err != nil {
		return err
	}
	r.log.Info("a node was removed", "node", id)
	return r.putRecord(ctx, id, rec)
}

// Promote gives a member a vote, or says that it shall have one once it keeps up: then now is false.
func (r *Roster) Promote(ctx context.Context, id string) (now bool, err error) {
	release, err := r.changing(ctx, id)
	if err != nil {
		return false, err
	}
	defer release()
	rec, _ := r.record(id)
	if !rec.WantsVote {
		rec.WantsVote = true
		if err := r.putRecord(ctx, id, rec); err != nil {
			return false, err
		}
	}
	if m, _ := r.member(id); m.Voter {
		return true, nil
	}
	if !r.keepsUpFor(id, promoteAfter) {
		return false, nil
	}
	return true, r.GiveVote(ctx, id)
}

// Demote takes a member's vote; it goes on to follow.
func (r *Roster) Demote(ctx context.Context, id string) error {
	release, err := r.changing(ctx, id)
	if err != nil {
		return err
	}
	defer release()
	voters := 0
	for _, m := range r.Node.Status().Nodes {
		if m.Voter && m.ID != id {
			voters++
		}
	}
	if voters == 0 {
		return fmt.Errorf("%w: %s is the only node with a vote", ErrRefused, id)
	}
	if id == r.id {
		if err := r.handOver(ctx, ""); err != nil {
			return err
		}
		return fmt.Errorf("%w: it has handed the lead over to be demoted", cluster.ErrNotLeader)
	}
	rec, _ := r.record(id)
	rec.WantsVote = false
	if err := r.putRecord(ctx, id, rec); err != nil {
		return err
	}
	return r.TakeVote(ctx, id)
}

// Transfer lets another node lead: that of an id, or the one that keeps up best.
func (r *Roster) Transfer(ctx context.Context, id string) error {
	if !r.IsLeader() {
		return cluster.ErrNotLeader
	}
	if id == r.id {
		return nil
	}
	if id != "" {
		if _, ok := r.member(id); !ok {
			return fmt.Errorf("%w: %s", ErrUnknown, id)
		}
	}
	return r.handOver(ctx, id)
}

// changing begins a change of one member.
func (r *Roster) changing(ctx context.Context, id string) (release func(), err error) {
	release, err = r.change(ctx)
	if err != nil {
		return nil, err
	}
	err = cluster.ErrNotLeader
	if r.IsLeader() {
		if _, ok := r.member(id); ok {
			return release, nil
		}
		err = fmt.Errorf("%w: %.100q", ErrUnknown, id)
	}
	release()
	return nil, err
}

// handOver transfers the lead to a voter that keeps up, asked at this moment.
func (r *Roster) handOver(ctx context.Context, to string) error {
	var asking sync.WaitGroup
	r.ask(ctx, &asking)
	asking.Wait()
	var best *NodeStatus
	s := r.survey()
	for i := range s.Nodes {
		n := &s.Nodes[i]
		if n.ID == r.id || !n.Voter || n.State != StateFollower || to != "" && n.ID != to || !r.keepsUpFor(n.ID, 0) {
			continue
		}
		if best == nil || n.Lag < best.Lag {
			best = n
		}
	}
	if best == nil {
		if to == "" {
			to = "another node"
		}
		return fmt.Errorf("%w: %s cannot lead now: it has to have a vote, to answer and to have caught up", ErrRefused, to)
	}
	return r.TransferLead(ctx, best.ID)
}

// HandOver lets another node lead before this one stops, if it leads and another one can.
func (r *Roster) HandOver(ctx context.Context) {
	if !r.IsLeader() {
		return
	}
	if err := r.handOver(ctx, ""); err != nil {
		r.log.Info("the others elect a leader by themselves", "reason", err)
	}
}

// keepsUpFor tells whether a member has answered just now and kept up for so long.
func (r *Roster) keepsUpFor(id string, long time.Duration) bool {
	now := r.opts.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.seen[id]
	return s != nil && now.Sub(s.at) <= unreachableAfter && !s.keepsUp.IsZero() && now.Sub(s.keepsUp) >= long
}

// Tokens let one node join. The log holds their hashes, so that one is good at whichever
// node leads next, and only once: removing it from the log answers whether it was there.
const (
	// DefaultTokenLife and MaxTokenLife bound how long one is good.
	DefaultTokenLife = time.Hour
	MaxTokenLife     = 7 * 24 * time.Hour
	maxTokens        = 100
	tokenBytes       = 32
	tokenPrefix      = "join_"
)

// Token is one that was made.
type Token struct {
	Token   string    `json:"token"`
	Expires time.Time `json:"expires"`
}

type tokenRecord struct {
	Expires time.Time `json:"expires"`
}

// NewToken makes a token that lets one node join.
func (r *Roster) NewToken(ctx context.Context, life time.Duration) (Token, error) {
	if life < time.Second || life > MaxTokenLife {
		return Token{}, fmt.Errorf("%w: a token is good for a second to %d days", ErrInvalid, MaxTokenLife/(24*time.Hour))
	}
	now := r.opts.Now()
	left := 0
	for _, d := range r.store.Documents(tokenKind) {
		var t tokenRecord
		if json.Unmarshal(d.Value, &t) == nil && t.Expires.After(now) {
			left++
		} else if _, err := r.propose(ctx, engine.DeleteEntry(tokenKind, d.Name)); err != nil {
			return Token{}, err
		}
	}
	if left >= maxTokens {
		return Token{}, fmt.Errorf("%w: %d tokens are waiting to be used", ErrRefused, left)
	}
	secret := make([]byte, tokenBytes)
	if _, err := io.ReadFull(r.opts.Random, secret); err != nil {
		return Token{}, fmt.Errorf("make a token: %w", err)
	}
	t := Token{Token: tokenPrefix + base64.RawURLEncoding.EncodeToString(secret), Expires: now.Add(life).UTC().Truncate(time.Second)}
	return t, r.put(ctx, tokenKind, tokenName(t.Token), tokenRecord{t.Expires})
}

// tokenName is the hash of a token.
func tokenName(token string) string {
	sum := sha256.Sum256([]byte(token))
	return hex.EncodeToString(sum[:])
}

func (r *Roster) hasToken(token string) bool {
	d, ok := r.store.Document(tokenKind, tokenName(token))
	var t tokenRecord
	return ok && json.Unmarshal(d.Value, &t) == nil && t.Expires.After(r.opts.Now())
}

func (r *Roster) spendToken(ctx context.Context, token string) error {
	if !r.hasToken(token) {
		return ErrToken
	}
	found, err := r.propose(ctx, engine.DeleteEntry(tokenKind, tokenName(token)))
	if err != nil {
		return err
	}
	if was, _ := found.(bool); !was {
		return ErrToken
	}
	return nil
}
