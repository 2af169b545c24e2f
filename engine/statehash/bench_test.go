package statehash

import (
	"fmt"
	"testing"

	"spoor/engine/event"
	"spoor/engine/identity"
	"spoor/engine/traits"
	"spoor/segment/batch"
)

// BenchmarkWhatChangesInPlace sums a million persons with one trait each: Apply waits as long.
func BenchmarkWhatChangesInPlace(b *testing.B) {
	const persons = 1 << 20
	x, t := identity.New(make([]byte, 16)), traits.New()
	x.Lock()
	t.At(1)
	for i := range persons {
		p, _, _ := x.Observe(fmt.Appendf(nil, "user-%d", i), nil)
		t.Set(p, 1, i, []event.Leaf{{Path: "plan", Kind: batch.KindString, Text: []byte("pro")}})
	}
	x.Unlock()
	b.Run("persons", func(b *testing.B) {
		for b.Loop() {
			Persons(x)
		}
	})
	b.Run("traits", func(b *testing.B) {
		for b.Loop() {
			Traits(t)
		}
	})
}
