package segment

import (
	"fmt"
	"math"

	"spoor/segment/batch"
	"spoor/segment/encoding"
)

// Reading single rows: of each column only the bits of the row are decoded. And of all rows
// one bit.

// blockOf gives the block of c that holds row: its bytes, its rows and the row's
// place in it.
func (s *Section) blockOf(c *column, row int) (block []byte, n, at int, err error) {
	err = s.r.eachBlock(c, s.rows, row, row+1, func(b []byte, first, rows int) error {
		block, n, at = b, rows, row-first
		return nil
	})
	if err == nil && block == nil {
		err = fmt.Errorf("read segment %s: %w", s.r.name, corrupt("no block for row %d of %d", row, s.rows))
	}
	return block, n, at, err
}

func (s *Section) codeAt(c *column, row int) (uint32, error) {
	b, n, at, err := s.blockOf(c, row)
	if err != nil {
		return 0, err
	}
	code, err := encoding.At[uint32](encoding.NewLane(b), n, at)
	if err != nil {
		return 0, fmt.Errorf("read segment %s: %w", s.r.name, corrupt("code of row %d", row))
	}
	return code, nil
}

// UserAt, AnonAt and ReceivedAt read one row of the columns of the same name.
func (s *Section) UserAt(row int) (uint32, error) { return s.metaAt(kindUser, row) }

// AnonAt is the reference to the anonymousId of a row, 0 for none.
func (s *Section) AnonAt(row int) (uint32, error) { return s.metaAt(kindAnon, row) }

func (s *Section) metaAt(kind batch.Kind, row int) (uint32, error) {
	c, err := s.meta(kind)
	if err != nil || c == nil {
		return 0, err
	}
	return s.codeAt(c, row)
}

// ReceivedAt is when the event of a row was received, in microseconds.
func (s *Section) ReceivedAt(row int) (int64, error) {
	c, err := s.meta(kindReceived)
	if err != nil || c == nil {
		return 0, err
	}
	b, n, at, err := s.blockOf(c, row)
	if err != nil {
		return 0, err
	}
	l := encoding.NewLane(b)
	unit := int64(1)
	if l.Byte() == 1 {
		unit = 1000
	}
	v, err := encoding.At[int64](l, n, at)
	if err != nil {
		return 0, fmt.Errorf("read segment %s: %w", s.r.name, corrupt("receivedAt of row %d", row))
	}
	return v * unit, nil
}

// TextAt is a row's text; ok is false when it has none. The bytes are shared.
func (c Column) TextAt(row int, x *Scratch) (text []byte, ok bool, err error) {
	if c.c.form == formPlain {
		var code [1]uint32
		texts, err := c.plain(code[:], row, row+1, x)
		if err != nil || code[0] == 0 {
			return nil, false, err
		}
		return texts.At(0), true, nil
	}
	code, err := c.CodeAt(row)
	if err != nil || code == 0 {
		return nil, false, err
	}
	dict, err := c.Dict()
	if err != nil {
		return nil, false, err
	}
	if int(code) > dict.Len() {
		return nil, false, fmt.Errorf("read segment %s: %w", c.s.r.name, corrupt("code %d of %d", code, dict.Len()))
	}
	return dict.At(int(code - 1)), true, nil
}

// CodeAt is the code of one row of a column of codes, see Codes.
func (c Column) CodeAt(row int) (uint32, error) { return c.s.codeAt(c.c, row) }

// presence marks the rows that have a value.
var presence = []bool{false, true}

// NumberAt is the number of one row, NaN for none.
func (c Column) NumberAt(row int, x *Scratch) (float64, error) {
	b, n, at, err := c.s.blockOf(c.c, row)
	if err != nil {
		return 0, err
	}
	l := encoding.NewLane(b)
	x.words = grow(x.words, blockRows/64)
	has := x.words
	clear(has)
	if encoding.MatchLane(l, n, presence, has, 0) != nil {
		return 0, fmt.Errorf("read segment %s: %w", c.s.r.name, corrupt("presence"))
	}
	if has[at>>6]>>(at&63)&1 == 0 {
		return math.NaN(), nil
	}
	present, rank := countBits(has, 0, n), countBits(has, 0, at)
	v, err := encoding.FloatAt(l, present, rank)
	if err != nil {
		return 0, fmt.Errorf("read segment %s: %w", c.s.r.name, corrupt("number of row %d", row))
	}
	return v, nil
}
