package dialect

import (
	"math"
	"strconv"
	"strings"
	"time"
)

// Time reads a point in time as clients write it and returns it as JSON that
// the native API takes, spelled as it came where that is RFC 3339. value is JSON:
//
//   - a string of RFC 3339, also without a zone (UTC), with a space for the T,
//     with a zone without colon, or a date alone
//   - a number, or a string of one, since 1970: below 10^11 seconds, also with a fraction,
//     below 10^14 milliseconds, below 10^17 microseconds, above it nanoseconds
//
// ok is false where it is none of them. An absent, null or empty value is no time: nil and true.
func Time(value []byte) (out []byte, ok bool) {
	raw := Text(value)
	if len(raw) > maxTimeBytes {
		return nil, false
	}
	if len(raw) > len("2026-11-28T") && raw[10] == 'T' && len(raw)+2 == len(value) { // as most clients do
		if _, err := time.Parse(time.RFC3339Nano, string(raw)); err == nil {
			return value, true
		}
	}
	text := strings.TrimSpace(string(raw))
	if text == "" {
		return nil, len(value) == 0 || string(value) == "null" || value[0] == '"'
	}
	if n, err := strconv.ParseFloat(text, 64); err == nil {
		t, ok := numericTime(text, n)
		if !ok {
			return nil, false
		}
		return FormatTime(t), true
	}
	for _, layout := range timeLayouts {
		t, err := time.Parse(layout, text)
		if err != nil {
			continue
		}
		if layout == time.RFC3339Nano && strings.IndexByte(text, 'T') == 10 {
			return Quote(nil, []byte(text)), true
		}
		return FormatTime(t), true
	}
	return nil, false
}

// localLayouts are those of times without a zone.
var localLayouts = []string{"2006-01-02T15:04:05.999999999", "2006-01-02 15:04:05.999999999"}

// Local reads a date and time without a zone, as of UTC.
func Local(value []byte) (t time.Time, ok bool) {
	text := string(Text(value))
	if len(text) > maxTimeBytes {
		return t, false
	}
	for _, layout := range localLayouts {
		if t, err := time.Parse(layout, text); err == nil {
			return t, true
		}
	}
	return t, false
}

const (
	zoneStep = 15 * time.Minute // offsets of time zones are whole ones of these
	maxZone  = 15 * time.Hour
)

// ZoneOf is how far the clock of a device is from UTC that says that it is sent,
// a time without a zone, at now.
func ZoneOf(sent, now time.Time) time.Duration {
	offset := sent.Sub(now).Round(zoneStep)
	if offset.Abs() > maxZone {
		return 0 // a wrong clock, not a zone
	}
	return offset
}

// maxTimeBytes bounds the text of a time.
const maxTimeBytes = 100

var timeLayouts = []string{
	time.RFC3339Nano,
	"2006-01-02T15:04:05.999999999Z0700",
	"2006-01-02T15:04:05.999999999",
	"2006-01-02 15:04:05.999999999Z07:00",
	"2006-01-02 15:04:05.999999999",
	"2006-01-02T15:04Z07:00",
	"2006-01-02",
}

func numericTime(text string, n float64) (time.Time, bool) {
	abs := math.Abs(n)
	if !(abs < 1e20) {
		return time.Time{}, false
	}
	unit := time.Nanosecond
	switch {
	case abs < 1e11:
		unit = time.Second
	case abs < 1e14:
		unit = time.Millisecond
	case abs < 1e17:
		unit = time.Microsecond
	}
	if whole, err := strconv.ParseInt(text, 10, 64); err == nil {
		perSecond := int64(time.Second / unit)
		return time.Unix(whole/perSecond, whole%perSecond*int64(unit)).UTC(), true
	}
	seconds := n * unit.Seconds()
	whole := math.Floor(seconds)
	return time.Unix(int64(whole), int64(math.Round((seconds-whole)*1e6))*1000).UTC(), true
}

// FormatTime writes a time as JSON, with as many digits as it has down to microseconds.
func FormatTime(t time.Time) []byte {
	return t.UTC().Truncate(time.Microsecond).AppendFormat(nil, `"`+time.RFC3339Nano+`"`)
}

// TimeHelp says what Time takes.
const TimeHelp = "the time is neither RFC 3339 nor a number of seconds, milliseconds or microseconds since 1970"
