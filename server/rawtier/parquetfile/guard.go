package parquetfile

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/bits"
	"strings"

	"github.com/klauspost/compress/snappy"
	"github.com/klauspost/compress/zstd"
	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/format"
)

// A file that comes from anybody may claim anything: a footer of a billion columns, a page that unpacks to
// terabytes, a run of two billion values in three bytes. The library believes such counts and
// allocates for them, which no recover catches. So a foreign file is looked through first: its
// footer before it is opened, and each row group before its rows are read.

// Bounds of foreign files. What one row group holds in memory is a page of each column.
const (
	maxFooterBytes   = 32 << 20
	maxFooterStructs = 300_000 // columns of all row groups, and what is said of them
	maxThriftDepth   = 16
	maxPageHeader    = 64 << 10
	maxPageBytes     = 128 << 20
	maxPageValues    = 8 << 20
	maxPagesBytes    = 1 << 30 // of the largest pages of all columns of a row group
)

// ErrHostile is wrapped when a file claims more than may be believed.
var ErrHostile = errors.New("the file is damaged, or made to do harm")

func hostile(text string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrHostile, fmt.Sprintf(text, args...))
}

// guardFooter looks through the footer.
func guardFooter(in io.ReaderAt, size int64) error {
	var tail [8]byte
	if size < 12 {
		return hostile("it has %d bytes", size)
	}
	if _, err := in.ReadAt(tail[:], size-8); err != nil {
		return fmt.Errorf("read the end of Parquet: %w", err)
	}
	n := int64(binary.LittleEndian.Uint32(tail[:]))
	if string(tail[4:]) != "PAR1" {
		return fmt.Errorf("%w: it does not end as a Parquet file that is not encrypted", ErrHostile)
	}
	if n > maxFooterBytes || n > size-12 {
		return hostile("a footer of %d bytes in %d, at most %d", n, size, maxFooterBytes)
	}
	b := make([]byte, n)
	if _, err := in.ReadAt(b, size-8-n); err != nil {
		return fmt.Errorf("read the footer of Parquet: %w", err)
	}
	return (&compact{b: b}).skipStruct(maxThriftDepth, nil)
}

// compact walks what is encoded by the compact protocol of Thrift.
type compact struct {
	b       []byte
	structs int
}

func (c *compact) byte() (byte, error) {
	if len(c.b) == 0 {
		return 0, hostile("it is cut off")
	}
	b := c.b[0]
	c.b = c.b[1:]
	return b, nil
}

func (c *compact) uvarint() (uint64, error) {
	n, used := binary.Uvarint(c.b)
	if used <= 0 {
		return 0, hostile("a number is cut off")
	}
	c.b = c.b[used:]
	return n, nil
}

func (c *compact) skip(n uint64) error {
	if n > uint64(len(c.b)) {
		return hostile("%d bytes are claimed, %d are left", n, len(c.b))
	}
	c.b = c.b[n:]
	return nil
}

// The types of the compact protocol.
const (
	thriftTrue, thriftFalse, thriftByte, thriftI16, thriftI32, thriftI64 = 1, 2, 3, 4, 5, 6
	thriftDouble, thriftBinary, thriftList, thriftSet, thriftMap         = 7, 8, 9, 10, 11
	thriftStruct                                                         = 12
)

// skipStruct passes by a struct; field, unless nil, may read a field and says then that it did.
func (c *compact) skipStruct(depth int, field func(id int16, kind byte) (read bool, err error)) error {
	if c.structs++; c.structs > maxFooterStructs || depth == 0 {
		return hostile("more than %d parts, or more than %d levels of them", maxFooterStructs, maxThriftDepth)
	}
	id := int16(0)
	for {
		b, err := c.byte()
		if err != nil || b == 0 {
			return err
		}
		if delta := b >> 4; delta != 0 {
			id += int16(delta)
		} else {
			n, err := c.uvarint()
			if err != nil {
				return err
			}
			id = int16(n>>1) ^ -int16(n&1)
		}
		if field != nil {
			read, err := field(id, b&15)
			if err != nil {
				return err
			}
			if read {
				continue
			}
		}
		if err := c.skipValue(b&15, depth, false); err != nil {
			return err
		}
	}
}

func (c *compact) skipValue(kind byte, depth int, inList bool) error {
	switch kind {
	case thriftTrue, thriftFalse:
		if inList {
			return c.skip(1)
		}
		return nil
	case thriftByte:
		return c.skip(1)
	case thriftI16, thriftI32, thriftI64:
		_, err := c.uvarint()
		return err
	case thriftDouble:
		return c.skip(8)
	case thriftBinary:
		n, err := c.uvarint()
		if err != nil {
			return err
		}
		return c.skip(n)
	case thriftList, thriftSet:
		b, err := c.byte()
		if err != nil {
			return err
		}
		n := uint64(b >> 4)
		if n == 15 {
			if n, err = c.uvarint(); err != nil {
				return err
			}
		}
		if n > uint64(len(c.b)) {
			return hostile("a list of %d parts in %d bytes", n, len(c.b))
		}
		for range n {
			if err := c.skipValue(b&15, depth-1, true); err != nil {
				return err
			}
		}
		return nil
	case thriftStruct:
		return c.skipStruct(depth-1, nil)
	}
	return hostile("a part of type %d", kind) // maps are in no footer
}

// pageHead is what counts of the head of a page.
type pageHead struct {
	kind               int64 // 0 data, 2 dictionary, 3 data of version 2
	unpacked, packed   int64
	values             int64
	encoding, levels   int64
	repBytes, defBytes int64
	plain              bool // version 2: the values are not compressed
	hasData            bool
	headBytes          int64
}

func (c *compact) number(into *int64) func(kind byte) (bool, error) {
	return func(kind byte) (bool, error) {
		if kind != thriftI16 && kind != thriftI32 && kind != thriftI64 {
			return false, hostile("a number is of type %d", kind)
		}
		n, err := c.uvarint()
		*into = int64(n>>1) ^ -int64(n&1)
		return true, err
	}
}

func readPageHead(b []byte) (h pageHead, err error) {
	c := &compact{b: b}
	inner := func(fields map[int16]*int64, plain int16) func(byte) (bool, error) {
		return func(kind byte) (bool, error) {
			if kind != thriftStruct {
				return false, hostile("the head of a page is of type %d", kind)
			}
			return true, c.skipStruct(maxThriftDepth, func(id int16, kind byte) (bool, error) {
				if id == plain && plain != 0 {
					h.plain = kind == thriftFalse
					return true, nil
				}
				if into := fields[id]; into != nil {
					return c.number(into)(kind)
				}
				return false, nil
			})
		}
	}
	err = c.skipStruct(maxThriftDepth, func(id int16, kind byte) (bool, error) {
		switch id {
		case 1:
			return c.number(&h.kind)(kind)
		case 2:
			return c.number(&h.unpacked)(kind)
		case 3:
			return c.number(&h.packed)(kind)
		case 5:
			h.hasData = true
			return inner(map[int16]*int64{1: &h.values, 2: &h.encoding, 3: &h.levels}, 0)(kind)
		case 7:
			return inner(map[int16]*int64{1: &h.values, 2: &h.encoding}, 0)(kind)
		case 8:
			h.hasData = true
			return inner(map[int16]*int64{1: &h.values, 4: &h.encoding, 5: &h.defBytes, 6: &h.repBytes}, 7)(kind)
		}
		return false, nil
	})
	h.headBytes = int64(len(b) - len(c.b))
	return h, err
}

// guardGroup looks through the pages of a row group.
func guardGroup(in io.ReaderAt, size int64, schema *parquet.Schema, group *format.RowGroup) error {
	if group.NumRows < 0 || group.NumRows > 1<<40 {
		return hostile("%d rows", group.NumRows)
	}
	paths := schema.Columns()
	if len(paths) != len(group.Columns) {
		return hostile("%d columns, the schema has %d", len(group.Columns), len(paths))
	}
	held := int64(0)
	for i := range group.Columns {
		leaf, ok := schema.Lookup(paths[i]...)
		if !ok {
			return hostile("a column that the schema does not have")
		}
		if leaf.MaxRepetitionLevel > 0 {
			return fmt.Errorf("the column %.200s is a list: only flat columns can be read", strings.Join(paths[i], "."))
		}
		largest, err := guardColumn(in, size, &group.Columns[i].MetaData, leaf.MaxDefinitionLevel, group.NumRows)
		if err != nil {
			return fmt.Errorf("column %.200s: %w", strings.Join(paths[i], "."), err)
		}
		if held += largest; held > maxPagesBytes {
			return hostile("its pages need more than %d bytes of memory at a time", maxPagesBytes)
		}
	}
	return nil
}

func guardColumn(in io.ReaderAt, size int64, m *format.ColumnMetaData, maxDef int, rows int64) (largest int64, err error) {
	at := m.DataPageOffset
	if d := m.DictionaryPageOffset; d != 0 && d < at {
		at = d
	}
	end := at + m.TotalCompressedSize
	if at < 4 || m.TotalCompressedSize < 0 || end < at || end > size {
		return 0, hostile("it begins at byte %d and has %d of %d", at, m.TotalCompressedSize, size)
	}
	if m.NumValues != rows {
		return 0, hostile("%d values for %d rows", m.NumValues, rows)
	}
	seen := int64(0)
	for at < end && seen < rows {
		head := make([]byte, min(maxPageHeader, end-at))
		if _, err := in.ReadAt(head, at); err != nil && !errors.Is(err, io.EOF) {
			return 0, err
		}
		h, err := readPageHead(head)
		if err != nil {
			return 0, fmt.Errorf("page at byte %d: %w", at, err)
		}
		if h.packed < 0 || h.packed > end-at-h.headBytes || h.unpacked < 0 || h.unpacked > maxPageBytes || h.packed > maxPageBytes || h.values < 0 || h.values > maxPageValues {
			return 0, hostile("page at byte %d: %d bytes that unpack to %d, %d values; at most %d bytes and %d values", at, h.packed, h.unpacked, h.values, maxPageBytes, maxPageValues)
		}
		body := make([]byte, h.packed)
		if _, err := in.ReadAt(body, at+h.headBytes); err != nil && !errors.Is(err, io.EOF) {
			return 0, err
		}
		if err := h.guard(body, m.Codec, maxDef); err != nil {
			return 0, fmt.Errorf("page at byte %d: %w", at, err)
		}
		largest = max(largest, h.packed+h.unpacked+16*h.values)
		if h.hasData {
			seen += h.values
		}
		at += h.headBytes + h.packed
	}
	if seen != rows {
		return 0, hostile("%d values in its pages for %d rows", seen, rows)
	}
	return largest, nil
}

// guard looks into a page: that it unpacks to what it says, and that no run is longer than it has values.
func (h *pageHead) guard(body []byte, codec format.CompressionCodec, maxDef int) error {
	levels := body
	if h.kind == 3 {
		if h.defBytes < 0 || h.repBytes < 0 || h.defBytes > h.packed || h.repBytes > h.packed-h.defBytes {
			return hostile("levels of %d and %d bytes in %d", h.repBytes, h.defBytes, h.packed)
		}
		levels, body = body[h.repBytes:h.repBytes+h.defBytes], body[h.repBytes+h.defBytes:]
		if h.plain {
			codec = format.Uncompressed
		}
	}
	body, err := unpack(body, codec, h.unpacked)
	if err != nil {
		return err
	}
	width := bits.Len(uint(maxDef))
	switch {
	case !h.hasData || maxDef == 0:
		levels = nil
	case h.kind != 3:
		if h.levels != int64(format.RLE) {
			return hostile("levels in encoding %d", h.levels)
		}
		if levels, body, err = prefixed(body); err != nil {
			return err
		}
	}
	if err := guardRuns(levels, width, h.values); err != nil {
		return err
	}
	if !h.hasData {
		return nil
	}
	switch format.Encoding(h.encoding) {
	case format.Plain, format.ByteStreamSplit:
		return nil
	case olderDictionary, format.RLEDictionary:
		if len(body) == 0 {
			return nil
		}
		return guardRuns(body[1:], int(body[0]), h.values)
	case format.RLE:
		runs, _, err := prefixed(body)
		if err != nil {
			return err
		}
		return guardRuns(runs, 1, h.values)
	case format.DeltaBinaryPacked, format.DeltaLengthByteArray:
		return guardDelta(body, h.values)
	}
	return fmt.Errorf("encoding %s is not read: write the file with plain or dictionary encoding", format.Encoding(h.encoding))
}

func prefixed(b []byte) (inner, rest []byte, err error) {
	if len(b) < 4 || uint64(binary.LittleEndian.Uint32(b)) > uint64(len(b)-4) {
		return nil, nil, hostile("a page of %d bytes is cut off", len(b))
	}
	n := 4 + int(binary.LittleEndian.Uint32(b))
	return b[4:n], b[n:], nil
}

// guardRuns adds up the runs of the hybrid of run lengths and packed bits.
func guardRuns(b []byte, width int, values int64) error {
	if width > 32 {
		return hostile("numbers of %d bits", width)
	}
	total := uint64(0)
	for len(b) > 0 {
		n, used := binary.Uvarint(b)
		if used <= 0 || n>>1 == 0 || n > 1<<32 {
			return hostile("a run of %d values", n>>1)
		}
		b = b[used:]
		length := uint64((width + 7) / 8)
		if count := n >> 1; n&1 == 1 {
			total += 8 * count
			length = count * uint64(width)
		} else {
			total += count
		}
		if total > uint64(values)+8 {
			return hostile("runs of %d values and more, the page has %d", total, values)
		}
		if length > uint64(len(b)) {
			if n&1 == 1 { // writers may leave out the end of the last group
				length = uint64(len(b))
			} else {
				return hostile("a run is cut off")
			}
		}
		b = b[length:]
	}
	return nil
}

// olderDictionary is how older writers say RLEDictionary.
const olderDictionary = format.Encoding(2)

// guardDelta reads the head of packed differences.
func guardDelta(b []byte, values int64) error {
	c := &compact{b: b}
	var head [3]uint64
	for i := range head {
		var err error
		if head[i], err = c.uvarint(); err != nil {
			return err
		}
	}
	if block, minis, total := head[0], head[1], head[2]; block > 64<<10 || minis > 512 || total > uint64(values) {
		return hostile("differences of %d values in blocks of %d with %d parts; the page has %d", total, block, minis, values)
	}
	return nil
}

// unpack is the plain bytes of a page, no more than it says to have.
func unpack(b []byte, codec format.CompressionCodec, most int64) ([]byte, error) {
	var in io.Reader
	switch codec {
	case format.Uncompressed:
		return b, nil
	case format.Snappy:
		n, err := snappy.DecodedLen(b)
		if err != nil || int64(n) > most {
			return nil, hostile("it unpacks to %d bytes, not %d", n, most)
		}
		out, err := snappy.Decode(nil, b)
		if err != nil {
			return nil, hostile("unpack a page: %v", err)
		}
		return out, nil
	case format.Zstd:
		z, err := zstd.NewReader(bytes.NewReader(b), zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxPageBytes))
		if err != nil {
			return nil, err
		}
		defer z.Close()
		in = z
	case format.Gzip:
		z, err := gzip.NewReader(bytes.NewReader(b))
		if err != nil {
			return nil, hostile("unpack a page: %v", err)
		}
		in = z
	default:
		return nil, fmt.Errorf("compression %s is not read: write the file with zstd, snappy, gzip or none", codec)
	}
	out, err := io.ReadAll(io.LimitReader(in, most+1))
	if err != nil {
		return nil, hostile("unpack a page: %v", err)
	}
	if int64(len(out)) > most {
		return nil, hostile("it unpacks to more than the %d bytes that it says", most)
	}
	return out, nil
}
