package spoor

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"time"
	"unicode/utf8"
)

// maxDepth is how deep the server lets values nest; it also ends a map that
// contains itself.
const maxDepth = 64

var errDepth = errors.New("it is nested more than 64 deep")

// encoded is a value that was written before.
type encoded []byte

// appendValue writes v as JSON. The usual types are written here without
// reflection; encoding/json writes the others.
func appendValue(dst []byte, v any, depth int) ([]byte, error) {
	switch v := v.(type) {
	case nil:
		return append(dst, "null"...), nil
	case encoded:
		return append(dst, v...), nil
	case string:
		return appendString(dst, v), nil
	case bool:
		return strconv.AppendBool(dst, v), nil
	case int:
		return strconv.AppendInt(dst, int64(v), 10), nil
	case int32:
		return strconv.AppendInt(dst, int64(v), 10), nil
	case int64:
		return strconv.AppendInt(dst, v, 10), nil
	case uint64:
		return strconv.AppendUint(dst, v, 10), nil
	case float64:
		return appendFloat(dst, v)
	case time.Time:
		return append(v.AppendFormat(append(dst, '"'), time.RFC3339Nano), '"'), nil
	case map[string]any:
		return appendMap(dst, v, depth+1)
	case []any:
		return appendSlice(dst, v, depth+1)
	case []string:
		return appendStrings(dst, v), nil
	}
	text, err := json.Marshal(v)
	if err != nil {
		return dst, err
	}
	return append(dst, text...), nil
}

func appendFloat(dst []byte, v float64) ([]byte, error) {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return dst, fmt.Errorf("%v is no number of JSON", v)
	}
	format := byte('f')
	if abs := math.Abs(v); abs != 0 && (abs < 1e-6 || abs >= 1e21) {
		format = 'e'
	}
	return strconv.AppendFloat(dst, v, format, -1, 64), nil
}

func appendMap(dst []byte, members map[string]any, depth int) ([]byte, error) {
	if depth > maxDepth {
		return dst, errDepth
	}
	dst = append(dst, '{')
	first := len(dst)
	for name, value := range members {
		if len(dst) > first {
			dst = append(dst, ',')
		}
		dst = append(appendString(dst, name), ':')
		var err error
		if dst, err = appendValue(dst, value, depth); err != nil {
			return dst, fmt.Errorf("%.100q: %w", name, err)
		}
	}
	return append(dst, '}'), nil
}

func appendSlice(dst []byte, values []any, depth int) ([]byte, error) {
	if depth > maxDepth {
		return dst, errDepth
	}
	dst = append(dst, '[')
	for i, value := range values {
		if i > 0 {
			dst = append(dst, ',')
		}
		var err error
		if dst, err = appendValue(dst, value, depth); err != nil {
			return dst, err
		}
	}
	return append(dst, ']'), nil
}

func appendStrings(dst []byte, values []string) []byte {
	dst = append(dst, '[')
	for i, value := range values {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendString(dst, value)
	}
	return append(dst, ']')
}

// appendString writes s in quotes. Bytes that are no UTF-8 become U+FFFD: the
// server refuses them.
func appendString(dst []byte, s string) []byte {
	dst = append(dst, '"')
	done := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c >= ' ' && c != '"' && c != '\\' && c < utf8.RuneSelf {
			i++
			continue
		}
		if c >= utf8.RuneSelf {
			if r, size := utf8.DecodeRuneInString(s[i:]); r != utf8.RuneError || size > 1 {
				i += size
				continue
			}
		}
		dst = append(dst, s[done:i]...)
		switch {
		case c == '"' || c == '\\':
			dst = append(dst, '\\', c)
		case c >= utf8.RuneSelf:
			dst = append(dst, "\ufffd"...)
		default:
			const hex = "0123456789abcdef"
			dst = append(dst, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		}
		i++
		done = i
	}
	return append(append(dst, s[done:]...), '"')
}
