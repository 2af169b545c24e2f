package dialect_test

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/stretchr/testify/require"

	"spoor/server/dialect"
)

// members reads an object with the strict reader of the library.
func members(t *testing.T, value []byte) (names []string, values []string) {
	t.Helper()
	d := jsontext.NewDecoder(bytes.NewBuffer(value))
	_, err := d.ReadToken()
	require.NoError(t, err)
	for d.PeekKind() != '}' {
		name, err := d.ReadToken()
		require.NoError(t, err)
		names = append(names, name.String())
		v, err := d.ReadValue()
		require.NoError(t, err)
		values = append(values, string(v))
	}
	return names, values
}

var objects = []string{
	`{}`, ` { } `, `{"a":1}`, `{"a":[1,{"b":"}"}],"c\u00e9\"":"\\","":null, "d" : -1.5e3 ,"e":true}`,
	`{"a":"\\\"]}","b":{"c":[[],{}]}}`, `{"x":"\ud83d\ude00"}`, "{\"n\":\t\"\u2028\"}",
	`[`, `{`, `{"a"`, `{"a":`, `{"a":}`, `{"a":1,}`, `{"a":1]`, `{"a":1}x`, `{,}`, `{"a" 1}`, `{"a":[}`, `{"a":1 2}`, `{"\x":1}`, ``, `7`, `"`, `{"a":"`, `{"a":"\"}`,
}

// FuzzObjectsAreTakenApartAsTheStrictReaderDoes holds Split and Each against the
// library on all that Check lets through, and for all else wants no crash.
func FuzzObjectsAreTakenApartAsTheStrictReaderDoes(f *testing.F) {
	for _, text := range objects {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, value []byte) {
		o, err := dialect.Split(nil, value)
		list := append(append([]byte{'['}, value...), ']')
		var items [][]byte
		eachErr := dialect.Each(list, func(_ int, item []byte) error {
			items = append(items, item)
			return nil
		})
		if dialect.Check(value) != nil {
			return
		}
		require.NoError(t, eachErr)
		require.Equal(t, [][]byte{bytes.Trim(value, " \t\r\n")}, items)
		if bytes.TrimLeft(value, " \t\r\n")[0] != '{' {
			require.Error(t, err)
			return
		}
		names, values := members(t, value)
		if len(names) > dialect.MaxMembers {
			require.Error(t, err)
			return
		}
		require.NoError(t, err)
		require.Len(t, o, len(names))
		for i := range o {
			require.Equal(t, names[i], string(o[i].Name))
			require.Equal(t, values[i], string(o[i].Value))
			text := dialect.Text(o[i].Value)
			if o[i].Value[0] == '"' {
				want, err := jsontext.AppendUnquote(nil, o[i].Value)
				require.NoError(t, err)
				require.Equal(t, string(want), string(text))
			}
		}
	})
}

func TestAnObjectOfTooManyMembersIsRefused(t *testing.T) {
	text := "{" + strings.TrimSuffix(strings.Repeat(`"a":1,`, dialect.MaxMembers+1), ",") + "}"
	_, err := dialect.Split(nil, []byte(text))
	require.ErrorContains(t, err, "members")
}

func TestDeepNestingIsTakenInConstantStack(t *testing.T) {
	deep := []byte(`{"a":` + strings.Repeat("[", 1<<20) + strings.Repeat("]", 1<<20) + `}`)
	begin := time.Now()
	o, err := dialect.Split(nil, deep)
	require.NoError(t, err)
	require.Len(t, o.Get("a"), 2<<20)
	require.NotNil(t, dialect.Check(deep))
	require.Less(t, time.Since(begin), 2*time.Second)
}

func TestTimesAreReadAsClientsWriteThem(t *testing.T) {
	for value, want := range map[string]string{
		`"2026-11-28T12:00:00.123Z"`:       `"2026-11-28T12:00:00.123Z"`,
		`"2026-11-28T12:00:00.123456789Z"`: `"2026-11-28T12:00:00.123456789Z"`,
		`"2026-11-28T12:00:00+02:00"`:      `"2026-11-28T12:00:00+02:00"`,
		`"2026-11-28T12:00:00+0200"`:       `"2026-11-28T10:00:00Z"`,
		`"2026-11-28T12:00:00.5"`:          `"2026-11-28T12:00:00.5Z"`,
		`"2026-11-28 12:00:00"`:            `"2026-11-28T12:00:00Z"`,
		`"2026-11-28 12:00:00.25+02:00"`:   `"2026-11-28T10:00:00.25Z"`,
		`"2026-11-28T12:00Z"`:              `"2026-11-28T12:00:00Z"`,
		`"2026-11-28"`:                     `"2026-11-28T00:00:00Z"`,
		`1795866000`:                       `"2026-11-28T11:40:00Z"`,
		`"1795866000"`:                     `"2026-11-28T11:40:00Z"`,
		`1795866000.25`:                    `"2026-11-28T11:40:00.25Z"`,
		`1795866000123`:                    `"2026-11-28T11:40:00.123Z"`,
		`"1795866000123"`:                  `"2026-11-28T11:40:00.123Z"`,
		`1795866000123456`:                 `"2026-11-28T11:40:00.123456Z"`,
		`1795866000123456789`:              `"2026-11-28T11:40:00.123456Z"`,
		`1795866000123.5`:                  `"2026-11-28T11:40:00.1235Z"`,
		`-1`:                               `"1969-12-31T23:59:59Z"`,
		`-1.5`:                             `"1969-12-31T23:59:58.5Z"`,
		`"  2026-11-28T12:00:00.123Z "`:    `"2026-11-28T12:00:00.123Z"`,
		`""`:                               ``,
		`null`:                             ``,
		``:                                 ``,
		`"2026-11-28T12:00:00\u002b02:00"`: `"2026-11-28T12:00:00+02:00"`,
	} {
		got, ok := dialect.Time([]byte(value))
		require.True(t, ok, value)
		require.Equal(t, want, string(got), value)
	}
	for _, value := range []string{`"soon"`, `true`, `{}`, `[1]`, `"Infinity"`, `"NaN"`, `1e300`, `-1e300`, `"2026-13-01"`, `"2026-02-30T00:00:00Z"`} {
		_, ok := dialect.Time([]byte(value))
		require.False(t, ok, value)
	}
}

func TestPrefixesArePathsThatHideNothing(t *testing.T) {
	for prefix, want := range map[string]bool{
		"": true, "/": true, "/p": true, "p/q": true, "/p/": true, "a-b_c.d": true,
		"/api": false, "api/x": false, "metrics": false, "..": false, "a//b": false, "a b": false, "ä": false, "?": false, strings.Repeat("x", 65): false,
	} {
		_, ok := dialect.Mount(map[string]string{"d": prefix}, named{})
		require.Equal(t, want, ok, "%q", prefix)
	}
}

type named struct{}

func (named) Name() string                              { return "d" }
func (named) Find(string, bool) dialect.Handler         { return nil }
func (named) Refusal(r dialect.Refusal) dialect.Refusal { return r }

func TestTheZoneOfADeviceShowsInWhenItSaysThatItSends(t *testing.T) {
	now := time.Date(2026, 11, 28, 13, 0, 0, 0, time.UTC)
	for sent, zone := range map[string]time.Duration{
		"2026-11-28T14:00:03.5": time.Hour, "2026-11-28T12:59:40": 0, "2026-11-28 18:45:00.1": 5*time.Hour + 45*time.Minute, "2026-11-28T01:00:00": -12 * time.Hour,
		"2026-11-29T03:00:00": 14 * time.Hour, "2026-11-29T13:00:00": 0, "1970-01-01T00:00:00": 0,
	} {
		local, ok := dialect.Local([]byte(`"` + sent + `"`))
		require.True(t, ok, sent)
		require.Equal(t, zone, dialect.ZoneOf(local, now), sent)
	}
	for _, value := range []string{`"2026-11-28T14:00:00Z"`, `"2026-11-28T14:00:00+01:00"`, `"2026-11-28"`, "1795870000", `""`, "null", ""} {
		_, ok := dialect.Local([]byte(value))
		require.False(t, ok, value)
	}
}
