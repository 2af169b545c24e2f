package engines

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/apache/arrow-go/v18/parquet/file"
	"github.com/apache/arrow-go/v18/parquet/pqarrow"
	"github.com/stretchr/testify/require"
)

// eventFiles are all files of events.
func eventFiles(t *testing.T) (out []string) {
	require.NoError(t, filepath.WalkDir(filepath.Join(spoor.raw, "events"), func(path string, e fs.DirEntry, err error) error {
		if err == nil && strings.HasSuffix(path, ".parquet") {
			out = append(out, path)
		}
		return err
	}))
	require.NotEmpty(t, out)
	return out
}

func TestArrowReadsEveryEventAsItWasSentOnce(t *testing.T) {
	seen := map[string]bool{}
	for _, name := range eventFiles(t) {
		f, err := file.OpenParquetFile(name, false)
		require.NoError(t, err)
		r, err := pqarrow.NewFileReader(f, pqarrow.ArrowReadProperties{BatchSize: 4096}, memory.DefaultAllocator)
		require.NoError(t, err)
		records, err := r.GetRecordReader(context.Background(), nil, nil)
		require.NoError(t, err)
		for records.Next() {
			rec := records.RecordBatch()
			at := map[string]int{}
			for i, field := range rec.Schema().Fields() {
				at[field.Name] = i
			}
			text := func(column string, row int) (string, bool) {
				i, ok := at[column]
				if !ok {
					return "", false
				}
				c := rec.Column(i).(*array.String)
				if c.IsNull(row) {
					return "", false
				}
				return c.Value(row), true
			}
			for row := range int(rec.NumRows()) {
				id, _ := text("eventId", row)
				got, _ := text("json", row)
				require.False(t, seen[id], "%s is there twice", id)
				seen[id] = true
				spoor.same(t, id, got)
				var e struct {
					EventName, UserID, AnonymousID string
					Context                        struct{ Country string }
					Properties                     struct{ Position *float64 }
				}
				require.NoError(t, json.Unmarshal([]byte(got), &e))
				for column, want := range map[string]string{"eventName": e.EventName, "userId": e.UserID, "anonymousId": e.AnonymousID, "context/country:str": e.Context.Country} {
					have, _ := text(column, row)
					require.Equal(t, want, have, column)
				}
				if p := e.Properties.Position; p != nil {
					require.Equal(t, *p, rec.Column(at["properties/position:num"]).(*array.Float64).Value(row))
				}
			}
		}
		require.NoError(t, records.Err())
		records.Release()
		require.NoError(t, f.Close())
	}
	require.Len(t, seen, len(spoor.sent))
}

func TestDuckDBReadsEveryEventAsItWasSentOnce(t *testing.T) {
	out := python(t, "duckdb", `
import json, sys, duckdb
for id, text in duckdb.sql("SELECT eventId, json FROM read_parquet('%s/events/**/*.parquet', union_by_name=true, hive_partitioning=true)" % json.load(sys.stdin)).fetchall():
    print(json.dumps([id, text]))
`, spoor.raw)
	seen := map[string]bool{}
	lines := bufio.NewScanner(bytes.NewReader(out))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var row [2]string
		require.NoError(t, json.Unmarshal(lines.Bytes(), &row))
		require.False(t, seen[row[0]], "%s is there twice", row[0])
		seen[row[0]] = true
		spoor.same(t, row[0], row[1])
	}
	require.Len(t, seen, len(spoor.sent))
}
