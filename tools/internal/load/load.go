// Package load sends events as fast as a server takes them, or at a rate, and
// measures what becomes of them. It is how the marks of the collector are taken.
package load

import (
	"context"
	"errors"
	"fmt"
	"math/bits"
	"net/url"
	"slices"
	"sync"
	"time"

	"github.com/valyala/fasthttp"
)

// Options say what is sent.
type Options struct {
	Server      string // URL
	Key         string
	Connections int
	Batch       int           // events of a request; 1: single events
	Rate        float64       // events per second in all, sent whether answers come or not as far as connections are free; 0: as fast as they are answered
	Duration    time.Duration // of the measurement, after a tenth of it that is not counted
	Seed        uint64        // of the eventIds: another seed, other events
	Pages       bool          // events as web pages send them, in place of smaller ones without anything to enrich
}

// Result is what became of it.
type Result struct {
	Acknowledged int64         // events answered with 200
	Refused      int64         // events answered with 429 or 503
	Failed       int64         // events answered otherwise, or not
	Elapsed      time.Duration // that was measured
	P50, P99     time.Duration // of the requests that were acknowledged, from when they were due
	Max          time.Duration
	FirstError   error
}

// PerSecond is how many events were acknowledged per second.
func (r *Result) PerSecond() float64 { return float64(r.Acknowledged) / r.Elapsed.Seconds() }

// maxTimes bounds what a connection notes of its requests.
const maxTimes = 1 << 20

// Run sends until the duration is over.
func Run(ctx context.Context, o Options) (Result, error) {
	base, err := url.Parse(o.Server)
	if err != nil || base.Host == "" {
		return Result{}, fmt.Errorf("server %q is not the URL of a server", o.Server)
	}
	if o.Connections < 1 || o.Batch < 1 || o.Duration <= 0 || o.Rate < 0 {
		return Result{}, errors.New("connections, batch and duration must be positive")
	}
	client := &fasthttp.HostClient{
		Addr: base.Host, IsTLS: base.Scheme == "https", MaxConns: o.Connections,
		ReadTimeout: 30 * time.Second, WriteTimeout: 30 * time.Second, MaxIdleConnDuration: time.Minute,
	}
	defer client.CloseIdleConnections()
	start := time.Now()
	from := start.Add(o.Duration / 10)
	until := from.Add(o.Duration)
	senders := make([]sender, o.Connections)
	var all sync.WaitGroup
	for i := range senders {
		s := &senders[i]
		s.opts, s.client, s.number, s.start, s.from, s.until = &o, client, uint64(i), start, from, until
		all.Go(func() { s.run(ctx) })
	}
	all.Wait()
	sum := Result{Elapsed: o.Duration}
	var times []time.Duration
	for i := range senders {
		s := &senders[i]
		sum.Acknowledged += s.sum.Acknowledged
		sum.Refused += s.sum.Refused
		sum.Failed += s.sum.Failed
		if sum.FirstError == nil {
			sum.FirstError = s.sum.FirstError
		}
		times = append(times, s.times...)
	}
	if slices.Sort(times); len(times) > 0 {
		sum.P50, sum.P99, sum.Max = times[len(times)/2], times[len(times)*99/100], times[len(times)-1]
	}
	return sum, ctx.Err()
}

// sender is one connection.
type sender struct {
	opts   *Options
	client *fasthttp.HostClient
	number uint64
	sent   uint64 // events
	rows   []int  // where each event of a body begins

	start, from, until time.Time
	times              []time.Duration
	sum                Result
}

// An event is some 300 bytes, of which an eventId of 32 digits and a user change.
const (
	head  = `{"eventId":"`
	named = `","eventName":"page_viewed","userId":"user_`
	rest  = `","timestamp":"2026-05-01T10:20:30.456Z","properties":{"path":"/products/4711","referrer":"https://www.example.com/","price":12.5,"quantity":2,"category":"shoes"},"context":{"device":"mobile","country":"DE","appVersion":"4.2.0"}}`

	idDigits   = 32
	userDigits = 6
	eventSize  = len(head) + idDigits + len(named) + userDigits + len(rest) + 1 // of one that is not of a page
)

func (s *sender) run(ctx context.Context) {
	req, resp := fasthttp.AcquireRequest(), fasthttp.AcquireResponse()
	defer fasthttp.ReleaseRequest(req)
	defer fasthttp.ReleaseResponse(resp)
	path := "/api/events"
	if s.opts.Batch > 1 {
		path += "/batch"
	}
	req.SetRequestURI(s.opts.Server + path)
	req.Header.SetMethod(fasthttp.MethodPost)
	if s.opts.Key != "" {
		req.Header.Set(fasthttp.HeaderAuthorization, "Bearer "+s.opts.Key)
	}
	body := make([]byte, 0, s.opts.Batch*eventSize)
	for i := range s.opts.Batch {
		s.rows = append(s.rows, len(body))
		body = append(append(body, head...), "00000000000000000000000000000000"...)
		body = append(append(body, named...), "000000"...)
		if s.opts.Pages {
			body = append(body, pageView(s.number*uint64(s.opts.Batch)*7919+uint64(i)*104729)...)
		} else {
			body = append(body, rest...)
		}
		body = append(body, '\n')
	}
	every := time.Duration(0)
	if s.opts.Rate > 0 {
		every = time.Duration(float64(s.opts.Batch*s.opts.Connections) / s.opts.Rate * float64(time.Second))
	}
	due := s.start.Add(every * time.Duration(s.number) / time.Duration(s.opts.Connections))
	for ctx.Err() == nil {
		now := time.Now()
		if every > 0 {
			if wait := due.Sub(now); wait > 0 {
				time.Sleep(wait)
			}
		} else {
			due = now
		}
		if !due.Before(s.until) {
			return
		}
		s.fill(body)
		req.SetBodyRaw(body)
		err := s.client.Do(req, resp)
		s.note(due, time.Now(), resp, err)
		if every > 0 {
			due = due.Add(every)
		}
	}
}

// fill gives the events of a body new ids.
func (s *sender) fill(body []byte) {
	for _, at := range s.rows {
		x := bits.RotateLeft64((s.opts.Seed<<40|s.number<<32|s.sent)*0x9e3779b97f4a7c15, 23)
		id := body[at+len(head):]
		hex(id[:16], x*0xd6e8feb86659fd93)
		hex(id[16:idDigits], s.opts.Seed<<48|s.number<<36|s.sent)
		user := x % 100_000
		digits := body[at+len(head)+idDigits+len(named):]
		for i := userDigits - 1; i >= 0; i-- {
			digits[i] = byte('0' + user%10)
			user /= 10
		}
		s.sent++
	}
}

func hex(dst []byte, v uint64) {
	for i := range 16 {
		dst[i] = "0123456789abcdef"[v>>(60-4*i)&15]
	}
}

func (s *sender) note(due, now time.Time, resp *fasthttp.Response, err error) {
	if due.Before(s.from) {
		return
	}
	n := int64(s.opts.Batch)
	switch {
	case err != nil:
		s.sum.Failed += n
		if s.sum.FirstError == nil {
			s.sum.FirstError = err
		}
	case resp.StatusCode() == fasthttp.StatusOK:
		s.sum.Acknowledged += n
		if len(s.times) < maxTimes {
			s.times = append(s.times, now.Sub(due))
		}
	case resp.StatusCode() == fasthttp.StatusTooManyRequests || resp.StatusCode() == fasthttp.StatusServiceUnavailable:
		s.sum.Refused += n
	default:
		s.sum.Failed += n
		if s.sum.FirstError == nil {
			s.sum.FirstError = fmt.Errorf("answered %d: %.200s", resp.StatusCode(), resp.Body())
		}
	}
}
