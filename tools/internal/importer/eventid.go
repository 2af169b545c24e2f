package importer

import (
	"bytes"
	"encoding/binary"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/uuid"
)

// idSpace is the namespace of the eventIds that an import gives.
var idSpace = uuid.MustParse("5f8a0c7e-3f0e-5d53-9c51-6a9b1d0e7a21")

// namer gives an eventId to the events of one source that have none. The id
// follows from the first line of the source, the number of the line and the line
// itself: a second import of the file gives it again, also after the file has
// grown at its end, and two equal lines stay two events.
type namer struct {
	source [16]byte // of the first line
	begun  bool
	data   []byte
}

// appendNamed appends the line to dst, with an eventId if it has none. A line
// that is no JSON object is appended as it is.
func (n *namer) appendNamed(dst, line []byte, number int64) []byte {
	if !n.begun {
		n.source, n.begun = uuid.NewSHA1(idSpace, line), true
	}
	place := findID(line)
	if place.present || place.at == 0 {
		return append(dst, line...)
	}
	n.data = append(n.data[:0], n.source[:]...)
	n.data = binary.AppendUvarint(n.data, uint64(number))
	n.data = append(n.data, line...)
	id := uuid.NewSHA1(idSpace, n.data).String()

	dst = append(dst, line[:place.at]...)
	if place.until > 0 { // in place of null or ""
		dst = append(append(append(dst, '"'), id...), '"')
		return append(dst, line[place.until:]...)
	}
	dst = append(append(append(dst, `"eventId":"`...), id...), '"')
	if !place.empty {
		dst = append(dst, ',')
	}
	return append(dst, line[place.at:]...)
}

// idPlace is where an event's id stands or belongs.
type idPlace struct {
	present bool
	at      int  // where the id is to be written; 0: nowhere, the line is no object
	until   int  // end of the empty value that it replaces; 0: there is none
	empty   bool // the object has no members
}

// findID looks for eventId among the members of the object. It reads no more
// than it needs to know that: what is malformed is for the server to refuse.
func findID(line []byte) idPlace {
	const usual = `{"eventId":"`
	if bytes.HasPrefix(line, []byte(usual)) && len(line) > len(usual) && line[len(usual)] != '"' {
		return idPlace{present: true}
	}
	i := skipSpace(line, 0)
	if i == len(line) || line[i] != '{' {
		return idPlace{}
	}
	first := i + 1
	i = skipSpace(line, first)
	if i < len(line) && line[i] == '}' {
		return idPlace{at: first, empty: true}
	}
	for i < len(line) && line[i] == '"' {
		keyEnd := skipString(line, i)
		value := skipSpace(line, keyEnd)
		if value >= len(line) || line[value] != ':' {
			return idPlace{}
		}
		value = skipSpace(line, value+1)
		end := skipValue(line, value)
		if isEventID(line[i:keyEnd]) {
			switch string(line[value:end]) {
			case "null", `""`:
				return idPlace{at: value, until: end}
			}
			return idPlace{present: true}
		}
		i = skipSpace(line, end)
		if i >= len(line) || line[i] != ',' {
			break
		}
		i = skipSpace(line, i+1)
	}
	if i >= len(line) || line[i] != '}' {
		return idPlace{}
	}
	return idPlace{at: first}
}

func isEventID(key []byte) bool {
	if bytes.IndexByte(key, '\\') < 0 {
		return string(key) == `"eventId"`
	}
	text, err := jsontext.AppendUnquote(nil, key)
	return err == nil && string(text) == "eventId"
}

func skipSpace(line []byte, i int) int {
	for i < len(line) && (line[i] == ' ' || line[i] == '\t' || line[i] == '\r') {
		i++
	}
	return i
}

// skipString returns the index behind the string that begins at i.
func skipString(line []byte, i int) int {
	for i++; i < len(line); i++ {
		switch line[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return len(line)
}

// skipValue returns the index behind the value that begins at i.
func skipValue(line []byte, i int) int {
	depth := 0
	for i < len(line) {
		switch line[i] {
		case '"':
			i = skipString(line, i)
			if depth == 0 {
				return i
			}
			continue
		case '{', '[':
			depth++
		case '}', ']':
			if depth == 0 {
				return i
			}
			if depth--; depth == 0 {
				return i + 1
			}
		case ',', ' ', '\t':
			if depth == 0 {
				return i
			}
		}
		i++
	}
	return i
}
