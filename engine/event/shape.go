package event

import (
	"strconv"
)

// The shape of a row is a short text, nearly always one for a whole batch:
//
//   - no timestamp was sent
//     i                 a number of milliseconds
//     T3Z  t0+02:00     RFC 3339: T or t, digits of the fraction, zone as written
//     T9.789Z           digits of the fraction beyond microseconds behind the point
//
// and, where a member stands there without saying anything, a space and one
// letter each for userId, anonymousId, properties and context: n for null, e
// for an empty string or object, a point for neither.
type shape struct {
	form  timeForm
	empty [4]emptiness
}

type emptiness uint8

const (
	notEmpty   emptiness = iota // absent, or with a value
	nullMember                  // null
	emptyValue                  // "" or {}
)

// Indexes into shape.empty.
const (
	emptyUser = iota
	emptyAnon
	emptyProperties
	emptyContext
)

var (
	emptyLetters = [...]byte{notEmpty: '.', nullMember: 'n', emptyValue: 'e'}
	emptyNames   = [4]string{"userId", "anonymousId", "properties", "context"}
	emptyTexts   = [4]string{`""`, `""`, `{}`, `{}`}
)

func (s *shape) appendText(dst, extra []byte) []byte {
	switch f := &s.form; f.kind {
	case timeAbsent:
		dst = append(dst, '-')
	case timeInteger:
		dst = append(dst, 'i')
	case timeText:
		if f.lowerT {
			dst = append(dst, 't')
		} else {
			dst = append(dst, 'T')
		}
		dst = strconv.AppendUint(dst, uint64(f.places), 10)
		if len(extra) > 0 {
			dst = append(append(dst, '.'), extra...)
		}
		dst = append(dst, f.zone)
		if f.zone == '+' || f.zone == '-' {
			dst = append2(dst, int64(f.offset/60))
			dst = append2(append(dst, ':'), int64(f.offset%60))
		}
	}
	if s.empty != [4]emptiness{} {
		dst = append(dst, ' ')
		for _, e := range s.empty {
			dst = append(dst, emptyLetters[e])
		}
	}
	return dst
}

// parseShape reads what appendText wrote. A text of another form, as of a row
// that this package did not make, gives ok false.
func parseShape(t []byte) (s shape, extra []byte, ok bool) {
	if n := len(t); n >= 6 && t[n-5] == ' ' {
		for i, c := range t[n-4:] {
			switch c {
			case 'n':
				s.empty[i] = nullMember
			case 'e':
				s.empty[i] = emptyValue
			}
		}
		t = t[:n-5]
	}
	if len(t) == 0 {
		return s, nil, false
	}
	f := &s.form
	switch t[0] {
	case '-':
		return s, nil, len(t) == 1
	case 'i':
		f.kind = timeInteger
		return s, nil, len(t) == 1
	case 'T', 't':
	default:
		return s, nil, false
	}
	f.kind, f.lowerT = timeText, t[0] == 't'
	i := digitsEnd(t, 1)
	places, err := strconv.ParseUint(string(t[1:i]), 10, 8)
	if err != nil {
		return s, nil, false
	}
	f.places = uint8(places)
	if i < len(t) && t[i] == '.' {
		end := digitsEnd(t, i+1)
		extra, i = t[i+1:end], end
	}
	if len(extra) != max(int(places)-microPlaces, 0) || i >= len(t) {
		return s, nil, false
	}
	f.zone = t[i]
	switch zone := t[i+1:]; f.zone {
	case 'Z', 'z':
		return s, extra, len(zone) == 0
	case '+', '-':
		if len(zone) != len("00:00") || digitsEnd(zone, 0) != 2 || digitsEnd(zone, 3) != 5 {
			return s, nil, false
		}
		h, m := int16(zone[0]-'0')*10+int16(zone[1]-'0'), int16(zone[3]-'0')*10+int16(zone[4]-'0')
		f.offset = h*60 + m
		return s, extra, true
	}
	return s, nil, false
}

// plainShape is how a time is spelled for which no shape is known: UTC, with
// as many digits as it needs.
func plainShape(time int64) shape {
	s := shape{form: timeForm{kind: timeText, zone: 'Z'}}
	switch {
	case time%microsPerSecond == 0:
	case time%microsPerMilli == 0:
		s.form.places = 3
	default:
		s.form.places = microPlaces
	}
	return s
}

// shapeText returns the text of the current event's shape, good until the next
// call. Events of one client nearly always have one shape.
func (d *Decoder) shapeText() []byte {
	f := &d.ev
	if len(f.ts.extra) == 0 && f.shape == d.lastShape && len(d.shapeBuf) > 0 {
		return d.shapeBuf
	}
	d.shapeBuf = f.shape.appendText(d.shapeBuf[:0], f.ts.extra)
	if d.lastShape = f.shape; len(f.ts.extra) > 0 {
		d.lastShape.form.kind = 0xff // the text has digits that the value does not
	}
	return d.shapeBuf
}
