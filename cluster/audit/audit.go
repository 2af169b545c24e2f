// Package audit finds out whether the replicas of a cluster hold the same. The leader puts an entry
// into the log; each node sums its state as it is at that entry, in the background; the leader asks all for
// their sums and compares them, partition by partition. A node that differs from the majority, or whose files are damaged,
// takes over the state of one that does not.
//
//	GET  /cluster/hash?index=N     a Result; 202 while it is made, 404 if there is none
//	POST /cluster/repair?from=ID   lets the node take over the state of another one
//	POST /cluster/compare          has the leader compare now: a node's read has found damage
package audit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strconv"
	"sync"
	"time"

	"github.com/valyala/fasthttp"

	"spoor/cluster"
	"spoor/cluster/peer"
	"spoor/engine"
	"spoor/engine/statehash"
)

const (
	pathHash   = "/cluster/hash"
	pathRepair = "/cluster/repair"

	// DefaultEvery is how often replicas are compared.
	DefaultEvery = 6 * time.Hour
	// DefaultShare of one core is what summing may take.
	DefaultShare = 0.25
	// keptResults are remembered, so that a slower leader finds them.
	keptResults = 4
	// sumPatience is how long the leader waits for a node's sums after its own are there.
	sumPatience = 10 * time.Minute
	// askEvery is the pause between two questions for sums that are being made.
	askEvery = 200 * time.Millisecond
	// maxRepairs of one node in a row; then somebody has to look.
	maxRepairs = 3
)

// Node is what an Auditor needs of a cluster's node.
type Node interface {
	Propose(ctx context.Context, data []byte) (result any, index uint64, err error)
	IsLeader() bool
	Status() cluster.Status
	// Call sends a call to another member.
	Call(ctx context.Context, id string, req *fasthttp.Request, resp *fasthttp.Response) error
	// Reinstall takes over the state of another node.
	Reinstall(ctx context.Context, from cluster.Member) error
	// TransferLead lets another node lead.
	TransferLead(ctx context.Context, id string) error
}

// Options of an Auditor.
type Options struct {
	Every  time.Duration // 0 for DefaultEvery, negative: only when it is asked for
	Share  float64       // of one core, 0 for DefaultShare
	Now    func() time.Time
	Logger *slog.Logger
	// Repair lets a node that differs take over another's state.
	Repair bool
}

// Result is what a node's sums are at an entry.
type Result struct {
	Index uint64           `json:"index"`
	State *statehash.State `json:"state,omitempty"`
	Error string           `json:"error,omitempty"` // why there are none
	// Damaged: a file could not be read.
	Damaged bool `json:"damaged,omitempty"`
}

// Auditor compares replicas. OnHash is given to the engine before Start is called.
type Auditor struct {
	opts Options
	ctx  context.Context
	stop context.CancelFunc
	wg   sync.WaitGroup

	mu       sync.Mutex
	node     Node
	busy     bool
	making   uint64 // index of the entry whose state is summed
	results  []Result
	last     *Verdict
	asked    bool           // somebody asked for a comparison that is at work
	failed   error          // of the last one
	repaired map[string]int // in a row, by node
	counts   Counts
	round    sync.Mutex // one at a time
	// suspected is when reads of this node last had the replicas compared.
	suspected time.Time
}

// Counts are for metrics.
type Counts struct {
	Rounds    int // that came to a verdict
	Different int // nodes that differed or were damaged, of all rounds
	Repairs   int // that this node was let do
}

// New makes an Auditor.
func New(o Options) *Auditor {
	if o.Every == 0 {
		o.Every = DefaultEvery
	}
	if o.Share == 0 {
		o.Share = DefaultShare
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	a := &Auditor{opts: o, repaired: map[string]int{}}
	a.ctx, a.stop = context.WithCancel(context.Background())
	return a
}

// OnHash is engine.Options.OnHash.
func (a *Auditor) OnHash(p *engine.HashPoint) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.busy || a.ctx.Err() != nil { // one at a time; who asks finds nothing
		p.Release()
		return
	}
	a.busy, a.making = true, p.Index()
	a.wg.Go(func() {
		defer p.Release()
		began, worked := time.Now(), time.Duration(0)
		state, err := p.Sum(a.ctx, func() {
			worked += time.Since(began)
			pause(a.ctx, time.Duration(float64(time.Since(began))*(1/a.opts.Share-1)))
			began = time.Now()
		})
		r := Result{Index: p.Index(), State: state}
		if err != nil {
			r.Error = err.Error()
			r.Damaged = !errors.Is(err, engine.ErrDisturbed) && a.ctx.Err() == nil
		}
		if r.Damaged {
			a.opts.Logger.Error("this node's data is damaged", "error", err)
		}
		a.mu.Lock()
		defer a.mu.Unlock()
		a.busy = false
		if a.results = append(a.results, r); len(a.results) > keptResults {
			a.results = a.results[1:]
		}
	})
}

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

// result finds the sums of an entry; making means that they come.
func (a *Auditor) result(index uint64) (r Result, found, making bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, r := range a.results {
		if r.Index == index {
			return r, true, false
		}
	}
	return Result{}, false, a.busy && a.making == index
}

// Start begins to compare, and to answer other nodes at a port unless that is nil.
func (a *Auditor) Start(n Node, port *peer.Port) {
	a.mu.Lock()
	a.node = n
	a.mu.Unlock()
	if port != nil {
		port.Handle(pathHash, a.serveHash)
		port.Handle(pathRepair, a.serveRepair)
		port.Handle(pathCompare, a.serveCompare)
	}
	if a.opts.Every > 0 {
		a.wg.Go(a.run)
	}
}

// Close waits for what is at work.
func (a *Auditor) Close() {
	a.mu.Lock()
	a.stop()
	a.mu.Unlock()
	a.wg.Wait()
}

func (a *Auditor) run() {
	tick := time.NewTicker(a.opts.Every)
	defer tick.Stop()
	for {
		select {
		case <-a.ctx.Done():
			return
		case <-tick.C:
		}
		if !a.node.IsLeader() || len(a.node.Status().Nodes) < 2 {
			continue
		}
		if _, err := a.Round(a.ctx); err != nil && a.ctx.Err() == nil {
			a.opts.Logger.Warn("the replicas could not be compared; it is tried again", "error", err)
		}
	}
}

// Last is the newest verdict that this node came to, nil if it has not led for one.
func (a *Auditor) Last() *Verdict {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.last
}

// Counts since the start.
func (a *Auditor) Counts() Counts {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.counts
}

func (a *Auditor) serveHash(call *fasthttp.RequestCtx) {
	index, err := strconv.ParseUint(string(call.QueryArgs().Peek("index")), 10, 64)
	if err != nil {
		call.Error("index is a number", fasthttp.StatusBadRequest)
		return
	}
	r, found, making := a.result(index)
	switch {
	case found:
		b, err := json.Marshal(r)
		if err != nil {
			call.Error(err.Error(), fasthttp.StatusInternalServerError)
			return
		}
		call.SetBody(b)
	case making:
		call.SetStatusCode(fasthttp.StatusAccepted)
	default:
		call.Error(fmt.Sprintf("there are no sums of entry %d", index), fasthttp.StatusNotFound)
	}
}

func (a *Auditor) serveRepair(call *fasthttp.RequestCtx) {
	from := string(call.QueryArgs().Peek("from"))
	if err := a.repairSelf(from); err != nil {
		call.Error(err.Error(), fasthttp.StatusServiceUnavailable)
		return
	}
	call.SetStatusCode(fasthttp.StatusAccepted)
}

// repairSelf takes over the state of another member, in the background.
func (a *Auditor) repairSelf(from string) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.node == nil || a.ctx.Err() != nil {
		return errors.New("this node is starting or closing")
	}
	for _, m := range a.node.Status().Nodes {
		if m.ID == from {
			a.counts.Repairs++
			a.wg.Go(func() {
				if err := a.node.Reinstall(a.ctx, m); err != nil && a.ctx.Err() == nil {
					a.opts.Logger.Error("this node's state is wrong and could not be replaced; the next comparison tries again", "from", from, "error", err)
				}
			})
			return nil
		}
	}
	return fmt.Errorf("no node %q in the cluster", from)
}

// ask gets the sums of an entry from another member.
func (a *Auditor) ask(ctx context.Context, id string, index uint64) (r Result, err error) {
	ctx, cancel := context.WithTimeout(ctx, sumPatience)
	defer cancel()
	const tries = 25 // until a follower has applied the entry
	for unknown := 0; ; {
		status, err := a.call(ctx, id, fasthttp.MethodGet, pathHash, url.Values{"index": {strconv.FormatUint(index, 10)}}, &r)
		if status == fasthttp.StatusNotFound {
			if unknown++; unknown < tries {
				status, err = fasthttp.StatusAccepted, nil
			}
		}
		if err != nil || status == fasthttp.StatusOK {
			return r, err
		}
		pause(ctx, askEvery)
		if ctx.Err() != nil {
			return r, ctx.Err()
		}
	}
}

// call sends a call and reads a JSON answer into out, unless that is nil.
func (a *Auditor) call(ctx context.Context, id, method, path string, query url.Values, out any) (status int, err error) {
	req, resp := fasthttp.AcquireRequest(), fasthttp.AcquireResponse()
	defer fasthttp.ReleaseRequest(req)
	defer fasthttp.ReleaseResponse(resp)
	req.Header.SetMethod(method)
	req.Header.SetHost(id)
	req.SetRequestURI(path + "?" + query.Encode())
	if err := a.node.Call(ctx, id, req, resp); err != nil {
		return 0, err
	}
	status = resp.StatusCode()
	switch {
	case status == fasthttp.StatusOK && out != nil:
		return status, json.Unmarshal(resp.Body(), out)
	case status == fasthttp.StatusOK, status == fasthttp.StatusAccepted:
		return status, nil
	}
	return status, fmt.Errorf("node %s: %d: %.300s", id, status, resp.Body())
}
