package client

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// Query asks a question and returns the answer's JSON as the server wrote it.
// With explain the answer says how the question is run. A text that the server
// does not understand is an *Error with the place in it.
func (c *Client) Query(ctx context.Context, text string, explain bool) (json.RawMessage, error) {
	body, err := json.Marshal(map[string]string{"query": text})
	if err != nil {
		return nil, fmt.Errorf("write the query: %w", err)
	}
	m := message{method: http.MethodPost, path: "/api/query", contentType: "application/json", body: body, asking: true}
	args := url.Values{}
	if explain {
		args.Set("explain", "1")
	}
	if id := queryID(ctx); id != "" {
		args.Set("id", id)
	}
	if len(args) > 0 {
		m.path += "?" + args.Encode()
	}
	answer, err := c.send(ctx, m)
	if err != nil {
		return nil, err
	}
	if answer.status != http.StatusOK {
		return nil, errorOf(answer)
	}
	if !json.Valid(answer.body) {
		return nil, fmt.Errorf("query: the answer of %s is no JSON; is it a Spoor server?", c.base)
	}
	return answer.body, nil
}

type queryIDKey struct{}

// WithQueryID names the query that is asked with the context, so that Progress can tell of it.
func WithQueryID(ctx context.Context, id string) context.Context {
	return context.WithValue(ctx, queryIDKey{}, id)
}

func queryID(ctx context.Context) string {
	id, _ := ctx.Value(queryIDKey{}).(string)
	return id
}

// Progress is about the share of a running query that is done; ok is false when none runs under the id.
func (c *Client) Progress(ctx context.Context, id string) (share float64, ok bool, err error) {
	var answer struct {
		Running []struct{ Progress float64 } `json:"running"`
	}
	if err := c.get(ctx, "/api/query/running?id="+url.QueryEscape(id), &answer); err != nil || len(answer.Running) == 0 {
		return 0, false, err
	}
	return answer.Running[0].Progress, true, nil
}

// Suggestion is a text that may stand in place of the bytes [From, To) of a query.
type Suggestion struct {
	Text string `json:"text"`
	Kind string `json:"kind"`
	From int    `json:"from"`
	To   int    `json:"to"`
}

// Complete says how a query could go on at pos, an offset in bytes.
func (c *Client) Complete(ctx context.Context, text string, pos int) ([]Suggestion, error) {
	var answer struct {
		Suggestions []Suggestion `json:"suggestions"`
	}
	args := url.Values{"q": {text}, "pos": {strconv.Itoa(pos)}}
	err := c.get(ctx, "/api/query/complete?"+args.Encode(), &answer)
	return answer.Suggestions, err
}

// get reads the JSON at a path, once.
func (c *Client) get(ctx context.Context, path string, into any) error {
	answer, _, err := c.once(ctx, message{method: http.MethodGet, path: path})
	if err != nil {
		return err
	}
	if answer.status != http.StatusOK {
		return errorOf(answer)
	}
	if err := json.Unmarshal(answer.body, into); err != nil {
		return fmt.Errorf("read the answer of %s: %w", c.base, err)
	}
	return nil
}

// Ready returns nil when the server takes events and answers questions.
func (c *Client) Ready(ctx context.Context) error {
	answer, _, err := c.once(ctx, message{method: http.MethodGet, path: "/readyz"})
	switch {
	case err != nil && unreachable(err):
		return fmt.Errorf("no server answers at %s: %w; start one with: spoor serve", c.base, err)
	case err != nil:
		return fmt.Errorf("GET /readyz: %w", err)
	case answer.status != http.StatusOK:
		return fmt.Errorf("the server at %s is not ready: %w", c.base, errorOf(answer))
	}
	return nil
}

// readyInterval is the time between two looks at a server that is starting.
const readyInterval = 50 * time.Millisecond

// WaitReady returns when the server is ready, with the last error of Ready when
// it is not after d.
func (c *Client) WaitReady(ctx context.Context, d time.Duration) error {
	until := c.policy.now().Add(d)
	for {
		err := c.Ready(ctx)
		if err == nil || !c.policy.now().Before(until) {
			return err
		}
		if err := c.policy.wait(ctx, readyInterval); err != nil {
			return err
		}
	}
}
