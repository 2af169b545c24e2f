package parquetfile

import (
	"fmt"
	"io"
	"strconv"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/compress/zstd"
)

// TableColumn is a column of a table: of doubles, or of texts.
type TableColumn struct {
	Name   string
	Number bool
}

// WriteTable writes rows of texts as a file of optional columns; an empty text is null,
// and so is one in a column of numbers that is none.
func WriteTable(out io.Writer, columns []TableColumn, rows [][]string) error {
	group := parquet.Group{}
	for _, c := range columns {
		if _, twice := group[c.Name]; twice {
			return fmt.Errorf("two columns are called %q", c.Name)
		}
		node := parquet.Encoded(parquet.String(), &parquet.RLEDictionary)
		if c.Number {
			node = parquet.Leaf(parquet.DoubleType)
		}
		group[c.Name] = parquet.Optional(node)
	}
	schema := parquet.NewSchema("table", group)
	at := map[string]int{}
	for i, f := range schema.Fields() {
		at[f.Name()] = i
	}
	w := parquet.NewGenericWriter[any](out, schema, parquet.Compression(&zstd.Codec{Level: zstd.SpeedDefault}), parquet.MaxRowsPerRowGroup(groupRows), parquet.CreatedBy(createdBy, "1", ""))
	row := make(parquet.Row, len(columns))
	for _, cells := range rows {
		for i, c := range columns {
			v, level := parquet.NullValue(), 0
			if cells[i] != "" && !c.Number {
				v, level = parquet.ByteArrayValue([]byte(cells[i])), 1
			} else if n, err := strconv.ParseFloat(cells[i], 64); err == nil && c.Number {
				v, level = parquet.DoubleValue(n), 1
			}
			row[at[c.Name]] = v.Level(0, level, at[c.Name])
		}
		if _, err := w.WriteRows([]parquet.Row{row}); err != nil {
			return fmt.Errorf("write a table as Parquet: %w", err)
		}
	}
	if err := w.Close(); err != nil {
		return fmt.Errorf("write a table as Parquet: %w", err)
	}
	return nil
}
