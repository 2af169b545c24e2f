package segment_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"spoor/segment"
	"spoor/segment/batch"
)

// model is the rows of a segment in the order of their arrival, as plain values.
type model struct {
	rows  segment.Rows
	ids   []batch.ID
	num   []float64 // NaN for none
	text  []string  // "" for none
	flag  []uint32  // 0, 1 false, 2 true
	recv  []int64
	user  []uint32
	order []int // arrival of each row of the segment
}

func randomModel(r *rand.Rand, n, days, names, persons int) *model {
	m := &model{}
	for i := range names {
		m.rows.Names = append(m.rows.Names, fmt.Sprintf("event_%d", i))
	}
	for i := range n {
		t := int64(r.IntN(days))*segment.MicrosPerDay + r.Int64N(86_400)*1_000_000
		if r.IntN(3) == 0 {
			t += r.Int64N(1_000_000)
		}
		m.rows.Name = append(m.rows.Name, uint32(r.IntN(names)))
		m.rows.Person = append(m.rows.Person, uint32(r.IntN(persons)))
		m.rows.Time = append(m.rows.Time, t)
		m.ids = append(m.ids, batch.ID{Hi: r.Uint64()&^0xf000 | 0x4000, Lo: r.Uint64()>>2 | 1<<63})
		num, text := math.NaN(), ""
		if r.IntN(3) > 0 {
			num = float64(r.IntN(10_000)) / 100
		}
		if r.IntN(4) > 0 {
			text = fmt.Sprintf("value %d", r.IntN(1+n/4))
		}
		m.num, m.text = append(m.num, num), append(m.text, text)
		m.flag = append(m.flag, uint32(r.IntN(3)))
		m.recv = append(m.recv, 1_700_000_000_000_000+int64(i)*1000)
		m.user = append(m.user, uint32(r.IntN(2)))
	}
	return m
}

// write writes the model as a segment.
func (m *model) write(t testing.TB) []byte {
	t.Helper()
	l := segment.NewLayout(m.rows)
	n := len(m.rows.Time)
	m.order = make([]int, n)
	ids, num, recv := make([]batch.ID, n), make([]float64, n), make([]int64, n)
	codes, flags, users := make([]uint32, n), make([]uint32, n), make([]uint32, n)
	var dict batch.Texts
	for i, out := range l.Out {
		m.order[out] = i
		ids[out], num[out], recv[out], flags[out], users[out] = m.ids[i], m.num[i], m.recv[i], m.flag[i], m.user[i]
		if m.text[i] != "" {
			codes[out] = uint32(dict.Append([]byte(m.text[i]))) + 1
		}
	}
	var b bytes.Buffer
	w := segment.NewWriter(&b, l)
	w.Received(recv)
	w.Users(users)
	w.IDs(ids, nil, nil)
	w.Numbers("properties.price", num)
	w.Text("properties.label", batch.KindString, codes, &dict)
	w.Bools("context.flag", flags)
	size, err := w.Finish(segment.Meta{FirstIndex: 3, LastIndex: 9, IdentityIndex: 1})
	require.NoError(t, err)
	require.EqualValues(t, b.Len(), size)
	return b.Bytes()
}

func open(t testing.TB, file []byte) *segment.Reader {
	t.Helper()
	r, err := segment.Open(bytes.NewReader(file), int64(len(file)), "test", segment.NewCache(1<<20))
	require.NoError(t, err)
	return r
}

func TestASegmentGivesBackItsRowsByDayNamePersonTimeAndArrival(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	for _, n := range []int{1, 2, 100, 4095, 4096, 4097, 20_000, 70_000} {
		m := randomModel(r, n, 1+r.IntN(4), 1+r.IntN(5), 1+r.IntN(n+10))
		s := open(t, m.write(t))
		require.Equal(t, n, s.Rows())
		require.Equal(t, segment.Meta{FirstIndex: 3, LastIndex: 9, IdentityIndex: 1}, s.Meta())
		want := make([]int, n)
		for i := range want {
			want[i] = i
		}
		slices.SortStableFunc(want, func(a, b int) int { return m.compare(a, b) })
		require.Equal(t, want, m.order, "the layout sorts stably")
		at := 0
		for i := range s.Sections() {
			sec := &s.Sections()[i]
			m.checkSection(t, r, sec, want[at:at+sec.Rows()])
			at += sec.Rows()
		}
		require.Equal(t, n, at)
		m.checkTimelines(t, s)
		_, err := s.Verify(context.Background())
		require.NoError(t, err)
	}
}

func (m *model) compare(a, b int) int {
	x, y := &m.rows, &m.rows
	for _, c := range []int{
		int(segment.Day(x.Time[a])) - int(segment.Day(y.Time[b])),
		bytes.Compare([]byte(x.Names[x.Name[a]]), []byte(y.Names[y.Name[b]])),
		int(x.Person[a]) - int(y.Person[b]),
		int(x.Time[a] - y.Time[b]),
	} {
		if c != 0 {
			return c
		}
	}
	return 0
}

// checkSection reads whole columns, parts of them and single rows.
func (m *model) checkSection(t *testing.T, r *rand.Rand, s *segment.Section, rows []int) {
	t.Helper()
	var x segment.Scratch
	for range 4 {
		from := r.IntN(len(rows))
		to := from + 1 + r.IntN(len(rows)-from)
		if r.IntN(2) == 0 {
			from, to = 0, len(rows)
		}
		n := to - from
		keys, recv, users := make([]uint64, n), make([]int64, n), make([]uint32, n)
		require.NoError(t, s.Keys(keys, from, to, &x))
		require.NoError(t, s.Received(recv, from, to, &x))
		require.NoError(t, s.Users(users, from, to, &x))
		nums, codes, flags := make([]float64, n), make([]uint32, n), make([]uint32, n)
		texts := m.readColumns(t, s, nums, codes, flags, from, to, &x)
		ids, err := s.Reader().IDs(s.FirstRow()+from, s.FirstRow()+to)
		require.NoError(t, err)
		if from < to {
			one, err := s.Reader().AppendID(nil, s.FirstRow()+from)
			require.NoError(t, err)
			require.Equal(t, string(ids.AppendText(nil, 0)), string(one))
		}
		for i, row := range rows[from:to] {
			require.Equal(t, segment.Key(m.rows.Person[row], m.rows.Time[row], s.Day()), keys[i])
			require.Equal(t, m.recv[row], recv[i])
			require.Equal(t, m.user[row], users[i])
			require.Equal(t, m.ids[row], ids.IDs[i])
			if math.IsNaN(m.num[row]) {
				require.True(t, math.IsNaN(nums[i]))
			} else {
				require.Equal(t, m.num[row], nums[i])
			}
			got := ""
			if codes[i] != 0 {
				got = string(texts.At(int(codes[i] - 1)))
			}
			require.Equal(t, m.text[row], got)
			require.Equal(t, m.flag[row], flags[i])
		}
	}
	lo := uint64(r.IntN(1 + int(m.rows.Person[rows[len(rows)-1]])))
	for _, hi := range []uint64{lo + 3, lo + 300} {
		from, to, err := s.RowsOf(lo, hi, &x)
		require.NoError(t, err)
		for i, row := range rows {
			p := uint64(m.rows.Person[row])
			require.Equal(t, p >= lo && p < hi, i >= from && i < to, "row %d of person %d in [%d,%d)", i, p, from, to)
		}
	}
	checkPicks(t, r, s, &x)
	row := r.IntN(len(rows))
	has, err := s.Reader().HasID(m.ids[rows[row]], nil)
	require.NoError(t, err)
	require.True(t, has)
	has, err = s.Reader().HasID(batch.ID{Hi: r.Uint64(), Lo: m.ids[rows[row]].Lo}, nil)
	require.NoError(t, err)
	require.False(t, has, "half of an id is not the id")
}

// checkPicks compares picked keys, and marked rows, with those of all rows.
func checkPicks(t *testing.T, r *rand.Rand, s *segment.Section, x *segment.Scratch) {
	t.Helper()
	all := make([]uint64, s.Rows())
	require.NoError(t, s.Keys(all, 0, len(all), x))
	random := func(n, oneIn int) []uint64 {
		set := make([]uint64, (n+63)/64)
		for i := range n {
			if r.IntN(oneIn) == 0 {
				set[i/64] |= 1 << (i % 64)
			}
		}
		return set
	}
	for _, oneIn := range []int{1, 3, 50, 5000} {
		from := r.IntN(len(all))
		to := from + 1 + r.IntN(len(all)-from)
		lo, hi := segment.KeyPerson(all[from]), segment.KeyPerson(all[to-1])
		rows, persons := random(to-from, oneIn), random(int(hi-lo)+1, 1+r.IntN(4))
		for _, p := range []segment.Pick{{Rows: rows}, {Persons: persons, Lo: lo}, {Rows: rows, Persons: persons, Lo: lo}} {
			var want []uint64
			var wantRows []uint32
			for i, key := range all[from:to] {
				q := segment.KeyPerson(key) - lo
				if (p.Rows == nil || rows[i/64]>>(i%64)&1 != 0) && (p.Persons == nil || persons[q/64]>>(q%64)&1 != 0) {
					want, wantRows = append(want, key), append(wantRows, uint32(from+i))
				}
			}
			got, gotRows := make([]uint64, to-from), make([]uint32, to-from)
			n, err := s.PickKeys(got, gotRows, from, to, p, x)
			require.NoError(t, err)
			require.Equal(t, want, append([]uint64(nil), got[:n]...))
			require.Equal(t, wantRows, append([]uint32(nil), gotRows[:n]...))
		}
	}
	columns, err := s.AllColumns()
	require.NoError(t, err)
	for _, c := range columns {
		from := r.IntN(len(all))
		to := from + 1 + r.IntN(len(all)-from)
		codes, got := make([]uint32, to-from), make([]uint64, (to-from+63)/64)
		if c.Kind() == batch.KindNumber || c.Kind() == batch.KindInt {
			require.Error(t, c.Match([]bool{true}, got, from, to, x), "numbers have no codes")
			continue
		}
		texts, err := c.Codes(codes, from, to, x)
		require.NoError(t, err)
		most := 3 // of booleans
		if texts != nil {
			most = texts.Len() + 1
		}
		marks := make([]bool, most)
		for i := range marks {
			marks[i] = r.IntN(2) == 0
		}
		if dict, err := c.Dict(); texts != nil && dict == nil {
			require.NoError(t, err)
			require.Error(t, c.Match(marks, got, from, to, x), "texts stand in place")
			continue
		}
		require.NoError(t, c.Match(marks, got, from, to, x))
		for i, code := range codes {
			require.Equal(t, marks[code], got[i/64]>>(i%64)&1 != 0)
		}
	}
}

func (m *model) readColumns(t *testing.T, s *segment.Section, nums []float64, codes, flags []uint32, from, to int, x *segment.Scratch) (texts *batch.Texts) {
	t.Helper()
	for i := range nums {
		nums[i] = math.NaN()
	}
	columns, err := s.AllColumns()
	require.NoError(t, err)
	for _, c := range columns {
		switch c.Path() {
		case "properties.price":
			require.NoError(t, c.Numbers(nums, from, to, x))
			one, err := c.NumberAt(from, x)
			require.NoError(t, err)
			require.Equal(t, math.Float64bits(nums[0]), math.Float64bits(one))
		case "properties.label":
			texts, err = c.Codes(codes, from, to, x)
			require.NoError(t, err)
			one, ok, err := c.TextAt(from, x)
			require.NoError(t, err)
			require.Equal(t, codes[0] != 0, ok)
			if ok {
				require.Equal(t, string(texts.At(int(codes[0]-1))), string(one))
			}
		case "context.flag":
			_, err = c.Codes(flags, from, to, x)
			require.NoError(t, err)
		}
	}
	return texts
}

func (m *model) checkTimelines(t *testing.T, s *segment.Reader) {
	t.Helper()
	var x segment.Scratch
	s.Days(func(day int32, sections []segment.Section) {
		n := 0
		at := make([]int, len(sections))
		for i := range sections {
			at[i] = sections[i].FirstRow()
			n += sections[i].Rows()
		}
		line := make([]uint32, n)
		require.NoError(t, s.Timeline(day, line, 0, n, &x))
		last := -1
		for _, sec := range line {
			row := m.order[at[sec]]
			at[sec]++
			if last >= 0 {
				p, q := m.rows.Person[last], m.rows.Person[row]
				require.LessOrEqual(t, p, q)
				if p == q {
					require.LessOrEqual(t, m.rows.Time[last], m.rows.Time[row])
					if m.rows.Time[last] == m.rows.Time[row] {
						require.Less(t, last, row, "events of one time stay in the order of their arrival")
					}
				}
			}
			last = row
		}
	})
}

func TestEveryFlippedByteIsNoticed(t *testing.T) {
	r := rand.New(rand.NewPCG(2, 2))
	file := randomModel(r, 3000, 2, 3, 400).write(t)
	for range 600 {
		bad := bytes.Clone(file)
		at := r.IntN(len(bad))
		bad[at] ^= 1 << r.IntN(8)
		requireDamage(t, bad, "byte %d of %d", at, len(bad))
	}
	for range 100 {
		bad := bytes.Clone(file)
		from := r.IntN(len(bad))
		zeroed := bad[from:min(from+1+r.IntN(512), len(bad))]
		if bytes.Equal(zeroed, make([]byte, len(zeroed))) {
			continue
		}
		clear(zeroed)
		requireDamage(t, bad, "zeroes from %d", from)
	}
	for range 100 {
		requireDamage(t, file[:r.IntN(len(file))], "truncated")
	}
}

func requireDamage(t *testing.T, file []byte, format string, args ...any) {
	t.Helper()
	s, err := segment.Open(bytes.NewReader(file), int64(len(file)), "bad", nil)
	if err == nil {
		_, err = s.Verify(context.Background())
	}
	require.Error(t, err, format, args)
	require.True(t, errors.Is(err, segment.ErrCorrupt) || errors.Is(err, segment.ErrVersion), "%v: %v", fmt.Sprintf(format, args...), err)
}

func FuzzAMutatedFileNeverPanics(f *testing.F) {
	file := randomModel(rand.New(rand.NewPCG(3, 3)), 200, 2, 3, 40).write(f)
	f.Add(file)
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := segment.Open(bytes.NewReader(data), int64(len(data)), "fuzz", nil)
		if err == nil {
			_, _ = s.Verify(context.Background())
		}
	})
}

func TestVerifyFindsTextsNumbersNamesAndIDs(t *testing.T) {
	m := randomModel(rand.New(rand.NewPCG(7, 7)), 500, 2, 2, 20)
	m.text[17], m.num[18] = "ada@example.com", 49151.125
	s := open(t, m.write(t))
	for text, where := range map[string]string{
		"ada@": "properties.label", "49151.125": "properties.price of", "properties.pri": "name of a column", s.Sections()[0].Event(): "name of an event",
		string(batch.AppendUUID(nil, m.ids[3])): "id of row",
	} {
		report, err := s.Verify(context.Background(), "absent", text)
		require.NoError(t, err)
		require.NotEmpty(t, report.Found, text)
		require.Contains(t, strings.Join(report.Found, "\n"), where, text)
	}
	report, err := s.Verify(context.Background(), "absent", "49151.126")
	require.NoError(t, err)
	require.Empty(t, report.Found)
}
