package server_test

import (
	"context"
	"encoding/json"
	"io"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"spoor/server"
	"spoor/server/rawtier"
	"spoor/server/rawtier/blob"
)

func TestAnExportIntoTheRawTierIsThereAsAWholeOrNotAtAll(t *testing.T) {
	store, err := blob.Open(t.TempDir(), blob.Options{})
	require.NoError(t, err)
	n := start(t, server.Options{Raw: rawtier.New(store, nil, rawtier.Options{Dir: filepath.Join(t.TempDir(), "shop")})})
	sendMany(n, 1000)
	for _, format := range []string{"ndjson", "csv", "parquet"} {
		r := n.post("/api/exports", `{"name":"may.`+format+`","events":["cart"],"format":"`+format+`"}`)
		require.Equal(t, 200, r.status, "%s", r.body)
		lines := strings.Split(strings.TrimSpace(string(r.body)), "\n")
		var last struct{ Result rawtier.Exported }
		require.NoError(t, json.Unmarshal([]byte(lines[len(lines)-1]), &last))
		require.Equal(t, "exports/may."+format, last.Result.Key)
		in, err := store.Open(context.Background(), last.Result.Key)
		require.NoError(t, err)
		got, err := io.ReadAll(in)
		require.NoError(t, err)
		require.NoError(t, in.Close())
		require.Equal(t, last.Result.Bytes, int64(len(got)))
		require.Equal(t, string(n.post("/api/events/export", `{"events":["cart"],"format":"`+format+`"}`).body), string(got))
	}
	for _, name := range []string{"", "../x", ".x", "a/b", "a b", strings.Repeat("x", 129), "ü"} {
		text, _ := json.Marshal(name)
		require.Equal(t, "bad_name", n.post("/api/exports", `{"name":`+string(text)+`}`).errorCode(t), name)
	}
	require.Equal(t, 400, n.post("/api/exports", `{"name":"broken","where":"price >"}`).status)
	require.Equal(t, "bad_name", n.post("/api/events/export", `{"name":"x"}`).errorCode(t))
	var keys []string
	require.NoError(t, store.List(context.Background(), "", func(o blob.Object) error { keys = append(keys, o.Key); return nil }))
	require.Equal(t, []string{"exports/may.csv", "exports/may.ndjson", "exports/may.parquet"}, keys)

	var s rawtier.Status
	require.NoError(t, json.Unmarshal(n.do("GET", "/api/raw", nil).body, &s))
	require.Equal(t, store.String(), s.Place)
	require.Contains(t, string(n.do("GET", "/metrics", nil).body), "spoor_raw_failures 0")

	none := start(t, server.Options{})
	require.Equal(t, "no_raw_tier", none.do("GET", "/api/raw", nil).errorCode(t))
	require.Equal(t, "no_raw_tier", none.post("/api/exports", `{"name":"x"}`).errorCode(t))
}

func TestLongWorkIsListedWithWhatIsLeftAndCanBeCanceled(t *testing.T) {
	n := start(t, server.Options{})
	require.JSONEq(t, `{"jobs":[]}`, string(n.do("GET", "/api/jobs", nil).body))
	require.Equal(t, 200, n.post("/api/admin/verify", "").status)
	require.Equal(t, 200, n.do("PUT", "/api/jobs/replay-1", []byte(`{"kind":"replay","name":"/raw","unit":"events","done":10,"total":40}`)).status)
	require.Equal(t, "bad_job", n.do("PUT", "/api/jobs/replay-1", []byte(`{"kind":"replay"}`)).errorCode(t))
	r := n.do("DELETE", "/api/jobs/replay-1", nil)
	require.Equal(t, 200, r.status)
	require.Contains(t, string(r.body), `"canceling"`)
	require.Equal(t, "not_found", n.do("DELETE", "/api/jobs/none", nil).errorCode(t))
	require.Equal(t, "not_found", n.do("GET", "/api/jobs/none", nil).errorCode(t))
	require.Equal(t, 200, n.do("GET", "/api/jobs/replay-1", nil).status)
	var list struct {
		Jobs []struct{ ID, Kind, State string }
	}
	require.NoError(t, json.Unmarshal(n.do("GET", "/api/jobs", nil).body, &list))
	require.Len(t, list.Jobs, 2)
	require.Equal(t, "canceling", list.Jobs[0].State)
	require.Equal(t, "verify", list.Jobs[1].Kind)
	require.Equal(t, "done", list.Jobs[1].State)
}
