// Package segment is the HTTP tracking API of Segment with what RudderStack adds
// to it, so that the SDKs of both send to Spoor unmodified.
//
// track, page, screen and group become events; identify and alias (and
// RudderStack's merge) become identify calls, which are no events. What becomes
// of which field is the table in docs/compatibility.md.
package segment

import (
	"strings"

	"github.com/valyala/fasthttp"

	"spoor/server/dialect"
)

// Segment is the dialect.
type Segment struct{}

var _ dialect.Dialect = Segment{}

// Name is the dialect's.
func (Segment) Name() string { return "segment" }

// kinds are the types of messages by the last part of the path that takes them.
var kinds = map[string]string{
	"track": "track", "t": "track",
	"identify": "identify", "i": "identify",
	"page": "page", "p": "page",
	"screen": "screen", "s": "screen",
	"group": "group", "g": "group",
	"alias": "alias", "a": "alias",
	"merge": "merge",
}

// Find returns the handler of a path.
func (Segment) Find(path string, _ bool) dialect.Handler {
	switch path {
	case "/v1/batch", "/v1/b", "/v1/import", "/beacon/v1/batch":
		return batch
	case "/v1/m":
		return selfMetrics
	case "/pixel/v1/track":
		return func(x *dialect.Exchange) error { return pixel(x, "track") }
	case "/pixel/v1/page":
		return func(x *dialect.Exchange) error { return pixel(x, "page") }
	case "/sourceConfig":
		return sourceConfig
	case "/health":
		return health
	case "/version":
		return version
	}
	rest, ok := strings.CutPrefix(path, "/v1/")
	if !ok {
		return nil
	}
	if kind, ok := kinds[rest]; ok {
		return func(x *dialect.Exchange) error { return single(x, kind) }
	}
	if key, ok := strings.CutPrefix(rest, "projects/"); ok {
		if key, ok = strings.CutSuffix(key, "/settings"); ok && key != "" && !strings.Contains(key, "/") {
			return func(x *dialect.Exchange) error { return settings(x, key) }
		}
	}
	return nil
}

// Refusal leaves a refusal as it is: its clients resend after 429 and 5xx, but
// for 501, 505, 507 and 511, and drop after every other.
func (Segment) Refusal(r dialect.Refusal) dialect.Refusal {
	if r.Status == fasthttp.StatusInsufficientStorage {
		r.Status = fasthttp.StatusServiceUnavailable
	}
	return r
}

const success = `{"success":true`

// selfMetrics takes what analytics-next says of itself, and drops it.
func selfMetrics(x *dialect.Exchange) error {
	return x.Answer(dialect.JSONType, []byte(success+"}"))
}

func health(x *dialect.Exchange) error {
	if err := x.Host.Ready(); err != nil {
		return err
	}
	return x.Answer(dialect.JSONType, []byte(`{"server":"UP","db":"UP","acceptingEvents":"TRUE","routingEvents":"TRUE","mode":"NORMAL"}`))
}

func version(x *dialect.Exchange) error {
	return x.Answer(dialect.JSONType, []byte(`{"Version":"spoor"}`))
}

// settings is what analytics-next, and Segment's mobile SDKs, fetch before they
// start. It names the address that it was fetched from as the one to send to.
func settings(x *dialect.Exchange, key string) error {
	body := append([]byte(`{"integrations":{"Segment.io":{"apiKey":`), quote(key)...)
	if host := x.Ctx.Host(); plainHost(host) {
		path := string(x.Ctx.URI().PathOriginal())
		at := strings.Index(path, "/projects/")
		body = append(append(body, `,"apiHost":`...), quote(string(host)+path[:at])...)
		body = append(append(body, `,"protocol":`...), quote(scheme(x.Ctx))...)
	}
	body = append(body, `,"type":"browser","versionSettings":{"version":"4.4.7","componentTypes":["browser"]}}},`+
		`"plan":{"track":{"__default":{"enabled":true,"integrations":{}}},"identify":{"__default":{"enabled":true}},"group":{"__default":{"enabled":true}}},`+
		`"edgeFunction":{},"analyticsNextEnabled":true,"middlewareSettings":{},"enabledMiddleware":{},"metrics":{"sampleRate":0},"legacyVideoPluginsEnabled":false,"remotePlugins":[]}`...)
	x.Ctx.Response.Header.Set(fasthttp.HeaderCacheControl, "public, max-age=300")
	return x.Answer(dialect.JSONType, body)
}

// sourceConfig is what RudderStack's SDKs fetch before they start: a source with
// no destinations beside this server.
func sourceConfig(x *dialect.Exchange) error {
	key := x.Ctx.QueryArgs().Peek("writeKey")
	if len(key) == 0 {
		key = dialect.KeyOf(&x.Ctx.Request.Header)
	}
	quoted := quote(string(key))
	body := append([]byte(`{"isHosted":true,"source":{"id":"spoor","name":"spoor","writeKey":`), quoted...)
	body = append(body, `,"enabled":true,"isSourceEnabled":true,"workspaceId":"spoor","createdAt":"2026-01-01T00:00:00.000Z","updatedAt":"2026-01-01T00:00:00.000Z",`+
		`"config":{"statsCollection":{"errors":{"enabled":false},"metrics":{"enabled":false}}},"sourceDefinition":{"name":"spoor"},"connections":[],"destinations":[]}}`...)
	x.Ctx.Response.Header.Set(fasthttp.HeaderCacheControl, "no-store")
	return x.Answer(dialect.JSONType, body)
}

func quote(text string) []byte { return dialect.Quote(nil, []byte(text)) }

func plainHost(host []byte) bool {
	return len(host) > 0 && len(host) <= 255 && strings.Trim(string(host), "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._:[]") == ""
}

// scheme is that of the proxy in front, for the server itself speaks plain HTTP.
func scheme(ctx *fasthttp.RequestCtx) string {
	if string(ctx.Request.Header.Peek(fasthttp.HeaderXForwardedProto)) == "https" {
		return "https"
	}
	return "http"
}
