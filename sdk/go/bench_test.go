package spoor

import (
	"io"
	"net/http"
	"testing"
	"time"
)

// down is a server that cannot be reached.
type down struct{}

func (down) RoundTrip(*http.Request) (*http.Response, error) { return nil, io.ErrUnexpectedEOF }

// benchmarkEnqueue is the caller's side: the server is down, and what does not
// fit gives way.
func benchmarkEnqueue(b *testing.B, change func(*Options), parallel bool) {
	o := Options{
		Endpoint: "http://spoor.test", HTTPClient: &http.Client{Transport: down{}}, Logger: discard,
		FlushEvery: time.Hour, BatchEvents: maxBatchEvents, BatchBytes: maxBatchBytes, WhenFull: DropOldest,
	}
	change(&o)
	c, err := New(o)
	if err != nil {
		b.Fatal(err)
	}
	e := Event{Name: "product_viewed", UserID: "user_0012345", AnonymousID: "018f3c1e-7b2a-7c3d-9e4f-5a6b7c8d9e0f", Properties: map[string]any{
		"productId": "sku-01234", "category": "cat_07", "price": 19.99, "quantity": 2, "currency": "EUR", "firstTime": false,
	}, Context: map[string]any{"userAgent": "Mozilla/5.0 (X11; Linux x86_64)", "requestId": "f3a9c2"}}
	b.ReportAllocs()
	b.ResetTimer()
	enqueue := func() {
		if err := c.Enqueue(background, e); err != nil {
			b.Error(err)
		}
	}
	if parallel {
		b.RunParallel(func(p *testing.PB) {
			for p.Next() {
				enqueue()
			}
		})
	} else {
		for b.Loop() {
			enqueue()
		}
	}
	b.StopTimer()
	c.stop()
	<-c.ended
	c.queue.close()
	c.queue.store.close()
}

func BenchmarkEnqueue(b *testing.B) { benchmarkEnqueue(b, func(*Options) {}, false) }

func BenchmarkEnqueueInParallel(b *testing.B) { benchmarkEnqueue(b, func(*Options) {}, true) }

func BenchmarkEnqueueToSpool(b *testing.B) {
	benchmarkEnqueue(b, func(o *Options) { o.SpoolDir = b.TempDir() }, false)
}

func BenchmarkEnqueueToSpoolInParallel(b *testing.B) {
	benchmarkEnqueue(b, func(o *Options) { o.SpoolDir = b.TempDir() }, true)
}

func BenchmarkEnqueueToSpoolFsyncEach(b *testing.B) {
	benchmarkEnqueue(b, func(o *Options) { o.SpoolDir, o.SpoolSync = b.TempDir(), SyncEach }, false)
}

func BenchmarkNewID(b *testing.B) {
	now := time.Now()
	b.ReportAllocs()
	for b.Loop() {
		newID(now)
	}
}
