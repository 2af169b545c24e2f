// Package posthog is PostHog's capture API, with flags that are empty, so that
// its SDKs send to Spoor unmodified.
//
// An event becomes an event of the same name. $identify, $create_alias,
// $merge_dangerously and $set become identify calls, which are no events, and so
// do the members $set and $set_once of every other event, beside it. What
// becomes of which field is the table in docs/compatibility.md.
package posthog

import (
	"strings"

	"github.com/valyala/fasthttp"

	"spoor/server/dialect"
)

// PostHog is the dialect.
type PostHog struct{}

var _ dialect.Dialect = PostHog{}

// Name is the dialect's.
func (PostHog) Name() string { return "posthog" }

// Find returns the handler of a path.
func (PostHog) Find(path string, _ bool) dialect.Handler {
	switch path {
	case "/e", "/batch", "/capture", "/i/v0/e", "/track", "/engage":
		return capture
	case "/flags", "/decide":
		return flags
	}
	rest, ok := strings.CutPrefix(path, "/array/")
	if !ok {
		return nil
	}
	token, file, _ := strings.Cut(rest, "/")
	if !plainToken(token) {
		return nil
	}
	switch file {
	case "config":
		return func(x *dialect.Exchange) error { return config(x, token) }
	case "config.js":
		return func(x *dialect.Exchange) error { return configScript(x, token) }
	}
	return nil
}

// maxTokenBytes bounds a project's token in a path.
const maxTokenBytes = 128

func plainToken(token string) bool {
	return token != "" && len(token) <= maxTokenBytes && strings.Trim(token, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_") == ""
}

// Refusal makes 503 of what shall be sent again: after 429 posthog-js drops, as
// it does after every other 4xx. posthog-node halves a batch after 413.
func (PostHog) Refusal(r dialect.Refusal) dialect.Refusal {
	switch r.Status {
	case fasthttp.StatusTooManyRequests, fasthttp.StatusRequestTimeout, fasthttp.StatusInsufficientStorage:
		r.Status = fasthttp.StatusServiceUnavailable
		r.RetryAfter = max(r.RetryAfter, 1)
	}
	return r
}

const remoteConfig = `"supportedCompression":["gzip","gzip-js"],"hasFeatureFlags":false,"captureDeadClicks":false,"capturePerformance":false,` +
	`"autocapture_opt_out":false,"autocaptureExceptions":false,"analytics":{"endpoint":"/i/v0/e/"},"elementsChainAsString":true,` +
	`"sessionRecording":false,"heatmaps":false,"surveys":false,"productTours":false,"defaultIdentifiedOnly":true,"toolbarParams":{},"isAuthenticated":false,"siteApps":[]`

// flags says that there are none.
func flags(x *dialect.Exchange) error {
	body := []byte(`{"flags":{},"featureFlags":{},"featureFlagPayloads":{},"errorsWhileComputingFlags":false,"requestId":`)
	body = dialect.Quote(body, []byte(x.Host.NewID()))
	body = append(append(append(body, ','), remoteConfig...), '}')
	return x.Answer(dialect.JSONType, body)
}

func config(x *dialect.Exchange, token string) error {
	x.Ctx.Response.Header.Set(fasthttp.HeaderCacheControl, "public, max-age=300")
	return x.Answer(dialect.JSONType, []byte(`{"token":"`+token+`",`+remoteConfig+`}`))
}

func configScript(x *dialect.Exchange, token string) error {
	x.Ctx.Response.Header.Set(fasthttp.HeaderCacheControl, "public, max-age=300")
	return x.Answer("application/javascript; charset=utf-8", []byte(
		`(function(){window._POSTHOG_REMOTE_CONFIG=window._POSTHOG_REMOTE_CONFIG||{};window._POSTHOG_REMOTE_CONFIG["`+token+`"]={config:{"token":"`+token+`",`+remoteConfig+`},siteApps:[]}})();`))
}
