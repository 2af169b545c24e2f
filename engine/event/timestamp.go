package event

import "spoor/segment/batch"

// A timestamp is a point in time and how it was spelled.
type timestamp struct {
	time  int64 // microseconds since the Unix epoch
	form  timeForm
	extra []byte // digits of the fraction beyond microseconds, in the input
}

// timeForm is all about the spelling that is no digit of the time itself.
type timeForm struct {
	kind   timeKind
	places uint8 // digits of the fraction
	lowerT bool  // RFC 3339 allows t and z
	zone   byte  // 'Z', 'z', '+' or '-'
	offset int16 // minutes, without sign
}

type timeKind uint8

const (
	timeAbsent timeKind = iota
	timeInteger
	timeText
)

const (
	maxTimestampBytes = 64
	microPlaces       = 6
	microsPerMilli    = 1000
	microsPerSecond   = 1e6
	microsPerMinute   = 60e6
	secondsPerDay     = 86400
)

var placeValue = [microPlaces + 1]int64{1e6, 1e5, 1e4, 1e3, 100, 10, 1}

// parseTimestamp reads RFC 3339 text: a zone is required, leap seconds and
// 24:00 are refused, and the time must lie between 1900 and 2199.
func parseTimestamp(t []byte) (ts timestamp, ok bool) {
	if len(t) < len("2006-01-02T15:04:05Z") || len(t) > maxTimestampBytes {
		return ts, false
	}
	// Each read is masked into bad, so that the common case has one branch.
	var bad byte
	two := func(i int) int64 {
		hi, lo := t[i]-'0', t[i+1]-'0'
		bad |= hi | (hi + 0x76) | lo | (lo + 0x76) // high bit set unless both are digits
		return int64(hi)*10 + int64(lo)
	}
	year := two(0)*100 + two(2)
	month, day := two(5), two(8)
	hour, minute, second := two(11), two(14), two(17)
	bad &= 0x80
	if bad != 0 || t[4] != '-' || t[7] != '-' || t[13] != ':' || t[16] != ':' || t[10]|0x20 != 't' {
		return ts, false
	}
	if month < 1 || month > 12 || day < 1 || hour > 23 || minute > 59 || second > 59 || day > daysIn(year, month) {
		return ts, false
	}
	ts.form.kind = timeText
	ts.form.lowerT = t[10] == 't'
	i := 19
	micros := int64(0)
	if t[i] == '.' {
		i++
		from := i
		for i < len(t) && t[i]-'0' <= 9 {
			if i-from < microPlaces {
				micros = micros*10 + int64(t[i]-'0')
			}
			i++
		}
		places := i - from
		if places == 0 {
			return ts, false
		}
		ts.form.places = uint8(places)
		micros *= placeValue[min(places, microPlaces)]
		if places > microPlaces {
			ts.extra = t[from+microPlaces : i]
		}
	}
	if i >= len(t) {
		return ts, false
	}
	shift := int64(0)
	switch ts.form.zone = t[i]; ts.form.zone {
	case 'Z', 'z':
		i++
	case '+', '-':
		if len(t)-i != len("+00:00") || t[i+3] != ':' {
			return ts, false
		}
		h, m := two(i+1), two(i+4)
		if bad&0x80 != 0 || h > 23 || m > 59 {
			return ts, false
		}
		ts.form.offset = int16(h*60 + m)
		shift = (h*60 + m) * microsPerMinute
		if ts.form.zone == '-' {
			shift = -shift
		}
		i += len("+00:00")
	default:
		return ts, false
	}
	if i != len(t) {
		return ts, false
	}
	seconds := days(year, month, day)*secondsPerDay + hour*3600 + minute*60 + second
	ts.time = seconds*microsPerSecond + micros - shift
	return ts, ts.time >= batch.MinTime && ts.time < batch.MaxTime
}

var monthDays = [13]uint8{0, 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31}

func daysIn(year, month int64) int64 {
	if month == 2 && year%4 == 0 && (year%100 != 0 || year%400 == 0) {
		return 29
	}
	return int64(monthDays[month])
}

// days counts from 1970-01-01, in the Gregorian calendar. Years begin in March
// here, so that the leap day is the last of its year.
func days(year, month, day int64) int64 {
	if month <= 2 {
		year--
		month += 12
	}
	return 365*year + year/4 - year/100 + year/400 + (153*(month-3)+2)/5 + day - 719469
}

// civil is the inverse of days, for days from year 0 on.
func civil(n int64) (year, month, day int64) {
	n += 719468
	era := n / 146097
	doe := n - era*146097
	yoe := (doe - doe/1460 + doe/36524 - doe/146096) / 365
	doy := doe - (365*yoe + yoe/4 - yoe/100)
	mp := (5*doy + 2) / 153
	day = doy - (153*mp+2)/5 + 1
	month = mp + 3
	year = yoe + era*400
	if month > 12 {
		month -= 12
		year++
	}
	return year, month, day
}

// parseMillis reads a JSON integer of milliseconds since the Unix epoch.
func parseMillis(t []byte) (time int64, ok bool) {
	neg := t[0] == '-'
	digits := t
	if neg {
		digits = t[1:]
	}
	const maxDigits = 13 // 7258118400000 is 2200-01-01
	if len(digits) > maxDigits {
		return 0, false
	}
	for _, c := range digits {
		if c-'0' > 9 {
			return 0, false
		}
		time = time*10 + int64(c-'0')
	}
	if neg {
		time = -time
	}
	time *= microsPerMilli
	return time, time >= batch.MinTime && time < batch.MaxTime
}

// appendTime writes a time with places digits behind the second, as seen at
// offset from UTC; digits beyond microseconds are extra.
func appendTime(dst []byte, time int64, f *timeForm, extra []byte) []byte {
	shift := int64(f.offset) * microsPerMinute
	if f.zone == '-' {
		shift = -shift
	}
	time += shift
	seconds := time / microsPerSecond
	micros := time - seconds*microsPerSecond
	if micros < 0 {
		micros += microsPerSecond
		seconds--
	}
	n := seconds / secondsPerDay
	rest := seconds - n*secondsPerDay
	if rest < 0 {
		rest += secondsPerDay
		n--
	}
	year, month, day := civil(n)
	tee := byte('T')
	if f.lowerT {
		tee = 't'
	}
	dst = append2(append2(dst, year/100), year%100)
	dst = append2(append(dst, '-'), month)
	dst = append2(append(dst, '-'), day)
	dst = append2(append(dst, tee), rest/3600)
	dst = append2(append(dst, ':'), rest/60%60)
	dst = append2(append(dst, ':'), rest%60)
	if f.places > 0 {
		dst = append(dst, '.')
		for i := range min(int(f.places), microPlaces) {
			dst = append(dst, byte('0'+micros/placeValue[i+1]%10))
		}
		dst = append(dst, extra...)
	}
	dst = append(dst, f.zone)
	if f.zone == '+' || f.zone == '-' {
		dst = append2(dst, int64(f.offset/60))
		dst = append2(append(dst, ':'), int64(f.offset%60))
	}
	return dst
}

func append2(dst []byte, v int64) []byte { return append(dst, byte('0'+v/10), byte('0'+v%10)) }
