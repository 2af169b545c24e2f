package segment

import (
	"encoding/binary"
	"slices"

	"spoor/segment/batch"
	"spoor/segment/encoding"
)

// Which values the rows of a section have, and conditions on them. A column of codes with few values
// says in the directory how many rows have each, so that a count with a condition, and what no
// row or every row passes, needs no row; any other condition is evaluated on the codes as they stand.

const (
	// maxValues is up to how many values of a section, no value counted as one, are counted.
	maxValues = 256
	// rowsPerValue is how many rows a section must have for each, so that the counts
	// take no more than about an eighth of a byte a row.
	rowsPerValue = 16
)

// values are the codes that rows of a column have, ascending, 0 of rows without a value among them, and
// the rows of each.
type values struct {
	codes []uint32
	rows  []uint32
}

// counted tells whether files say which values a column has: of columns that conditions are about.
func counted(kind batch.Kind, form byte) bool {
	return (form == formCodes || form == formDict) && (kind < kindReceived || kind == kindSource)
}

// append appends
//
//	| uvarint values, 0: not counted | lane of codes | lane of rows |
func (v *values) append(dst []byte) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(v.codes)))
	if len(v.codes) == 0 {
		return dst
	}
	return encoding.AppendLane(encoding.AppendLane(dst, v.codes, false), v.rows, false)
}

// readValues reads what append has written for the column c of a section of rows rows.
func readValues(l *encoding.Lane, c *column, rows int) {
	n := l.Count(maxValues)
	if n == 0 || l.Err() != nil {
		return
	}
	v := values{make([]uint32, n), make([]uint32, n)}
	_ = encoding.ReadInts(l, v.codes)
	_ = encoding.ReadInts(l, v.rows)
	sum := uint64(0)
	for i, code := range v.codes {
		if i > 0 && code <= v.codes[i-1] || v.rows[i] == 0 {
			l.Fail()
			return
		}
		sum += uint64(v.rows[i])
	}
	if present := rows - v.of(0); sum != uint64(rows) || present != c.present {
		l.Fail()
		return
	}
	c.values = v
}

// of is the number of rows with a code.
func (v *values) of(code uint32) int {
	if i, ok := slices.BinarySearch(v.codes, code); ok {
		return int(v.rows[i])
	}
	return 0
}

// tally counts the codes of sections.
type tally struct {
	rows []uint32 // by code, all 0 between two sections
	seen []uint32 // codes that rows counts
}

// denseCodes is up to which code rows are counted in tables, without a look at which codes they have.
const denseCodes = 4096

// count counts the codes of a section: the rows with a value, and the values if they are few.
func (t *tally) count(codes []uint32) (present int, v values) {
	few := min(maxValues, len(codes)/rowsPerValue)
	if most := greatest(codes); int(most) < min(len(codes), denseCodes) {
		return t.dense(codes, int(most)+1, few)
	}
	for i := 0; i < len(codes); {
		code, first := codes[i], i
		for i++; i < len(codes) && codes[i] == code; i++ {
		}
		if code != 0 {
			present += i - first
		}
		if few < 0 {
			continue
		}
		if int(code) >= len(t.rows) {
			t.rows = append(t.rows, make([]uint32, int(code)+1-len(t.rows))...)
		}
		if t.rows[code] == 0 {
			if t.seen = append(t.seen, code); len(t.seen) > few {
				few = -1 // too many: only those with a value are counted on
			}
		}
		t.rows[code] += uint32(i - first)
	}
	if few >= 0 {
		slices.Sort(t.seen)
		v.codes, v.rows = slices.Clone(t.seen), make([]uint32, len(t.seen))
		for i, code := range t.seen {
			v.rows[i] = t.rows[code]
		}
	}
	for _, code := range t.seen {
		t.rows[code] = 0
	}
	t.seen = t.seen[:0]
	return present, v
}

// dense counts codes below n in two tables, for rows of one code often follow each other, and each would wait for the one before.
func (t *tally) dense(codes []uint32, n, few int) (present int, v values) {
	if len(t.rows) < 2*n {
		t.rows = make([]uint32, 2*n)
	}
	even, odd := t.rows[:n], t.rows[n:2*n]
	for i := 0; i+1 < len(codes); i += 2 {
		even[codes[i]]++
		odd[codes[i+1]]++
	}
	if len(codes)%2 != 0 {
		even[codes[len(codes)-1]]++
	}
	distinct := 0
	for code := range even {
		if even[code] += odd[code]; even[code] > 0 {
			distinct++
		}
	}
	present = len(codes) - int(even[0])
	if distinct <= few {
		v.codes, v.rows = make([]uint32, 0, distinct), make([]uint32, 0, distinct)
		for code, rows := range even {
			if rows > 0 {
				v.codes, v.rows = append(v.codes, uint32(code)), append(v.rows, rows)
			}
		}
	}
	clear(t.rows[:2*n])
	return present, v
}

// Values are the codes that the section's rows have, ascending, with 0 of rows without a value, and how
// many rows have each. ok is false where the file does not say: of many values, in
// small sections, and in files of version 1. Both slices are shared.
func (c Column) Values() (codes, rows []uint32, ok bool) {
	return c.c.values.codes, c.c.values.rows, len(c.c.values.codes) > 0
}

// Match sets in out, a bit for each of the rows [from, to), those whose code pass marks, by code as Codes gives it. It
// is for columns of codes, whose texts, if any, stand in a dictionary: pass has an element for each of its codes and for 0.
func (c Column) Match(pass []bool, out []uint64, from, to int, x *Scratch) error {
	if c.c.form != formCodes && c.c.form != formDict {
		return corrupt("column of form %d has no codes", c.c.form)
	}
	return c.s.r.eachBlock(c.c, c.s.rows, from, to, func(b []byte, first, n int) error {
		x.Blocks++
		words, at := out, first-from
		inside := first >= from && first+n <= to
		if !inside {
			x.words = grow(x.words, blockRows/64)
			clear(x.words)
			words, at = x.words, 0
		}
		if err := encoding.MatchLane(encoding.NewLane(b), n, pass, words, at); err != nil {
			return corrupt("codes of column %d", c.c.path)
		}
		if !inside {
			for row := max(first, from); row < min(first+n, to); row++ {
				at, to := row-first, row-from
				out[to>>6] |= words[at>>6] >> (at & 63) & 1 << (to & 63)
			}
		}
		return nil
	})
}

// Section is the section that the column is of.
func (c Column) Section() *Section { return c.s }
