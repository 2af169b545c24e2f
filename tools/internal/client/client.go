// Package client speaks Spoor's HTTP API for the commands of the binary. It is
// how an event from a file gets to the collector, and a question to the engine.
//
// What it sends it sends until the answer is known: a busy server, a cut
// connection and a timeout are no answers, and since every event carries an
// eventId, sending it again is safe.
package client

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"
)

// maxAnswerBytes bounds what is read of one answer.
const maxAnswerBytes = 1 << 30

// Options configure a Client. What is zero has a default.
type Options struct {
	Server string // URL of the server, such as http://127.0.0.1:7480
	Key    string // sent as Authorization: Bearer; empty for a server without keys

	Connections int           // that are kept open; default 4
	Timeout     time.Duration // of one request; default 60 s
	RetryFor    time.Duration // how long one request is tried again; default 2 minutes; negative: not at all

	// Wait sleeps between tries and returns early with the context's error.
	// Tests hand in one that does not sleep.
	Wait func(context.Context, time.Duration) error
	// Now is the clock that bounds the tries.
	Now func() time.Time
}

// Client talks to one server. It is safe for use by several goroutines.
type Client struct {
	base    *url.URL
	key     string
	http    *http.Client
	policy  policy
	reached atomic.Bool // the server has answered at least once
	retries atomic.Int64
}

// New returns a client; it connects with the first request.
func New(o Options) (*Client, error) {
	base, err := url.Parse(strings.TrimRight(o.Server, "/"))
	if err != nil || base.Host == "" || base.Scheme != "http" && base.Scheme != "https" {
		return nil, fmt.Errorf("server %q is not the URL of a server; want one like http://127.0.0.1:7480", o.Server)
	}
	if o.Connections == 0 {
		o.Connections = 4
	}
	if o.Timeout == 0 {
		o.Timeout = time.Minute
	}
	if o.RetryFor == 0 {
		o.RetryFor = 2 * time.Minute
	}
	if o.Wait == nil {
		o.Wait = wait
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Client{
		base: base,
		key:  o.Key,
		http: &http.Client{
			Timeout: o.Timeout,
			Transport: &http.Transport{
				Proxy:               http.ProxyFromEnvironment,
				DialContext:         (&net.Dialer{Timeout: 10 * time.Second}).DialContext,
				TLSClientConfig:     &tls.Config{MinVersion: tls.VersionTLS12},
				MaxIdleConnsPerHost: o.Connections,
				MaxConnsPerHost:     o.Connections,
				IdleConnTimeout:     90 * time.Second,
				DisableCompression:  true,
			},
		},
		policy: policy{retryFor: o.RetryFor, wait: o.Wait, now: o.Now, random: rand.Float64},
	}, nil
}

// Close lets go of idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Server is the URL that the client talks to.
func (c *Client) Server() string { return c.base.String() }

// Retries is how many times something was sent again.
func (c *Client) Retries() int64 { return c.retries.Load() }

// message is one request that can be sent any number of times.
type message struct {
	method, path string
	contentType  string
	encoding     string // Content-Encoding; empty for none
	body         []byte
	asking       bool // somebody waits for the answer: see again
}

// reply is an answer that settled a request.
type reply struct {
	status int
	body   []byte
}

// send sends the message until it is answered, within the bounds of the policy.
func (c *Client) send(ctx context.Context, m message) (reply, error) {
	tries := c.policy.begin(m)
	for {
		answer, after, err := c.once(ctx, m)
		switch {
		case err == nil && !again(m, answer):
			c.reached.Store(true)
			return answer, nil
		case ctx.Err() != nil:
			return reply{}, ctx.Err()
		case err != nil && !c.reached.Load() && unreachable(err):
			return reply{}, fmt.Errorf("no server answers at %s: %w; start one with: spoor serve", c.base, err)
		}
		if err == nil {
			c.reached.Store(true)
			err = errorOf(answer)
		}
		if waitErr := tries.next(ctx, after); waitErr != nil {
			if errors.Is(waitErr, errGiveUp) {
				return reply{}, fmt.Errorf("%s %s: given up after %d tries: %w", m.method, m.path, tries.n, err)
			}
			return reply{}, waitErr
		}
		c.retries.Add(1)
	}
}

// once sends the message one time. after is the server's Retry-After, zero without one.
func (c *Client) once(ctx context.Context, m message) (answer reply, after time.Duration, err error) {
	req, err := http.NewRequestWithContext(ctx, m.method, c.base.String()+m.path, bytes.NewReader(m.body))
	if err != nil {
		return reply{}, 0, fmt.Errorf("%s %s: %w", m.method, m.path, err)
	}
	if m.contentType != "" {
		req.Header.Set("Content-Type", m.contentType)
	}
	if m.encoding != "" {
		req.Header.Set("Content-Encoding", m.encoding)
	}
	if c.key != "" {
		req.Header.Set("Authorization", "Bearer "+c.key)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		var urlErr *url.Error
		if errors.As(err, &urlErr) {
			err = urlErr.Err // the caller names method and path
		}
		return reply{}, 0, err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswerBytes+1))
	if err != nil {
		return reply{}, 0, fmt.Errorf("read the answer: %w", err)
	}
	if len(body) > maxAnswerBytes {
		return reply{}, 0, fmt.Errorf("the answer is larger than %d bytes", maxAnswerBytes)
	}
	return reply{resp.StatusCode, body}, retryAfter(resp.Header.Get("Retry-After"), c.policy.now()), nil
}

// Error is an answer by which the server refused a request.
type Error struct {
	Status  int    `json:"-"`
	Code    string `json:"code"`
	Message string `json:"message"`
	Line    int    `json:"line"`   // of the query text, from 1; 0 where it does not apply
	Column  int    `json:"column"` // of the query text, in characters from 1
	Hint    string `json:"hint"`
}

// Error says what the server said.
func (e *Error) Error() string {
	text := e.Message
	if e.Code != "" {
		text += " (" + e.Code + ")"
	}
	if e.Hint != "" {
		text += "; " + e.Hint
	}
	switch e.Status {
	case http.StatusUnauthorized, http.StatusForbidden:
		text += "; give a key with --key or SPOOR_KEY"
	}
	return text
}

// maxQuotedBytes bounds what is shown of an answer that is not Spoor's.
const maxQuotedBytes = 200

// errorOf reads the error of an answer other than 200.
func errorOf(answer reply) error {
	var shape struct {
		Error *Error `json:"error"`
	}
	if json.Unmarshal(answer.body, &shape) == nil && shape.Error != nil && shape.Error.Message != "" {
		shape.Error.Status = answer.status
		return shape.Error
	}
	text := strings.TrimSpace(string(answer.body[:min(len(answer.body), maxQuotedBytes)]))
	if text == "" {
		text = http.StatusText(answer.status)
	}
	return &Error{Status: answer.status, Message: fmt.Sprintf("the server answered %d: %s", answer.status, text)}
}
