package nodes

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/valyala/fasthttp"

	"spoor/server/call"
)

const (
	// SessionHeader holds the log index that a client has seen: an answer to a write or a read
	// names it, and a read that sends it back sees what that one saw.
	SessionHeader = "Spoor-Session"
	// AgeHeader is how long ago the node that answered a read heard of its leader, in seconds:
	// what it does not know yet is no older, but for what it has still to apply.
	AgeHeader = "Spoor-Age"
)

// maxFreshWaits bounds the reads that wait at once: they are not authenticated yet.
const maxFreshWaits = 1024

// Freshness makes reads wait until this node knows what they shall see.
type Freshness struct {
	cluster Cluster
	wait    time.Duration
	places  chan struct{}
}

// NewFreshness makes one in which a read waits at most so long.
func NewFreshness(c Cluster, wait time.Duration) *Freshness {
	return &Freshness{cluster: c, wait: wait, places: make(chan struct{}, maxFreshWaits)}
}

// Await waits as a read asks for: ?consistency=stale not at all; session, the default, until
// what Spoor-Session names is applied here; linearizable until everything is that was
// acknowledged anywhere before the read began. It then sets the headers of the answer.
func (f *Freshness) Await(parent context.Context, ctx *fasthttp.RequestCtx) error {
	level := string(ctx.QueryArgs().Peek("consistency"))
	var index uint64
	switch level {
	case "", "session":
		token := ctx.Request.Header.Peek(SessionHeader)
		if len(token) == 0 {
			break
		}
		var err error
		if index, err = strconv.ParseUint(string(token), 10, 64); err != nil {
			return call.Fail(http.StatusBadRequest, "bad_session", "%s holds the number that an answer had in it, not %.40q", SessionHeader, token)
		}
	case "stale", "linearizable":
	default:
		return call.Fail(http.StatusBadRequest, "bad_consistency", "consistency is stale, session or linearizable, not %.40q", level)
	}
	if level == "linearizable" || index > f.cluster.AppliedIndex() {
		if err := f.await(parent, level == "linearizable", index); err != nil {
			return err
		}
	}
	h := &ctx.Response.Header
	h.Set(SessionHeader, strconv.FormatUint(f.cluster.AppliedIndex(), 10))
	if age, ok := f.cluster.LastContact(); ok {
		h.Set(AgeHeader, strconv.FormatFloat(age.Seconds(), 'f', 3, 64))
	}
	return nil
}

func (f *Freshness) await(parent context.Context, linearizable bool, index uint64) error {
	select {
	case f.places <- struct{}{}:
		defer func() { <-f.places }()
	default:
		return call.Fail(http.StatusServiceUnavailable, "overloaded", "%d reads wait to see what was written; ask again", maxFreshWaits)
	}
	ctx, cancel := context.WithTimeout(parent, f.wait)
	defer cancel()
	if linearizable {
		var err error
		for {
			if index, err = f.cluster.ReadIndex(ctx); err == nil {
				break
			}
			if !pause(ctx) {
				return call.Fail(http.StatusServiceUnavailable, "no_leader", "no leader could be asked what was written last; ask again, or with consistency=stale")
			}
		}
	}
	err := f.cluster.WaitApplied(ctx, index)
	if errors.Is(err, context.DeadlineExceeded) {
		return call.Fail(http.StatusServiceUnavailable, "behind", "this node has not applied entry %d of the log yet; ask again, another node, or with consistency=stale", index)
	}
	return err
}
