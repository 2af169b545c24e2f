// Package batch holds events in columns on their way from the collector to a
// segment: a Builder fills a Batch row by row, a log entry carries its encoded
// bytes, Apply decodes them, and the memtable keeps the decoded batch until a
// flush writes its rows into a segment.
//
// A batch is shaped by what the events were, not by a schema: every leaf of the
// JSON that was sent becomes a value of the column (path, kind). Nothing in a
// batch depends on the node that built it, so that every replica that decodes
// one sees the same rows.
package batch

import "encoding/binary"

// Kind is the type of a column's values. A path whose events disagree on the
// type has one column per kind; a row has a value in at most one of them.
type Kind uint8

// The kinds are written to disk; their numbers never change.
const (
	KindString  Kind = 1 // UTF-8 text
	KindNumber  Kind = 2 // a float64 whose shortest decimal form equals the number that was sent
	KindInt     Kind = 3 // an integer within int64 that a float64 would not hold exactly
	KindNumText Kind = 4 // any other number, kept as the text that was sent
	KindBool    Kind = 5
	KindNull    Kind = 6 // an explicit null: the row is present, the value carries nothing
	KindJSON    Kind = 7 // an array, an empty object, or a subtree beyond the flattening limits: its JSON text without insignificant white space
)

// String names the kind as JSON and the schema pages do.
func (k Kind) String() string {
	switch k {
	case KindString:
		return "string"
	case KindNumber:
		return "number"
	case KindInt:
		return "integer"
	case KindNumText:
		return "decimal"
	case KindBool:
		return "boolean"
	case KindNull:
		return "null"
	case KindJSON:
		return "json"
	}
	return "unknown"
}

// HasText tells whether values of the kind are byte strings (Column.Text).
func (k Kind) HasText() bool { return k == KindString || k == KindNumText || k == KindJSON }

// Limits of one batch. The decoder refuses a batch beyond them.
const (
	MaxRows      = 1 << 16
	MaxColumns   = 1 << 14
	MaxBytes     = 8 << 20 // of the encoded form
	MaxPathBytes = 1024    // of one column path, escapes included
)

// ID is an eventId in 16 bytes. An id that is the canonical text of a UUID
// (36 characters, lower case) is that UUID, big endian in Hi and Lo. Any other
// id is text: Lo is its xxhash64, Hi is offset<<16|length into Batch.IDBytes.
// Batch.IDIsText tells the two apart.
type ID struct{ Hi, Lo uint64 }

// Batch is the columnar form of some events. All slices over rows have N
// elements. A batch is immutable once it left its Builder or the decoder;
// readers share it.
type Batch struct {
	N int // rows

	// ReceivedAt is when the leader sealed the batch: microseconds since the
	// Unix epoch, a multiple of 1000. An event without a timestamp has it as its time.
	ReceivedAt int64

	IDs      []ID
	IDIsText []bool // nil: every id is a UUID
	IDBytes  []byte // texts of the ids that are no UUIDs

	Names Codes // eventName
	Users Codes // userId; absent rows have no user
	Anons Codes // anonymousId

	Times []int64 // event time: microseconds since the Unix epoch

	// Shapes says what else must be known to give an event back as it was sent:
	// how its timestamp was written, which optional members were null or empty.
	// The texts are made and read by engine/event alone. Nearly always one for all rows.
	Shapes  Codes
	Sources Codes // source of the write key; absent when no key was used

	// Columns are sorted by (Path, Kind); a row is in at most one column of a path.
	Columns []Column
}

// Codes is one text per row by dictionary: 0 is absent, c is Dict.At(c-1).
type Codes struct {
	Row  []uint32
	Dict Texts
}

// At returns row's text; ok is false where it is absent. The bytes are shared.
func (c *Codes) At(row int) (text []byte, ok bool) {
	code := c.Row[row]
	if code == 0 {
		return nil, false
	}
	return c.Dict.At(int(code - 1)), true
}

// Column is the values of one path and kind.
type Column struct {
	// Path is the way to the value from the event's top level, the parts joined
	// by dots: properties.price, context.device.model. A dot or backslash inside
	// a key is escaped by a backslash. See JoinPath.
	Path string
	Kind Kind

	// Rows are the rows that have a value, ascending. nil: every row has one.
	Rows []uint32

	// Exactly one of these holds the values, in the order of Rows.
	Codes []uint32  // kinds with text, by dictionary: value i is Dict.At(Codes[i]); nil: value i is Dict.At(i)
	Dict  Texts     // kinds with text
	Nums  []float64 // KindNumber
	Ints  []int64   // KindInt
	Bools []bool    // KindBool
}

// Len is the number of rows with a value, in a batch of n rows.
func (c *Column) Len(n int) int {
	if c.Rows == nil {
		return n
	}
	return len(c.Rows)
}

// Row is the row of value i.
func (c *Column) Row(i int) int {
	if c.Rows == nil {
		return i
	}
	return int(c.Rows[i])
}

// Text is value i of a kind with text. The bytes are shared.
func (c *Column) Text(i int) []byte {
	if c.Codes != nil {
		i = int(c.Codes[i])
	}
	return c.Dict.At(i)
}

// Texts is a list of byte strings in one buffer.
type Texts struct {
	Off   []uint32 // len(Off) is the number of texts plus one, or zero for none
	Bytes []byte
}

// Len is the number of texts.
func (t *Texts) Len() int { return max(len(t.Off)-1, 0) }

// At returns text i. The bytes are shared.
func (t *Texts) At(i int) []byte { return t.Bytes[t.Off[i]:t.Off[i+1]:t.Off[i+1]] }

// Append adds a text and returns its index.
func (t *Texts) Append(text []byte) int {
	if len(t.Off) == 0 {
		t.Off = append(t.Off, 0)
	}
	t.Bytes = append(t.Bytes, text...)
	t.Off = append(t.Off, uint32(len(t.Bytes)))
	return len(t.Off) - 2
}

// Reset empties t and keeps its memory.
func (t *Texts) Reset() { t.Off, t.Bytes = t.Off[:0], t.Bytes[:0] }

// IDText returns the eventId of row as it was sent, appended to dst.
func (b *Batch) IDText(dst []byte, row int) []byte {
	id := b.IDs[row]
	if b.IDIsText != nil && b.IDIsText[row] {
		off := id.Hi >> 16
		return append(dst, b.IDBytes[off:off+id.Hi&0xffff]...)
	}
	return AppendUUID(dst, id)
}

const hexDigits = "0123456789abcdef"

// AppendUUID appends the canonical text of id.
func AppendUUID(dst []byte, id ID) []byte {
	for shift := 60; shift >= 0; shift -= 4 {
		if shift == 28 || shift == 12 {
			dst = append(dst, '-')
		}
		dst = append(dst, hexDigits[id.Hi>>shift&15])
	}
	for shift := 60; shift >= 0; shift -= 4 {
		if shift == 60 || shift == 44 {
			dst = append(dst, '-')
		}
		dst = append(dst, hexDigits[id.Lo>>shift&15])
	}
	return dst
}

// ParseUUID reads the canonical text of a UUID: 36 bytes, lower case, any
// version. ok is false for every other text, also for one in upper case.
func ParseUUID(text []byte) (id ID, ok bool) {
	if len(text) != 36 || text[8] != '-' || text[13] != '-' || text[18] != '-' || text[23] != '-' {
		return ID{}, false
	}
	be := binary.BigEndian
	w0, bad0 := hexWord(be.Uint64(text))
	w1, bad1 := hexWord(uint64(be.Uint32(text[9:]))<<32 | uint64(be.Uint32(text[14:])))
	w2, bad2 := hexWord(uint64(be.Uint32(text[19:]))<<32 | uint64(be.Uint32(text[24:])))
	w3, bad3 := hexWord(be.Uint64(text[28:]))
	return ID{Hi: w0<<32 | w1, Lo: w2<<32 | w3}, bad0|bad1|bad2|bad3 == 0
}

// hexWord reads eight lower-case hexadecimal digits at once, the first one in
// the highest byte. bad is not zero where one of them is no such digit.
func hexWord(x uint64) (v, bad uint64) {
	const each = 0x0101010101010101
	letter := x >> 6 & each                         // set in a to f, not in 0 to 9
	v = x&(each*0x0f) + letter*9                    // each digit's value in its byte
	bad = x&(each*0xf0) ^ (each*0x30 + letter*0x30) // '0' is 0x30, 'a' is 0x61
	bad |= (v+each*6)>>4&each ^ letter              // letters are 10 and more, the others less
	bad |= v & (each * 0xf0)                        // and none is above 15
	v = (v | v>>4) & 0x00ff00ff00ff00ff
	v = (v | v>>8) & 0x0000ffff0000ffff
	return (v | v>>16) & 0xffffffff, bad
}

// Hash spreads the id over 64 bits for filters and tables; equal ids have equal hashes.
func (id ID) Hash(isText bool) uint64 {
	h := id.Lo
	if !isText {
		h ^= id.Hi * 0x9e3779b97f4a7c15
	}
	h ^= h >> 32
	h *= 0xd6e8feb86659fd93
	h ^= h >> 32
	return h
}

// ExactInFloat tells whether a float64 holds v exactly.
func ExactInFloat(v int64) bool { return v >= -1<<53 && v <= 1<<53 }

// JoinPath appends key to the column path of its parent ("" for the top level).
func JoinPath(parent, key string) string {
	esc := make([]byte, 0, len(parent)+1+len(key))
	if parent != "" {
		esc = append(append(esc, parent...), '.')
	}
	for i := range len(key) {
		if key[i] == '.' || key[i] == '\\' {
			esc = append(esc, '\\')
		}
		esc = append(esc, key[i])
	}
	return string(esc)
}

// SplitPath returns the keys of a column path.
func SplitPath(path string) []string {
	var keys []string
	var key []byte
	for i := 0; i < len(path); i++ {
		switch {
		case path[i] == '\\' && i+1 < len(path):
			i++
			key = append(key, path[i])
		case path[i] == '.':
			keys = append(keys, string(key))
			key = key[:0]
		default:
			key = append(key, path[i])
		}
	}
	return append(keys, string(key))
}

// MinTime and MaxTime bound event times: 1900-01-01 to 2200-01-01, in
// microseconds since the Unix epoch. The collector refuses events outside, so
// that a window added to any time cannot overflow.
const (
	MinTime = -2208988800 * 1e6
	MaxTime = 7258118400 * 1e6
)
