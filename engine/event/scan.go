package event

import (
	"encoding/binary"
	"math/bits"
	"unicode/utf8"
)

// A span is a text of the event that is being read: in the input, or where it
// had to be rewritten, in the decoder's scratch memory.
type span struct{ off, n uint32 }

const inScratch = 1 << 31

func (d *Decoder) text(s span) []byte {
	if s.off&inScratch != 0 {
		off := s.off &^ inScratch
		return d.scratch[off : off+s.n]
	}
	return d.data[s.off : s.off+s.n]
}

const (
	lowBits  = 0x0101010101010101
	highBits = 0x8080808080808080
)

// What scanString met.
const (
	sawEscape   = 1
	sawNonASCII = 2
)

// scanString finds the end of the string whose first byte behind the quote is
// at p: the index of its closing quote, or -1-i where byte i cannot stand in a
// string or the input ends. Eight bytes are looked at in a step.
func scanString(b []byte, p int) (end int, saw int) {
	var all uint64
	for p+8 <= len(b) {
		w := binary.LittleEndian.Uint64(b[p:])
		quote := w ^ lowBits*'"'
		slash := w ^ lowBits*'\\'
		// A byte's high bit is set in hit if it is a quote, a backslash or a
		// control character. Bytes above the lowest hit may be set wrongly.
		hit := ((quote-lowBits)&^quote | (slash-lowBits)&^slash | (w-lowBits*0x20)&^w) & highBits
		if hit == 0 {
			all |= w
			p += 8
			continue
		}
		all |= w & (hit&-hit - 1)
		p += bits.TrailingZeros64(hit) >> 3
		switch b[p] {
		case '"':
			if all&highBits != 0 {
				saw |= sawNonASCII
			}
			return p, saw
		case '\\':
			saw |= sawEscape
			p += 2
		default:
			return -1 - p, saw
		}
	}
	for p < len(b) {
		c := b[p]
		all |= uint64(c)
		switch {
		case c == '"':
			if all&highBits != 0 {
				saw |= sawNonASCII
			}
			return p, saw
		case c == '\\':
			saw |= sawEscape
			p += 2
		case c < 0x20:
			return -1 - p, saw
		default:
			p++
		}
	}
	return -1 - len(b), saw
}

// str reads the string whose first byte behind the opening quote is at p and
// returns its text and the index behind the closing quote, or -1.
func (d *Decoder) str(p int) (s span, next int) {
	end, saw := scanString(d.data, p)
	if end >= 0 && saw == 0 {
		return span{uint32(p), uint32(end - p)}, end + 1
	}
	return d.strSlow(p, end, saw)
}

func (d *Decoder) strSlow(p, end, saw int) (s span, next int) {
	if end < 0 {
		at := -1 - end
		if at >= len(d.data) {
			return span{}, d.malformed(at, "a string does not end")
		}
		return span{}, d.malformed(at, "a control character in a string must be escaped")
	}
	if saw&sawNonASCII != 0 && !utf8.Valid(d.data[p:end]) {
		return span{}, d.fail(CodeInvalidUTF8, p, "the text is not valid UTF-8; send JSON in UTF-8")
	}
	if saw&sawEscape == 0 {
		return span{uint32(p), uint32(end - p)}, end + 1
	}
	from := len(d.scratch)
	if !d.unescape(p, end) {
		return span{}, -1
	}
	return span{uint32(from) | inScratch, uint32(len(d.scratch) - from)}, end + 1
}

// unescape appends the text of data[p:end] to scratch.
func (d *Decoder) unescape(p, end int) bool {
	b := d.data[:end]
	out := d.scratch
	for p < end {
		c := b[p]
		if c != '\\' {
			out = append(out, c)
			p++
			continue
		}
		if p+1 >= end {
			d.malformed(p, "an escape is cut off")
			return false
		}
		switch c = b[p+1]; c {
		case '"', '\\', '/':
			out = append(out, c)
		case 'b':
			out = append(out, '\b')
		case 'f':
			out = append(out, '\f')
		case 'n':
			out = append(out, '\n')
		case 'r':
			out = append(out, '\r')
		case 't':
			out = append(out, '\t')
		case 'u':
			r, size := unicodeEscape(b[p:])
			if size == 0 {
				d.malformed(p, `\u must be followed by four hexadecimal digits`)
				return false
			}
			if r < 0 {
				d.fail(CodeInvalidUTF8, p, `a \u escape is half of a surrogate pair; send both halves`)
				return false
			}
			out = utf8.AppendRune(out, r)
			p += size
			continue
		default:
			d.malformed(p, "an unknown escape in a string")
			return false
		}
		p += 2
	}
	d.scratch = out
	return true
}

// unicodeEscape reads \uXXXX, or two of them that are a surrogate pair. size is
// 0 where a digit is wrong, r is negative for half a pair.
func unicodeEscape(b []byte) (r rune, size int) {
	r, ok := hex4(b)
	if !ok {
		return 0, 0
	}
	if r < 0xd800 || r > 0xdfff {
		return r, 6
	}
	if r < 0xdc00 && len(b) >= 12 && b[6] == '\\' && b[7] == 'u' {
		low, ok := hex4(b[6:])
		if ok && low >= 0xdc00 && low <= 0xdfff {
			return 0x10000 + (r-0xd800)<<10 + (low - 0xdc00), 12
		}
	}
	return -1, 6
}

func hex4(b []byte) (r rune, ok bool) {
	if len(b) < 6 {
		return 0, false
	}
	for _, c := range b[2:6] {
		r <<= 4
		switch {
		case c >= '0' && c <= '9':
			r |= rune(c - '0')
		case c >= 'a' && c <= 'f':
			r |= rune(c - 'a' + 10)
		case c >= 'A' && c <= 'F':
			r |= rune(c - 'A' + 10)
		default:
			return 0, false
		}
	}
	return r, true
}

// space returns the first index from p on that is no JSON white space.
func space(b []byte, p int) int {
	for p < len(b) && (b[p] == ' ' || b[p] == '\n' || b[p] == '\r' || b[p] == '\t') {
		p++
	}
	return p
}
