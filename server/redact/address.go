package redact

import (
	"bytes"
	"net/netip"
)

// What is left of an address: the network of a provider's region.
const (
	bits4 = 24
	bits6 = 48
)

// Truncate sets the end of an address to zero.
func Truncate(a netip.Addr) netip.Addr {
	a = a.Unmap().WithZone("")
	bits := bits4
	if a.Is6() {
		bits = bits6
	}
	p, err := a.Prefix(bits)
	if err != nil {
		return netip.Addr{}
	}
	return p.Addr()
}

// plainIPv4 is the index of the last number of an address in the usual spelling; 0 for another text.
func plainIPv4(text []byte) (last int) {
	if len(text) > len("255.255.255.255") {
		return 0
	}
	parts, value, digits := 1, 0, 0
	for i, c := range text {
		switch {
		case c-'0' <= 9 && (digits == 0 || value > 0): // no leading zero
			value = value*10 + int(c-'0')
			digits++
		case c == '.' && digits > 0 && value < 256:
			parts, value, digits, last = parts+1, 0, 0, i+1
		default:
			return 0
		}
	}
	if parts != 4 || digits == 0 || value > 255 {
		return 0
	}
	return last
}

// AppendTruncated appends text, an IP address or several with commas between,
// with the ends of the addresses set to zero. Something else that has digits
// becomes [ip]; changed is false where nothing had to be replaced.
func AppendTruncated(dst, text []byte) (out []byte, changed bool) {
	if last := plainIPv4(text); last > 0 {
		return append(append(dst, text[:last]...), '0'), string(text[last:]) != "0"
	}
	from := len(dst)
	for i, piece := range bytes.Split(text, []byte{','}) {
		if i > 0 {
			dst = append(dst, ',')
		}
		word := string(bytes.TrimSpace(piece))
		a, err := netip.ParseAddr(word)
		if err != nil {
			var port netip.AddrPort
			if port, err = netip.ParseAddrPort(word); err == nil {
				a = port.Addr()
			}
		}
		switch {
		case err == nil:
			dst = Truncate(a).AppendTo(dst)
		case bytes.ContainsAny(piece, "0123456789"):
			dst = append(dst, "[ip]"...)
		default:
			dst = append(dst, piece...)
		}
	}
	return dst, !bytes.Equal(dst[from:], text)
}
