package parquetfile

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/format"
)

// EachRow calls f with the rows of any Parquet file of flat columns, as JSON objects by
// the names of the columns; a null is no member. Of a file of the raw tier it is the event as it
// was sent. object is good until f returns.
func EachRow(in *os.File, f func(object []byte) error) error {
	info, err := in.Stat()
	if err != nil {
		return err
	}
	if err := eachRow(in, info.Size(), f); err != nil {
		return fmt.Errorf("read %s: %w", in.Name(), err)
	}
	return nil
}

func eachRow(in io.ReaderAt, size int64, f func(object []byte) error) (err error) {
	if err := guardFooter(in, size); err != nil {
		return err
	}
	file, err := open(in, size)
	if err != nil {
		return err
	}
	for i := range file.Metadata().RowGroups {
		if err := guardGroup(in, size, file.Schema(), &file.Metadata().RowGroups[i]); err != nil {
			return fmt.Errorf("row group %d: %w", i+1, err)
		}
	}
	if _, ours := file.Schema().Lookup(jsonColumn); ours {
		if err := Each(in, size, func(e *Event) error { return f(e.JSON) }); !errors.Is(err, ErrForeign) {
			return err
		}
	}
	defer recovered(&err)
	var write []func([]byte, parquet.Value) []byte
	var names [][]byte
	for _, path := range file.Schema().Columns() {
		leaf, _ := file.Schema().Lookup(path...)
		name, err := jsontext.AppendQuote(nil, strings.Join(path, "."))
		if err != nil {
			return fmt.Errorf("the name of a column is no UTF-8: %q", path)
		}
		names = append(names, name)
		write = append(write, writerOf(leaf.Node))
	}
	var rows [64]parquet.Row
	var buf []byte
	for number, group := range file.RowGroups() {
		r := group.Rows()
		for {
			n, err := r.ReadRows(rows[:])
			for _, row := range rows[:n] {
				buf = append(buf[:0], '{')
				for _, v := range row {
					if v.IsNull() {
						continue
					}
					if len(buf) > 1 {
						buf = append(buf, ',')
					}
					buf = append(append(buf, names[v.Column()]...), ':')
					buf = write[v.Column()](buf, v)
				}
				buf = append(buf, '}')
				if err := f(buf); err != nil {
					_ = r.Close()
					return err
				}
			}
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				_ = r.Close()
				return fmt.Errorf("read the rows of row group %d: %w", number+1, err)
			}
		}
		if err := r.Close(); err != nil {
			return fmt.Errorf("read the rows of row group %d: %w", number+1, err)
		}
	}
	return nil
}

// writerOf writes values of a column as JSON: times as RFC 3339, bytes that are no text as base64.
func writerOf(node parquet.Node) func([]byte, parquet.Value) []byte {
	if t := node.Type().LogicalType(); t != nil {
		switch l := t.Value.(type) {
		case *format.TimestampType:
			unit := time.Nanosecond
			if l.Unit.Value != nil {
				unit = l.Unit.Value.Duration()
			}
			perSecond := int64(time.Second / unit)
			return func(dst []byte, v parquet.Value) []byte {
				n := v.Int64()
				seconds, rest := n/perSecond, n%perSecond
				return append(time.Unix(seconds, rest*int64(unit)).UTC().AppendFormat(append(dst, '"'), time.RFC3339Nano), '"')
			}
		case *format.DateType:
			return func(dst []byte, v parquet.Value) []byte {
				return append(time.Unix(int64(v.Int32())*86_400, 0).UTC().AppendFormat(append(dst, '"'), time.DateOnly), '"')
			}
		}
	}
	return func(dst []byte, v parquet.Value) []byte {
		switch v.Kind() {
		case parquet.Boolean:
			return strconv.AppendBool(dst, v.Boolean())
		case parquet.Int32:
			return strconv.AppendInt(dst, int64(v.Int32()), 10)
		case parquet.Int64:
			return strconv.AppendInt(dst, v.Int64(), 10)
		case parquet.Float, parquet.Double:
			d := v.Double()
			if v.Kind() == parquet.Float {
				d = float64(v.Float())
			}
			if d != d || d > 1e308 || d < -1e308 {
				return append(dst, "null"...)
			}
			return strconv.AppendFloat(dst, d, 'g', -1, 64)
		}
		if b := v.ByteArray(); utf8.Valid(b) {
			dst, _ = jsontext.AppendQuote(dst, b)
			return dst
		}
		return append(base64.StdEncoding.AppendEncode(append(dst, '"'), v.ByteArray()), '"')
	}
}
