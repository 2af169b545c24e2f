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
	"spoor/server/backend"
	"spoor/server/rawtier"
	"spoor/server/rawtier/blob"
	"spoor/server/rawtier/exports"
)

func TestExportsIntoTheRawTierAreAskedForAndEndedByTheAPI(t *testing.T) {
	store, err := blob.Open(t.TempDir(), blob.Options{})
	require.NoError(t, err)
	var x *exports.Exports
	var n *node
	n = start(t, server.Options{Raw: rawtier.New(store, nil, rawtier.Options{Dir: filepath.Join(t.TempDir(), "shop")})}, func(l *testLog) {
		x = exports.New(store, backend.New(l, l.db, now), exports.Options{Mine: func() bool { return true }, Dir: filepath.Join(t.TempDir(), "exports"), Now: now})
	})
	require.Equal(t, "no_raw_tier", n.do("GET", "/api/exports", nil).errorCode(t), "it was started without")
	n = startOver(t, n.back, server.Options{Raw: rawtier.New(store, nil, rawtier.Options{Dir: filepath.Join(t.TempDir(), "shop")}), Exports: x})
	sendMany(n, 1000)
	for _, format := range []string{"ndjson", "csv", "parquet"} {
		r := n.post("/api/exports", `{"name":"may-`+format+`","events":["cart"],"format":"`+format+`","to":"2026-06-01"}`)
		require.Equal(t, 200, r.status, "%s", r.body)
		require.Equal(t, "running", r.json(t)["progress"])
		require.NoError(t, x.Round(context.Background()))
		got := n.do("GET", "/api/exports/may-"+format, nil).json(t)
		require.Equal(t, "done", got["progress"])
		var files []byte
		require.NoError(t, store.List(context.Background(), "exports/may-"+format+"/", func(o blob.Object) error {
			in, err := store.Open(context.Background(), o.Key)
			require.NoError(t, err)
			b, err := io.ReadAll(in)
			require.NoError(t, err)
			files = append(files, b...)
			return in.Close()
		}))
		if format == "ndjson" {
			require.Equal(t, string(n.post("/api/events/export", `{"events":["cart"],"format":"`+format+`"}`).body), string(files), "days in order are the whole")
		}
	}
	for _, name := range []string{"", "../x", ".x", "a/b", "a b", strings.Repeat("x", 129), "ü"} {
		text, _ := json.Marshal(name)
		require.Equal(t, "bad_name", n.post("/api/exports", `{"name":`+string(text)+`}`).errorCode(t), name)
	}
	require.Equal(t, 400, n.post("/api/exports", `{"name":"broken","where":"price >"}`).status)
	require.Equal(t, "bad_format", n.post("/api/exports", `{"name":"broken","format":"xls"}`).errorCode(t))
	require.Equal(t, "bad_export", n.post("/api/exports", `{"name":"broken","every":"week"}`).errorCode(t))
	require.Equal(t, "bad_export", n.post("/api/exports", `{"name":"broken","from":"2026-05-02","to":"2026-05-01"}`).errorCode(t))
	require.Equal(t, "name_taken", n.post("/api/exports", `{"name":"may-csv","format":"ndjson"}`).errorCode(t))
	require.Equal(t, 200, n.post("/api/exports", `{"name":"may-csv","events":["cart"],"format":"csv"}`).status, "the same again")
	require.Len(t, n.do("GET", "/api/exports", nil).json(t)["exports"], 3)
	require.Equal(t, 404, n.do("GET", "/api/exports/none", nil).status)
	require.Equal(t, "canceled", n.post("/api/exports/may-csv/cancel", "").json(t)["progress"])
	require.Equal(t, "removing", n.do("DELETE", "/api/exports/may-csv", nil).json(t)["progress"])
	require.NoError(t, x.Round(context.Background()))
	require.Equal(t, 404, n.do("GET", "/api/exports/may-csv", nil).status)

	var s rawtier.Status
	require.NoError(t, json.Unmarshal(n.do("GET", "/api/raw", nil).body, &s))
	require.Equal(t, store.String(), s.Place)
	require.Contains(t, string(n.do("GET", "/metrics", nil).body), "spoor_raw_failures 0")
	none := start(t, server.Options{})
	require.Equal(t, "no_raw_tier", none.do("GET", "/api/raw", nil).errorCode(t))
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
