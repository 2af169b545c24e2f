package spoor

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"time"
)

// newID returns a UUIDv7: 48 bits of milliseconds, 12 bits of their fraction, so
// that ids of one process sort by their calls, and 62 random bits.
func newID(now time.Time) string {
	var u [16]byte
	rand.Read(u[8:])
	putMillis(&u, now)
	fraction := uint16(now.Nanosecond() % 1e6 * 4096 / 1e6)
	binary.BigEndian.PutUint16(u[6:], fraction&0x0fff)
	return uuidText(&u, 7)
}

// derivedID returns the same id for the same parts: what several processes say
// of one thing on one day is one event. It is a UUIDv8 that begins with the day,
// as an id of version 7 would, and goes on with a hash of the parts.
func derivedID(day time.Time, parts ...string) string {
	h := sha256.New()
	var size [8]byte
	for _, p := range parts {
		binary.BigEndian.PutUint64(size[:], uint64(len(p)))
		h.Write(size[:])
		h.Write([]byte(p))
	}
	var u [16]byte
	copy(u[6:], h.Sum(nil))
	putMillis(&u, day)
	return uuidText(&u, 8)
}

func putMillis(u *[16]byte, t time.Time) {
	var ms [8]byte
	binary.BigEndian.PutUint64(ms[:], uint64(t.UnixMilli()))
	copy(u[:6], ms[2:])
}

func uuidText(u *[16]byte, version byte) string {
	u[6] = u[6]&0x0f | version<<4
	u[8] = u[8]&0x3f | 0x80
	var text [36]byte
	hex.Encode(text[:8], u[:4])
	hex.Encode(text[9:13], u[4:6])
	hex.Encode(text[14:18], u[6:8])
	hex.Encode(text[19:23], u[8:10])
	hex.Encode(text[24:], u[10:])
	text[8], text[13], text[18], text[23] = '-', '-', '-', '-'
	return string(text[:])
}
