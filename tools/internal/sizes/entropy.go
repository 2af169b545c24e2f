package sizes

import (
	"math"

	"spoor/segment"
)

// The entropy of a column is what an ideal code needs that knows how frequent each value is in the section: of all rows alike or, where that is less, of rows
// whose value is not that of the same person's row before, and of which rows these are. No code that decodes a row in a
// nanosecond comes near it everywhere; it says where bytes are left to win.

// randomBits of a version 4 UUID.
const randomBits = 122

func (a *account) entropy(r *segment.Reader) error {
	var x segment.Scratch
	a.floors["ids"] += randomBits * float64(r.Rows()) // and of their places: what sorting saves tells which row has which
	sections := r.Sections()
	for i := range sections {
		s := &sections[i]
		keys := make([]uint64, s.Rows())
		if err := s.Keys(keys, 0, len(keys), &x); err != nil {
			return err
		}
		a.floors[keysPart] += keyBits(keys, s.MaxTime()-s.MinTime())
		received := make([]int64, s.Rows())
		if err := s.Received(received, 0, len(received), &x); err != nil {
			return err
		}
		a.floors[receivedPart] += bits(received, keys)
		columns, err := s.AllColumns()
		if err != nil {
			return err
		}
		for _, c := range columns {
			name := c.Path() + " (" + c.Kind().String() + ")"
			if c.Kind().HasText() {
				codes := make([]uint32, s.Rows())
				if d, err := c.Dict(); err != nil || d == nil {
					continue // texts in place hardly repeat: of them there is no table of frequencies
				}
				if _, err := c.Codes(codes, 0, len(codes), &x); err != nil {
					return err
				}
				a.floors[name] += bits(codes, keys)
				continue
			}
			numbers := make([]float64, s.Rows())
			if err := c.Numbers(numbers, 0, len(numbers), &x); err != nil {
				continue // integers, booleans and nulls, which are few
			}
			words := make([]uint64, len(numbers))
			for i, n := range numbers {
				words[i] = math.Float64bits(n)
			}
			a.floors[name] += bits(words, keys)
		}
	}
	return nil
}

// Names of parts as segment.Reader.Parts has them.
const (
	keysPart     = "keys: person and time"
	receivedPart = "receivedAt"
)

// keyBits is the entropy of the gaps between persons, and of times that are spread evenly over the section's span and in order for each person.
func keyBits(keys []uint64, span int64) float64 {
	const milli = 1000
	gaps := map[uint64]int{}
	each, sum, last, run := math.Log2(float64(span/milli+1)), 0.0, uint64(0), 0.0
	for i, k := range keys {
		person := uint64(segment.KeyPerson(k))
		gaps[person-last]++
		if run++; i == 0 || person != last {
			run = 1
		}
		sum += each - math.Log2(run)
		last = person
	}
	return sum + entropy(gaps, len(keys))
}

// bits is the entropy of the values of rows with these keys.
func bits[T comparable](values []T, keys []uint64) float64 {
	all, fresh, again := map[T]int{}, map[T]int{}, map[bool]int{}
	freshRows, againRows := 0, 0
	for i, v := range values {
		all[v]++
		if i > 0 && segment.KeyPerson(keys[i]) == segment.KeyPerson(keys[i-1]) {
			same := v == values[i-1]
			again[same]++
			if againRows++; same {
				continue
			}
		}
		fresh[v]++
		freshRows++
	}
	return min(entropy(all, len(values)), entropy(again, againRows)+entropy(fresh, freshRows))
}

// entropy of n values in all, in bits.
func entropy[T comparable](counts map[T]int, n int) float64 {
	sum := 0.0
	for _, c := range counts {
		sum -= float64(c) * math.Log2(float64(c)/float64(n))
	}
	return sum
}
