package event

import (
	"errors"
	"fmt"
	"math/rand"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"spoor/segment/batch"
)

const (
	good = `{"eventId":"g","eventName":"t","userId":"u","properties":{"a":1}}`
	bad  = `{"eventId":"b","eventName":"t"}`
)

func TestTheFormOfABodyShowsInItsFirstBytes(t *testing.T) {
	for body, want := range map[string]string{
		"":                                    "",
		" \r\n\n":                             "",
		"[]":                                  "",
		" [ ] \n":                             "",
		`{"batch":[]}`:                        "",
		good:                                  "ok",
		good + "\n":                           "ok",
		"\xef\xbb\xbf" + good + "\r\n" + good: "ok ok",
		"\n\n \t\r\n" + good + "\n\n" + bad + "\n" + good: "ok missing_person ok",
		"[" + good + "]": "ok",
		"\xef\xbb\xbf [" + good + "," + bad + " , 1, {} ,\n" + good + "]\n": "ok missing_person not_an_object missing_event_name ok",
		`{"batch":[` + good + `]}`: "ok",
		`{"sentAt":"x","context":{"a":["batch",[{}]]},"batch":[` + good + `,` + bad + `],"more":[1,{"x":2}]}`: "ok missing_person",
		"{ \"x\" : \"\\\"\" ,\n \"batch\" : [ " + good + " ] \n}":                                             "ok",
		`{"eventId":"g","eventName":"t","userId":"u","batch":[1]}`:                                            "ok",
		`{"batch":1,"eventName":"t","userId":"u"}`:                                                            "ok",
		`{"more":1}`:                                            "missing_event_name",
		good + " " + good + "\n" + good:                         "malformed_json ok",
		"nonsense\n" + good + "\n{\n" + good:                    "malformed_json ok malformed_json ok",
		good + "\n\x00\n" + good:                                "ok malformed_json ok",
		good + "\n\xef\xbb\xbf" + good + "\n" + good:            "ok malformed_json ok",
		good + "\n" + strings.Repeat("[", 100000) + "\n" + good: "ok too_deep ok",
		`{"eventName":"t",` + "\n" + `"userId":"u"}`:            "malformed_json malformed_json",
		// In an array a bad event is refused alone where it is JSON.
		`[{"eventName":1,"x":[{"y":"]}"}]},` + good + `]`:                              "bad_event_name ok",
		`[{"eventName":"t","x":{"a":1,"a":2}},` + good + `]`:                           "duplicate_key ok",
		`[{"eventName":"t","x":"` + "\xff" + `","y":[[]]},` + good + `]`:               "invalid_utf8 ok",
		`[` + strings.Repeat("[", 5000) + strings.Repeat("]", 5000) + `,` + good + `]`: "too_deep ok",
		`[{"eventId":"\ud800","eventName":"t"},` + good + `]`:                          "invalid_utf8 ok",
	} {
		d := NewDecoder(DefaultLimits())
		items, err := collect(d, body)
		require.NoError(t, err, "%.200q", body)
		require.Equal(t, want, strings.Join(codesOf(items), " "), "%.200q", body)
		require.Equal(t, strings.Count(" "+want, " ok"), d.Rows())
		for i, it := range items {
			require.Equal(t, i, it.Index)
			require.Equal(t, it.Reject != nil, it.Row < 0)
			if it.Reject == nil {
				require.True(t, strings.HasPrefix(string(it.Raw), "{"))
			}
		}
	}
}

func TestAFaultOfTheJSONAroundEventsEndsTheBodyAndLeavesNothing(t *testing.T) {
	for _, body := range []string{
		"[", "[" + good, "[" + good + ",", "[" + good + ",]", "[" + good + good + "]", "[" + good + "]x", "[" + good + "][" + good + "]",
		"[" + good + "}", "[" + good + `,{"a"}]`, "[" + good + `,nope,` + good + "]", "[" + good + ",01]", "[" + good + "\x00]", "[,]", "[" + good + ";]",
		`{"batch":[` + good + `]`, `{"batch":[` + good + `]]`, `{"batch":[` + good + `],}`, `{"batch":[` + good + `],"batch":[]}`,
		`{"a":1,"a":2,"batch":[` + good + `]}`, `{"batch":[` + good + `],"x":{"y":1,"y":2}}`, `{"batch":[` + good + `]} x`,
		`{"batch":[` + good + `],"x":tru}`,
	} {
		d := NewDecoder(DefaultLimits())
		_, rej := d.Add([]byte(good), "", noID)
		require.Nil(t, rej)
		_, err := collect(d, body)
		var r *Reject
		require.ErrorAs(t, err, &r, body)
		require.LessOrEqual(t, r.Offset, len(body))
		require.Equal(t, 1, d.Rows(), body)
		require.Equal(t, 1, d.Seal(0).Columns[0].Len(1))
	}
}

func TestTheCallbackMaySealAndMayStop(t *testing.T) {
	d := NewDecoder(DefaultLimits())
	_, rej := d.Add([]byte(good), "", noID)
	require.Nil(t, rej)
	sizes := []int{}
	err := d.AddAll([]byte("["+strings.Repeat(good+",", 9)+good+"]"), "", noID, func(it Item) error {
		if d.Rows() == 4 {
			sizes = append(sizes, d.Seal(0).N)
		}
		return nil
	})
	require.NoError(t, err)
	require.Equal(t, []int{4, 4}, sizes)
	require.Equal(t, 3, d.Rows())

	stop := errors.New("stop")
	err = d.AddAll([]byte(good+"\n"+good+"\n"+good), "", noID, func(it Item) error {
		if it.Index == 1 {
			return stop
		}
		return nil
	})
	require.ErrorIs(t, err, stop)
	require.Equal(t, 3, d.Rows(), "what stood there before the body stays")

	err = d.AddAll([]byte("["+good+","+good+",x"), "", noID, func(it Item) error {
		if it.Index == 0 {
			d.Seal(0)
		}
		return nil
	})
	require.Error(t, err)
	require.Zero(t, d.Rows(), "after a seal all rows are the body's")
}

func TestARefusedItemNamesItsEventIDAndItsBytes(t *testing.T) {
	d := NewDecoder(DefaultLimits())
	items, err := collect(d, "["+good+", "+bad+" ]")
	require.NoError(t, err)
	require.Equal(t, "b", string(items[1].ID))
	require.Equal(t, bad, string(items[1].Raw))
	require.Equal(t, len(good)+3, items[1].Reject.Offset)
}

func TestAFullBatchRefusesUntilItIsSealed(t *testing.T) {
	d := NewDecoder(DefaultLimits())
	value := strings.Repeat("x", 60<<10)
	n := 0
	for !d.Full() {
		n++
		_, rej := d.Add([]byte(with(`"p":"`+value+strings.Repeat("y", n)+`"`)), "", noID)
		require.Nil(t, rej)
	}
	_, rej := d.Add([]byte(good), "", noID)
	require.Equal(t, CodeBatchFull, rej.Code)
	items, err := collect(d, "["+good+"]")
	require.NoError(t, err)
	require.Equal(t, []string{CodeBatchFull}, codesOf(items))
	require.Equal(t, n, d.Seal(0).N)
	_, rej = d.Add([]byte(good), "", noID)
	require.Nil(t, rej)
}

// Names that nobody meets again must not pile up.
func TestInventedNamesAreBounded(t *testing.T) {
	d := NewDecoder(DefaultLimits())
	next := 0
	name := func() string {
		next++
		return strings.Repeat("n", 1+next%7) + string(rune('a'+next%26)) + time.Duration(next).String()
	}
	for range 60 {
		var b strings.Builder
		for range 900 {
			b.WriteString(`"` + name() + `":1,`)
		}
		if _, rej := d.Add([]byte(with(`"properties":{`+b.String()+`"z":1}`)), "", noID); rej != nil {
			t.Fatal(rej)
		}
		if d.Full() {
			d.Seal(0)
		}
	}
	require.LessOrEqual(t, d.nodes, maxNodes+1000)
	require.LessOrEqual(t, d.b.Columns(), 1<<14)
}

// Time is linear in the bytes, whatever they are.
func TestHostileShapesAreAnsweredAtOnce(t *testing.T) {
	if raceEnabled {
		t.Skip("race detection takes ten times as long")
	}
	var keys, distinct, escaped strings.Builder
	for i := range 60000 {
		keys.WriteString(`"a":[],`)
		distinct.WriteString(`"` + time.Duration(i).String() + `":1,`)
		escaped.WriteString(`"\u0041` + time.Duration(i).String() + `":1,`)
	}
	// A body is read twice, each time within 100 ms.
	const limit = 200 * time.Millisecond
	for what, value := range map[string]string{
		"digits":           strings.Repeat("1", 1<<20),
		"places":           "0." + strings.Repeat("1", 1<<20),
		"exponent":         "1e" + strings.Repeat("9", 1<<20),
		"brackets":         strings.Repeat("[", 100000),
		"braces":           strings.Repeat(`[{"":`, 50000),
		"flat depth":       strings.Repeat(`{"a":`, 100000),
		"one key":          "{" + keys.String() + `"b":1}`,
		"keys":             "{" + distinct.String() + `"b":1}`,
		"keys in an array": "[{" + distinct.String() + `"b":1}]`,
		"escaped keys":     "[{" + escaped.String() + `"b":1}]`,
		"objects":          "[" + strings.Repeat(`{"a":1,"b":2},`, 60000) + "1]",
		"backslashes":      `"` + strings.Repeat(`\\`, 500000),
		"escapes":          `"` + strings.Repeat(`\u00e9`, 150000) + `"`,
		"spaces":           "[" + strings.Repeat(" ", 1<<20),
		"commas":           "[" + strings.Repeat("1,", 500000) + "1]",
		"quotes":           strings.Repeat(`"`, 1<<20),
	} {
		for _, body := range []string{
			value, with(`"properties":{"x":` + value + `}`), "[" + value + "," + good + "]", good + "\n" + value + "\n" + good,
			`{"x":` + value + `,"batch":[` + good + `]}`,
		} {
			best := time.Hour
			for range 20 { // the fastest of a few: others share the machine
				d := NewDecoder(DefaultLimits())
				start := time.Now()
				_, _ = d.Add([]byte(body), "", noID)
				_ = d.AddAll([]byte(body), "", noID, func(Item) error { return nil })
				if best = min(best, time.Since(start)); best < limit/2 {
					break
				}
			}
			t.Logf("%-16s %7d bytes %v", what, len(body), best)
			require.Less(t, best, limit, what)
		}
	}
}

// The worst that events can do to a batch's size still gives one that can be
// encoded and decoded.
func TestAFullBatchAlwaysFitsItsEncodedLimit(t *testing.T) {
	r := rand.New(rand.NewSource(1))
	wide := func(value func(i int) string) func(int) string {
		return func(int) string {
			var b strings.Builder
			for i := range 990 {
				fmt.Fprintf(&b, `"k%d":%s,`, i, value(i))
			}
			return b.String()
		}
	}
	for what, members := range map[string]func(n int) string{
		"floats":       wide(func(int) string { return fmt.Sprint(r.NormFloat64()) }),
		"integers":     wide(func(int) string { return fmt.Sprint(1<<60 + r.Int63n(1<<60)) }),
		"short texts":  wide(func(int) string { return fmt.Sprintf(`"%x"`, r.Intn(1<<12)) }),
		"mixed kinds":  wide(func(int) string { return []string{"1.23456789", `"x"`, "null", "true", "[1]", "1e-400"}[r.Intn(6)] }),
		"sparse nulls": func(int) string { return fmt.Sprintf(`"k%d":null,"l%d":null,`, r.Intn(7000), r.Intn(7000)) },
		"long paths": func(n int) string {
			var b strings.Builder
			fmt.Fprintf(&b, `"%0240d":{"%0240d":{`, n, n)
			for i := range 900 {
				fmt.Fprintf(&b, `"%0240d":1,`, i)
			}
			return b.String() + `"z":1}},`
		},
		"a large text": func(n int) string { return `"k":"` + strings.Repeat("x", n%2*60000) + fmt.Sprint(n) + `",` },
	} {
		d := NewDecoder(DefaultLimits())
		for n := 0; !d.Full(); n++ {
			if _, rej := d.Add([]byte(with(`"properties":{`+members(n)+`"end":1}`)), "", noID); rej != nil {
				t.Fatal(what, rej)
			}
		}
		size := d.Size()
		data := d.Seal(0).AppendEncoded(nil)
		t.Logf("%s: %d bytes, estimated %d", what, len(data), size)
		b, err := batch.Decode(data)
		require.NoError(t, err, what)
		require.Greater(t, b.N, 0)
		require.Less(t, len(data), batch.MaxBytes*3/4, what)
	}
}
