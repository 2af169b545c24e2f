package spoor

import (
	"encoding/json"
	"math"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

func written(t testing.TB, v any) string {
	t.Helper()
	text, err := appendValue(nil, v, 1)
	require.NoError(t, err)
	return string(text)
}

func TestValuesAreWrittenAsEncodingJSONHasThem(t *testing.T) {
	type own struct {
		A int    `json:"a"`
		B string `json:"b,omitempty"`
	}
	for _, v := range []any{
		nil, true, false, 0, -1, int8(-8), int32(5), int64(math.MinInt64), uint64(math.MaxUint64), uint8(9),
		0.0, 1.5, -2.25e-9, 1e21, 1e20, 1e-6, math.MaxFloat64, math.SmallestNonzeroFloat64, float32(0.1),
		"", "plain", `quo"te\`, "tab\tline\nnul\x00", "größe 実験 👩‍🚀", "<script>&", "\u2028\ufffd",
		[]any{1, "a", nil, []any{}},
		[]string{"a", `"`},
		[]int{1, 2},
		map[string]any{"a": 1, "b": map[string]any{"c": []any{true}}, "": nil},
		map[string]string{"x": "y"},
		own{A: 1},
		&own{B: "z"}, json.Number("12.50"), json.RawMessage(`{"r":[1]}`),
		time.Date(2026, 5, 1, 10, 20, 30, 456e6, time.FixedZone("", 7200)), 3 * time.Second,
	} {
		want, err := json.Marshal(v)
		require.NoError(t, err)
		require.JSONEq(t, string(want), written(t, v), "%T %v", v, v)
	}
}

func TestTextThatIsNoUTF8IsRepairedAsTheServerWantsIt(t *testing.T) {
	require.Equal(t, `"a`+"\ufffd"+`b"`, written(t, "a\xffb"))
	require.Equal(t, `"`+"\ufffd\ufffd\ufffd"+`"`, written(t, "\xed\xa0\x80"))
}

func FuzzStringsComeBack(f *testing.F) {
	for _, s := range []string{"", "a", "\x00\x1f\x7f", `"\/`, "é\xff", "👩‍🚀", "\u2028"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		text := appendString(nil, s)
		var back string
		require.NoError(t, json.Unmarshal(text, &back))
		require.Equal(t, strings.ToValidUTF8(slicesRepair(s), ""), back)
		require.True(t, utf8.Valid(text))
		require.NotContains(t, string(text), "\n", "the spool keeps an event on a line")
	})
}

// slicesRepair replaces each byte that is no UTF-8, as ranging over a string does.
func slicesRepair(s string) string { return string([]rune(s)) }

func TestWhatNoServerWouldTakeIsRefusedAtTheCall(t *testing.T) {
	c := newFake(t).open(t)
	cycle := map[string]any{}
	cycle["self"] = cycle
	for want, e := range map[string]Event{
		"no Name":            {UserID: "u"},
		"257 bytes":          {Name: strings.Repeat("n", 257), UserID: "u"},
		"neither UserID":     {Name: "n"},
		"ID has 300 bytes":   {Name: "n", UserID: "u", ID: strings.Repeat("i", 300)},
		"more than 1024":     {Name: "n", AnonymousID: strings.Repeat("i", 1025)},
		"properties of":      {Name: "n", UserID: "u", Properties: map[string]any{"x": math.NaN()}},
		"nested more":        {Name: "n", UserID: "u", Properties: cycle},
		"in the year 3000":   {Name: "n", UserID: "u", Timestamp: time.Date(3000, 1, 1, 0, 0, 0, 0, time.UTC)},
		"unsupported type":   {Name: IdentifyEvent, UserID: "u", Traits: map[string]any{"f": func() {}}},
		"belong to Identify": {Name: "n", UserID: "u", Traits: map[string]any{"a": 1}},
		"limit is 131072":    {Name: IdentifyEvent, UserID: "u", Traits: map[string]any{"x": strings.Repeat("x", maxIdentifyBytes)}},
		"context of":         {Name: "n", UserID: "u", Context: map[string]any{"x": math.Inf(1)}},
		"the limit is 52428": {Name: "n", UserID: "u", Properties: map[string]any{"x": strings.Repeat("x", maxEventBytes)}},
	} {
		err := c.Enqueue(background, e)
		require.ErrorIs(t, err, ErrInvalid)
		require.ErrorContains(t, err, want)
	}
	require.ErrorIs(t, c.Alias(background, "", "old"), ErrInvalid)
	require.ErrorIs(t, c.Group(background, User("u"), "", nil), ErrInvalid)
	require.Equal(t, uint64(15), c.Stats().Invalid)
	require.Zero(t, c.Stats().QueuedEvents)
}

func TestAStrongerContextHidesAWeakerOne(t *testing.T) {
	e := event("a")
	text, err := e.append(nil, map[string]any{"a": 1}, nil, map[string]any{"a": 2, "b": 2}, map[string]any{"a": 3, "b": 3, "c": 3})
	require.NoError(t, err)
	var back struct{ Context map[string]any }
	require.NoError(t, json.Unmarshal(text, &back))
	require.Equal(t, map[string]any{"a": 1., "b": 2., "c": 3.}, back.Context)
	require.Equal(t, "a", idOf(text))
}

func TestIDsAreUUIDsInTheOrderOfTheirTimes(t *testing.T) {
	form := regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)
	at := time.Date(2026, 5, 1, 0, 0, 0, 0, time.UTC)
	var ids []string
	for i := range 2000 {
		id := newID(at.Add(time.Duration(i) * 300 * time.Nanosecond))
		require.Regexp(t, form, id)
		ids = append(ids, id)
	}
	require.True(t, slices.IsSorted(ids))
	require.True(t, strings.HasPrefix(ids[0], "019de0d5-c800-7"), ids[0])
}

func TestADerivedIDDependsOnEveryPartAndOnTheDay(t *testing.T) {
	day := time.Date(2026, 5, 1, 0, 0, 0, 0, time.UTC)
	require.Regexp(t, `^[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`, derivedID(day, "a"))
	require.Equal(t, derivedID(day, "a", "b"), derivedID(day, "a", "b"))
	ids := []string{derivedID(day, "a", "b"), derivedID(day, "ab", ""), derivedID(day, "", "ab"), derivedID(day.Add(24*time.Hour), "a", "b"), derivedID(day, "a", "c")}
	slices.Sort(ids)
	require.Len(t, slices.Compact(ids), 5)
}

func TestTimesAreRFC3339WithMicroseconds(t *testing.T) {
	for _, at := range []time.Time{
		time.Unix(0, 0), time.Date(1900, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(2199, 12, 31, 23, 59, 59, 999999999, time.UTC),
		time.Date(2026, 5, 1, 10, 20, 30, 5004, time.FixedZone("", -5*3600)), time.Date(2024, 2, 29, 1, 2, 3, 456789000, time.UTC),
	} {
		require.Equal(t, at.UTC().Format("2006-01-02T15:04:05.000000Z"), string(appendTime(nil, at)))
	}
}
