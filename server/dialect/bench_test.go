package dialect_test

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"github.com/valyala/fasthttp"

	"spoor/server/dialect"
	"spoor/server/dialect/posthog"
	"spoor/server/dialect/segment"
	"spoor/server/dialect/snowplow"
)

// rewriting is a host that stores nothing: what is left is what a dialect costs.
type rewriting struct{ body []byte }

func (rewriting) Admit(*fasthttp.RequestCtx, []byte) (string, error) { return "", nil }

func (r rewriting) Body(*fasthttp.RequestCtx) ([]byte, func(), error) {
	return r.body, func() {}, nil
}
func (rewriting) Inflate(packed []byte) ([]byte, func(), error) { return packed, func() {}, nil }
func (rewriting) Reserve(int) (func(), error)                   { return func() {}, nil }

func (rewriting) Store(_ *fasthttp.RequestCtx, b *dialect.Batch, _ string) error {
	if _, from := b.Items(); len(from) != batchEvents || len(b.Refused) > 0 {
		return fmt.Errorf("%d events, %v", len(from), b.Refused)
	}
	return nil
}
func (rewriting) Ready() error   { return nil }
func (rewriting) Now() time.Time { return now() }
func (rewriting) NewID() string  { return "11111111-2222-4333-8444-555555555555" }

const batchEvents = 500

// BenchmarkRewriting measures one event of a batch of 500, in the sizes of the published clients.
func BenchmarkRewriting(b *testing.B) {
	for _, c := range []struct {
		dialect.Dialect
		path, before, event string
	}{
		{segment.Segment{}, "/v1/batch", `{"batch":[`, `{"messageId":"01a2224b-523c-7cde-b514-%012x","type":"track","event":"buy","userId":"u1","timestamp":"2026-11-28T12:14:28.123Z","integrations":{},"properties":{"productId":"p1","price":1.5,"currency":"EUR","category":"shoes","quantity":2},"context":{"page":{"path":"/home","referrer":"http://ref.example/","search":"","title":"Home","url":"http://shop.example/home"},"userAgent":"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36","locale":"en-US","library":{"name":"analytics.js","version":"npm:next-1.84.3"}}}`},
		{posthog.PostHog{}, "/batch", `{"api_key":"k","batch":[`, `{"uuid":"01a2224b-523c-7cde-b515-%012x","event":"buy","distinct_id":"u1","timestamp":"2026-11-28T12:14:28.123Z","properties":{"productId":"p1","price":1.5,"currency":"EUR","category":"shoes","quantity":2,"$current_url":"http://shop.example/home","$host":"shop.example","$pathname":"/home","$referrer":"http://ref.example/","$raw_user_agent":"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36","$lib":"web","$lib_version":"1.449.2","$browser_language":"en-US","$os":"Linux","$browser":"Safari"}}`},
		{snowplow.Snowplow{}, "/com.acme/v1", `{"data":[`, `{"e":"ue","eid":"01a2224b-523c-7cde-b516-%012x","uid":"u1","dtm":"1795866000123","url":"http://shop.example/home","page":"Home","refr":"http://ref.example/","tv":"js-4.10.1","tna":"sp","aid":"app","p":"web","lang":"en-US","ue_pr":"{\"schema\":\"iglu:com.snowplowanalytics.snowplow/unstruct_event/jsonschema/1-0-0\",\"data\":{\"schema\":\"iglu:com.acme/buy/jsonschema/1-0-0\",\"data\":{\"productId\":\"p1\",\"price\":1.5,\"currency\":\"EUR\"}}}"}`},
	} {
		var body bytes.Buffer
		body.WriteString(c.before)
		for i := range batchEvents {
			if i > 0 {
				body.WriteByte(',')
			}
			fmt.Fprintf(&body, c.event, i)
		}
		body.WriteString("]}")
		b.Run(c.Name(), func(b *testing.B) {
			run := c.Find(c.path, true)
			ctx := &fasthttp.RequestCtx{}
			ctx.Request.Header.SetMethod("POST")
			x := &dialect.Exchange{Ctx: ctx, Host: rewriting{body.Bytes()}}
			b.ReportAllocs()
			b.SetBytes(int64(body.Len()) / batchEvents)
			for i := 0; i < b.N; i += batchEvents {
				if err := run(x); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
