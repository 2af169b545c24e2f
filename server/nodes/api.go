package nodes

import (
	"errors"
	"net/http"
	"time"

	"github.com/go-json-experiment/json"

	"spoor/cluster/audit"
	"spoor/cluster/roster"
	"spoor/server/call"
)

// API is the part of the HTTP API by which operators see and change the cluster.
type API struct{ cluster Cluster }

// NewAPI makes the API of a cluster.
func NewAPI(c Cluster) *API { return &API{c} }

// Get answers what the leader knows of all members.
func (a *API) Get(c *call.Call) (any, error) { return a.cluster.Survey(c.Reading), nil }

// Join makes a node a member. trusted tells that whoever asks has an admin key, or needs none.
func (a *API) Join(c *call.Call, trusted bool) (any, error) {
	var q roster.JoinRequest
	if err := json.Unmarshal(c.Body, &q); err != nil { // a newer release may say more
		return nil, call.Fail(http.StatusBadRequest, "bad_request", "the body is not the JSON of a node that joins: %.200s", err)
	}
	answer, err := a.cluster.Join(c.Context, q, trusted)
	return answer, failure(err)
}

// Remove takes a member out of the cluster.
func (a *API) Remove(c *call.Call) (any, error) {
	if err := a.cluster.Remove(c.Context, c.Name, c.Arg("force") == "1"); err != nil {
		return nil, failure(err)
	}
	return map[string]string{"removed": c.Name}, nil
}

// Promote gives a member a vote.
func (a *API) Promote(c *call.Call) (any, error) {
	now, err := a.cluster.Promote(c.Context, c.Name)
	if err != nil {
		return nil, failure(err)
	}
	return map[string]any{"node": c.Name, "voter": now}, nil
}

// Demote takes a member's vote.
func (a *API) Demote(c *call.Call) (any, error) {
	if err := a.cluster.Demote(c.Context, c.Name); err != nil {
		return nil, failure(err)
	}
	return map[string]any{"node": c.Name, "voter": false}, nil
}

// Transfer lets another node lead: {"to":"n2"}, or whichever keeps up best.
func (a *API) Transfer(c *call.Call) (any, error) {
	var q struct {
		To string `json:"to"`
	}
	if len(c.Body) > 0 {
		if err := read(c.Body, &q); err != nil {
			return nil, err
		}
	}
	if err := a.cluster.Transfer(c.Context, q.To); err != nil {
		return nil, failure(err)
	}
	return map[string]bool{"transferred": true}, nil
}

// Verifier compares the replicas of a cluster.
type Verifier interface {
	// Verify begins a comparison unless begin is false, and tells what there is. Only the leader can.
	Verify(begin bool) (audit.Report, error)
}

// Verify compares the replicas: it begins to, unless begin=0, and answers what the last comparison
// found and whether one is at work.
func (a *API) Verify(c *call.Call) (any, error) {
	v, ok := a.cluster.(Verifier)
	if !ok {
		return nil, failure(errAlone)
	}
	r, err := v.Verify(c.Arg("begin") != "0")
	return r, failure(err)
}

// Token makes a token for one node to join, for {"seconds":3600}.
func (a *API) Token(c *call.Call) (any, error) {
	q := struct {
		Seconds int `json:"seconds"`
	}{int(roster.DefaultTokenLife / time.Second)}
	if len(c.Body) > 0 {
		if err := read(c.Body, &q); err != nil {
			return nil, err
		}
	}
	const most = int(roster.MaxTokenLife / time.Second)
	t, err := a.cluster.NewToken(c.Context, time.Duration(min(max(q.Seconds, 0), most+1))*time.Second)
	return t, failure(err)
}

func read(body []byte, into any) error {
	if err := json.Unmarshal(body, into, json.RejectUnknownMembers(true)); err != nil {
		return call.Fail(http.StatusBadRequest, "bad_request", "the body is not the JSON that is wanted: %.200s", err)
	}
	return nil
}

// failure is what an operator is told.
func failure(err error) error {
	for _, c := range []struct {
		is     error
		status int
		code   string
	}{
		{roster.ErrRefused, http.StatusConflict, "refused"},
		{roster.ErrUnknown, http.StatusNotFound, "unknown_node"},
		{roster.ErrToken, http.StatusForbidden, "bad_token"},
		{roster.ErrInvalid, http.StatusBadRequest, "bad_request"},
	} {
		if errors.Is(err, c.is) {
			return call.Fail(c.status, c.code, "%v", err)
		}
	}
	return err
}
