package encoding

import (
	"encoding/binary"
	"math"
)

// The encodings of a float lane:
//
//	floatDecimal | kind | scale u8 | integer lane of value*10^scale |
//	floatRaw     | kind | n values of 8 bytes, IEEE 754 little endian |
//
// Decimal is taken when every value is an integer divided by 10^scale, exactly:
// prices, counts, measured values with a few digits. The division that gives a
// value back rounds correctly, so the float64 is the one that was stored.
const (
	floatDecimal = 0
	floatRaw     = 1
)

const maxScale = 9

var pow10 = [maxScale + 1]float64{1, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9}

// AppendFloats appends vals, none of which is NaN. scratch is reused space.
func AppendFloats(dst []byte, vals []float64, scratch *[]int64) []byte {
	scale, ok := decimalScale(vals)
	if !ok {
		dst = append(dst, floatRaw)
		for _, v := range vals {
			dst = binary.LittleEndian.AppendUint64(dst, math.Float64bits(v))
		}
		return dst
	}
	ints := (*scratch)[:0]
	for _, v := range vals {
		ints = append(ints, int64(math.Round(v*pow10[scale])))
	}
	*scratch = ints
	dst = append(dst, floatDecimal, byte(scale))
	return AppendLane(dst, ints, true)
}

// decimalScale finds the smallest scale at which every value is an exact integer.
func decimalScale(vals []float64) (scale int, ok bool) {
	for _, v := range vals {
		for {
			scaled := math.Round(v * pow10[scale])
			if math.Abs(scaled) > 1<<53 {
				return 0, false
			}
			if scaled/pow10[scale] == v {
				break
			}
			if scale++; scale > maxScale {
				return 0, false
			}
		}
	}
	return scale, true
}

// ReadFloats reads a lane of len(dst) values. scratch is reused space.
func ReadFloats(l *Lane, dst []float64, scratch *[]int64) error {
	switch l.Byte() {
	case floatDecimal:
		scale := int(l.Byte())
		if scale > maxScale {
			l.fail()
			return l.err
		}
		ints := (*scratch)[:0]
		if cap(ints) < len(dst) {
			ints = make([]int64, 0, len(dst))
		}
		ints = ints[:len(dst)]
		*scratch = ints
		if err := ReadInts(l, ints); err != nil {
			return err
		}
		if scale == 0 {
			for i, v := range ints {
				dst[i] = float64(v)
			}
			return nil
		}
		p := pow10[scale]
		for i, v := range ints {
			dst[i] = float64(v) / p
		}
	case floatRaw:
		b := l.Bytes(8 * len(dst))
		if l.err != nil {
			return l.err
		}
		for i := range dst {
			dst[i] = floatFrom(b[8*i:])
		}
	default:
		l.fail()
	}
	return l.err
}

func floatFrom(b []byte) float64 { return math.Float64frombits(binary.LittleEndian.Uint64(b)) }
