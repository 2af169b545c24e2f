package workload

import (
	"encoding/binary"
	"strconv"
	"time"
)

// Event is one line of the stream.
type Event struct {
	ID          [16]byte // a version 4 UUID
	Name        string
	UserID      string // "" where only the device is known
	AnonymousID string
	Time        int64 // milliseconds since the Unix epoch
	Properties  Properties
	Context     *Context // shared by the events of a session; never changed

	// What follows is how the event came about. It is not part of its JSON.

	Person uint32 // who did it, whether the event says so or not
	Late   bool   // arrives hours after Time
	Resent bool   // was in the stream before, equal in every byte
}

// Properties are the properties of an event; only those in Fields belong to it.
type Properties struct {
	Fields    Field
	ProductID string
	Category  string
	Cents     int32 // price in hundredths of Currency
	Quantity  int32
	Currency  string
	Surface   string
	Variant   string
	Position  int32 // place in the list, from 1
}

// Context is what a client adds to each event of a session.
type Context struct {
	Device, OS, Browser string // of the device
	Country, Locale     string // of the person
	AppVersion          string
	Campaign            string // "" where the person came by itself; then absent from the JSON

	json []byte
}

// AppendJSON appends the event as one line of JSON without a line feed. Numbers
// are in their shortest form, as JSON.stringify writes them.
func (e *Event) AppendJSON(dst []byte) []byte {
	dst = append(dst, `{"eventId":"`...)
	dst = appendUUID(dst, e.ID)
	if e.UserID != "" {
		dst = append(dst, `","userId":"`...)
		dst = append(dst, e.UserID...)
	}
	dst = append(dst, `","anonymousId":"`...)
	dst = append(dst, e.AnonymousID...)
	dst = append(dst, `","eventName":"`...)
	dst = append(dst, e.Name...)
	dst = append(dst, `","timestamp":"`...)
	dst = appendTimestamp(dst, e.Time)
	dst = append(dst, `","properties":{`...)
	dst = e.Properties.appendMembers(dst)
	dst = append(dst, `},"context":`...)
	dst = append(dst, e.Context.json...)
	return append(dst, '}')
}

func (p *Properties) appendMembers(dst []byte) []byte {
	first := len(dst)
	if p.Fields&ProductID != 0 {
		dst = appendText(dst, `,"productId":"`, p.ProductID)
	}
	if p.Fields&Category != 0 {
		dst = appendText(dst, `,"category":"`, p.Category)
	}
	if p.Fields&Price != 0 {
		dst = append(dst, `,"price":`...)
		dst = appendCents(dst, p.Cents)
	}
	if p.Fields&Quantity != 0 {
		dst = append(dst, `,"quantity":`...)
		dst = strconv.AppendInt(dst, int64(p.Quantity), 10)
	}
	if p.Fields&Currency != 0 {
		dst = appendText(dst, `,"currency":"`, p.Currency)
	}
	if p.Fields&Surface != 0 {
		dst = appendText(dst, `,"surface":"`, p.Surface)
	}
	if p.Fields&Variant != 0 {
		dst = appendText(dst, `,"variant":"`, p.Variant)
	}
	if p.Fields&Position != 0 {
		dst = append(dst, `,"position":`...)
		dst = strconv.AppendInt(dst, int64(p.Position), 10)
	}
	if len(dst) == first {
		return dst
	}
	copy(dst[first:], dst[first+1:]) // the first comma
	return dst[:len(dst)-1]
}

// render writes the context's JSON once for all events that share it.
func (c *Context) render() {
	c.json = append(make([]byte, 0, 192), `{"device":"`...)
	c.json = append(c.json, c.Device...)
	c.json = append(c.json, '"')
	c.json = appendText(c.json, `,"os":"`, c.OS)
	c.json = appendText(c.json, `,"browser":"`, c.Browser)
	c.json = appendText(c.json, `,"country":"`, c.Country)
	c.json = appendText(c.json, `,"locale":"`, c.Locale)
	c.json = appendText(c.json, `,"appVersion":"`, c.AppVersion)
	if c.Campaign != "" {
		c.json = appendText(c.json, `,"campaign":"`, c.Campaign)
	}
	c.json = append(c.json, '}')
}

// appendText appends a member. No text of a stream needs an escape.
func appendText(dst []byte, before, text string) []byte {
	dst = append(dst, before...)
	dst = append(dst, text...)
	return append(dst, '"')
}

// appendCents appends hundredths as a decimal without superfluous zeros.
func appendCents(dst []byte, cents int32) []byte {
	dst = strconv.AppendInt(dst, int64(cents/100), 10)
	switch rest := cents % 100; {
	case rest == 0:
		return dst
	case rest%10 == 0:
		return append(dst, '.', byte('0'+rest/10))
	default:
		return append(dst, '.', byte('0'+rest/10), byte('0'+rest%10))
	}
}

// appendTimestamp appends the time as JavaScript's toISOString does.
func appendTimestamp(dst []byte, millis int64) []byte {
	t := time.UnixMilli(millis).UTC()
	year, month, day := t.Date()
	ofDay := uint32((millis%millisPerDay + millisPerDay) % millisPerDay)
	dst = append(dst, byte('0'+year/1000%10), byte('0'+year/100%10), byte('0'+year/10%10), byte('0'+year%10))
	dst = appendTwo(dst, '-', uint32(month))
	dst = appendTwo(dst, '-', uint32(day))
	dst = appendTwo(dst, 'T', ofDay/3600000)
	dst = appendTwo(dst, ':', ofDay/60000%60)
	dst = appendTwo(dst, ':', ofDay/1000%60)
	fraction := ofDay % 1000
	return append(dst, '.', byte('0'+fraction/100), byte('0'+fraction/10%10), byte('0'+fraction%10), 'Z')
}

func appendTwo(dst []byte, before byte, n uint32) []byte {
	return append(dst, before, byte('0'+n/10), byte('0'+n%10))
}

// newUUID makes a version 4 UUID of 16 random bytes.
func newUUID(hi, lo uint64) (id [16]byte) {
	binary.BigEndian.PutUint64(id[:8], hi)
	binary.BigEndian.PutUint64(id[8:], lo)
	id[6] = id[6]&0x0f | 0x40
	id[8] = id[8]&0x3f | 0x80
	return id
}

func appendUUID(dst []byte, id [16]byte) []byte {
	const digits = "0123456789abcdef"
	for i, b := range id {
		if i == 4 || i == 6 || i == 8 || i == 10 {
			dst = append(dst, '-')
		}
		dst = append(dst, digits[b>>4], digits[b&15])
	}
	return dst
}
