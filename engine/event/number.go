package event

import (
	"math"
	"strconv"

	"spoor/segment/batch"
)

// exactPowers are the powers of ten that a float64 holds exactly, as far as
// the short path divides by them.
var exactPowers = [...]float64{1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15}

// maxShortDigits: any decimal of so many digits is the shortest form of the
// float64 nearest to it, and the quotient of two exact float64s is that float64.
const maxShortDigits = 15

// number reads the number at p as a value of n and returns the index behind
// it, or -1. The kind depends on the value alone, not on its spelling, except
// for numbers that neither a float64 nor an int64 holds.
func (d *Decoder) number(p int, n *node) int {
	b := d.data
	i := p
	neg := b[i] == '-'
	if neg {
		i++
	}
	var m uint64
	start := i
	for i < len(b) {
		c := b[i] - '0'
		if c > 9 {
			break
		}
		m = m*10 + uint64(c)
		i++
	}
	digits, places := i-start, 0
	if i < len(b) && b[i] == '.' {
		dot := i
		i++
		for i < len(b) {
			c := b[i] - '0'
			if c > 9 {
				break
			}
			m = m*10 + uint64(c)
			i++
		}
		places = i - dot - 1
		if places == 0 {
			return d.badNumber(p)
		}
	}
	if digits == 0 || b[start] == '0' && digits > 1 {
		return d.badNumber(p)
	}
	if i < len(b) && b[i]|0x20 == 'e' || digits+places > 18 {
		return d.longNumber(p, n)
	}
	if digits+places <= maxShortDigits {
		v := float64(m)
		if places > 0 {
			v /= exactPowers[places]
		}
		if neg && m != 0 {
			v = -v
		}
		return d.push(n, batch.KindNumber, math.Float64bits(v), i)
	}
	if places > 0 {
		return d.longNumber(p, n)
	}
	v := int64(m)
	if neg {
		v = -v
	}
	return d.integer(v, n, i)
}

func (d *Decoder) integer(v int64, n *node, next int) int {
	if batch.ExactInFloat(v) {
		return d.push(n, batch.KindNumber, math.Float64bits(float64(v)), next)
	}
	return d.push(n, batch.KindInt, uint64(v), next)
}

func (d *Decoder) badNumber(p int) int {
	return d.malformed(p, "a number is not written as JSON asks: no leading zero or plus, digits on both sides of the point")
}

// scanNumber returns the index behind the number at p, or -1.
func (d *Decoder) scanNumber(p int) int {
	b := d.data
	i := p
	if b[i] == '-' {
		i++
	}
	start := i
	i = digitsEnd(b, i)
	if i == start || b[start] == '0' && i > start+1 {
		return d.badNumber(p)
	}
	if i < len(b) && b[i] == '.' {
		dot := i
		if i = digitsEnd(b, i+1); i == dot+1 {
			return d.badNumber(p)
		}
	}
	if i < len(b) && b[i]|0x20 == 'e' {
		i++
		if i < len(b) && (b[i] == '+' || b[i] == '-') {
			i++
		}
		exp := i
		if i = digitsEnd(b, i); i == exp {
			return d.badNumber(p)
		}
	}
	if i-p > d.limits.NumberBytes {
		return d.fail(CodeNumberTooLong, p, "a number has %d characters, the limit is %d; send it as a string", i-p, d.limits.NumberBytes)
	}
	return i
}

func digitsEnd(b []byte, i int) int {
	for i < len(b) && b[i]-'0' <= 9 {
		i++
	}
	return i
}

// checkNumber reads a number that stays text, and returns the index behind it.
func (d *Decoder) checkNumber(p int) int {
	end := d.scanNumber(p)
	if end < 0 {
		return -1
	}
	if text := d.data[p:end]; len(text) > maxShortDigits {
		if _, err := strconv.ParseFloat(string(text), 64); err != nil {
			return d.outOfRange(p, text)
		}
	} else {
		for _, c := range text {
			if c|0x20 == 'e' {
				if _, err := strconv.ParseFloat(string(text), 64); err != nil {
					return d.outOfRange(p, text)
				}
			}
		}
	}
	return end
}

func (d *Decoder) outOfRange(p int, text []byte) int {
	return d.fail(CodeNumberRange, p, "the number %.40s is beyond what a 64-bit float holds; send it as a string", text)
}

// longNumber reads numbers with many digits or an exponent.
func (d *Decoder) longNumber(p int, n *node) int {
	end := d.scanNumber(p)
	if end < 0 {
		return -1
	}
	text := d.data[p:end]
	var sent decimal
	sent.read(text)
	if len(sent.digits) == 0 {
		return d.push(n, batch.KindNumber, 0, end)
	}
	if v, ok := sent.int64(); ok {
		return d.integer(v, n, end)
	}
	f, err := strconv.ParseFloat(string(text), 64)
	if err != nil {
		return d.outOfRange(p, text)
	}
	var buf [32]byte
	var short decimal
	short.read(strconv.AppendFloat(buf[:0], f, 'e', -1, 64))
	if sent.equal(&short) {
		return d.push(n, batch.KindNumber, math.Float64bits(f), end)
	}
	return d.pushText(n, batch.KindNumText, span{uint32(p), uint32(end - p)}, end)
}

// decimal is a number as digits without zeros at either end, times ten to exp.
type decimal struct {
	neg    bool
	digits []byte
	exp    int64
	buf    [64]byte
}

// maxDecimalExp is where exponents saturate, far beyond any that matters.
const maxDecimalExp = 1 << 40

// read takes a number that scanNumber accepted.
func (x *decimal) read(text []byte) {
	x.digits = x.buf[:0]
	x.exp = 0
	places, point := int64(0), false
	for i, c := range text {
		switch {
		case c == '-':
			x.neg = true
		case c == '.':
			point = true
		case c|0x20 == 'e':
			x.exp = readExponent(text[i+1:])
			x.trim(places)
			return
		default:
			if point {
				places++
			}
			if c != '0' || len(x.digits) > 0 {
				x.digits = append(x.digits, c)
			}
		}
	}
	x.trim(places)
}

func readExponent(text []byte) int64 {
	neg := text[0] == '-'
	if neg || text[0] == '+' {
		text = text[1:]
	}
	var e int64
	for _, c := range text {
		e = min(e*10+int64(c-'0'), maxDecimalExp)
	}
	if neg {
		return -e
	}
	return e
}

func (x *decimal) trim(places int64) {
	x.exp -= places
	for n := len(x.digits); n > 0 && x.digits[n-1] == '0'; n-- {
		x.digits = x.digits[:n-1]
		x.exp++
	}
}

func (x *decimal) equal(y *decimal) bool {
	return x.neg == y.neg && x.exp == y.exp && string(x.digits) == string(y.digits)
}

// int64 is the value where it is an integer that fits.
func (x *decimal) int64() (v int64, ok bool) {
	if x.exp < 0 || int64(len(x.digits))+x.exp > 19 {
		return 0, false
	}
	var m uint64
	for _, c := range x.digits {
		m = m*10 + uint64(c-'0')
	}
	for range x.exp {
		m *= 10
	}
	switch {
	case !x.neg && m <= math.MaxInt64:
		return int64(m), true
	case x.neg && m <= 1<<63:
		return -int64(m), true
	}
	return 0, false
}
