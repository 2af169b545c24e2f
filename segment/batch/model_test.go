package batch

import (
	"fmt"
	"math"
	"math/rand"
	"sort"
	"strconv"
	"strings"

	"github.com/cespare/xxhash/v2"
)

// A modelRow is an event as a test states it, for a naive store of rows.
type modelRow struct {
	id, name, user, anon, shape, source string
	time                                int64
	values                              map[string]modelValue
}

type modelValue struct {
	kind Kind
	text string
	num  float64
	int  int64
	bool bool
}

func (v modelValue) String() string {
	switch v.kind {
	case KindNumber:
		return "number " + strconv.FormatFloat(v.num, 'g', -1, 64)
	case KindInt:
		return fmt.Sprint("integer ", v.int)
	case KindBool:
		return fmt.Sprint("boolean ", v.bool)
	case KindNull:
		return "null"
	}
	return fmt.Sprintf("%s %q", v.kind, v.text)
}

func (m *modelRow) String() string {
	var parts []string
	for path, v := range m.values {
		parts = append(parts, fmt.Sprintf("%q=%s", path, v))
	}
	sort.Strings(parts)
	return fmt.Sprintf("%q %q %q %q %q %q %d: %s", m.id, m.name, m.user, m.anon, m.shape, m.source, m.time, strings.Join(parts, ", "))
}

func (m *modelRow) addTo(b *Builder) {
	h := Head{
		Name: []byte(m.name), User: []byte(m.user), Anon: []byte(m.anon),
		Shape: []byte(m.shape), Source: []byte(m.source), Time: m.time, Values: len(m.values),
	}
	var ok bool
	if h.ID, ok = ParseUUID([]byte(m.id)); !ok {
		h.IDText = []byte(m.id)
	}
	row := b.AddRow(&h)
	for path, v := range m.values {
		c := b.Column(path, v.kind)
		switch v.kind {
		case KindNumber:
			c.Number(row, v.num)
		case KindInt:
			c.Int(row, v.int)
		case KindBool:
			c.Bool(row, v.bool)
		case KindNull:
			c.Null(row)
		default:
			c.Text(row, []byte(v.text))
		}
	}
}

// rowsOf reads a batch back into rows, one by one.
func rowsOf(b *Batch) []string {
	rows := make([]modelRow, b.N)
	for i := range rows {
		text := func(c *Codes) string { t, _ := c.At(i); return string(t) }
		rows[i] = modelRow{
			id: string(b.IDText(nil, i)), time: b.Times[i], values: map[string]modelValue{},
			name: text(&b.Names), user: text(&b.Users), anon: text(&b.Anons), shape: text(&b.Shapes), source: text(&b.Sources),
		}
	}
	for i := range b.Columns {
		c := &b.Columns[i]
		for j := range c.Len(b.N) {
			v := modelValue{kind: c.Kind}
			switch c.Kind {
			case KindNumber:
				v.num = c.Nums[j]
			case KindInt:
				v.int = c.Ints[j]
			case KindBool:
				v.bool = c.Bools[j]
			case KindNull:
			default:
				v.text = string(c.Text(j))
			}
			rows[c.Row(j)].values[c.Path] = v
		}
	}
	out := make([]string, len(rows))
	for i := range rows {
		out[i] = rows[i].String()
	}
	return out
}

func texts(rows []modelRow) []string {
	out := make([]string, len(rows))
	for i := range rows {
		out[i] = rows[i].String()
	}
	return out
}

// broken names the first invariant that a batch does not hold, or "".
func broken(b *Batch) string {
	codes := map[string]*Codes{"names": &b.Names, "users": &b.Users, "anons": &b.Anons, "shapes": &b.Shapes, "sources": &b.Sources}
	for what, c := range codes {
		if len(c.Row) != b.N {
			return what + ": rows"
		}
		for _, code := range c.Row {
			if int(code) > c.Dict.Len() || what == "names" && code == 0 {
				return what + ": code"
			}
		}
		for i := range c.Dict.Len() {
			if len(c.Dict.At(i)) == 0 {
				return what + ": empty text"
			}
		}
	}
	if len(b.IDs) != b.N || len(b.Times) != b.N || b.IDIsText != nil && len(b.IDIsText) != b.N {
		return "ids or times"
	}
	for i := range b.IDs {
		text := b.IDText(nil, i)
		if _, isUUID := ParseUUID(text); isUUID != (b.IDIsText == nil || !b.IDIsText[i]) {
			return "id form"
		} else if !isUUID && (b.IDs[i].Lo != xxhash.Sum64(text) || len(text) == 0) {
			return "id text"
		}
		if b.Times[i] < MinTime || b.Times[i] >= MaxTime {
			return "time"
		}
	}
	taken := map[string]bool{}
	for i := range b.Columns {
		if what := brokenColumn(b, &b.Columns[i], taken); what != "" {
			return what
		}
		if i > 0 {
			a, c := &b.Columns[i-1], &b.Columns[i]
			if a.Path > c.Path || a.Path == c.Path && a.Kind >= c.Kind {
				return "column order"
			}
		}
	}
	return ""
}

func brokenColumn(b *Batch, c *Column, taken map[string]bool) string {
	n := c.Len(b.N)
	if n == 0 || len(c.Path) > MaxPathBytes || c.Rows != nil && n == b.N {
		return "column size"
	}
	last := -1
	for i := range n {
		if c.Row(i) <= last || c.Row(i) >= b.N {
			return "column rows"
		}
		last = c.Row(i)
		key := fmt.Sprint(last, " ", c.Path)
		if taken[key] {
			return "two values"
		}
		taken[key] = true
	}
	want := map[Kind][4]int{
		KindNumber: {0, n, 0, 0}, KindInt: {0, 0, n, 0}, KindBool: {0, 0, 0, n}, KindNull: {},
		KindString: {1}, KindNumText: {1}, KindJSON: {1},
	}
	w, known := want[c.Kind]
	if !known || len(c.Nums) != w[1] || len(c.Ints) != w[2] || len(c.Bools) != w[3] || (c.Dict.Len() > 0) != (w[0] == 1) {
		return "column values"
	}
	for _, v := range c.Nums {
		if math.IsNaN(v) || math.IsInf(v, 0) || v == 0 && math.Signbit(v) {
			return "number"
		}
	}
	if c.Kind.HasText() {
		if c.Codes == nil && c.Dict.Len() != n || c.Codes != nil && len(c.Codes) != n {
			return "texts"
		}
		for i := range n {
			_ = c.Text(i)
		}
	}
	return ""
}

// randomRows makes rows of several shapes: dense and sparse columns, paths of
// two kinds, few and many distinct texts, all ways to store numbers.
func randomRows(r *rand.Rand, n int) []modelRow {
	rows := make([]modelRow, n)
	textIDs := r.Intn(3) // none, some, all
	base := int64(1.7e15)
	unit := []int64{1, 1000, 1e6}[r.Intn(3)]
	spread := int64(1) << r.Intn(40)
	for i := range rows {
		m := &rows[i]
		m.id = string(AppendUUID(nil, ID{r.Uint64(), r.Uint64()}))
		if textIDs == 2 || textIDs == 1 && r.Intn(4) == 0 {
			m.id = strings.Repeat("x", r.Intn(3)) + fmt.Sprint("id-", r.Intn(1000))
		}
		m.name = fmt.Sprint("event", r.Intn(5))
		if r.Intn(3) > 0 {
			m.user = fmt.Sprint("user", r.Intn(n+1))
		}
		if r.Intn(3) > 0 {
			m.anon = fmt.Sprint("anon", r.Intn(n+1))
		}
		if r.Intn(10) > 0 {
			m.shape = []string{"T3Z", "i"}[r.Intn(2)]
		}
		m.time = base + r.Int63n(spread)*unit%(1<<50)/unit*unit
		m.values = randomValues(r, i)
	}
	return rows
}

func randomValues(r *rand.Rand, row int) map[string]modelValue {
	v := map[string]modelValue{
		"always":  {kind: KindString, text: "same"},
		"country": {kind: KindString, text: fmt.Sprint("c", r.Intn(6))},
		"unique":  {kind: KindString, text: fmt.Sprint("u", row, r.Int())},
		"price":   {kind: KindNumber, num: float64(r.Intn(100000)) / 100},
		"float":   {kind: KindNumber, num: r.NormFloat64() * math.Pow(10, float64(r.Intn(30)))},
		"count":   {kind: KindNumber, num: float64(r.Intn(5))},
		"one":     {kind: KindNumber, num: 1},
		"big":     {kind: KindInt, int: int64(r.Uint64())},
		"bool":    {kind: KindBool, bool: r.Intn(2) == 0},
		"empty":   {kind: KindString},
	}
	mixed := []modelValue{
		{kind: KindString, text: "x"},
		{kind: KindNumber, num: 2},
		{kind: KindNull},
		{kind: KindJSON, text: "[1]"},
		{kind: KindNumText, text: "1e-400"},
		{kind: KindBool, bool: true},
	}
	v["mixed"] = mixed[r.Intn(len(mixed))]
	for path := range v {
		if path != "always" && path != "unique" && r.Intn(4) == 0 || path == "count" && r.Intn(30) > 0 {
			delete(v, path)
		}
	}
	if _, ok := v["price"]; ok { // two columns with the same rows
		v["currency"] = modelValue{kind: KindString, text: "EUR"}
	}
	return v
}
