package parquetfile

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/encoding/thrift"
	"github.com/parquet-go/parquet-go/format"
	"github.com/stretchr/testify/require"
)

type order struct {
	ID    string    `parquet:"id"`
	Kind  *string   `parquet:"kind,optional,dict"`
	Price float64   `parquet:"price"`
	Count int32     `parquet:"count,delta"`
	Paid  bool      `parquet:"paid"`
	At    time.Time `parquet:"at,timestamp(microsecond)"`
	Shop  struct {
		Name string `parquet:"name,optional"`
	} `parquet:"shop"`
}

func orders(t testing.TB, n int, options ...parquet.WriterOption) []byte {
	t.Helper()
	var b bytes.Buffer
	w := parquet.NewGenericWriter[order](&b, append(options, parquet.MaxRowsPerRowGroup(int64(n/2+1)))...)
	for i := range n {
		o := order{ID: fmt.Sprintf("o-%d", i), Price: float64(i) / 4, Count: int32(i), Paid: i%2 == 0, At: time.Unix(1777629600+int64(i), 0)}
		if i%3 != 0 {
			kind := []string{"book", "pen"}[i%2]
			o.Kind = &kind
		}
		o.Shop.Name = "Ada's"
		_, err := w.Write([]order{o})
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	return b.Bytes()
}

func TestForeignFilesAreReadInEveryCompressionAndPageVersion(t *testing.T) {
	for name, options := range map[string][]parquet.WriterOption{
		"plain": nil, "zstd": {parquet.Compression(&parquet.Zstd)}, "snappy": {parquet.Compression(&parquet.Snappy)}, "gzip": {parquet.Compression(&parquet.Gzip)},
		"v1": {parquet.DataPageVersion(1), parquet.Compression(&parquet.Zstd)}, "small pages": {parquet.PageBufferSize(300)},
	} {
		b := orders(t, 1000, options...)
		rows := 0
		require.NoError(t, eachRow(bytes.NewReader(b), int64(len(b)), func(object []byte) error {
			var o struct {
				ID   string `json:"id"`
				Kind *string
				Name string `json:"shop.name"`
			}
			require.NoError(t, json.Unmarshal(object, &o))
			require.Equal(t, fmt.Sprintf("o-%d", rows), o.ID)
			require.Equal(t, rows%3 != 0, o.Kind != nil)
			require.Equal(t, "Ada's", o.Name)
			rows++
			return nil
		}), name)
		require.Equal(t, 1000, rows, name)
	}
	b := orders(t, 10, parquet.Compression(&parquet.Brotli))
	require.ErrorContains(t, eachRow(bytes.NewReader(b), int64(len(b)), nil), "write the file with zstd, snappy, gzip or none")
}

func TestAnErrorNamesTheFileTheRowGroupAndTheColumn(t *testing.T) {
	b := orders(t, 1000)
	file, err := parquet.OpenFile(bytes.NewReader(b), int64(len(b)))
	require.NoError(t, err)
	b[file.Metadata().RowGroups[1].Columns[2].MetaData.DataPageOffset] ^= 0xff
	name := filepath.Join(t.TempDir(), "orders.parquet")
	require.NoError(t, os.WriteFile(name, b, 0o600))
	f, err := os.Open(name)
	require.NoError(t, err)
	defer f.Close()
	err = EachRow(f, func([]byte) error { return nil })
	require.ErrorIs(t, err, ErrHostile)
	for _, part := range []string{name, "row group 2", "column " + file.Schema().Columns()[2][0]} {
		require.ErrorContains(t, err, part)
	}
}

// bombs are files that claim more than they have.
func bombs(t testing.TB) map[string][]byte {
	t.Helper()
	footer := func(b ...byte) []byte {
		return append(append(append([]byte("PAR1"), b...), byte(len(b)), byte(len(b)>>8), byte(len(b)>>16), byte(len(b)>>24)), "PAR1"...)
	}
	deep := bytes.Repeat([]byte{0x1c}, 1000)
	out := map[string][]byte{
		"a list of two billion":       footer(0x29, 0xfc, 0xff, 0xff, 0xff, 0xff, 0x07, 0),
		"a text of two billion":       footer(0x18, 0xff, 0xff, 0xff, 0xff, 0x07, 0),
		"structs in structs":          footer(deep...),
		"many small structs":          footer(append([]byte{0x49, 0xfc, 0xff, 0xff, 0x3f}, make([]byte, 1<<20)...)...),
		"a footer longer than itself": append([]byte("PAR1PAR1"), 0xff, 0xff, 0xff, 0x7f, 'P', 'A', 'R', '1'),
		"nothing":                     {},
	}
	change := func(name string, f func(m *format.FileMetaData)) {
		b := orders(t, 100)
		file, err := parquet.OpenFile(bytes.NewReader(b), int64(len(b)))
		require.NoError(t, err)
		m := *file.Metadata()
		f(&m)
		out[name] = withFooter(t, b, &m)
	}
	change("rows without end", func(m *format.FileMetaData) { m.RowGroups[0].NumRows = 1 << 39; m.NumRows = 1 << 40 })
	change("values without end", func(m *format.FileMetaData) {
		m.RowGroups[0].NumRows = 1 << 39
		for i := range m.RowGroups[0].Columns {
			m.RowGroups[0].Columns[i].MetaData.NumValues = 1 << 39
		}
	})
	change("a page before the file", func(m *format.FileMetaData) { m.RowGroups[0].Columns[0].MetaData.DataPageOffset = -8 })
	change("a page behind the file", func(m *format.FileMetaData) { m.RowGroups[0].Columns[0].MetaData.DataPageOffset = 1 << 50 })
	change("fewer columns", func(m *format.FileMetaData) { m.RowGroups[0].Columns = m.RowGroups[0].Columns[:2] })
	return out
}

func TestFilesThatClaimTooMuchAreRefusedInLittleMemory(t *testing.T) {
	for name, b := range bombs(t) {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		err := eachRow(bytes.NewReader(b), int64(len(b)), func([]byte) error { return nil })
		runtime.ReadMemStats(&after)
		require.Error(t, err, name)
		require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(64<<20), name)
	}
	require.ErrorIs(t, guardRuns([]byte{0x80, 0x80, 0x80, 0x80, 0x10, 1}, 1, 100), ErrHostile)
	require.ErrorIs(t, guardDelta([]byte{0x80, 1, 4, 0xff, 0xff, 0xff, 0xff, 7}, 100), ErrHostile)
	packed := (&parquet.Zstd)
	bomb, err := packed.Encode(nil, make([]byte, 1<<20))
	require.NoError(t, err)
	_, err = unpack(bomb, format.Zstd, 1000)
	require.ErrorIs(t, err, ErrHostile)
}

// maxFuzzed is how much memory the reading of a small file may allocate in all.
const maxFuzzed = 512 << 20

func FuzzForeignFiles(f *testing.F) {
	f.Add(orders(f, 5))
	f.Add(orders(f, 5, parquet.Compression(&parquet.Zstd)))
	f.Add(orders(f, 5, parquet.DataPageVersion(1), parquet.Compression(&parquet.Snappy)))
	for _, b := range bombs(f) {
		if len(b) < 64<<10 {
			f.Add(b)
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > 1<<20 {
			return
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		rows := 0
		err := eachRow(bytes.NewReader(b), int64(len(b)), func(object []byte) error {
			if rows++; !json.Valid(object) {
				t.Fatalf("row %d is no JSON: %s", rows, object)
			}
			return nil
		})
		runtime.ReadMemStats(&after)
		if grown := after.TotalAlloc - before.TotalAlloc; grown > maxFuzzed {
			t.Fatalf("%d bytes were allocated for a file of %d: %v", grown, len(b), err)
		}
	})
}

// withFooter puts another footer to a file.
func withFooter(t testing.TB, b []byte, m *format.FileMetaData) []byte {
	t.Helper()
	n := int(b[len(b)-8]) | int(b[len(b)-7])<<8 | int(b[len(b)-6])<<16
	footer, err := thrift.Marshal(&thrift.CompactProtocol{}, m)
	require.NoError(t, err)
	out := append(bytes.Clone(b[:len(b)-8-n]), footer...)
	return append(append(out, byte(len(footer)), byte(len(footer)>>8), byte(len(footer)>>16), 0), "PAR1"...)
}
