package nodes

import (
	"context"
	"errors"
	"net/http"
	"net/netip"
	"time"

	"github.com/VictoriaMetrics/metrics"
	"github.com/valyala/fasthttp"

	"spoor/cluster/peer"
	"spoor/server/call"
)

// Headers between nodes. They mean something on the port for nodes alone.
const (
	// clientHeader is the address of the client of a request that was carried on.
	clientHeader = "Spoor-Client-Address"
	// notLeaderHeader is in an answer that says: nothing was done, ask the leader.
	notLeaderHeader = "Spoor-Not-Leader"
)

// retryEvery is how often a request looks for a leader while there is none.
const retryEvery = 20 * time.Millisecond

// Forwarder carries requests to the leader.
type Forwarder struct {
	cluster Cluster
	wait    time.Duration // for a leader
	timeout time.Duration // for its answer

	answered, unknown, refused *metrics.Counter
}

// NewForwarder makes one that waits so long for a leader, and so long for its answer.
func NewForwarder(c Cluster, wait, timeout time.Duration, set *metrics.Set) *Forwarder {
	return &Forwarder{
		cluster: c, wait: wait, timeout: timeout,
		answered: set.NewCounter(`spoor_forwarded_requests_total{result="answered"}`),
		unknown:  set.NewCounter(`spoor_forwarded_requests_total{result="unknown"}`),
		refused:  set.NewCounter(`spoor_forwarded_requests_total{result="no_leader"}`),
	}
}

// WasForwarded tells whether a request came from another node, and for which client.
func WasForwarded(ctx *fasthttp.RequestCtx) (client netip.Addr, forwarded bool) {
	if peer.Caller(ctx) == "" {
		return client, false
	}
	client, _ = netip.ParseAddr(string(ctx.Request.Header.Peek(clientHeader)))
	return client, true
}

// SayNotLeader marks an answer to another node: it was not for this one to decide, and nothing was done.
func SayNotLeader(ctx *fasthttp.RequestCtx) {
	if peer.Caller(ctx) != "" {
		ctx.Response.Header.Set(notLeaderHeader, "1")
	}
}

// Here waits until somebody leads and tells whether it is this node.
func (f *Forwarder) Here(ctx context.Context) (bool, error) {
	if f.cluster.IsLeader() {
		return true, nil
	}
	ctx, cancel := context.WithTimeout(ctx, f.wait)
	defer cancel()
	for {
		if id, _ := f.cluster.Leader(); id != "" {
			return f.cluster.IsLeader(), nil
		}
		if !pause(ctx) {
			f.refused.Inc()
			return false, errNoLeader()
		}
	}
}

// ErrHere: this node has begun to lead while a request waited for a leader, so it serves it.
var ErrHere = errors.New("this node leads now")

// Forward has the leader answer a request whose body was read. While the request surely was not
// stored, as there is no leader or it has changed, it tries again for as long as one waits for a leader.
func (f *Forwarder) Forward(parent context.Context, ctx *fasthttp.RequestCtx, body []byte, client netip.Addr) error {
	req, resp := fasthttp.AcquireRequest(), fasthttp.AcquireResponse()
	defer fasthttp.ReleaseRequest(req)
	defer fasthttp.ReleaseResponse(resp)
	ctx.Request.Header.CopyTo(&req.Header)
	for _, name := range []string{fasthttp.HeaderConnection, fasthttp.HeaderTransferEncoding, fasthttp.HeaderExpect, "Keep-Alive", fasthttp.HeaderUpgrade} {
		req.Header.Del(name)
	}
	req.Header.Set(clientHeader, client.String())
	req.UseHostHeader = true
	req.SetBodyRaw(body)
	waiting, cancel := context.WithTimeout(parent, f.wait)
	defer cancel()
	for {
		if f.cluster.IsLeader() {
			return ErrHere
		}
		if id, _ := f.cluster.Leader(); id != "" {
			err := f.send(parent, id, req, resp)
			switch {
			case err == nil && len(resp.Header.Peek(notLeaderHeader)) == 0:
				f.answered.Inc()
				resp.Header.CopyTo(&ctx.Response.Header)
				ctx.Response.Header.ResetConnectionClose()
				ctx.Response.SetBody(resp.Body())
				return nil
			case err != nil && !errors.Is(err, peer.ErrNotReached):
				f.unknown.Inc()
				return call.Fail(http.StatusServiceUnavailable, "unknown", "the leader did not answer, and it is not known whether it was stored; send it again with the same eventIds, it counts once")
			}
			resp.Reset()
		}
		if !pause(waiting) {
			f.refused.Inc()
			return errNoLeader()
		}
	}
}

func (f *Forwarder) send(parent context.Context, id string, req *fasthttp.Request, resp *fasthttp.Response) error {
	ctx, cancel := context.WithTimeout(parent, f.timeout)
	defer cancel()
	return f.cluster.Call(ctx, id, req, resp)
}

func errNoLeader() error {
	return call.Fail(http.StatusServiceUnavailable, "no_leader", "the cluster has no leader now; nothing was stored, send it again")
}

// pause waits a little; false when there is no more time.
func pause(ctx context.Context) bool {
	timer := time.NewTimer(retryEvery)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
