package event

import (
	"fmt"
	"math/rand"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// with makes an event with one more member.
func with(member string) string {
	return `{"eventId":"e1","eventName":"t","userId":"u",` + member + `}`
}

func TestEventsComeBackAsTheyWereSent(t *testing.T) {
	d := NewDecoder(DefaultLimits())
	for _, event := range []string{
		`{"eventId":"e1","eventName":"t","userId":"u"}`,
		`{"eventId":"e1","eventName":"t","anonymousId":"a"}`,
		`{"eventId":"0190a5c8-1f2e-7abc-8def-0123456789ab","eventName":"t","userId":"u","anonymousId":null}`,
		`{"eventId":"0190A5C8-1F2E-7ABC-8DEF-0123456789AB","eventName":"t","userId":"","anonymousId":"a"}`,
		`{"eventId":" spaced ","eventName":"näme \"q\" \\ \u0000\u001f","userId":"😀"}`,
		with(`"properties":{}`), with(`"properties":null`), with(`"context":{}`), with(`"context":null`),
		with(`"properties":{},"context":null`),
		with(`"timestamp":"2026-05-01T10:20:30Z"`), with(`"timestamp":"2026-05-01T10:20:30.4Z"`),
		with(`"timestamp":"2026-05-01T10:20:30.450Z"`), with(`"timestamp":"2026-05-01T10:20:30.000000Z"`),
		with(`"timestamp":"2026-05-01T10:20:30.123456789Z"`), with(`"timestamp":"2026-05-01T10:20:30.000000000+02:00"`),
		with(`"timestamp":"2026-05-01t10:20:30z"`), with(`"timestamp":"2024-02-29T23:59:59.9-11:30"`),
		with(`"timestamp":"2026-05-01T00:20:30+05:45"`), with(`"timestamp":"2026-05-01T10:20:30-00:00"`),
		with(`"timestamp":"1900-01-01T00:00:00Z"`), with(`"timestamp":"2199-12-31T23:59:59.999999Z"`),
		with(`"timestamp":"1969-12-31T23:59:59.5Z"`), with(`"timestamp":"2026-05-01T10:20:30.1234567890123456789012345678901234567890Z"`),
		with(`"timestamp":1777630830456`), with(`"timestamp":0`), with(`"timestamp":-1`),
		with(`"properties":{"a":1,"b":1.5,"c":-0.1,"d":1e3,"e":12.0,"f":-0,"g":0.0,"h":1E-7,"i":123456789012345678}`),
		with(`"properties":{"a":9007199254740992,"b":9007199254740993,"c":9223372036854775807,"d":-9223372036854775808,"e":9223372036854775808}`),
		with(`"properties":{"a":1e18,"b":1.5e300,"c":5e-324,"d":1e-400,"e":0.10000000000000000000001,"f":123456789.123456789012,"g":100e-2,"h":12345678901234567890}`),
		with(`"properties":{"a":true,"b":false,"c":null,"d":"","e":"x","f":[],"g":{},"h":[ 1 , {"a" : [ "b ]" ] } ],"i":{ }}`),
		with(`"properties":{"a":{"b":{"c":{"d":1},"e":2}},"f":3,"a.b":4,"a.b.c":{"x":5,"y":{"z":6}}}`),
		with(`"properties":{"":1,"a":{"":{"":2}},".":3,"\\":4,"\\.":5,"a\\":{"b":6},"\"":7,"\n":8,"\u0000":9}`),
		with(`"properties":{"__proto__":1,"constructor":{"x":2},"$where":3,"A":4,"a":5,"é":6,"e\u0301":7}`),
		with(`"properties":{"receivedAt":1,"person":2,"source":3,"eventId":4}`),
		with(`"":1,"x.y":[1, 2],"obj":{"a":1, "b":{}},"n":null,"s":"t","b":true,"\\":2`),
		with(`"properties":{"` + strings.Repeat("k", 256) + `":{"` + strings.Repeat(".", 256) + `":{"` + strings.Repeat("m", 200) + `":{"x":1}}}}`),
		with(`"properties":` + strings.Repeat(`{"a":`, 40) + `1` + strings.Repeat(`}`, 40)),
		"\xef\xbb\xbf \r\n\t" + with(` "properties" : { "a" : 1 , "b" : [ 1 , 2 ] } `) + " \n",
		`{"event\u0049d":"e1","eventName":"\u0074","userId":"\ud83d\ude00"}`,
	} {
		got := roundTrip(t, d, event)
		sameJSON(t, strings.TrimPrefix(event, "\xef\xbb\xbf"), got)
	}
}

func TestMembersOfAnExportAreIgnored(t *testing.T) {
	got := roundTrip(t, NewDecoder(DefaultLimits()), with(`"receivedAt":"x","person":{"a":[1]},"source":null`))
	require.Equal(t, `{"eventId":"e1","userId":"u","eventName":"t"}`, got)
}

func TestBadEventsAreRefusedWithACode(t *testing.T) {
	long := func(n int) string { return strings.Repeat("x", n) }
	var many strings.Builder
	for i := range 1001 {
		fmt.Fprintf(&many, `"k%d":1,`, i)
	}
	for event, code := range map[string]string{
		``: CodeMalformed, ` `: CodeMalformed, `{`: CodeMalformed, `{}x`: CodeMalformed, `{"a"}`: CodeMalformed,
		`[]`: CodeNotObject, `1`: CodeNotObject, `"x"`: CodeNotObject, `null`: CodeNotObject, `nul`: CodeMalformed,
		`{}`:                                                                                 CodeMissingName,
		`{"userId":"u"}`:                                                                     CodeMissingName,
		`{"eventName":"","userId":"u"}`:                                                      CodeMissingName,
		`{"eventName":null,"userId":"u"}`:                                                    CodeBadName,
		`{"eventName":1,"userId":"u"}`:                                                       CodeBadName,
		`{"eventName":01,"userId":"u"}`:                                                      CodeMalformed,
		`{"eventName":"` + long(257) + `"`:                                                   CodeBadName,
		`{"eventName":"t"}`:                                                                  CodeMissingPerson,
		`{"eventName":"t","userId":"","anonymousId":null}`:                                   CodeMissingPerson,
		`{"eventName":"t","userId":1}`:                                                       CodeBadPerson,
		`{"eventName":"t","userId":"` + long(1025) + `"}`:                                    CodeBadPerson,
		`{"eventId":"","eventName":"t","userId":"u"}`:                                        CodeBadEventID,
		`{"eventId":null,"eventName":"t","userId":"u"}`:                                      CodeBadEventID,
		`{"eventId":1e3,"eventName":"t","userId":"u"}`:                                       CodeBadEventID,
		`{"eventId":["x"],"eventName":"t"}`:                                                  CodeBadEventID,
		`{"eventId":"` + long(257) + `","eventName":"t"}`:                                    CodeBadEventID,
		`{"userId":"a","userId":"b","eventName":"t"}`:                                        CodeDuplicateKey,
		`{"userId":"a","user\u0049d":"b","eventName":"t"}`:                                   CodeDuplicateKey,
		with(`"x":1,"x":1`):                                                                  CodeDuplicateKey,
		with(`"source":1,"source":1`):                                                        CodeDuplicateKey,
		with(`"properties":{"a":{"b":1,"b":2}}`):                                             CodeDuplicateKey,
		with(`"properties":{"a":[{"b":1,"\u0062":2}]}`):                                      CodeDuplicateKey,
		with(`"properties":{"a":1},"properties":{}`):                                         CodeDuplicateKey,
		with(`"properties":[]`):                                                              CodeBadProperties,
		with(`"context":"x"`):                                                                CodeBadProperties,
		with(`"properties":{"a":1e400}`):                                                     CodeNumberRange,
		with(`"properties":{"a":[-1e400]}`):                                                  CodeNumberRange,
		with(`"properties":{"a":1` + long(0) + strings.Repeat("0", 400) + `}`):               CodeNumberRange,
		with(`"properties":{"a":0.` + strings.Repeat("0", 2000) + `}`):                       CodeNumberTooLong,
		with(`"properties":{"a":"` + long(64<<10+1) + `"}`):                                  CodeStringTooLong,
		with(`"properties":{"` + long(257) + `":1}`):                                         CodeKeyTooLong,
		with(`"properties":{"a":[{"` + long(257) + `":1}]}`):                                 CodeKeyTooLong,
		with(`"properties":{` + many.String() + `"z":1}`):                                    CodeTooManyKeys,
		with(`"properties":{"a":` + strings.Repeat("[", 63) + strings.Repeat("]", 63) + `}`): CodeTooDeep,
		with(`"a":"` + "\xff" + `"`):                                                         CodeInvalidUTF8,
		with(`"` + "\xc0\xaf" + `":1`):                                                       CodeInvalidUTF8,
		with(`"a":"\ud800"`):                                                                 CodeInvalidUTF8,
		with(`"a":"\udc00\ud800"`):                                                           CodeInvalidUTF8,
		with(`"a":"\ud800\u0041"`):                                                           CodeInvalidUTF8,
		with(`"a":["\q"]`):                                                                   CodeMalformed,
		with(`"a":"\u12g4"`):                                                                 CodeMalformed,
		with(`"a":"` + "\n" + `"`):                                                           CodeMalformed,
		with(`"a":["` + long(2<<20) + `"]`):                                                  CodeEventTooLarge,
		`{"eventName":"t","userId":"u",}`:                                                    CodeMalformed,
		`{"eventName":"t","userId":"u"} {}`:                                                  CodeMalformed,
	} {
		d := NewDecoder(DefaultLimits())
		row, rej := d.Add([]byte(event), "", noID)
		require.NotNil(t, rej, "%.200s", event)
		require.Equal(t, code, rej.Code, "%.200s: %s", event, rej)
		require.Equal(t, -1, row)
		require.Zero(t, d.Rows())
		require.LessOrEqual(t, rej.Offset, len(event))
		require.Equal(t, strings.ToValidUTF8(rej.Message, "?"), rej.Message)
	}
}

func TestDepthIsCountedFromTheEvent(t *testing.T) {
	d := NewDecoder(DefaultLimits())
	for _, deep := range []string{
		strings.Repeat("[", 62) + strings.Repeat("]", 62), strings.Repeat(`{"a":`, 62) + "1" + strings.Repeat("}", 62),
	} {
		sameJSON(t, with(`"properties":{"x":`+deep+`}`), roundTrip(t, d, with(`"properties":{"x":`+deep+`}`)))
	}
}

func TestBadTimestampsAreRefused(t *testing.T) {
	d := NewDecoder(DefaultLimits())
	for _, ts := range []string{
		`""`, `null`, `true`, `{}`, `"now"`, `1.5`, `1e12`, `1777630830456000`, `-99999999999999`, `"2026-05-01"`, `"2026-05-01T10:20:30"`,
		`"2026-05-01 10:20:30Z"`, `"2026-13-01T10:20:30Z"`, `"2026-00-01T10:20:30Z"`, `"2026-02-30T10:20:30Z"`, `"2025-02-29T10:20:30Z"`,
		`"2026-05-00T10:20:30Z"`, `"2026-05-01T24:00:00Z"`, `"2026-05-01T10:60:30Z"`, `"2026-06-30T23:59:60Z"`, `"2026-05-01T10:20:30.Z"`,
		`"2026-05-01T10:20:30,5Z"`, `"2026-05-01T10:20:30+25:00"`, `"2026-05-01T10:20:30+01:60"`, `"2026-05-01T10:20:30+0100"`,
		`"2026-05-01T10:20:30+01"`, `"0000-01-01T00:00:00Z"`, `"9999-12-31T23:59:59Z"`, `"10000-01-01T00:00:00Z"`, `"1899-12-31T23:59:59Z"`,
		`"2200-01-01T00:00:00Z"`, `"2199-12-31T23:59:59-00:01"`, `"2026-05-01T10:20:3/Z"`, `"2026-05-01T10:20: 0Z"`, `"2026-05-01T1é:20:30Z"`,
		`"2026-05-01T10:20:30.` + strings.Repeat("1", 50) + `Z"`, `"2026-05-01T10:20:30ZZ"`, `"-026-05-01T10:20:30Z"`, `"2026-05-01T10:20:30Z "`,
	} {
		_, rej := d.Add([]byte(with(`"timestamp":`+ts)), "", noID)
		require.NotNil(t, rej, ts)
		require.Equal(t, CodeBadTimestamp, rej.Code, ts)
	}
	require.Zero(t, d.Rows())
}

func TestAnAbsentTimestampBecomesTheTimeOfReceipt(t *testing.T) {
	d := NewDecoder(DefaultLimits())
	for _, e := range []string{with(`"a":1`), with(`"timestamp":1000`), with(`"a":1`), with(`"a":1`)} {
		_, rej := d.Add([]byte(e), "", noID)
		require.Nil(t, rej)
	}
	d.Rollback(3)
	b := d.Seal(1_777_777_777_123_456)
	require.Equal(t, int64(1_777_777_777_123_000), b.ReceivedAt)
	require.Equal(t, []int64{b.ReceivedAt, 1_000_000, b.ReceivedAt}, b.Times)
	require.Zero(t, d.Rows())
}

func TestAnAbsentEventIDIsAssigned(t *testing.T) {
	d := NewDecoder(DefaultLimits())
	id := [16]byte{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}
	row, rej := d.Add([]byte(`{"eventName":"t","userId":"u"}`), "shop", func() [16]byte { return id })
	require.Nil(t, rej)
	require.Equal(t, "01020304-0506-0708-090a-0b0c0d0e0f10", string(d.EventID(nil, row)))
	source, _ := d.Seal(0).Sources.At(0)
	require.Equal(t, "shop", string(source))
}

func TestWhatTheStoreAddsStandsBehindTheEvent(t *testing.T) {
	got := AppendJSON(nil, &Row{
		ID: []byte("e"), UserID: []byte("u"), Name: []byte("n"), Time: 1_777_777_777_120_000,
		ReceivedAt: 1_777_777_777_123_000, Person: []byte("p"), Source: []byte("s"),
	})
	require.Equal(t, `{"eventId":"e","userId":"u","eventName":"n","timestamp":"2026-05-03T03:09:37.120Z",`+
		`"receivedAt":"2026-05-03T03:09:37.123Z","person":"p","source":"s"}`, string(got))
}

// randomJSON makes values with members in changing order, names of all sorts,
// and numbers at the edges.
func randomJSON(r *rand.Rand, depth int) string {
	numbers := []string{"0", "-0", "1", "-1", "1.0", "12.50", "1e2", "1E+2", "1e-2", "9007199254740993", "-9223372036854775808", "18446744073709551616", "0.1", "3.141592653589793238", "1e-320", "123456789012345.6"}
	names := []string{"a", "b", "c", "a.b", "", ".", "\\\\", "\\u0000", "é", "\\\"", "longer_name_of_sorts", "ab", "__proto__"}
	space := []string{"", "", "", " ", "\n\t"}
	gap := func() string { return space[r.Intn(len(space))] }
	switch k := r.Intn(9); {
	case k < 2:
		return numbers[r.Intn(len(numbers))]
	case k == 2:
		return []string{"true", "false", "null"}[r.Intn(3)]
	case k < 5:
		return `"` + strings.Repeat(names[r.Intn(len(names))], r.Intn(4)) + `"`
	case depth > 5:
		return "{}"
	case k == 5:
		var items []string
		for range r.Intn(4) {
			items = append(items, gap()+randomJSON(r, depth+1)+gap())
		}
		return "[" + strings.Join(items, ",") + "]"
	default:
		r.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
		var items []string
		for _, name := range names[:r.Intn(5)] {
			items = append(items, gap()+`"`+name+`"`+gap()+":"+gap()+randomJSON(r, depth+1)+gap())
		}
		return "{" + strings.Join(items, ",") + "}"
	}
}

func TestRandomEventsComeBackAsTheyWereSent(t *testing.T) {
	r := rand.New(rand.NewSource(1))
	d := NewDecoder(DefaultLimits())
	for range 4000 {
		members := []string{`"eventId":"e1"`, `"eventName":"t"`, `"userId":"u"`, `"more":` + randomJSON(r, 0)}
		for _, name := range []string{"properties", "context"} {
			v := randomJSON(r, 0)
			if v[0] == '{' {
				members = append(members, `"`+name+`":`+v)
			}
		}
		r.Shuffle(len(members), func(i, j int) { members[i], members[j] = members[j], members[i] })
		event := "{" + strings.Join(members, ",") + "}"
		sameJSON(t, event, roundTrip(t, d, event))
	}
}
