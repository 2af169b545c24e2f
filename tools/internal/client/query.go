package client

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
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
	if explain {
		m.path += "?explain=1"
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
