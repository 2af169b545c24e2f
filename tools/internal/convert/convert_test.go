package convert_test

import (
	"bytes"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/parquet-go/parquet-go"
	"github.com/stretchr/testify/require"

	"spoor/tools/internal/convert"
)

func lines(t *testing.T, form convert.Form, m *convert.Mapping, text string) []string {
	t.Helper()
	r, err := convert.Lines(strings.NewReader(text), form, m)
	require.NoError(t, err)
	b, err := io.ReadAll(r)
	require.NoError(t, err)
	if len(b) == 0 {
		return nil
	}
	return strings.Split(strings.TrimSuffix(string(b), "\n"), "\n")
}

func TestExportsOfOthersBecomeEventsWithTheIdsThatTheirSDKsGave(t *testing.T) {
	for name, c := range map[string]struct{ in, want string }{
		"segment":   {`{"type":"track","messageId":"m1","event":"Order Completed","userId":"u1","anonymousId":"a1","timestamp":"2026-05-01T10:00:00.5Z","properties":{"total":12345678901234567890},"context":{"ip":"1.2.3.4"}}`, `{"eventId":"m1","userId":"u1","anonymousId":"a1","eventName":"Order Completed","timestamp":"2026-05-01T10:00:00.5Z","properties":{"total":12345678901234567890},"context":{"ip":"1.2.3.4"}}`},
		"posthog":   {`{"uuid":"p1","event":"$pageview","distinct_id":"d1","timestamp":"2026-05-01 10:00:00.123456+00:00","properties":{"$device_id":"d1","x":1}}`, `{"eventId":"p1","anonymousId":"d1","eventName":"page_viewed","timestamp":"2026-05-01T10:00:00.123456Z","properties":{"$device_id":"d1","x":1}}`},
		"mixpanel":  {`{"event":"Signed up","properties":{"time":1777629600,"distinct_id":"u9","$insert_id":"i1","$device_id":"dev"}}`, `{"eventId":"i1","userId":"u9","anonymousId":"dev","eventName":"Signed up","timestamp":"2026-05-01T10:00:00Z","properties":{"time":1777629600,"distinct_id":"u9","$insert_id":"i1","$device_id":"dev"}}`},
		"amplitude": {`{"$insert_id":"k1","uuid":"other","event_type":"open","user_id":42,"device_id":"dev","event_time":"2026-05-01 10:00:00.123000","event_properties":{"a":[1]},"country":"DE","city":null}`, `{"eventId":"k1","userId":"42","anonymousId":"dev","eventName":"open","timestamp":"2026-05-01T10:00:00.123Z","properties":{"a":[1]},"context":{"country":"DE"}}`},
	} {
		got := lines(t, convert.NDJSON, convert.Known[name], c.in+"\n\n")
		require.Equal(t, []string{c.want}, got, name)
	}
	require.Empty(t, lines(t, convert.NDJSON, convert.Known["segment"], `{"type":"identify","userId":"u1"}`))
}

const shop = `
eventId: order
eventName: kind
userId: [customer, "user.id"]
timestamp: at
properties: "*"
context: {country: land}
names: {"1": ordered}
skip: {state: [draft]}
`

func TestAMappingFileSaysWhatTheColumnsAre(t *testing.T) {
	m, err := convert.ReadMapping([]byte(shop))
	require.NoError(t, err)
	csv := "\ufefforder,kind,customer,at,land,price,name,code,state\r\n7,1,c1,2026-05-01,DE,9.50,\"a, \"\"b\"\"\",007,\r\n8,1,c1,2026-05-01,DE,1,x,1,draft\n9,2,c2,1777629600123,,,=1+1,true,\n"
	require.Equal(t, []string{
		`{"eventId":"7","userId":"c1","eventName":"ordered","timestamp":"2026-05-01T00:00:00Z","properties":{"code":"007","name":"a, \"b\"","price":9.50},"context":{"country":"DE"}}`,
		`{"eventId":"9","userId":"c2","eventName":"2","timestamp":"2026-05-01T10:00:00.123Z","properties":{"code":true,"name":"=1+1"}}`,
	}, lines(t, convert.CSV, m, csv))
	require.Equal(t, []string{`{"userId":"deep","eventName":"x","properties":{"a":1}}`}, lines(t, convert.NDJSON, m, `{"kind":"x","user":{"id":"deep"},"a":1}`))
	for _, bad := range []string{"", "eventName: a", "eventname: a\nuserId: b", "eventName: [a\n", "- a"} {
		_, err := convert.ReadMapping([]byte(bad))
		require.Error(t, err, bad)
	}
}

func TestARecordThatCannotBeReadEndsInItsNumber(t *testing.T) {
	for form, text := range map[convert.Form]string{
		convert.NDJSON: "{\"kind\":\"a\",\"customer\":\"b\"}\nnonsense\n",
		convert.CSV:    "kind,customer,at\na,b,2026-05-01\na,b,yesterday\n",
	} {
		m, err := convert.ReadMapping([]byte(shop))
		require.NoError(t, err)
		r, err := convert.Lines(strings.NewReader(text), form, m)
		require.NoError(t, err)
		b, err := io.ReadAll(r)
		require.ErrorContains(t, err, "record 2")
		require.Equal(t, 1, strings.Count(string(b), "\n"), "those before it are given")
	}
	_, err := convert.Lines(strings.NewReader("a,a\n1,2\n"), convert.CSV, convert.Known["segment"])
	require.ErrorContains(t, err, "two columns")
}

func TestRowsOfAParquetFileOfOthersAreRead(t *testing.T) {
	type row struct {
		Order    string  `parquet:"order"`
		Kind     int64   `parquet:"kind"`
		Customer *string `parquet:"customer,optional"`
		At       int64   `parquet:"at,timestamp(millisecond)"`
		Price    float64 `parquet:"price"`
		Paid     bool    `parquet:"paid"`
	}
	c := "c1"
	var b bytes.Buffer
	w := parquet.NewGenericWriter[row](&b)
	_, err := w.Write([]row{{"o1", 1, &c, 1777629600123, 2.5, true}, {"o2", 2, nil, 1777629600000, 0, false}})
	require.NoError(t, err)
	require.NoError(t, w.Close())
	name, mapping := filepath.Join(t.TempDir(), "x.parquet"), filepath.Join(t.TempDir(), "m.yaml")
	require.NoError(t, os.WriteFile(name, b.Bytes(), 0o600))
	require.NoError(t, os.WriteFile(mapping, []byte(shop), 0o600))
	read, err := convert.Source("parquet", mapping)
	require.NoError(t, err)
	f, err := os.Open(name)
	require.NoError(t, err)
	defer f.Close()
	in, err := read(f, nil)
	require.NoError(t, err)
	got, err := io.ReadAll(in)
	require.NoError(t, err)
	require.Equal(t, `{"eventId":"o1","userId":"c1","eventName":"ordered","timestamp":"2026-05-01T10:00:00.123Z","properties":{"paid":true,"price":2.5}}
{"eventId":"o2","eventName":"2","timestamp":"2026-05-01T10:00:00Z","properties":{"paid":false,"price":0}}
`, string(got))
	_, err = read(strings.NewReader(""), nil)
	require.Error(t, err)
	_, err = convert.Source("csv", "")
	require.ErrorContains(t, err, "--mapping")
	none, err := convert.Source("", "")
	require.NoError(t, err)
	require.Nil(t, none)
}

func FuzzAppendGivesJSONOrAnError(f *testing.F) {
	f.Add(`{"type":"track","event":"a","userId":1e3,"timestamp":"x","properties":{}}`, "a,b\n1,\"x\n\"")
	f.Add(`{"uuid":"p1","event":"$pageview","timestamp":-99999999999}`, "\n")
	f.Fuzz(func(t *testing.T, object, table string) {
		for _, m := range convert.Known {
			if out, skipped, err := m.Append(nil, []byte(object)); err == nil && !skipped {
				require.True(t, json.Valid(out), "%s", out)
			}
			if r, err := convert.Lines(strings.NewReader(table), convert.CSV, m); err == nil {
				b, _ := io.ReadAll(r)
				for line := range bytes.Lines(b) {
					require.True(t, json.Valid(line), "%s", line)
				}
			}
		}
	})
}
