package traits

import (
	"encoding/binary"
	"fmt"
	"runtime"
	"testing"

	"spoor/engine/event"
	"spoor/segment/batch"
)

// persons of the benchmarks: as many as the workload has, with five traits each.
const benchPersons = 200_000

func filled() *Store {
	s := New()
	for p := range uint32(benchPersons) {
		s.At(uint64(p) + 1)
		s.Set(p, int64(p), 0, []event.Leaf{
			{Path: "plan", Kind: batch.KindString, Text: []byte([]string{"free", "pro", "team"}[p%3])},
			{Path: "address.city", Kind: batch.KindString, Text: fmt.Appendf(nil, "city %d", p%500)},
			{Path: "email", Kind: batch.KindString, Text: fmt.Appendf(nil, "person%d@example.com", p)},
			{Path: "seats", Kind: batch.KindNumber, Num: float64(p % 50)},
			{Path: "admin", Kind: batch.KindBool, Bool: p%9 == 0},
		})
	}
	return s
}

func BenchmarkSetFiveTraits(b *testing.B) {
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	var s *Store
	for b.Loop() {
		s = filled()
	}
	s.Take()
	runtime.GC()
	runtime.ReadMemStats(&after)
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/benchPersons, "ns/call")
	b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/benchPersons, "bytes/person")
	runtime.KeepAlive(s)
}

func BenchmarkReadATraitOfEverybody(b *testing.B) {
	s := filled()
	canon := make([]uint32, benchPersons)
	for p := range canon {
		canon[p] = uint32(p)
	}
	for b.Loop() {
		s.Column("plan", benchPersons, canon)
	}
}

func BenchmarkWriteTheFileAnew(b *testing.B) {
	s := filled()
	s.Take()
	for b.Loop() {
		s.rewrite, s.dirty = true, true
		b.SetBytes(int64(len(s.Take().body)))
	}
}

func BenchmarkLoadTheFile(b *testing.B) {
	s := filled()
	s.Take()
	s.rewrite, s.dirty = true, true
	body := s.Take().body
	file := binary.LittleEndian.AppendUint32([]byte(fileMagic), fileVersion)
	file = append(file, frameOf(body)...)
	for b.Loop() {
		if _, err := Load(file, benchPersons); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(len(file))/benchPersons, "bytes/person")
}
