// Package dialect lets the SDKs of other systems send to Spoor unmodified. A
// dialect is one system's protocol: its paths, the forms of its bodies, where it
// hides its key, and which answer makes its clients go on, resend or drop. Each
// has a room of its own below this one; here is what they share.
//
// On the way of an event a dialect stands between the HTTP server and the
// collector. It rewrites what a client said into events and identify calls of
// the native API, as JSON, and hands them to the Host: from there on limits,
// dedupe and durability are those of every other event. The tables of what
// becomes of which field are docs/compatibility.md.
package dialect

import (
	"strings"
	"time"

	"github.com/valyala/fasthttp"

	"spoor/server/access"
)

// Dialect is one protocol.
type Dialect interface {
	// Name is the dialect's in metrics and logs, and without an operator's choice its prefix.
	Name() string
	// Find returns what serves a path, which has no slash at its end; nil where the
	// dialect has no such path. root tells that the path stands without the
	// dialect's prefix, where others have paths too.
	Find(path string, root bool) Handler
	// Refusal turns a refusal into the one that the dialect's clients act on rightly.
	Refusal(r Refusal) Refusal
}

// Handler answers one request: it writes the answer to x.Ctx, or returns an error.
type Handler func(x *Exchange) error

// Exchange is one request on its way through a dialect.
type Exchange struct {
	Ctx  *fasthttp.RequestCtx
	Host Host
	form []byte // the JSON of the body, where it was looked into before; see shared
}

// Host is the server as a dialect sees it. Its errors are the server's own;
// handlers hand them on.
type Host interface {
	// Admit checks the write key that a request came with, empty where the dialect
	// found none, and returns the source that it stands for.
	Admit(ctx *fasthttp.RequestCtx, key []byte) (source string, err error)
	// Body reads the body, decompressed if its first bytes show a coding, whatever
	// the headers say. free gives its memory back.
	Body(ctx *fasthttp.RequestCtx) (data []byte, free func(), err error)
	// Inflate decompresses what stood compressed inside a body.
	Inflate(packed []byte) (data []byte, free func(), err error)
	// Reserve takes memory from the budget of all requests.
	Reserve(bytes int) (free func(), err error)
	// Store commits what a batch gathered and returns when all of it is durable. What
	// is refused of it is added to the batch's rejections. Under overload it waits
	// before it gives up.
	Store(ctx *fasthttp.RequestCtx, b *Batch, source string) error
	// Ready is nil once events are taken.
	Ready() error
	// Now is the time of receipt.
	Now() time.Time
	// NewID makes a random id.
	NewID() string
}

// Refusal is an answer other than 200.
type Refusal struct {
	Status  int
	Code    string // for programs
	Message string // what, where, what to do
	// RetryAfter, in seconds, asks to send it again; 0 for not.
	RetryAfter int
	// Body is the JSON that the client gets; nil for that of the native API.
	Body []byte
}

func (r *Refusal) Error() string { return r.Code + ": " + r.Message }

// BadRequest refuses what the client must change.
func BadRequest(code, message string) error {
	return &Refusal{Status: fasthttp.StatusBadRequest, Code: code, Message: message}
}

// Mounted are the dialects of a server.
type Mounted struct {
	all []mounted
}

type mounted struct {
	Dialect
	prefix string // begins with a slash and does not end with one
}

// MaxPrefixBytes bounds a prefix.
const MaxPrefixBytes = 64

// Mount mounts dialects at the root and below /name, or below the prefix that
// prefixes has for the name. ok is false where a prefix is no path.
func Mount(prefixes map[string]string, dialects ...Dialect) (m *Mounted, ok bool) {
	m = &Mounted{}
	for _, d := range dialects {
		prefix := strings.Trim(prefixes[d.Name()], "/")
		if prefix == "" {
			prefix = d.Name()
		}
		if len(prefix) > MaxPrefixBytes || strings.Trim(prefix, prefixLetters) != "" || strings.Contains(prefix, "//") || reserved(prefix) {
			return nil, false
		}
		m.all = append(m.all, mounted{d, "/" + prefix})
	}
	return m, true
}

const prefixLetters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./"

// reserved tells whether a prefix would hide the server's own paths.
func reserved(prefix string) bool {
	first, _, _ := strings.Cut(prefix, "/")
	switch first {
	case "api", "metrics", "healthz", "readyz", ".", "..":
		return true
	}
	return false
}

// Find returns the dialect that serves a path and its handler; nil where none does.
func (m *Mounted) Find(path []byte) (Dialect, Handler) {
	if m == nil || len(path) > maxPathBytes {
		return nil, nil
	}
	p := string(path)
	for strings.HasPrefix(p, "//") { // an endpoint that was configured with a slash at its end
		p = p[1:]
	}
	p = strings.TrimSuffix(p, "/")
	for i := range m.all {
		d := &m.all[i]
		if rest, ok := strings.CutPrefix(p, d.prefix); ok && strings.HasPrefix(rest, "/") {
			for strings.HasPrefix(rest, "//") {
				rest = rest[1:]
			}
			if h := d.Find(rest, false); h != nil {
				return d.Dialect, h
			}
		}
	}
	var found shared
	for i := range m.all {
		d := m.all[i].Dialect
		if h := d.Find(p, true); h == nil {
			continue
		} else if found.run == nil {
			found = shared{Dialect: d, path: p, run: h}
		} else if c, ok := d.(Claimant); ok {
			found.others = append(found.others, c)
		}
	}
	if found.run == nil || len(found.others) == 0 {
		return found.Dialect, found.run
	}
	return &found, found.serve
}

const maxPathBytes = 512

// Names are the names of the dialects, in the order in which they were mounted.
func (m *Mounted) Names() (names []string) {
	if m != nil {
		for i := range m.all {
			names = append(names, m.all[i].Name())
		}
	}
	return names
}

// KeyOf is the key that the Authorization header of a request carries, empty for none.
func KeyOf(h *fasthttp.RequestHeader) []byte {
	return access.FromAuthorization(h.Peek(fasthttp.HeaderAuthorization))
}

// JSONType is the content type of answers in JSON.
const JSONType = "application/json; charset=utf-8"

// Answer writes a body that is ready.
func (x *Exchange) Answer(contentType string, body []byte) error {
	x.Ctx.Response.Header.SetContentType(contentType)
	x.Ctx.Response.SetBody(body)
	return nil
}

// transparent is a GIF of one transparent pixel, in the 43 bytes that pixels have.
const transparent = "GIF89a\x01\x00\x01\x00\x80\x00\x00\x00\x00\x00\xff\xff\xff!\xf9\x04\x01\x00\x00\x00\x00,\x00\x00\x00\x00\x01\x00\x01\x00\x00\x02\x02D\x01\x00;"

// Pixel answers with a transparent image that nobody keeps.
func (x *Exchange) Pixel() error {
	x.Ctx.Response.Header.Set(fasthttp.HeaderCacheControl, "no-cache, no-store, must-revalidate, max-age=0")
	return x.Answer("image/gif", []byte(transparent))
}
