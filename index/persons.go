package index

import (
	"bytes"
	"fmt"
	"iter"
	"slices"

	"github.com/RoaringBitmap/roaring/v2"
)

// Persons is a set of person ordinals, a roaring bitmap that nobody can change:
// it has no mutators and never lends its bitmap, so any number of goroutines may share it.
// An operation makes a new set or gives back one of its operands.
type Persons struct {
	b     *roaring.Bitmap // without copy-on-write: cloning such a one would be a race among readers
	count int
}

// NewPersons makes a set of ordinals that ascend; a repeated one counts once.
// The slice is not kept.
func NewPersons(sorted []uint32) *Persons {
	b := roaring.New()
	b.AddMany(sorted)
	b.RunOptimize()
	return wrapPersons(b)
}

// wrapPersons takes ownership of b.
func wrapPersons(b *roaring.Bitmap) *Persons {
	return &Persons{b: b, count: int(b.GetCardinality())}
}

// PersonsOf copies a bitmap, which the caller may go on changing.
func PersonsOf(b *roaring.Bitmap) *Persons {
	c := roaring.New()
	c.Or(b) // and not Clone, which would share containers of a copy-on-write bitmap
	return wrapPersons(c)
}

// Count is the number of persons.
func (p *Persons) Count() int { return p.count }

// Has tells whether the set holds a person.
func (p *Persons) Has(person uint32) bool { return p.b.Contains(person) }

// Max is the largest ordinal; ok is false if the set is empty.
func (p *Persons) Max() (person uint32, ok bool) {
	if p.count == 0 {
		return 0, false
	}
	return p.b.Maximum(), true
}

// Min is the least ordinal; ok is false if the set is empty.
func (p *Persons) Min() (person uint32, ok bool) {
	if p.count == 0 {
		return 0, false
	}
	return p.b.Minimum(), true
}

// Equal tells whether both sets hold the same persons.
func (p *Persons) Equal(q *Persons) bool { return p.count == q.count && p.b.Equals(q.b) }

// Intersects tells whether the sets share a person.
func (p *Persons) Intersects(q *Persons) bool { return p.b.Intersects(q.b) }

// AndCount is the size of the intersection.
func (p *Persons) AndCount(q *Persons) int { return int(p.b.AndCardinality(q.b)) }

// OrCount is the size of the union. The way over the intersection takes a tenth
// of the time of counting the union itself.
func (p *Persons) OrCount(q *Persons) int { return p.count + q.count - p.AndCount(q) }

// AndNotCount is how many of p are not in q.
func (p *Persons) AndNotCount(q *Persons) int { return p.count - p.AndCount(q) }

// And is the intersection.
func (p *Persons) And(q *Persons) *Persons { return wrapPersons(roaring.And(p.b, q.b)) }

// Or is the union.
func (p *Persons) Or(q *Persons) *Persons { return wrapPersons(roaring.Or(p.b, q.b)) }

// AndNot is p without the persons of q.
func (p *Persons) AndNot(q *Persons) *Persons { return wrapPersons(roaring.AndNot(p.b, q.b)) }

// Intersection is the intersection of sets; of none it is empty.
func Intersection(sets ...*Persons) *Persons {
	switch len(sets) {
	case 0:
		return NewPersons(nil)
	case 1:
		return sets[0]
	}
	// The smallest come first: what remains only shrinks.
	sets = slices.Clone(sets)
	slices.SortFunc(sets, func(a, b *Persons) int { return a.count - b.count })
	return wrapPersons(roaring.FastAnd(bitmaps(sets)...))
}

// Union is the union of sets.
func Union(sets ...*Persons) *Persons {
	if len(sets) == 1 {
		return sets[0]
	}
	return wrapPersons(roaring.FastOr(bitmaps(sets)...))
}

func bitmaps(sets []*Persons) []*roaring.Bitmap {
	bs := make([]*roaring.Bitmap, len(sets))
	for i, s := range sets {
		bs[i] = s.b
	}
	return bs
}

// All iterates over the persons in ascending order.
func (p *Persons) All() iter.Seq[uint32] {
	return func(yield func(uint32) bool) { p.b.Iterate(yield) }
}

// Each calls f with the persons in ascending order.
func (p *Persons) Each(f func(person uint32)) {
	p.b.Iterate(func(x uint32) bool {
		f(x)
		return true
	})
}

// AppendOrdinals appends the persons in ascending order to dst.
func (p *Persons) AppendOrdinals(dst []uint32) []uint32 {
	n := len(dst)
	dst = slices.Grow(dst, p.count)[:n+p.count]
	it := p.b.ManyIterator()
	for out := dst[n:]; len(out) > 0; {
		out = out[it.NextMany(out):]
	}
	return dst
}

// AppendTo appends the set's bytes to dst: the portable format of roaring,
// https://github.com/RoaringBitmap/RoaringFormatSpec. They have no checksum of their own.
func (p *Persons) AppendTo(dst []byte) []byte {
	dst = slices.Grow(dst, int(p.b.GetSerializedSizeInBytes()))
	w := bytes.NewBuffer(dst)
	if _, err := p.b.WriteTo(w); err != nil {
		panic(fmt.Sprintf("index: write persons to memory: %v", err))
	}
	return w.Bytes()
}

// ParsePersons reads what AppendTo wrote; data is not kept. Bytes that are no
// set in every detail are an error that wraps ErrCorrupt.
func ParsePersons(data []byte) (*Persons, error) {
	count, err := checkRoaring(data)
	if err != nil {
		return nil, err
	}
	b := roaring.New()
	if n, err := b.ReadFrom(bytes.NewReader(data)); err != nil || n != int64(len(data)) {
		return nil, corrupt("persons: %d of %d bytes read: %v", n, len(data), err)
	}
	return &Persons{b: b, count: count}, nil
}
