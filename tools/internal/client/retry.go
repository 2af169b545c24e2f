package client

import (
	"context"
	"errors"
	"net"
	"net/http"
	"strconv"
	"syscall"
	"time"
)

// Waits between two tries.
const (
	firstWait = 100 * time.Millisecond
	maxWait   = 10 * time.Second
	// maxRetryAfter bounds how long a server may make a client wait at once.
	maxRetryAfter = time.Minute
	// maxPatience bounds how long a person waits for a question to be heard.
	maxPatience = 10 * time.Second
)

var errGiveUp = errors.New("no more tries")

// again tells whether an answer says that the request may succeed later: what
// it held is not stored, or it is unknown whether it is. A question is asked again
// only if the server had no time for it: it would fail or be too slow as before.
func again(m message, answer reply) bool {
	switch answer.status {
	case http.StatusTooManyRequests:
		return true
	case http.StatusServiceUnavailable:
		var e *Error
		return !m.asking || errors.As(errorOf(answer), &e) && e.Code != "timeout"
	case http.StatusInternalServerError, http.StatusBadGateway, http.StatusGatewayTimeout, http.StatusRequestTimeout:
		return !m.asking
	}
	return false
}

// unreachable tells whether there is nobody to talk to: a wrong address rather
// than a server that is busy or restarting.
func unreachable(err error) bool {
	var dns *net.DNSError
	return errors.Is(err, syscall.ECONNREFUSED) || errors.As(err, &dns)
}

// policy says how often and how fast to try again.
type policy struct {
	retryFor time.Duration
	wait     func(context.Context, time.Duration) error
	now      func() time.Time
	random   func() float64
}

// tries are the tries of one request.
type tries struct {
	policy *policy
	until  time.Time
	n      int // tries so far
}

func (p *policy) begin(m message) tries {
	patience := p.retryFor
	if m.asking {
		patience = min(patience, maxPatience)
	}
	return tries{policy: p, until: p.now().Add(patience), n: 1}
}

// next waits for the next try: what the server asked for, else twice as long as
// before with full jitter, so that clients do not come back all at once.
func (t *tries) next(ctx context.Context, asked time.Duration) error {
	d := min(asked, maxRetryAfter)
	if d == 0 {
		ceiling := min(firstWait<<min(t.n-1, 20), maxWait)
		d = firstWait/2 + time.Duration(t.policy.random()*float64(ceiling))
	}
	if t.policy.now().Add(d).After(t.until) {
		return errGiveUp
	}
	t.n++
	return t.policy.wait(ctx, d)
}

func wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// retryAfter reads the header: seconds or a date. What it cannot read is no wish.
func retryAfter(header string, now time.Time) time.Duration {
	if header == "" {
		return 0
	}
	if seconds, err := strconv.ParseUint(header, 10, 31); err == nil {
		return time.Duration(seconds) * time.Second
	}
	if date, err := http.ParseTime(header); err == nil {
		return max(date.Sub(now), 0)
	}
	return 0
}
