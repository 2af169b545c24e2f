package segment

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"spoor/segment/batch"
	"spoor/segment/encoding"
)

// codedColumn is a column of codes as it was given to the writer, by row of the file.
type codedColumn struct {
	path  string
	kind  batch.Kind
	codes []uint32
	dict  *batch.Texts
}

// codedFile writes n rows of one day and some names with columns of all sorts of codes.
func codedFile(t testing.TB, r *rand.Rand, n, names int) ([]byte, []codedColumn) {
	rows := Rows{}
	for i := range names {
		rows.Names = append(rows.Names, fmt.Sprintf("event %d", i))
	}
	ids := make([]batch.ID, n)
	for i := range n {
		rows.Name = append(rows.Name, uint32(r.IntN(names)))
		rows.Person = append(rows.Person, uint32(r.IntN(1+n/8)))
		rows.Time = append(rows.Time, 20_000*MicrosPerDay+int64(r.IntN(86_400_000))*1000)
		ids[i] = batch.ID{Hi: r.Uint64()&^0xf000 | 0x4000, Lo: r.Uint64()>>2 | 1<<63}
	}
	var b bytes.Buffer
	w := NewWriter(&b, NewLayout(rows))
	w.IDs(ids, nil, nil)
	var columns []codedColumn
	for i, distinct := range []int{1, 2, 3, 14, 60, 250, 300, 2000} {
		c := codedColumn{path: fmt.Sprintf("properties.p%d", i), kind: batch.KindString, codes: make([]uint32, n), dict: &batch.Texts{}}
		for v := range distinct {
			c.dict.Append(fmt.Appendf(nil, "text %d", v))
		}
		missing, run := r.IntN(3), 1+r.IntN(1<<r.IntN(10))
		for at := 0; at < n; {
			code := uint32(0)
			if missing == 0 || r.IntN(4) > 0 {
				code = 1 + uint32(r.IntN(distinct))
			}
			for range 1 + r.IntN(run) {
				if at < n {
					c.codes[at] = code
					at++
				}
			}
		}
		w.Text(c.path, c.kind, c.codes, c.dict)
		columns = append(columns, c)
	}
	flags := codedColumn{path: "context.flag", kind: batch.KindBool, codes: make([]uint32, n)}
	nulls := codedColumn{path: "context.none", kind: batch.KindNull, codes: make([]uint32, n)}
	for i := range n {
		flags.codes[i], nulls.codes[i] = uint32(r.IntN(3)), uint32(r.IntN(2))
	}
	w.Bools(flags.path, flags.codes)
	w.Nulls(nulls.path, nulls.codes)
	_, err := w.Finish(Meta{})
	require.NoError(t, err)
	return b.Bytes(), append(columns, flags, nulls)
}

func TestCountsAndConditionsSayWhatTheCodesSay(t *testing.T) {
	r := rand.New(rand.NewPCG(21, 22))
	known, unknown := 0, 0
	for _, n := range []int{1, 15, 40, 500, 4096, 9000, 20_000} {
		file, columns := codedFile(t, r, n, 1+r.IntN(3))
		s, err := Open(bytes.NewReader(file), int64(len(file)), "test", NewCache(1<<20))
		require.NoError(t, err)
		_, err = s.Verify(context.Background())
		require.NoError(t, err)
		for i := range s.Sections() {
			section := &s.Sections()[i]
			for _, given := range columns {
				stored, err := section.Columns(given.path)
				require.NoError(t, err)
				want := given.codes[section.FirstRow() : section.FirstRow()+section.Rows()]
				if len(stored) == 0 {
					require.Zero(t, greatest(want))
					continue
				}
				if counts := checkColumn(t, r, stored[0], &given, want); counts {
					known++
				} else {
					unknown++
				}
			}
		}
	}
	require.Greater(t, known, 50)
	require.Greater(t, unknown, 20)
}

// checkColumn compares a column with its codes, and tells whether the file counts its values.
func checkColumn(t *testing.T, r *rand.Rand, c Column, given *codedColumn, want []uint32) (counts bool) {
	dict, err := c.Dict()
	require.NoError(t, err)
	value := func(code uint32) string { // of the file
		if code == 0 || dict == nil {
			return fmt.Sprint("code ", code)
		}
		return string(dict.At(int(code - 1)))
	}
	wanted := func(row int) string {
		if want[row] == 0 || given.dict == nil {
			return fmt.Sprint("code ", want[row])
		}
		return string(given.dict.At(int(want[row] - 1)))
	}
	byValue := map[string]uint32{}
	for row := range want {
		byValue[wanted(row)]++
	}
	codes, rows, ok := c.Values()
	require.Equal(t, (c.c.form == formDict || c.c.form == formCodes) && len(byValue) <= min(maxValues, len(want)/rowsPerValue), ok, "%s: %d values of %d rows", given.path, len(byValue), len(want))
	if ok {
		require.Len(t, codes, len(byValue))
		for i, code := range codes {
			require.Equal(t, byValue[value(code)], rows[i], "%s", value(code))
		}
	}
	var x Scratch
	if c.c.form == formPlain {
		require.Error(t, c.Match(nil, make([]uint64, 1), 0, 1, &x))
		return false
	}
	all := 3
	if dict != nil {
		all = dict.Len() + 1
	}
	for range 6 {
		pass := make([]bool, all)
		for code := range pass {
			pass[code] = r.IntN(1+r.IntN(6)) == 0
		}
		from := r.IntN(len(want))
		to := from + 1 + r.IntN(len(want)-from)
		if r.IntN(3) == 0 {
			from, to = 0, len(want)
		}
		passes := map[string]bool{}
		for code, p := range pass {
			passes[value(uint32(code))] = p
		}
		out := make([]uint64, (to-from+63)/64)
		require.NoError(t, c.Match(pass, out, from, to, &x))
		for row := from; row < to; row++ {
			require.Equal(t, passes[wanted(row)], out[(row-from)>>6]>>((row-from)&63)&1 != 0, "%s, row %d of [%d,%d)", given.path, row, from, to)
		}
		if over := (to - from) & 63; over != 0 {
			require.Zero(t, out[len(out)-1]>>over, "no row beyond the last")
		}
	}
	return ok
}

func TestCountsThatAreNotThoseOfTheCodesAreDamage(t *testing.T) {
	// A writer that counts wrong, or bytes that changed together with their checksum: Verify compares.
	file, _ := codedFile(t, rand.New(rand.NewPCG(23, 24)), 2000, 1)
	s, err := Open(bytes.NewReader(file), int64(len(file)), "test", nil)
	require.NoError(t, err)
	d, err := s.Sections()[0].directory()
	require.NoError(t, err)
	for i := range d.columns {
		if v := &d.columns[i].values; len(v.rows) > 2 {
			v.rows[1]++
			v.rows[2]--
			err = (&verifier{r: s, report: &VerifyReport{}}).section(&s.Sections()[0])
			require.ErrorIs(t, err, ErrCorrupt)
			require.ErrorContains(t, err, "the directory counts other values than the codes have")
			return
		}
	}
	t.Fatal("no column has counts")
}

func TestCountsThatCannotBeAreDamage(t *testing.T) {
	good := values{codes: []uint32{0, 2, 7}, rows: []uint32{10, 20, 70}}
	c := column{present: 90}
	l := encoding.NewLane(good.append(nil))
	readValues(l, &c, 100)
	require.NoError(t, l.Err())
	require.Equal(t, good, c.values)
	for name, v := range map[string]values{
		"too few rows":        {codes: []uint32{0, 2, 7}, rows: []uint32{10, 20, 69}},
		"too many rows":       {codes: []uint32{0, 2, 7}, rows: []uint32{10, 20, 71}},
		"more with a value":   {codes: []uint32{0, 2, 7}, rows: []uint32{9, 21, 70}},
		"a value of no row":   {codes: []uint32{0, 2, 7, 9}, rows: []uint32{10, 20, 70, 0}},
		"values out of order": {codes: []uint32{0, 7, 2}, rows: []uint32{10, 20, 70}},
		"a value twice":       {codes: []uint32{0, 2, 2}, rows: []uint32{10, 20, 70}},
	} {
		l := encoding.NewLane(v.append(nil))
		readValues(l, &column{present: 90}, 100)
		require.Error(t, l.Err(), name)
	}
}

func FuzzCountsOfValuesNeverPanic(f *testing.F) {
	f.Add((&values{codes: []uint32{0, 2, 7}, rows: []uint32{10, 20, 70}}).append(nil), uint16(100), uint16(90))
	f.Fuzz(func(t *testing.T, data []byte, rows, present uint16) {
		c := column{present: int(present)}
		l := encoding.NewLane(data)
		readValues(l, &c, int(rows))
		if l.Err() == nil && len(c.values.codes) > 0 && c.values.of(0)+int(present) != int(rows) {
			t.Fatal("counts of other rows")
		}
	})
}

func BenchmarkCountValues(b *testing.B) {
	r := rand.New(rand.NewPCG(25, 26))
	codes := make([]uint32, 11_000)
	for i := range codes {
		if codes[i] = r.Uint32N(15); i > 0 && r.IntN(5) < 3 {
			codes[i] = codes[i-1]
		}
	}
	var t tally
	for b.Loop() {
		t.count(codes)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(codes)), "ns/row")
}
