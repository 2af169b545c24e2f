package event

import (
	"fmt"
	"math/rand"
	"strconv"
	"strings"
	"testing"

	"spoor/segment/batch"
)

// benchBody makes NDJSON of n events of about 450 bytes: eight event names, of
// which each has two properties of its own.
func benchBody(n int) []byte {
	r := rand.New(rand.NewSource(1))
	names := []string{"page_view", "product_viewed", "add_to_cart", "checkout_started", "purchase", "search", "signup", "login"}
	platforms := []string{"ios", "android", "web"}
	countries := []string{"DE", "US", "FR", "GB", "IN", "BR"}
	coupons := []string{"null", `"SPRING26"`}
	var b strings.Builder
	for range n {
		k := r.Intn(len(names))
		fmt.Fprintf(&b, `{"eventId":"%08x-%04x-4%03x-8%03x-%012x","eventName":"%s","userId":"user_%07d","anonymousId":"anon-%016x","timestamp":"2026-03-%02dT%02d:%02d:%02d.%03dZ","properties":{"productId":"sku-%05d","category":"cat_%02d","price":%s,"quantity":%d,"currency":"EUR","coupon":%s,"firstTime":%t,"own_%d":"v%d"},"context":{"platform":"%s","country":"%s","appVersion":"4.%d.%d","page":{"path":"/p/%05d","referrer":"https://www.google.com/"},"locale":"en-%s"}}`+"\n",
			r.Uint32(), r.Intn(65536), r.Intn(4096), r.Intn(4096), r.Int63()&0xffffffffffff,
			names[k], r.Intn(200000), r.Uint64(),
			1+r.Intn(28), r.Intn(24), r.Intn(60), r.Intn(60), r.Intn(1000),
			r.Intn(100000), r.Intn(40), strconv.FormatFloat(float64(r.Intn(100000))/100, 'f', 2, 64), 1+r.Intn(5),
			coupons[r.Intn(2)], r.Intn(2) == 0, k, r.Intn(10),
			platforms[r.Intn(3)], countries[r.Intn(6)], r.Intn(20), r.Intn(10), r.Intn(100000), countries[r.Intn(6)])
	}
	return []byte(b.String())
}

const benchEvents = 1000

func noID() [16]byte { return [16]byte{} }

func perEvent(b *testing.B) {
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/benchEvents, "ns/event")
}

// BenchmarkDecode is JSON to batch: decode, shred, build.
func BenchmarkDecode(b *testing.B) {
	body := benchBody(benchEvents)
	d := NewDecoder(DefaultLimits())
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for range b.N {
		if err := d.AddAll(body, "web", noID, func(it Item) error {
			if it.Reject != nil {
				return it.Reject
			}
			return nil
		}); err != nil {
			b.Fatal(err)
		}
		d.Seal(1e15)
	}
	perEvent(b)
}

// BenchmarkDecodeArray is the same with the events in one JSON array.
func BenchmarkDecodeArray(b *testing.B) {
	body := []byte("[" + strings.TrimSuffix(strings.ReplaceAll(string(benchBody(benchEvents)), "\n", ","), ",") + "]")
	d := NewDecoder(DefaultLimits())
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for range b.N {
		if err := d.AddAll(body, "web", noID, func(Item) error { return nil }); err != nil {
			b.Fatal(err)
		}
		d.Seal(1e15)
	}
	perEvent(b)
}

func benchBatch(b *testing.B) *batch.Batch {
	d := NewDecoder(DefaultLimits())
	if err := d.AddAll(benchBody(benchEvents), "web", noID, func(Item) error { return nil }); err != nil {
		b.Fatal(err)
	}
	return d.Seal(1e15)
}

// BenchmarkEncodeBatch is batch to log entry.
func BenchmarkEncodeBatch(b *testing.B) {
	bt := benchBatch(b)
	var buf []byte
	b.ReportAllocs()
	for range b.N {
		buf = bt.AppendEncoded(buf[:0])
	}
	perEvent(b)
	b.ReportMetric(float64(len(buf))/benchEvents, "B/event")
}

// BenchmarkDecodeBatch is log entry to batch, on every replica.
func BenchmarkDecodeBatch(b *testing.B) {
	data := benchBatch(b).AppendEncoded(nil)
	b.ReportAllocs()
	for range b.N {
		if _, err := batch.Decode(data); err != nil {
			b.Fatal(err)
		}
	}
	perEvent(b)
}
