// Package roster is who belongs to the cluster: nodes that join, catch up and get
// a vote, that stall, move to another address, hand the lead over and leave.
//
// The Raft library holds ids, addresses and votes. What else a node has to know of
// the others is a document of the log for each (Record). The leader asks every
// member once a second how it is (Vitals), and does from that what has to be done.
package roster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/valyala/fasthttp"

	"spoor/cluster"
	"spoor/cluster/peer"
	"spoor/engine"
	"spoor/engine/document"
)

// MaxNodes bounds the ids that a cluster has ever had.
const MaxNodes = 1000

const (
	// surveyEvery is how often the leader asks the members, and a follower looks whether the leader knows it right.
	surveyEvery = time.Second
	// askTimeout bounds one such question.
	askTimeout = 2 * time.Second
	// changeTimeout bounds what the roster stores by itself.
	changeTimeout = 10 * time.Second
	// unreachableAfter is how long a member may be silent.
	unreachableAfter = 3 * time.Second
	// stalledAfter is how long a member's log may stand still behind the leader's.
	stalledAfter = 10 * time.Second
	// promoteAfter is how long a member has to keep up before it gets a vote.
	promoteAfter = 3 * time.Second
	// promoteLag is how many entries behind the leader still keep up.
	promoteLag = 256
)

const (
	vitalsPath   = "/cluster/vitals"
	announcePath = "/cluster/announce"
	statusPath   = "/cluster/status"

	nodeKind  = "node"
	tokenKind = "join-token"
)

// Errors that callers tell apart; what they wrap says more. Nothing was changed.
var (
	ErrRefused = errors.New("refused")      // as it would do harm
	ErrUnknown = errors.New("no such node") // in the cluster
	ErrToken   = errors.New("the token is unknown, expired or was used")
	ErrInvalid = errors.New("not valid") // what was asked
)

// Store is where documents that the log has brought are read.
type Store interface {
	Document(kind, name string) (document.Document, bool)
	Documents(kind string) []document.Document
}

// Options of a Roster.
type Options struct {
	Disk    string // id of this node's data directory, see OpenIdentity
	HTTP    string // URL at which clients find this node; SetHTTP changes it
	Version string // of the program
	Formats peer.Formats
	TLS     bool // nodes show certificates, so their addresses may be any
	Now     func() time.Time
	Every   time.Duration // between two surveys; default a second
	Random  io.Reader     // where tokens come from
	Logger  *slog.Logger
}

// Roster is the part of one node. It is also the node: what it embeds can be asked of it.
type Roster struct {
	*cluster.Node
	id    string
	store Store
	opts  Options
	log   *slog.Logger

	changes chan struct{} // holds a token while no change of the members is under way

	mu     sync.Mutex
	seen   map[string]*sighting // of other members, while this node leads
	begun  bool                 // it led at the last survey
	http   string
	counts Counts
}

// Record is what the log knows of a node beside id, address and vote.
type Record struct {
	Disk    string       `json:"disk"`
	HTTP    string       `json:"http"`
	Version string       `json:"version"`
	Formats peer.Formats `json:"formats"`
	// WantsVote tells that the node shall have a vote as soon as it keeps up.
	WantsVote bool `json:"wants_vote"`
	// Removed tells that the node has left: its id is not given to another disk.
	Removed bool `json:"removed,omitempty"`
}

// Vitals are what a node says of itself.
type Vitals struct {
	ID           string       `json:"id"`
	Disk         string       `json:"disk"`
	Address      string       `json:"address"`
	HTTP         string       `json:"http"`
	Version      string       `json:"version"`
	Formats      peer.Formats `json:"formats"`
	Term         uint64       `json:"term"`
	LastIndex    uint64       `json:"last_index"`
	AppliedIndex uint64       `json:"applied_index"`
}

// Counts are for metrics.
type Counts struct {
	Unreachable, Stalled int // members, as the leader sees them; 0 elsewhere
	MaxLag               uint64
}

// sighting is what the leader knows of a member.
type sighting struct {
	vitals      Vitals
	lag         uint64    // entries that the leader had applied and the member had not
	at          time.Time // of the last answer; zero: there was none
	asked       time.Time // since when it has been asked
	behindSince time.Time // its log stands still behind the leader's; zero: it does not
	keepsUp     time.Time // since when; zero: it does not
	alarmed     bool      // the log tells of its stall, or its silence
	asking      bool
}

// New makes the roster of a node and answers other nodes from then on.
func New(node *cluster.Node, store Store, opts Options) *Roster {
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	r := &Roster{Node: node, id: node.Status().ID, store: store, opts: opts, log: opts.Logger, http: opts.HTTP, changes: make(chan struct{}, 1), seen: map[string]*sighting{}}
	r.changes <- struct{}{}
	if p := node.Peers(); p != nil {
		p.Handle(vitalsPath, func(c *fasthttp.RequestCtx) { reply(c, r.vitals(), nil) })
		p.Handle(statusPath, func(c *fasthttp.RequestCtx) {
			if !r.IsLeader() {
				reply(c, nil, cluster.ErrNotLeader)
				return
			}
			reply(c, r.survey(), nil)
		})
		p.Handle(announcePath, func(c *fasthttp.RequestCtx) {
			var v Vitals
			err := json.Unmarshal(c.PostBody(), &v)
			if err == nil && v.ID != peer.Caller(c) {
				err = fmt.Errorf("%w: node %s speaks of node %.100q", ErrRefused, peer.Caller(c), v.ID)
			}
			var a announceAnswer
			if err == nil && r.IsLeader() {
				ctx, cancel := context.WithTimeout(context.Background(), changeTimeout)
				defer cancel()
				err = r.announced(ctx, v)
			} else {
				a.Leader, _ = r.Leader()
			}
			reply(c, a, err)
		})
	}
	return r
}

// Run watches over the members until ctx ends.
func (r *Roster) Run(ctx context.Context) {
	every := r.opts.Every
	if every == 0 {
		every = surveyEvery
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	var asking sync.WaitGroup
	defer asking.Wait()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		r.step(ctx, &asking)
	}
}

// step does what is to be done now.
func (r *Roster) step(ctx context.Context, asking *sync.WaitGroup) {
	if !r.IsLeader() {
		r.mu.Lock()
		r.seen, r.begun, r.counts = map[string]*sighting{}, false, Counts{}
		r.mu.Unlock()
		if err := r.announce(ctx); err != nil && ctx.Err() == nil {
			r.log.Warn("the leader could not be told where this node is; it will be tried again", "error", err)
		}
		return
	}
	if !r.IsReady() {
		return // its term has just begun
	}
	r.ask(ctx, asking)
	if err := r.care(ctx); err != nil && ctx.Err() == nil && !errors.Is(err, cluster.ErrNotLeader) {
		r.log.Warn("a change of the members did not succeed; it will be tried again", "error", err)
	}
}

// SetHTTP says where clients find this node, once it is known.
func (r *Roster) SetHTTP(url string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.http = url
}

func (r *Roster) ownHTTP() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.http
}

// vitals of this node.
func (r *Roster) vitals() Vitals {
	s := r.Node.Status()
	v := Vitals{
		ID: s.ID, Disk: r.opts.Disk, HTTP: r.ownHTTP(), Version: r.opts.Version, Formats: r.opts.Formats,
		Term: s.Term, LastIndex: s.LastIndex, AppliedIndex: s.AppliedIndex,
	}
	if p := r.Peers(); p != nil {
		v.Address = p.Addr()
	}
	return v
}

// record of a node, false where the log has none.
func (r *Roster) record(id string) (Record, bool) {
	d, ok := r.store.Document(nodeKind, id)
	var rec Record
	if !ok || json.Unmarshal(d.Value, &rec) != nil {
		return Record{}, false
	}
	return rec, true
}

func (r *Roster) putRecord(ctx context.Context, id string, rec Record) error {
	return r.put(ctx, nodeKind, id, rec)
}

func (r *Roster) put(ctx context.Context, kind, name string, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	_, err = r.propose(ctx, engine.PutEntry(kind, name, b))
	return err
}

func (r *Roster) propose(ctx context.Context, entry []byte) (result any, err error) {
	result, _, err = r.Propose(ctx, entry)
	if err == nil {
		err, _ = result.(error)
	}
	return result, err
}

// change holds off other changes of the members until release is called.
func (r *Roster) change(ctx context.Context) (release func(), err error) {
	select {
	case <-r.changes:
		return func() { r.changes <- struct{}{} }, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("%w: another change of the members is under way: %w", cluster.ErrOverloaded, ctx.Err())
	}
}

// call asks a member for something as JSON.
func (r *Roster) call(ctx context.Context, id, path string, ask, answer any) error {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	req, resp := fasthttp.AcquireRequest(), fasthttp.AcquireResponse()
	defer fasthttp.ReleaseRequest(req)
	defer fasthttp.ReleaseResponse(resp)
	req.Header.SetMethod(fasthttp.MethodPost)
	req.Header.SetHost(id)
	req.SetRequestURI(path)
	b, err := json.Marshal(ask)
	if err != nil {
		return err
	}
	req.SetBody(b)
	if err := r.Call(ctx, id, req, resp); err != nil {
		return err
	}
	if resp.StatusCode() != fasthttp.StatusOK {
		return fmt.Errorf("node %s answers: %.300s", id, resp.Body())
	}
	if err := json.Unmarshal(resp.Body(), answer); err != nil {
		return fmt.Errorf("the answer of node %s: %w", id, err)
	}
	return nil
}

func reply(c *fasthttp.RequestCtx, v any, err error) {
	var b []byte
	if err == nil {
		b, err = json.Marshal(v)
	}
	if err != nil {
		c.Error(err.Error(), fasthttp.StatusConflict)
		return
	}
	c.SetBody(b)
}
