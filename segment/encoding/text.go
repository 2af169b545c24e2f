package encoding

import (
	"encoding/binary"

	"github.com/klauspost/compress/zstd"
)

// A text lane holds n byte strings:
//
//	| integer lane of n lengths | kind u8 | uvarint stored bytes | bytes, zstd when kind is textZstd |
const (
	textRaw  = 0
	textZstd = 1
)

// minCompress is the size below which compression does not pay for its frame.
const minCompress = 128

// maxTexts bounds the bytes of one text lane, in memory and after decompression.
const maxTexts = 1 << 30

// Compressor compresses and decompresses; one per goroutine that writes, any
// number of concurrent users that read.
type Compressor struct {
	enc *zstd.Encoder
	dec *zstd.Decoder
}

// NewCompressor makes a compressor whose decoder refuses more than maxTexts bytes.
func NewCompressor() *Compressor {
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedDefault), zstd.WithEncoderCRC(false))
	if err != nil {
		panic(err) // the options are constants
	}
	dec, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(0), zstd.WithDecoderMaxMemory(maxTexts))
	if err != nil {
		panic(err)
	}
	return &Compressor{enc: enc, dec: dec}
}

// AppendTexts appends texts given by their lengths and concatenated bytes.
func (c *Compressor) AppendTexts(dst []byte, lengths []uint32, bytes []byte) []byte {
	dst = AppendLane(dst, lengths, true)
	return c.AppendBlob(dst, bytes)
}

// AppendBlob appends bytes, compressed where that saves an eighth.
func (c *Compressor) AppendBlob(dst, bytes []byte) []byte {
	if len(bytes) >= minCompress {
		if z := c.enc.EncodeAll(bytes, nil); len(z) < len(bytes)-len(bytes)/8 {
			dst = append(dst, textZstd)
			dst = binary.AppendUvarint(dst, uint64(len(z)))
			return append(dst, z...)
		}
	}
	dst = append(dst, textRaw)
	dst = binary.AppendUvarint(dst, uint64(len(bytes)))
	return append(dst, bytes...)
}

// ReadTexts reads n texts: offsets has n+1 elements into bytes. The bytes may be shared with the input.
func (c *Compressor) ReadTexts(l *Lane, n int) (offsets []uint32, bytes []byte, err error) {
	offsets = make([]uint32, n+1)
	if err := ReadInts(l, offsets[1:]); err != nil {
		return nil, nil, err
	}
	bytes, err = c.ReadBlob(l)
	if err != nil {
		return nil, nil, err
	}
	total := uint64(0)
	for i, length := range offsets[1:] {
		total += uint64(length)
		if total > uint64(len(bytes)) {
			l.fail()
			return nil, nil, l.err
		}
		offsets[i+1] = uint32(total)
	}
	if total != uint64(len(bytes)) {
		l.fail()
		return nil, nil, l.err
	}
	return offsets, bytes, nil
}

// ReadBlob reads what AppendBlob wrote.
func (c *Compressor) ReadBlob(l *Lane) ([]byte, error) {
	kind := l.Byte()
	n := l.Count(maxTexts)
	stored := l.Bytes(n)
	if l.err != nil {
		return nil, l.err
	}
	switch kind {
	case textRaw:
		return stored, nil
	case textZstd:
		bytes, err := c.dec.DecodeAll(stored, nil)
		if err != nil {
			l.fail()
			return nil, l.err
		}
		return bytes, nil
	}
	l.fail()
	return nil, l.err
}
