package audit

import (
	"context"
	"errors"
	"time"

	"github.com/valyala/fasthttp"
)

const (
	pathCompare = "/cluster/compare"

	// suspectEvery is how often damage that reads find has the replicas compared.
	suspectEvery = 10 * time.Minute
	// suspectPatience is how long the leader may take to say that it does, and suspectTries how often it is asked.
	suspectPatience = 10 * time.Second
	suspectTries    = 60
	suspectPause    = time.Second
)

// Suspect is told of damage that a read of this node has found. The replicas are compared then, which
// finds it, too, and has it repaired; not at the next turn, which may be hours away.
func (a *Auditor) Suspect(damage error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := a.opts.Now()
	if a.node == nil || a.ctx.Err() != nil || !a.suspected.IsZero() && now.Sub(a.suspected) < suspectEvery {
		return
	}
	a.suspected = now
	if len(a.node.Status().Nodes) < 2 {
		a.opts.Logger.Error("this node's data is damaged and there is no other node to repair it from; look with spoor verify and restore a backup", "error", damage)
		return
	}
	a.opts.Logger.Error("this node's data is damaged; the replicas are compared now", "error", damage)
	a.wg.Go(func() {
		var err error
		for range suspectTries {
			if err = a.haveCompared(); err == nil || a.ctx.Err() != nil {
				return
			}
			pause(a.ctx, suspectPause)
		}
		a.opts.Logger.Warn("the leader could not be asked to compare the replicas; the next comparison will find the damage", "error", err)
	})
}

// haveCompared compares, or has the leader do it. A leader that is damaged itself hands the lead over,
// and then it is the next one that has to be asked.
func (a *Auditor) haveCompared() error {
	if a.node.IsLeader() {
		if _, err := a.Round(a.ctx); err != nil {
			return err
		}
		if a.node.IsLeader() {
			return nil
		}
	}
	leader := a.node.Status().LeaderID
	if leader == "" {
		return errors.New("there is no leader")
	}
	ctx, cancel := context.WithTimeout(a.ctx, suspectPatience)
	defer cancel()
	_, err := a.call(ctx, leader, fasthttp.MethodPost, pathCompare, nil, nil)
	return err
}

func (a *Auditor) serveCompare(call *fasthttp.RequestCtx) {
	if _, err := a.Compare(true); err != nil {
		call.Error(err.Error(), fasthttp.StatusServiceUnavailable)
		return
	}
	call.SetStatusCode(fasthttp.StatusAccepted)
}
