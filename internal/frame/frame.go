// Package frame wraps a small file in a name of its format, a version and a checksum.
package frame

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// A frame:
//
//	magic, 8 bytes | version u32 | length u32 | CRC32C of the body u32 | body
const headBytes = 20

// Wrap puts a body in a frame.
func Wrap(magic string, version uint32, body []byte) []byte {
	b := append(make([]byte, 0, headBytes+len(body)), magic...)
	b = binary.LittleEndian.AppendUint32(b, version)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(body)))
	b = binary.LittleEndian.AppendUint32(b, crc32.Checksum(body, castagnoli))
	return append(b, body...)
}

// Unwrap returns the body of a frame, or says what is wrong with it.
func Unwrap(b []byte, magic string, version uint32) (body []byte, err error) {
	if len(b) < headBytes || string(b[:8]) != magic {
		return nil, fmt.Errorf("it does not start with %s", magic)
	}
	if v := binary.LittleEndian.Uint32(b[8:]); v != version {
		return nil, fmt.Errorf("it has version %d, this program reads version %d", v, version)
	}
	body = b[headBytes:]
	if n := binary.LittleEndian.Uint32(b[12:]); int(n) != len(body) || binary.LittleEndian.Uint32(b[16:]) != crc32.Checksum(body, castagnoli) {
		return nil, fmt.Errorf("checksum or length of %d bytes differs", len(body))
	}
	return body, nil
}
