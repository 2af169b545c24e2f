package event

import (
	"math"
	"strconv"

	"spoor/segment/batch"
)

// Leaf is one column value of an event.
type Leaf struct {
	Path string // as batch.Column has it
	Kind batch.Kind
	Text []byte  // kinds with text
	Num  float64 // KindNumber
	Int  int64   // KindInt
	Bool bool    // KindBool
}

// Row is an event as the store knows it.
type Row struct {
	ID          []byte // text of the eventId
	UserID      []byte // nil: absent
	AnonymousID []byte // nil: absent
	Name        []byte
	Time        int64  // microseconds since the Unix epoch
	Shape       []byte // of the batch; nil for a row that was not sent as JSON
	Leaves      []Leaf // ascending by Path, one per path

	// What the store adds; each is left out where it is zero or nil.
	ReceivedAt int64
	Person     []byte
	Source     []byte
}

// AppendJSON appends the event as one JSON object without white space: equal,
// as JSON, to what was sent, its eventId and what the store adds.
func AppendJSON(dst []byte, e *Row) []byte {
	s, extra, ok := parseShape(e.Shape)
	if !ok {
		empty := s.empty
		s, extra = plainShape(e.Time), nil
		s.empty = empty
	}
	dst = appendString(append(dst, `{"eventId":`...), e.ID)
	if e.UserID != nil {
		dst = appendString(append(dst, `,"userId":`...), e.UserID)
	}
	if e.AnonymousID != nil {
		dst = appendString(append(dst, `,"anonymousId":`...), e.AnonymousID)
	}
	dst = appendString(append(dst, `,"eventName":`...), e.Name)
	switch s.form.kind {
	case timeText:
		dst = append(dst, `,"timestamp":"`...)
		dst = append(appendTime(dst, e.Time, &s.form, extra), '"')
	case timeInteger:
		dst = append(dst, `,"timestamp":`...)
		dst = strconv.AppendInt(dst, e.Time/microsPerMilli, 10)
	}
	for i, empty := range s.empty {
		if empty == notEmpty {
			continue
		}
		dst = append(append(append(dst, ',', '"'), emptyNames[i]...), '"', ':')
		if empty == nullMember {
			dst = append(dst, "null"...)
		} else {
			dst = append(dst, emptyTexts[i]...)
		}
	}
	dst = appendLeaves(dst, e.Leaves)
	if e.ReceivedAt != 0 {
		dst = append(dst, `,"receivedAt":"`...)
		f := timeForm{zone: 'Z', places: 3}
		dst = append(appendTime(dst, e.ReceivedAt, &f, nil), '"')
	}
	if e.Person != nil {
		dst = appendString(append(dst, `,"person":`...), e.Person)
	}
	if e.Source != nil {
		dst = appendString(append(dst, `,"source":`...), e.Source)
	}
	return append(dst, '}')
}

// appendLeaves appends the members that leaves make, each behind a comma.
// Leaves of one object stand together, for their paths share a prefix that no
// other path has; open is that prefix of the leaf before, without its end dot.
func appendLeaves(dst []byte, leaves []Leaf) []byte {
	open, depth := "", 0 // the object that the last member stands in
	comma := true        // the last byte is no opening brace
	for i := range leaves {
		l := &leaves[i]
		for depth > 0 && !within(l.Path, open) {
			dst = append(dst, '}')
			open, depth, comma = parentPath(open), depth-1, true
		}
		rest := l.Path
		if depth > 0 {
			rest = rest[len(open)+1:]
		}
		for {
			if comma {
				dst = append(dst, ',')
			}
			end := partEnd(rest)
			dst = append(appendKey(dst, rest[:end]), ':')
			if end == len(rest) {
				break
			}
			dst = append(dst, '{')
			rest = rest[end+1:]
			open, depth, comma = l.Path[:len(l.Path)-len(rest)-1], depth+1, false
		}
		dst = appendValue(dst, l)
		comma = true
	}
	for range depth {
		dst = append(dst, '}')
	}
	return dst
}

// within tells whether path is below the object of path open.
func within(path, open string) bool {
	return len(path) > len(open) && path[len(open)] == '.' && path[:len(open)] == open
}

// partEnd is the index of the first dot in path that ends a part, or its length.
func partEnd(path string) int {
	for i := 0; i < len(path); i++ {
		switch path[i] {
		case '\\':
			i++
		case '.':
			return i
		}
	}
	return len(path)
}

// parentPath cuts the last part.
func parentPath(path string) string {
	last := 0
	for i := partEnd(path); i < len(path); i += 1 + partEnd(path[i+1:]) {
		last = i
	}
	return path[:last]
}

// appendKey appends one part of a path as a JSON string.
func appendKey(dst []byte, part string) []byte {
	dst = append(dst, '"')
	for i := 0; i < len(part); i++ {
		c := part[i]
		if c == '\\' && i+1 < len(part) {
			i++
			c = part[i]
		}
		dst = appendChar(dst, c)
	}
	return append(dst, '"')
}

func appendValue(dst []byte, l *Leaf) []byte {
	switch l.Kind {
	case batch.KindString:
		return appendString(dst, l.Text)
	case batch.KindNumText, batch.KindJSON:
		return append(dst, l.Text...)
	case batch.KindNumber:
		return appendNumber(dst, l.Num)
	case batch.KindInt:
		return strconv.AppendInt(dst, l.Int, 10)
	case batch.KindBool:
		return strconv.AppendBool(dst, l.Bool)
	default:
		return append(dst, "null"...)
	}
}

// appendNumber writes the shortest form, as JavaScript does.
func appendNumber(dst []byte, v float64) []byte {
	abs := math.Abs(v)
	if abs < 1e15 && v == math.Trunc(v) {
		return strconv.AppendInt(dst, int64(v), 10)
	}
	if abs >= 1e-6 && abs < 1e21 {
		return strconv.AppendFloat(dst, v, 'f', -1, 64)
	}
	return strconv.AppendFloat(dst, v, 'e', -1, 64)
}

// appendString appends text as a JSON string. Only what must be escaped is.
func appendString(dst, text []byte) []byte {
	dst = append(dst, '"')
	for {
		i := 0
		for i < len(text) && text[i] >= 0x20 && text[i] != '"' && text[i] != '\\' {
			i++
		}
		dst = append(dst, text[:i]...)
		if i == len(text) {
			return append(dst, '"')
		}
		dst = appendChar(dst, text[i])
		text = text[i+1:]
	}
}

func appendChar(dst []byte, c byte) []byte {
	switch {
	case c == '"' || c == '\\':
		return append(dst, '\\', c)
	case c == '\n':
		return append(dst, '\\', 'n')
	case c == '\r':
		return append(dst, '\\', 'r')
	case c == '\t':
		return append(dst, '\\', 't')
	case c < 0x20:
		const digits = "0123456789abcdef"
		return append(dst, '\\', 'u', '0', '0', digits[c>>4], digits[c&15])
	}
	return append(dst, c)
}
