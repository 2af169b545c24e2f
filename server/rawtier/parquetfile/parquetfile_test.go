package parquetfile_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/parquet-go/parquet-go"
	"github.com/stretchr/testify/require"

	"spoor/engine/event"
	"spoor/segment/batch"
	"spoor/server/rawtier/parquetfile"
)

func row(i int) *event.Row {
	r := &event.Row{
		ID: fmt.Appendf(nil, "e%d", i), Name: []byte("view"), Time: 1_777_629_600_000_000 + int64(i)*1000, ReceivedAt: 1_777_629_700_000_000,
		Leaves: []event.Leaf{
			{Path: "context.country", Kind: batch.KindString, Text: fmt.Appendf(nil, "c%d", i%7)},
			{Path: "properties.big", Kind: batch.KindInt, Int: math.MaxInt64 - int64(i)},
			{Path: "properties.ok", Kind: batch.KindBool, Bool: i%2 == 0},
			{Path: "properties.price", Kind: batch.KindNumber, Num: float64(i) / 4},
			{Path: "properties.unique", Kind: batch.KindString, Text: fmt.Appendf(nil, "%x", sha256.Sum256(fmt.Append(nil, i)))},
		},
	}
	if i%3 == 0 {
		r.UserID, r.Source = fmt.Appendf(nil, "u%d", i), []byte("web")
	} else {
		r.AnonymousID = []byte("a")
	}
	return r
}

func file(t testing.TB, n int) []byte {
	paths := parquetfile.Paths{}
	for _, l := range row(0).Leaves {
		paths[parquetfile.Path{Path: l.Path, Kind: l.Kind}] = n
	}
	var b bytes.Buffer
	w := parquetfile.NewWriter(&b, parquetfile.NewSchema(paths))
	for i := range n {
		require.NoError(t, w.Add(row(i)))
	}
	require.NoError(t, w.Close())
	require.Equal(t, n, w.Rows())
	return b.Bytes()
}

func TestEveryEventComesBackAlsoBeyondADictionaryAndARowGroup(t *testing.T) {
	const n = 140_000
	b := file(t, n)
	i := 0
	require.NoError(t, parquetfile.Each(bytes.NewReader(b), int64(len(b)), func(e *parquetfile.Event) error {
		want := row(i)
		if string(parquetfile.AppendEvent(nil, want)) != string(e.JSON) || string(want.ID) != string(e.ID) || want.Time != e.Time ||
			want.ReceivedAt != e.ReceivedAt || string(want.Source) != string(e.Source) || (want.Source == nil) != (e.Source == nil) {
			t.Fatalf("event %d came back as %+v", i, e)
		}
		i++
		return nil
	}))
	require.Equal(t, n, i)
}

func TestEqualEventsGiveEqualBytesAndTheFormatIsPinned(t *testing.T) {
	a, b := file(t, 1000), file(t, 1000)
	require.True(t, bytes.Equal(a, b))
	f, err := parquet.OpenFile(bytes.NewReader(a), int64(len(a)))
	require.NoError(t, err)
	var columns []string
	for _, c := range f.Root().Columns() {
		columns = append(columns, fmt.Sprintf("%s %s optional=%t", c.Name(), c.Type(), c.Optional()))
	}
	require.Equal(t, []string{
		"anonymousId STRING optional=true",
		"context/country:str STRING optional=true",
		"eventId STRING optional=false",
		"eventName STRING optional=false",
		"json STRING optional=false",
		"properties/ok:bool BOOLEAN optional=true",
		"properties/price:num DOUBLE optional=true",
		"properties/unique:str STRING optional=true",
		"receivedAt TIMESTAMP(isAdjustedToUTC=true,unit=MICROS) optional=false",
		"sourceName STRING optional=true",
		"timestamp TIMESTAMP(isAdjustedToUTC=true,unit=MICROS) optional=false",
		"userId STRING optional=true",
	}, columns)
}

func TestNamesOfColumnsSayPathAndTypeAndAreNeverTheSame(t *testing.T) {
	require.Equal(t, "properties/price:num", parquetfile.ColumnName("properties.price", "num"))
	require.Equal(t, "properties/item/id:str", parquetfile.ColumnName("properties.item.id", "str"))
	require.Equal(t, "properties/a%2Eb%2Fc%25%3Ad%00:str", parquetfile.ColumnName(`properties.a\.b/c%:d`+"\x00", "str"))
	require.NotEqual(t, parquetfile.ColumnName(`properties.a\.b`, "str"), parquetfile.ColumnName("properties.a.b", "str"))
	require.NotEqual(t, parquetfile.ColumnName("properties.a/b", "str"), parquetfile.ColumnName("properties.a.b", "str"))
}

func TestColumnsAreBoundedAndTheMostFrequentOnesStay(t *testing.T) {
	paths := parquetfile.Paths{}
	for i := range 3 * parquetfile.MaxColumns {
		paths[parquetfile.Path{Path: fmt.Sprintf("properties.p%d", i), Kind: batch.KindNumber}] = i
	}
	var b bytes.Buffer
	w := parquetfile.NewWriter(&b, parquetfile.NewSchema(paths))
	r := row(1)
	r.Leaves = []event.Leaf{{Path: "properties.p0", Kind: batch.KindNumber, Num: 1}, {Path: "properties.p599", Kind: batch.KindNumber, Num: 2}}
	require.NoError(t, w.Add(r))
	require.NoError(t, w.Close())
	f, err := parquet.OpenFile(bytes.NewReader(b.Bytes()), int64(b.Len()))
	require.NoError(t, err)
	names := f.Schema().Columns()
	require.Len(t, names, parquetfile.MaxColumns+8)
	require.True(t, slices.ContainsFunc(names, func(c []string) bool { return c[0] == "properties/p599:num" }))
	require.NoError(t, parquetfile.Each(bytes.NewReader(b.Bytes()), int64(b.Len()), func(e *parquetfile.Event) error {
		require.Contains(t, string(e.JSON), `"p0":1,"p599":2`)
		return nil
	}))
}

func TestWhoIsWhoComesBack(t *testing.T) {
	var b bytes.Buffer
	w := parquetfile.NewPersonWriter(&b)
	require.NoError(t, w.Add([]byte("u1"), [][]byte{[]byte("a1"), []byte("a2")}, []byte(`{"plan":"pro"}`)))
	require.NoError(t, w.Add(nil, [][]byte{[]byte("a3")}, []byte(`{"x":1}`)))
	require.NoError(t, w.Add([]byte("u2"), nil, []byte(`{}`)))
	require.NoError(t, w.Close())
	require.Equal(t, 4, w.Rows())
	var got []string
	show := func(s *string) string {
		if s == nil {
			return "-"
		}
		return *s
	}
	require.NoError(t, parquetfile.EachPerson(bytes.NewReader(b.Bytes()), int64(b.Len()), func(p *parquetfile.Person) error {
		got = append(got, strings.Join([]string{show(p.UserID), show(p.AnonymousID), show(p.Traits)}, " "))
		return nil
	}))
	require.Equal(t, []string{`u1 a1 {"plan":"pro"}`, "u1 a2 -", `- a3 {"x":1}`, "u2 - -"}, got)
}

func TestADamagedFileIsAnErrorAndNothingWorse(t *testing.T) {
	good := file(t, 300)
	sum := sha256.Sum256(good)
	for i := range 150 {
		b := bytes.Clone(good)
		at := i * len(b) / 150
		b[at] ^= 1 << (i % 8)
		_ = parquetfile.Each(bytes.NewReader(b), int64(len(b)), func(*parquetfile.Event) error { return nil })
		_ = parquetfile.Each(bytes.NewReader(b[:at]), int64(at), func(*parquetfile.Event) error { return nil })
	}
	require.Equal(t, hex.EncodeToString(sum[:]), fmt.Sprintf("%x", sha256.Sum256(good)))
	require.ErrorIs(t, parquetfile.Each(bytes.NewReader(persons(t)), int64(len(persons(t))), nil), parquetfile.ErrForeign)
}

func persons(t testing.TB) []byte {
	var b bytes.Buffer
	w := parquetfile.NewPersonWriter(&b)
	require.NoError(t, w.Add([]byte("u1"), nil, nil))
	require.NoError(t, w.Close())
	return b.Bytes()
}
