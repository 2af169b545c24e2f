package collect

import (
	"strconv"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

// AppendJSON appends the answer to a request, always valid UTF-8:
//
//	{"accepted":n,"duplicates":n,"rejected":[{"index","eventId","code","message","deadLetter"}],"assigned":[{"index","eventId"}]}
//
// eventId of a refused event stands as far as it could be read, at most 100
// bytes of it; deadLetter is true or left out; assigned is left out where no id was assigned.
func (r *Request) AppendJSON(dst []byte) []byte {
	dst = r.appendCounts(dst)
	if len(r.Assigned) > 0 {
		dst = append(dst, `,"assigned":[`...)
		for i := range r.Assigned {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = strconv.AppendInt(append(dst, `{"index":`...), int64(r.Assigned[i].Index), 10)
			dst = append(quote(append(dst, `,"eventId":`...), r.AssignedID(i)), '}')
		}
		dst = append(dst, ']')
	}
	return append(dst, '}')
}

// AppendOneJSON appends the answer to a request of one event: the counts, and
// its eventId where one was assigned.
func (r *Request) AppendOneJSON(dst []byte) []byte {
	dst = r.appendCounts(dst)
	if len(r.Assigned) > 0 {
		dst = quote(append(dst, `,"eventId":`...), r.AssignedID(0))
	}
	return append(dst, '}')
}

// AppendErrorJSON is AppendJSON with an error in front, for a request that
// failed as a whole by what its events were.
func (r *Request) AppendErrorJSON(dst []byte, code, message string) []byte {
	dst = quote(append(dst, `{"error":{"code":`...), []byte(code))
	dst = quote(append(dst, `,"message":`...), []byte(message))
	dst = append(dst, '}', ',')
	counts := len(dst)
	dst = r.appendCounts(dst)
	dst = append(dst[:counts], dst[counts+1:]...) // without its opening brace
	return append(dst, '}')
}

func (r *Request) appendCounts(dst []byte) []byte {
	dst = strconv.AppendInt(append(dst, `{"accepted":`...), int64(r.Accepted+r.Calls), 10)
	dst = strconv.AppendInt(append(dst, `,"duplicates":`...), int64(r.Duplicates), 10)
	dst = append(dst, `,"rejected":[`...)
	for i := range r.Rejected {
		x := &r.Rejected[i]
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = strconv.AppendInt(append(dst, `{"index":`...), int64(x.Index), 10)
		if x.id.n > 0 {
			dst = quote(append(dst, `,"eventId":`...), wholeRunes(r.RejectedID(i)))
		}
		dst = quote(append(dst, `,"code":`...), []byte(x.Code))
		dst = quote(append(dst, `,"message":`...), []byte(x.Message))
		if x.Kept {
			dst = append(dst, `,"deadLetter":true`...)
		}
		dst = append(dst, '}')
	}
	return append(dst, ']')
}

// wholeRunes cuts a rune that was cut already off the end.
func wholeRunes(text []byte) []byte {
	for i := len(text) - 1; i >= 0 && i >= len(text)-utf8.UTFMax; i-- {
		if utf8.RuneStart(text[i]) {
			if !utf8.FullRune(text[i:]) {
				return text[:i]
			}
			break
		}
	}
	return text
}

// quote appends text as a JSON string; what is no UTF-8 in it is replaced.
func quote(dst, text []byte) []byte {
	dst, _ = jsontext.AppendQuote(dst, text)
	return dst
}
