// Package statehash sums what a replica holds into hashes that say nothing of how: rows,
// persons, traits, documents and dead letters have the same ones however files are cut.
// Two replicas that applied the same log have equal hashes, or one of them is wrong.
package statehash

import (
	"cmp"
	"context"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math"
	"slices"

	"github.com/cespare/xxhash/v2"

	"spoor/engine/document"
	"spoor/engine/identity"
	"spoor/engine/letters"
	"spoor/engine/query/scan"
	"spoor/engine/traits"
	"spoor/segment"
	"spoor/segment/batch"
)

// Hash is a sum of 128-bit hashes of things, so that their order means nothing.
type Hash struct{ Hi, Lo uint64 }

func (h *Hash) add(x uint64) {
	h.Lo += mix64(x)
	h.Hi += mix64(x ^ 0x5851f42d4c957f2d)
}

// String is the hash in hexadecimal.
func (h Hash) String() string {
	return hex.EncodeToString(binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, h.Hi), h.Lo))
}

func mix64(x uint64) uint64 {
	x ^= x >> 30
	x *= 0xbf58476d1ce4e5b9
	x ^= x >> 27
	x *= 0x94d049bb133111eb
	return x ^ x>>31
}

// Day sums the events of one UTC day: eventId, name, time, receipt, userId, anonymousId, source
// and every property.
type Day struct {
	Day  int32 `json:"day"` // since 1970
	Rows int64 `json:"events"`
	Hash Hash  `json:"hash"`
}

// State tells whether two replicas hold the same, however their files are cut: it
// depends on the log up to AppliedIndex and on nothing else.
type State struct {
	AppliedIndex uint64 `json:"applied_index"`
	Rows         int64  `json:"events"`
	Days         []Day  `json:"days"` // ascending
	// Identity sums over all ids the person that each stands for; Traits over the traits of all
	// persons and the calls that set them.
	Identity  Hash `json:"persons"`
	Traits    Hash `json:"traits"`
	Documents Hash `json:"documents"`
	Letters   Hash `json:"dead_letters"`
}

// SumDays sums the rows of segments by day.
func (h *Rows) SumDays(ctx context.Context, segments []*segment.Reader) ([]Day, error) {
	byDay := map[int32]*Day{}
	for _, r := range segments {
		err := h.Each(ctx, r, func(day int32, hash uint64) {
			d := byDay[day]
			if d == nil {
				d = &Day{Day: day}
				byDay[day] = d
			}
			d.Rows++
			d.Hash.add(hash)
		})
		if err != nil {
			return nil, fmt.Errorf("hash the state: %w", err)
		}
	}
	days := make([]Day, 0, len(byDay))
	for _, d := range byDay {
		days = append(days, *d)
	}
	slices.SortFunc(days, func(a, b Day) int { return cmp.Compare(a.Day, b.Day) })
	return days, nil
}

// MarshalText is String.
func (h Hash) MarshalText() ([]byte, error) { return []byte(h.String()), nil }

// UnmarshalText reads what String wrote.
func (h *Hash) UnmarshalText(b []byte) error {
	var raw [16]byte
	if n, err := hex.Decode(raw[:], b); len(b) != hex.EncodedLen(len(raw)) || err != nil || n != len(raw) {
		return fmt.Errorf("%q is no hash of %d hexadecimal digits", b, hex.EncodedLen(len(raw)))
	}
	h.Hi, h.Lo = binary.BigEndian.Uint64(raw[:8]), binary.BigEndian.Uint64(raw[8:])
	return nil
}

// Persons sums over all ids the name of the person that each stands for.
func Persons(x *identity.Map) (h Hash) {
	x.RLock()
	defer x.RUnlock()
	x.Each(func(kind byte, id []byte, name string) { h.add(hashTexts(kind, id, []byte(name))) })
	return h
}

// Traits sums over the traits of all persons and the calls that set them.
func Traits(t *traits.Store) (h Hash) {
	t.Each(func(person uint32, path string, value []byte, time int64, seq uint64) {
		call := binary.AppendUvarint(binary.AppendVarint(binary.AppendUvarint(nil, uint64(person)), time), seq)
		h.add(hashTexts('t', []byte(path), value, call))
	})
	return h
}

// Letters sums over the dead letters, by the checksums that their bytes in the file must have.
func Letters(s *letters.Store) (h Hash) {
	s.EachSum(h.add)
	return h
}

// Documents sums over the documents.
func Documents(d *document.Store) (h Hash) {
	d.Each(func(doc document.Document) {
		h.add(hashTexts('d', []byte(doc.Kind), []byte(doc.Name), doc.Value, binary.AppendUvarint(nil, doc.Index)))
	})
	return h
}

// hashTexts hashes texts with their lengths.
func hashTexts(kind byte, texts ...[]byte) uint64 {
	b := []byte{kind}
	for _, t := range texts {
		b = append(binary.AppendUvarint(b, uint64(len(t))), t...)
	}
	return xxhash.Sum64(b)
}

// hashStep rows of a section are read at a time.
const hashStep = 1 << 15

// Rows reads segments to the last value, row by row. Two rows that were
// sent alike have one hash, whichever files they are in.
type Rows struct {
	x       *identity.Map
	left    func(*segment.Section) (scan.Bits, int, error)
	Rest    func() // called between steps of hashStep rows, nil for nothing
	scratch segment.Scratch
	keys    []uint64
	refs    []uint32
	micros  []int64
	has     []bool
	nums    []float64
	sums    []uint64 // per row: of what was read of it so far
}

// NewRows makes a reader of rows whose persons x knows. left says which rows of a section are
// there, as engine.View.Left; without it all rows are, erased or not.
func NewRows(x *identity.Map, left func(*segment.Section) (scan.Bits, int, error)) *Rows {
	return &Rows{x: x, left: left}
}

// Each calls f with the day and hash of every row of a segment.
func (h *Rows) Each(ctx context.Context, r *segment.Reader, f func(day int32, hash uint64)) error {
	sections := r.Sections()
	for i := range sections {
		s := &sections[i]
		if s.Erased() {
			continue
		}
		left, n, err := scan.Bits(nil), s.Rows(), error(nil)
		if h.left != nil {
			left, n, err = h.left(s)
		}
		if err != nil {
			return err
		}
		if n == 0 {
			continue
		}
		for from := 0; from < s.Rows(); from += hashStep {
			if err := ctx.Err(); err != nil {
				return err
			}
			if err := h.rows(r, s, from, min(from+hashStep, s.Rows())); err != nil {
				return err
			}
			if h.Rest != nil {
				h.Rest()
			}
			for row, sum := range h.sums {
				if left == nil || left.Has(from+row) {
					f(s.Day(), sum)
				}
			}
		}
	}
	return nil
}

// value adds a value of a row: what it is of, and its hash.
func (h *Rows) value(row int, of uint64, hash uint64) { h.sums[row] += mix64(of ^ mix64(hash)) }

func sized[T any](s []T, n int) []T { return slices.Grow(s[:0], n)[:n] }

func (h *Rows) rows(r *segment.Reader, s *segment.Section, from, to int) error {
	n := to - from
	h.keys, h.refs, h.micros, h.has = sized(h.keys, n), sized(h.refs, n), sized(h.micros, n), sized(h.has, n)
	h.nums, h.sums = sized(h.nums, n), sized(h.sums, n)
	clear(h.sums)
	ids, err := r.IDs(s.FirstRow()+from, s.FirstRow()+to)
	if err != nil {
		return err
	}
	if err := s.Keys(h.keys, from, to, &h.scratch); err != nil {
		return err
	}
	if err := s.Received(h.micros, from, to, &h.scratch); err != nil {
		return err
	}
	name := hashTexts('n', []byte(s.Event()))
	var id []byte
	for row, key := range h.keys {
		id = ids.AppendText(id[:0], row)
		h.value(row, 'i', xxhash.Sum64(id))
		h.value(row, 'n', name)
		h.value(row, 't', uint64(segment.KeyTime(key, s.Day())))
		h.value(row, 'r', uint64(h.micros[row]))
	}
	if err := h.ids(s, from, to); err != nil {
		return err
	}
	for kind, column := range map[uint64]func() (segment.Column, bool, error){'s': s.Sources, 'f': s.Shapes} {
		c, ok, err := column()
		if err != nil {
			return err
		}
		if ok {
			if err := h.codes(c, kind, from, to); err != nil {
				return err
			}
		}
	}
	columns, err := s.AllColumns()
	if err != nil {
		return err
	}
	for _, c := range columns {
		if err := h.column(c, from, to); err != nil {
			return err
		}
	}
	return nil
}

// ids adds the texts of userId and anonymousId and checks the references to them.
func (h *Rows) ids(s *segment.Section, from, to int) error {
	if err := s.Users(h.refs, from, to, &h.scratch); err != nil {
		return err
	}
	h.x.RLock()
	defer h.x.RUnlock()
	for row, ref := range h.refs {
		p := segment.KeyPerson(h.keys[row])
		if !h.x.ValidUser(p, ref) {
			return fmt.Errorf("read segment %s: %w: row %d of %s names user %d of person %d", s.Reader().Name(), segment.ErrCorrupt, from+row, s.Event(), ref, p)
		}
		if text := h.x.UserText(p, ref); text != nil {
			h.value(row, 'u', xxhash.Sum64(text))
		}
	}
	if err := s.Anons(h.refs, from, to, &h.scratch); err != nil {
		return err
	}
	for row, ref := range h.refs {
		p := segment.KeyPerson(h.keys[row])
		if !h.x.ValidAnon(p, ref) {
			return fmt.Errorf("read segment %s: %w: row %d of %s names anonymousId %d of person %d", s.Reader().Name(), segment.ErrCorrupt, from+row, s.Event(), ref, p)
		}
		if text := h.x.AnonText(p, ref); text != nil {
			h.value(row, 'a', xxhash.Sum64(text))
		}
	}
	return nil
}

func (h *Rows) column(c segment.Column, from, to int) error {
	of := hashTexts(byte(c.Kind()), []byte(c.Path()))
	switch c.Kind() {
	case batch.KindNumber:
		if err := c.Numbers(h.nums, from, to, &h.scratch); err != nil {
			return err
		}
		for row, v := range h.nums {
			if v == v {
				h.value(row, of, math.Float64bits(v))
			}
		}
	case batch.KindInt:
		clear(h.has)
		if err := c.Ints(h.micros, h.has, from, to, &h.scratch); err != nil {
			return err
		}
		for row, v := range h.micros {
			if h.has[row] {
				h.value(row, of, uint64(v))
			}
		}
	default:
		return h.codes(c, of, from, to)
	}
	return nil
}

func (h *Rows) codes(c segment.Column, of uint64, from, to int) error {
	texts, err := c.Codes(h.refs, from, to, &h.scratch)
	if err != nil {
		return err
	}
	for row, code := range h.refs {
		switch {
		case code == 0:
		case texts == nil:
			h.value(row, of, uint64(code))
		default:
			h.value(row, of, xxhash.Sum64(texts.At(int(code-1))))
		}
	}
	return nil
}

// AddDays sums days of disjoint rows, each list ascending.
func AddDays(a, b []Day) []Day {
	out := make([]Day, 0, len(a)+len(b))
	for len(a) > 0 || len(b) > 0 {
		switch {
		case len(b) == 0 || len(a) > 0 && a[0].Day < b[0].Day:
			out, a = append(out, a[0]), a[1:]
		case len(a) == 0 || b[0].Day < a[0].Day:
			out, b = append(out, b[0]), b[1:]
		default:
			d := a[0]
			d.Rows += b[0].Rows
			d.Hash.Hi += b[0].Hash.Hi
			d.Hash.Lo += b[0].Hash.Lo
			out, a, b = append(out, d), a[1:], b[1:]
		}
	}
	return out
}
