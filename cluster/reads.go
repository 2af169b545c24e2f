package cluster

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/hashicorp/raft"
	"github.com/valyala/fasthttp"

	"spoor/cluster/peer"
)

// readIndexPath is where a leader tells other nodes what a linearizable read has to see.
const readIndexPath = "/cluster/read-index"

// leaderCallTimeout bounds what a leader does for another node whose patience is not known.
const leaderCallTimeout = 5 * time.Second

// AppliedIndex is the index of the last entry that this node's machine has applied.
func (n *Node) AppliedIndex() uint64 { return n.sm.applied.Load() }

// LastContact is how long ago this node heard of its leader, 0 on the leader itself;
// false where it never has.
func (n *Node) LastContact() (age time.Duration, ok bool) {
	if n.IsLeader() {
		return 0, true
	}
	at := n.raft.LastContact()
	return time.Since(at), !at.IsZero()
}

// WaitApplied returns when the machine of this node has applied the entry at an index
// that Propose returned, on any node: what is read then holds what was written.
func (n *Node) WaitApplied(ctx context.Context, index uint64) error {
	if n.sm.applied.Load() >= index {
		return nil
	}
	err := n.feed.await(ctx, func() bool { return n.sm.applied.Load() >= index })
	if err != nil {
		return fmt.Errorf("wait for entry %d, the last one here is %d: %w", index, n.sm.applied.Load(), err)
	}
	return nil
}

// ReadIndex asks the leader which entry a read has to see that began now. When
// WaitApplied has returned for it, the read is linearizable.
func (n *Node) ReadIndex(ctx context.Context) (uint64, error) {
	if n.IsLeader() {
		return n.readIndex(ctx)
	}
	id, _ := n.Leader()
	if id == "" {
		return 0, fmt.Errorf("read index: %w", ErrNotLeader)
	}
	req, resp := fasthttp.AcquireRequest(), fasthttp.AcquireResponse()
	defer fasthttp.ReleaseRequest(req)
	defer fasthttp.ReleaseResponse(resp)
	req.Header.SetHost(id)
	req.SetRequestURI(readIndexPath)
	if err := n.Call(ctx, id, req, resp); err != nil {
		return 0, fmt.Errorf("read index: %w", err)
	}
	if resp.StatusCode() != fasthttp.StatusOK {
		return 0, fmt.Errorf("read index: %w: node %s: %.200s", ErrNotLeader, id, resp.Body())
	}
	var answer readIndexAnswer
	if err := json.Unmarshal(resp.Body(), &answer); err != nil {
		return 0, fmt.Errorf("read index: the answer of node %s: %w", id, err)
	}
	return answer.Index, nil
}

type readIndexAnswer struct {
	Index uint64 `json:"index"`
	// Last is the end of the leader's log.
	Last uint64 `json:"last"`
}

// readIndex is the leader's part. What was committed before the call is in the
// answer: a leader knows that once an entry of its own term is applied (it is
// ready then), and that it still led when the read began, because a majority says so afterwards.
func (n *Node) readIndex(ctx context.Context) (uint64, error) {
	if ready, _ := n.readiness.get(); !ready {
		return 0, fmt.Errorf("read index: %w: its term has just begun", ErrNotLeader)
	}
	committed := n.raft.CommitIndex()
	if err := n.do(ctx, "read index", func() raft.Future { return n.raft.VerifyLeader() }); err != nil {
		return 0, err
	}
	// Not every entry reaches the machine, so the answer is the last one that did.
	if err := n.feed.await(ctx, func() bool { return n.feed.caughtUp(committed) }); err != nil {
		return 0, fmt.Errorf("read index: %w", err)
	}
	return n.sm.applied.Load(), nil
}

// serveOthers answers what followers ask of their leader.
func (n *Node) serveOthers(p *peer.Port) {
	answer := func(work func(context.Context) (uint64, error)) fasthttp.RequestHandler {
		return func(call *fasthttp.RequestCtx) {
			ctx, cancel := context.WithTimeout(n.ctx, leaderCallTimeout)
			defer cancel()
			index, err := work(ctx)
			if err != nil {
				call.Error(err.Error(), fasthttp.StatusServiceUnavailable)
				return
			}
			last, _ := n.store.LastIndex()
			b, _ := json.Marshal(readIndexAnswer{index, last}) // two numbers always are JSON
			call.SetBody(b)
		}
	}
	p.Handle(readIndexPath, answer(n.readIndex))
	p.Handle(barrierPath, answer(func(ctx context.Context) (uint64, error) { return 0, n.Barrier(ctx) }))
}

const barrierPath = "/cluster/barrier"

// newEntry returns when the log of this node has an entry that came after the call.
func (n *Node) newEntry(ctx context.Context) error {
	if n.IsLeader() {
		return n.Barrier(ctx)
	}
	id, _ := n.Leader()
	if id == "" {
		return ErrNotLeader
	}
	req, resp := fasthttp.AcquireRequest(), fasthttp.AcquireResponse()
	defer fasthttp.ReleaseRequest(req)
	defer fasthttp.ReleaseResponse(resp)
	req.Header.SetHost(id)
	req.SetRequestURI(barrierPath)
	if err := n.Call(ctx, id, req, resp); err != nil {
		return err
	}
	var answer readIndexAnswer
	if resp.StatusCode() != fasthttp.StatusOK {
		return fmt.Errorf("node %s: %.200s", id, resp.Body())
	}
	if err := json.Unmarshal(resp.Body(), &answer); err != nil {
		return fmt.Errorf("the answer of node %s: %w", id, err)
	}
	tick := time.NewTicker(pollEvery) // what is no command reaches the machine of no node
	defer tick.Stop()
	for {
		if n.raft.AppliedIndex() >= answer.Last {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// await waits until done, which is asked again after every entry that is applied.
func (f *feed) await(ctx context.Context, done func() bool) error {
	f.waiting.Add(1)
	defer f.waiting.Add(-1)
	f.mu.Lock()
	defer f.mu.Unlock()
	stop := context.AfterFunc(ctx, func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.cond.Broadcast()
	})
	defer stop()
	for !done() {
		if f.closed {
			return ErrClosed
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		f.cond.Wait()
	}
	return nil
}
