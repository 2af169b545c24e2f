package index

import (
	"encoding/hex"
	"errors"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/RoaringBitmap/roaring/v2"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

type personModel map[uint32]bool

func (m personModel) sorted() []uint32 { return slices.Sorted(maps.Keys(m)) }

func filterModel(a personModel, keep func(uint32) bool) personModel {
	out := personModel{}
	for p := range a {
		if keep(p) {
			out[p] = true
		}
	}
	return out
}

// drawPersons makes sets whose containers are arrays, bitmaps and runs.
func drawPersons(t *rapid.T, label string) personModel {
	m := personModel{}
	for range rapid.IntRange(0, 4).Draw(t, label) {
		base := rapid.Uint32Range(0, 4).Draw(t, "container") << 16
		rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
		switch rapid.IntRange(0, 2).Draw(t, "shape") {
		case 0:
			for range rng.IntN(50) {
				m[base+rng.Uint32N(1<<16)] = true
			}
		case 1:
			for range 6000 {
				m[base+rng.Uint32N(1<<14)] = true
			}
		case 2:
			start, n := rng.Uint32N(1<<16), rng.Uint32N(1<<11)
			for i := start; i < min(start+n, 1<<16); i++ {
				m[base+i] = true
			}
		}
	}
	return m
}

func requirePersons(t require.TestingT, want personModel, got *Persons) {
	sorted := want.sorted()
	require.Equal(t, len(want), got.Count())
	require.True(t, slices.Equal(sorted, got.AppendOrdinals(nil)))
	require.True(t, slices.Equal(sorted, slices.Collect(got.All())))
	last, ok := got.Max()
	require.Equal(t, len(want) > 0, ok)
	if ok {
		require.Equal(t, sorted[len(sorted)-1], last)
	}
}

func TestPersonsBehaveLikeAMapOfOrdinals(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		am, bm, cm := drawPersons(t, "a"), drawPersons(t, "b"), drawPersons(t, "c")
		a, b, c := NewPersons(am.sorted()), NewPersons(bm.sorted()), NewPersons(cm.sorted())
		bytesOfA := a.AppendTo(nil)
		inB := func(p uint32) bool { return bm[p] }
		and := filterModel(am, inB)
		not := filterModel(am, func(p uint32) bool { return !bm[p] })
		or := maps.Clone(am)
		maps.Copy(or, bm)
		all := maps.Clone(or)
		maps.Copy(all, cm)

		requirePersons(t, am, a)
		requirePersons(t, and, a.And(b))
		requirePersons(t, or, a.Or(b))
		requirePersons(t, not, a.AndNot(b))
		requirePersons(t, all, Union(a, b, c))
		requirePersons(t, filterModel(and, func(p uint32) bool { return cm[p] }), Intersection(a, b, c))
		require.Equal(t, len(and), a.AndCount(b))
		require.Equal(t, len(or), a.OrCount(b))
		require.Equal(t, len(not), a.AndNotCount(b))
		require.Equal(t, len(and) > 0, a.Intersects(b))
		require.Equal(t, maps.Equal(am, bm), a.Equal(b))
		for p := range bm {
			require.Equal(t, am[p], a.Has(p))
			break
		}
		parsed, err := ParsePersons(bytesOfA)
		require.NoError(t, err)
		requirePersons(t, am, parsed)
		require.True(t, a.Equal(parsed))
		require.Equal(t, bytesOfA, a.AppendTo(nil), "no operation changed its operand")

		// Dense sets agree.
		da, db := NewBits(5<<16), NewBits(5<<16)
		da.Put(a)
		db.Put(b)
		require.Equal(t, len(am), da.Count())
		require.Equal(t, len(and), da.AndCount(db))
		require.True(t, slices.Equal(am.sorted(), da.AppendOrdinals(nil)))
		requirePersons(t, am, da.Persons())
		work := slices.Clone(da)
		work.And(db)
		requirePersons(t, and, work.Persons())
		copy(work, da)
		work.Or(db)
		requirePersons(t, or, work.Persons())
		copy(work, da)
		work.AndNot(db)
		requirePersons(t, not, work.Persons())
		for p := range am {
			require.True(t, da.Has(p))
			require.Equal(t, bm[p], db.Has(p))
			break
		}
		work.Clear()
		require.Zero(t, work.Count())
		for p := range bm {
			work.Set(p)
		}
		require.Equal(t, db, work)
	})
}

func TestUnionAndIntersectionOfFewSets(t *testing.T) {
	a := NewPersons([]uint32{1, 2, 3})
	require.Zero(t, Union().Count())
	require.Zero(t, Intersection().Count())
	require.Same(t, a, Union(a))
	require.Same(t, a, Intersection(a))
	require.Equal(t, 1, NewPersons([]uint32{5, 5, 5}).Count())
}

func TestPersonsOfDoesNotFollowTheBitmap(t *testing.T) {
	b := roaring.BitmapOf(1, 2, 3)
	b.SetCopyOnWrite(true)
	p := PersonsOf(b)
	b.Add(4)
	b.Remove(1)
	require.Equal(t, []uint32{1, 2, 3}, p.AppendOrdinals(nil))
}

func TestASetThatDoesNotFitIsAPanicThatSaysSo(t *testing.T) {
	require.NotPanics(t, func() { NewBits(65).Put(NewPersons([]uint32{127})) })
	require.PanicsWithValue(t, "index: person 128 in a set of 128", func() { NewBits(65).Put(NewPersons([]uint32{128})) })
}

func TestPersonsOfThreeKindsOfContainersArePinned(t *testing.T) {
	golden(t, "persons.golden", hex.Dump(NewPersons([]uint32{1, 5, 9, 1 << 16, 1<<16 + 1, 1<<16 + 2, 1<<16 + 3, 1 << 20}).AppendTo(nil)))
}

// shapes are sets with every kind of container and header.
func personShapes() [][]byte {
	var shapes [][]byte
	rng := rand.New(rand.NewPCG(1, 1))
	var bitmap, runs []uint32
	for i := range uint32(1 << 16) {
		if rng.IntN(3) == 0 {
			bitmap = append(bitmap, i)
		}
		if i%100 > 3 {
			runs = append(runs, 1<<16+i)
		}
	}
	many := slices.Clone(runs)
	for i := range uint32(6) {
		many = append(many, (i+2)<<16, (i+2)<<16+9)
	}
	for _, s := range [][]uint32{nil, {0}, {7, 8, 1 << 31}, bitmap, runs, many, slices.Concat(bitmap, runs)} {
		shapes = append(shapes, NewPersons(s).AppendTo(nil))
	}
	return shapes
}

func TestBytesThatAreNoSetAreRefused(t *testing.T) {
	rng := rand.New(rand.NewPCG(2, 2))
	for _, b := range personShapes() {
		_, err := ParsePersons(b)
		require.NoError(t, err)
		for n := 0; n < len(b); n += 1 + rng.IntN(1+len(b)/50) {
			_, err := ParsePersons(b[:n])
			require.ErrorIs(t, err, ErrCorrupt, "%d of %d bytes", n, len(b))
		}
		_, err = ParsePersons(append(slices.Clone(b), 0))
		require.ErrorIs(t, err, ErrCorrupt)
		for range 300 {
			c := slices.Clone(b)
			c[rng.IntN(len(c))] ^= 1 << rng.IntN(8)
			// A flipped bit may make another set; it must be one in every detail.
			if p, err := ParsePersons(c); err == nil {
				require.Len(t, p.AppendOrdinals(nil), p.Count())
				require.True(t, slices.IsSorted(p.AppendOrdinals(nil)))
			}
		}
	}
}

func FuzzParsePersons(f *testing.F) {
	for _, b := range personShapes() {
		if len(b) < 2000 {
			f.Add(b)
		}
	}
	other := NewPersons([]uint32{1, 2, 3, 70000, 70001})
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := ParsePersons(b)
		if err != nil {
			if !errors.Is(err, ErrCorrupt) {
				t.Fatal(err)
			}
			return
		}
		all := p.AppendOrdinals(nil)
		for i := 1; i < len(all); i++ {
			if all[i] <= all[i-1] {
				t.Fatal("not ascending")
			}
		}
		if !p.Equal(NewPersons(all)) || p.Or(other).Count() != p.OrCount(other) || p.AndNot(other).Count() != p.AndNotCount(other) {
			t.Fatal("operations disagree with the ordinals")
		}
		q, err := ParsePersons(p.AppendTo(nil))
		if err != nil || !p.Equal(q) {
			t.Fatal("not the same after writing", err)
		}
	})
}

func BenchmarkPersons(b *testing.B) {
	const n = 200_000 // persons, of whom 15 % are in a set
	draw := func(seed uint64) []uint32 {
		rng := rand.New(rand.NewPCG(seed, 0))
		var s []uint32
		for i := range uint32(n) {
			if rng.IntN(100) < 15 {
				s = append(s, i)
			}
		}
		return s
	}
	sorted := draw(1)
	p, q := NewPersons(sorted), NewPersons(draw(2))
	encoded := p.AppendTo(nil)
	dp, dq := NewBits(n), NewBits(n)
	dp.Put(p)
	dq.Put(q)
	b.Run("new, per person", func(b *testing.B) {
		for i := 0; i < b.N; i += len(sorted) {
			NewPersons(sorted)
		}
	})
	b.Run("parse", func(b *testing.B) {
		b.SetBytes(int64(len(encoded)))
		for range b.N {
			_, err := ParsePersons(encoded)
			require.NoError(b, err)
		}
	})
	b.Run("AndCount", func(b *testing.B) {
		for range b.N {
			p.AndCount(q)
		}
	})
	b.Run("OrCount", func(b *testing.B) {
		for range b.N {
			p.OrCount(q)
		}
	})
	b.Run("Or", func(b *testing.B) {
		for range b.N {
			p.Or(q)
		}
	})
	b.Run("Bits AndCount", func(b *testing.B) {
		for range b.N {
			dp.AndCount(dq)
		}
	})
	b.Run("Bits Put", func(b *testing.B) {
		for range b.N {
			dp.Put(p)
		}
	})
	b.Run("AppendOrdinals, per person", func(b *testing.B) {
		var dst []uint32
		for i := 0; i < b.N; i += len(sorted) {
			dst = p.AppendOrdinals(dst[:0])
		}
	})
}
