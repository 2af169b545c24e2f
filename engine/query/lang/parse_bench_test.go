package lang

import "testing"

func BenchmarkParseOfAFunnel(b *testing.B) {
	const text = `funnel view_product -> add_to_cart[properties.price > 100] -> purchase_completed
  within 7d where context.country = "DE" by context.device from 2026-05-01 to 2026-06-01 tz "Europe/Berlin"`
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Parse(text); err != nil {
			b.Fatal(err)
		}
	}
}
