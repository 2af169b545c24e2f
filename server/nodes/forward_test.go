package nodes_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/VictoriaMetrics/metrics"
	"github.com/stretchr/testify/require"
	"github.com/valyala/fasthttp"

	"spoor/cluster/peer"
	"spoor/server/call"
	"spoor/server/nodes"
)

// follower is a node whose calls to the leader end as a test says.
type follower struct {
	nodes.Alone
	leader string
	leads  bool
	calls  int
	answer func(call int, req *fasthttp.Request, resp *fasthttp.Response) error
}

func (f *follower) Leader() (id, address string) { return f.leader, "" }
func (f *follower) IsLeader() bool               { return f.leads }
func (f *follower) Call(_ context.Context, _ string, req *fasthttp.Request, resp *fasthttp.Response) error {
	f.calls++
	return f.answer(f.calls, req, resp)
}

// forward carries one request on and returns the answer, or the code of the error.
func forward(f *follower, headers ...string) (ctx *fasthttp.RequestCtx, code string) {
	ctx = &fasthttp.RequestCtx{}
	ctx.Request.Header.SetMethod("POST")
	ctx.Request.SetRequestURI("/api/events?x=%2F")
	for i := 0; i+1 < len(headers); i += 2 {
		ctx.Request.Header.Set(headers[i], headers[i+1])
	}
	err := nodes.NewForwarder(f, 100*time.Millisecond, time.Second, metrics.NewSet()).Forward(context.Background(), ctx, []byte("body"), netip.MustParseAddr("192.0.2.1"))
	var failed *call.Failure
	if errors.As(err, &failed) {
		return ctx, failed.Code
	}
	return ctx, fmt.Sprint(err)
}

func TestARequestIsTriedAgainOnlyWhileItSurelyWasNotStored(t *testing.T) {
	f := &follower{leader: "n1", answer: func(n int, _ *fasthttp.Request, resp *fasthttp.Response) error {
		switch n {
		case 1:
			return fmt.Errorf("dial: %w", peer.ErrNotReached)
		case 2:
			resp.Header.Set("Spoor-Not-Leader", "1")
			resp.SetStatusCode(503)
			return nil
		}
		resp.SetStatusCode(201)
		resp.Header.Set("X-Spoor-Index", "7")
		resp.SetBodyString("stored")
		return nil
	}}
	ctx, code := forward(f)
	require.Equal(t, "<nil>", code)
	require.Equal(t, 3, f.calls)
	require.Equal(t, 201, ctx.Response.StatusCode())
	require.Equal(t, "stored", string(ctx.Response.Body()))
	require.Equal(t, "7", string(ctx.Response.Header.Peek("X-Spoor-Index")))
	require.Empty(t, ctx.Response.Header.Peek("Spoor-Not-Leader"))

	f = &follower{leader: "n1", answer: func(int, *fasthttp.Request, *fasthttp.Response) error { return errors.New("cut off") }}
	_, code = forward(f)
	require.Equal(t, "unknown", code)
	require.Equal(t, 1, f.calls)

	f = &follower{answer: func(int, *fasthttp.Request, *fasthttp.Response) error { return nil }}
	_, code = forward(f)
	require.Equal(t, "no_leader", code)
	require.Zero(t, f.calls)
}

func TestANodeThatBeginsToLeadWhileARequestWaitsServesItItself(t *testing.T) {
	f := &follower{leader: "n1"}
	f.answer = func(int, *fasthttp.Request, *fasthttp.Response) error {
		f.leads = true
		return peer.ErrNotReached
	}
	_, code := forward(f)
	require.Equal(t, nodes.ErrHere.Error(), code)
	require.Equal(t, 1, f.calls)
}

func TestTheLeaderIsToldWhichClientItIsWhateverTheClientSays(t *testing.T) {
	f := &follower{leader: "n1", answer: func(_ int, req *fasthttp.Request, _ *fasthttp.Response) error {
		require.Equal(t, "192.0.2.1", string(req.Header.Peek("Spoor-Client-Address")))
		require.Len(t, req.Header.PeekAll("Spoor-Client-Address"), 1)
		require.Equal(t, "shop.example", string(req.Header.Host()))
		require.Equal(t, "/api/events?x=%2F", string(req.RequestURI()))
		require.Equal(t, "body", string(req.Body()))
		require.Empty(t, req.Header.Peek("Connection"))
		return nil
	}}
	_, code := forward(f, "Spoor-Client-Address", "10.9.9.9", "Host", "shop.example", "Connection", "close", "Expect", "100-continue")
	require.Equal(t, "<nil>", code)
	require.Equal(t, 1, f.calls)
}

func TestAHeaderOfAClientDoesNotMakeItAnotherNode(t *testing.T) {
	ctx := &fasthttp.RequestCtx{}
	ctx.Request.Header.Set("Spoor-Client-Address", "10.9.9.9")
	_, forwarded := nodes.WasForwarded(ctx)
	require.False(t, forwarded)
	nodes.SayNotLeader(ctx)
	require.Empty(t, ctx.Response.Header.Peek("Spoor-Not-Leader"))
}
