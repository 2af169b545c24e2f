// Package grep tells whether stored bytes hold a text, in the ways in which Spoor
// stores texts. It is how a deletion is proved: what it does not find must not be there.
package grep

import (
	"bytes"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

// Contains tells whether text holds wanted as it is, or with the escapes of JSON
// taken out: arrays are kept as the JSON that was sent, which may write any character as an escape.
func Contains(text, wanted []byte) bool {
	if bytes.Contains(text, wanted) {
		return true
	}
	return bytes.IndexByte(text, '\\') >= 0 && bytes.Contains(unescape(text), wanted)
}

var short = map[byte]byte{'"': '"', '\\': '\\', '/': '/', 'b': '\b', 'f': '\f', 'n': '\n', 'r': '\r', 't': '\t'}

// unescape takes the escapes of JSON out of bytes that need be no JSON.
func unescape(b []byte) []byte {
	out := make([]byte, 0, len(b))
	for i := 0; i < len(b); i++ {
		if b[i] != '\\' || i+1 == len(b) {
			out = append(out, b[i])
			continue
		}
		if c, ok := short[b[i+1]]; ok {
			out = append(out, c)
			i++
			continue
		}
		r, ok := unit(b[i:])
		if !ok {
			out = append(out, b[i])
			continue
		}
		i += 5
		if utf16.IsSurrogate(r) {
			if low, ok := unit(b[i+1:]); ok {
				if pair := utf16.DecodeRune(r, low); pair != utf8.RuneError {
					r = pair
					i += 6
				}
			}
		}
		out = utf8.AppendRune(out, r)
	}
	return out
}

// unit reads an escape of a UTF-16 unit at the beginning of b.
func unit(b []byte) (rune, bool) {
	if len(b) < 6 || b[0] != '\\' || b[1] != 'u' {
		return 0, false
	}
	n, err := strconv.ParseUint(string(b[2:6]), 16, 16)
	return rune(n), err == nil
}
