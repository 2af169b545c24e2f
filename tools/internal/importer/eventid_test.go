package importer

import (
	"encoding/json"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
)

func TestAnEventKeepsTheIDItHas(t *testing.T) {
	for _, line := range []string{
		`{"eventId":"a"}`,
		`{ "userId" : "u", "eventId" : "a" }`,
		`{"properties":{"a":[1,{"b":"}"}],"eventId":"inner"},"eventId":"outer"}`,
		`{"event\u0049d":"a"}`,
		`{"eventId":7}`, // for the server to refuse
		`{"userId":"u"`, // likewise
		`not JSON`, `[1]`, ``, `{`, `{"a`, `{"a":`, `{"a" 1}`, `{"a":"\`,
	} {
		var n namer
		require.Equal(t, line, string(n.appendNamed(nil, []byte(line), 1)))
	}
}

func TestAnEventWithoutAnIDGetsOneAndNothingElseChanges(t *testing.T) {
	for _, line := range []string{
		`{}`, `{ }`, ` {"userId":"u"} `, `{"userId":"u","n":1.50,"list":[1,2],"o":{"eventId":"inner"},"t":true}`,
		`{"eventId":null,"userId":"u"}`, `{"eventId":"","userId":"u"}`, `{"userId":"u","eventId": null }`,
		`{"userId":"eventId"}`, `{"a\"b":"\\","c":"\""}`,
	} {
		var n namer
		named := n.appendNamed([]byte("before"), []byte(line), 1)
		require.Equal(t, "before", string(named[:6]))
		var want, got map[string]json.RawMessage
		require.NoError(t, json.Unmarshal([]byte(line), &want))
		require.NoError(t, json.Unmarshal(named[6:], &got), string(named))
		var id uuid.UUID
		require.NoError(t, json.Unmarshal(got["eventId"], &id))
		require.EqualValues(t, 5, id.Version())
		delete(want, "eventId")
		delete(got, "eventId")
		require.Equal(t, want, got)
	}
}

func TestAnIDFollowsFromFileLineAndNumber(t *testing.T) {
	id := func(first, line string, number int64) string {
		var n namer
		n.appendNamed(nil, []byte(first), 1)
		var e struct{ EventID string }
		require.NoError(t, json.Unmarshal(n.appendNamed(nil, []byte(line), number), &e))
		return e.EventID
	}
	a := id(`{"userId":"first"}`, `{"userId":"u"}`, 7)
	require.Equal(t, a, id(`{"userId":"first"}`, `{"userId":"u"}`, 7), "a repeat is another event")
	require.NotEqual(t, a, id(`{"userId":"first"}`, `{"userId":"u"}`, 8), "two equal lines are one event")
	require.NotEqual(t, a, id(`{"userId":"first"}`, `{"userId":"v"}`, 7))
	require.NotEqual(t, a, id(`{"userId":"other"}`, `{"userId":"u"}`, 7), "two files share an event")
}

func FuzzNamingAnEventChangesOnlyItsID(f *testing.F) {
	for _, s := range []string{`{"a":1}`, `{"eventId":null}`, `{"a":{"b":[{}]},"eventId":"x"}`, `{"a":"\"",`, `{}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		var n namer
		named := n.appendNamed(nil, line, 1)
		var before, after map[string]any
		if json.Unmarshal(line, &before) != nil || before == nil {
			return
		}
		require.NoError(t, json.Unmarshal(named, &after), "%q became %q", line, named)
		if id, ok := before["eventId"]; ok && id != nil && id != "" {
			require.Equal(t, id, after["eventId"])
		} else {
			require.NotEmpty(t, after["eventId"])
		}
		delete(before, "eventId")
		delete(after, "eventId")
		require.Equal(t, before, after)
	})
}
