// Package snowplow is the collector's side of Snowplow's tracker protocol, so
// that its trackers send to Spoor unmodified: POST of payloads and the GET pixel.
//
// Every event of a payload becomes an event; a self-describing one by the name
// of its schema. What becomes of which field is the table in docs/compatibility.md.
package snowplow

import (
	"strings"
	"time"

	"github.com/valyala/fasthttp"

	"spoor/engine/event"
	"spoor/server/dialect"
)

// Snowplow is the dialect.
type Snowplow struct{}

var _ dialect.Dialect = Snowplow{}

// Name is the dialect's.
func (Snowplow) Name() string { return "snowplow" }

// Find returns the handler of a path: /{vendor}/{version}, where at the root the
// vendor is a domain name in reverse, with a dot.
func (Snowplow) Find(path string, root bool) dialect.Handler {
	switch path {
	case "/i", "/ice.png":
		return pixel
	case "/health", "/sink-health":
		return health
	}
	vendor, version, ok := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	if !ok || vendor == "" || version == "" || strings.Contains(version, "/") || root && !reverseDomain(vendor) {
		return nil
	}
	return collect
}

// reverseDomain tells whether a vendor is like com.acme.
func reverseDomain(vendor string) bool {
	letter := vendor[0]|0x20 >= 'a' && vendor[0]|0x20 <= 'z'
	return letter && strings.Contains(vendor, ".") && !strings.HasSuffix(vendor, ".")
}

// Refusal makes 400 of everything that shall not be sent again: its trackers
// resend after every status but 2xx and 400, 401, 403, 410 and 422, for ever.
func (Snowplow) Refusal(r dialect.Refusal) dialect.Refusal {
	switch r.Status {
	case fasthttp.StatusRequestTimeout, fasthttp.StatusTooManyRequests, fasthttp.StatusUnauthorized, fasthttp.StatusForbidden:
	case fasthttp.StatusInsufficientStorage:
		r.Status = fasthttp.StatusServiceUnavailable
	default:
		if r.Status < 500 {
			r.Status = fasthttp.StatusBadRequest
		}
	}
	return r
}

func health(x *dialect.Exchange) error {
	if err := x.Host.Ready(); err != nil {
		return err
	}
	return ok(x)
}

func ok(x *dialect.Exchange) error { return x.Answer("text/plain; charset=utf-8", []byte("ok")) }

// collecting is one request.
type collecting struct {
	batch   *dialect.Batch
	network string // id of the cookie; empty for somebody who shall stay anonymous
	quiet   bool   // SP-Anonymous
	params  params
	members dialect.Object // scratch memory
	inner   dialect.Object // the same
	props   dialect.Fields
	about   dialect.Fields
}

// collect stores the events of a payload; GET has one in the query.
func collect(x *dialect.Exchange) error {
	if !x.Ctx.IsPost() {
		return pixel(x)
	}
	data, free, err := x.Host.Body(x.Ctx)
	if err != nil {
		return err
	}
	defer free()
	body, err := dialect.Split(nil, data)
	if err != nil {
		return err
	}
	events := body.Get("data")
	if events == nil {
		return dialect.BadRequest(event.CodeMalformed, `the body must be a payload_data with the events as its member "data"`)
	}
	b := dialect.NewBatch(x.Host)
	defer b.Release()
	c := newCollecting(x, b)
	var source string
	admitted := false
	admit := func() (err error) {
		source, err = x.Host.Admit(x.Ctx, c.params["aid"])
		admitted = true
		return err
	}
	err = dialect.Each(events, func(_ int, item []byte) error {
		index, err := b.Begin()
		if err != nil {
			return err
		}
		rej := c.read(item)
		if !admitted {
			if err := admit(); err != nil {
				return err
			}
		}
		if rej != nil {
			b.Refuse(index, nil, rej.Code, rej.Message)
			return nil
		}
		return c.add(index)
	})
	if err == nil && !admitted { // an empty payload
		clear(c.params)
		err = admit()
	}
	if err != nil {
		return err
	}
	if err := x.Host.Store(x.Ctx, b, source); err != nil {
		return err
	}
	return ok(x)
}

// pixel stores the event that the query of an image's address is. A refused one
// is answered with the image, too: whoever loads it cannot act on anything else.
func pixel(x *dialect.Exchange) error {
	b := dialect.NewBatch(x.Host)
	defer b.Release()
	c := newCollecting(x, b)
	rej := c.params.query(x.Ctx.QueryArgs())
	source, err := x.Host.Admit(x.Ctx, c.params["aid"])
	if err != nil {
		return err
	}
	index, err := b.Begin()
	if err != nil {
		return err
	}
	if rej != nil {
		b.Refuse(index, nil, rej.Code, rej.Message)
	} else if err := c.add(index); err != nil {
		return err
	}
	if err := x.Host.Store(x.Ctx, b, source); err != nil {
		return err
	}
	return x.Pixel()
}

// The cookie of a browser.
const (
	cookieName = "sp"
	cookieLife = 365 * 24 * time.Hour
	idBytes    = 36
)

// newCollecting reads who asks, and keeps the cookie alive, but not for somebody
// who shall stay anonymous.
func newCollecting(x *dialect.Exchange, b *dialect.Batch) *collecting {
	c := &collecting{batch: b, params: params{}}
	h := &x.Ctx.Request.Header
	if c.quiet = len(h.Peek("SP-Anonymous")) > 0; c.quiet {
		return c
	}
	if c.network = string(h.Cookie(cookieName)); len(c.network) != idBytes || strings.Trim(c.network, "0123456789abcdefABCDEF-") != "" {
		c.network = x.Host.NewID()
	}
	var cookie fasthttp.Cookie
	cookie.SetKey(cookieName)
	cookie.SetValue(c.network)
	cookie.SetPath("/")
	cookie.SetMaxAge(int(cookieLife / time.Second))
	cookie.SetSameSite(fasthttp.CookieSameSiteLaxMode)
	if string(h.Peek(fasthttp.HeaderXForwardedProto)) == "https" || strings.HasPrefix(string(h.Peek(fasthttp.HeaderOrigin)), "https://") {
		cookie.SetSecure(true) // pages of other sites send it back only so
		cookie.SetSameSite(fasthttp.CookieSameSiteNoneMode)
	}
	x.Ctx.Response.Header.SetCookie(&cookie)
	return c
}
