package client

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
)

// Key is a key as the server shows it.
type Key struct {
	Key         string   `json:"key,omitempty"` // its text, only in the answer that made it
	ID          string   `json:"id,omitempty"`
	Name        string   `json:"name,omitempty"`
	Kind        string   `json:"kind"` // write, read or admin
	Source      string   `json:"source,omitempty"`
	Made        string   `json:"made,omitempty"` // RFC 3339
	Origins     []string `json:"origins,omitempty"`
	Events      []string `json:"events,omitempty"`
	Rate        float64  `json:"rate,omitempty"`         // per second
	AddressRate float64  `json:"address_rate,omitempty"` // per second
	Static      bool     `json:"static,omitempty"`       // of the server's command line
}

// MakeKey makes a key with the attributes of like.
func (c *Client) MakeKey(ctx context.Context, like Key) (Key, error) {
	return c.postKey(ctx, like)
}

// RotateKey makes one more key of a name; the older one stays in force.
func (c *Client) RotateKey(ctx context.Context, name string) (Key, error) {
	return c.postKey(ctx, map[string]string{"rotate": name})
}

// postKey asks once: a key whose answer was lost nobody has seen.
func (c *Client) postKey(ctx context.Context, call any) (k Key, err error) {
	body, err := json.Marshal(call)
	if err != nil {
		return k, fmt.Errorf("write the call: %w", err)
	}
	answer, err := c.ask(ctx, message{method: http.MethodPost, path: "/api/keys", contentType: "application/json", body: body})
	if err == nil {
		err = c.read(answer, &k)
	}
	return k, err
}

// Keys lists the keys in force, and warnings of the server about those that it cannot read.
func (c *Client) Keys(ctx context.Context) (keys []Key, warnings []string, err error) {
	var list struct {
		Keys     []Key    `json:"keys"`
		Warnings []string `json:"warnings"`
	}
	answer, err := c.ask(ctx, message{method: http.MethodGet, path: "/api/keys"})
	if err == nil {
		err = c.read(answer, &list)
	}
	return list.Keys, list.Warnings, err
}

// RevokeKey ends a key.
func (c *Client) RevokeKey(ctx context.Context, id string) error {
	_, err := c.ask(ctx, message{method: http.MethodDelete, path: "/api/keys/" + url.PathEscape(id)})
	return err
}

// ask sends a message once; any answer but 200 is an error.
func (c *Client) ask(ctx context.Context, m message) (reply, error) {
	answer, _, err := c.once(ctx, m)
	switch {
	case err != nil && unreachable(err):
		return reply{}, fmt.Errorf("no server answers at %s: %w; start one with: spoor serve", c.base, err)
	case err != nil:
		return reply{}, fmt.Errorf("%s %s: %w", m.method, m.path, err)
	case answer.status != http.StatusOK:
		return reply{}, errorOf(answer)
	}
	return answer, nil
}

func (c *Client) read(answer reply, into any) error {
	if err := json.Unmarshal(answer.body, into); err != nil {
		return fmt.Errorf("read the answer of %s: %w", c.base, err)
	}
	return nil
}
