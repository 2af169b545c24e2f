package server_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/parquet-go/parquet-go"
	"github.com/stretchr/testify/require"

	"spoor/server"
	"spoor/server/rawtier/parquetfile"
)

func TestAnExportAsParquetHasTheEventsAsTheyWereSent(t *testing.T) {
	n := start(t, server.Options{})
	sendMany(n, 1000)
	lines := strings.Split(strings.TrimSpace(string(n.post("/api/events/export", `{"events":["cart"]}`).body)), "\n")
	for call, columns := range map[string]bool{`{"format":"parquet","events":["cart"]}`: true, `{"format":"parquet","events":["cart"],"columns":["properties.note"]}`: false} {
		r := n.post("/api/events/export", call)
		require.Equal(t, 200, r.status, "%s", r.body)
		i := 0
		require.NoError(t, parquetfile.Each(bytes.NewReader(r.body), int64(len(r.body)), func(e *parquetfile.Event) error {
			require.True(t, strings.HasPrefix(lines[i], strings.TrimSuffix(string(e.JSON), "}")), "%s: %s", lines[i], e.JSON)
			i++
			return nil
		}))
		require.Equal(t, len(lines), i)
		f, err := parquet.OpenFile(bytes.NewReader(r.body), int64(len(r.body)))
		require.NoError(t, err)
		_, has := f.Schema().Lookup("properties/price:num")
		require.Equal(t, columns, has)
		_, has = f.Schema().Lookup("properties/note:str")
		require.True(t, has)
	}
	empty := n.post("/api/events/export", `{"format":"parquet","events":["nothing"],"limit":3}`)
	require.Equal(t, 200, empty.status)
	require.NoError(t, parquetfile.Each(bytes.NewReader(empty.body), int64(len(empty.body)), func(*parquetfile.Event) error { panic("there is none") }))
	require.Equal(t, "syntax", n.post("/api/events/export", `{"format":"parquet","where":"price >"}`).errorCode(t))
}
