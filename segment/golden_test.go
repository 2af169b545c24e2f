package segment

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"encoding/hex"
	"flag"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cespare/xxhash/v2"
	"github.com/stretchr/testify/require"

	"spoor/segment/batch"
)

var update = flag.Bool("update", false, "write the golden files anew")

// goldenFile writes eight events of two days and three names, with a column of
// every kind and form and with ids that are UUIDs and texts.
func goldenFile(t *testing.T) []byte {
	const day = 20_000 * MicrosPerDay
	l := NewLayout(Rows{
		Names:  []string{"view", "buy", "signup"},
		Name:   []uint32{0, 1, 0, 2, 0, 1, 0, 0},
		Person: []uint32{7, 7, 3, 3, 3, 900, 900, 7},
		Time:   []int64{day + 5e9, day + 6e9, day + 5e9, day + 4e9, day + 7e9, day + MicrosPerDay + 1_500_000, day + MicrosPerDay + 1_234_567, day + 5e9},
	})
	n := len(l.Out)
	recv, users, anons, shapes := make([]int64, n), make([]uint32, n), make([]uint32, n), make([]uint32, n)
	labels, notes, flags, nulls := make([]uint32, n), make([]uint32, n), make([]uint32, n), make([]uint32, n)
	prices, ratios, big, has := make([]float64, n), make([]float64, n), make([]int64, n), make([]bool, n)
	ids, isText, idTexts := make([]batch.ID, n), make([]bool, n), []byte("order-1")
	var dict, plain, source, shape batch.Texts
	dict.Append([]byte("red"))
	dict.Append([]byte("green"))
	source.Append([]byte("web"))
	shape.Append([]byte("s"))
	sources := make([]uint32, n)
	for i, out := range l.Out {
		recv[out] = day + 2*MicrosPerDay + int64(i)*1000
		users[out], anons[out] = uint32(i%2), 1
		sources[out] = uint32(i / 6)
		shapes[out] = 1
		labels[out] = uint32(i % 3)
		plain.Append([]byte{'n', byte('0' + i)})
		notes[out] = uint32(i + 1)
		flags[out], nulls[out] = uint32(i%3), uint32(i/7)
		prices[out], ratios[out] = float64(i)*2.5, math.NaN()
		if i == 4 {
			ratios[out] = 1.0 / 3
		}
		if i == 5 {
			big[out], has[out] = 1<<60+1, true
		}
		ids[out] = batch.ID{Hi: 0x1111111111114000 + uint64(i), Lo: 0x8000000000000000 + uint64(n-i)<<32}
	}
	at := l.Out[2]
	isText[at] = true
	ids[at] = batch.ID{Hi: uint64(len(idTexts)), Lo: xxhash.Sum64String("order-1")}
	var b bytes.Buffer
	w := NewWriter(&b, l)
	w.Received(recv)
	w.Users(users)
	w.Anons(anons)
	w.Sources(sources, &source)
	w.Shapes(shapes, &shape)
	w.IDs(ids, isText, idTexts)
	w.Text("context.label", batch.KindString, labels, &dict)
	w.Text("context.note", batch.KindString, notes, &plain)
	w.Bools("properties.flag", flags)
	w.Nulls("properties.none", nulls)
	w.Numbers("properties.price", prices)
	w.Numbers("properties.ratio", ratios)
	w.Ints("properties.big", big, has)
	_, err := w.Finish(Meta{FirstIndex: 3, LastIndex: 9, IdentityIndex: 1})
	require.NoError(t, err)
	return b.Bytes()
}

// annotate writes the file as hexadecimal, region by region with what each is.
func annotate(t *testing.T, file []byte) string {
	r, err := Open(bytes.NewReader(file), int64(len(file)), "golden", nil)
	require.NoError(t, err)
	type region struct {
		off  uint64
		len  uint32
		what string
	}
	var all []region
	add := func(ref ref, format string, args ...any) {
		all = append(all, region{ref.off, ref.len, fmt.Sprintf(format, args...)})
	}
	add(ref{0, headerSize, 0}, "header: magic, version, checksum")
	for i := range r.sections {
		s := &r.sections[i]
		name := fmt.Sprintf("section %d, day %d %q, %d rows", i, s.day, s.name, s.rows)
		d, err := s.directory()
		require.NoError(t, err)
		add(s.personsRef, "persons of %s", name)
		add(s.dirRef, "first keys and columns of %s", name)
		for j := range d.columns {
			c := &d.columns[j]
			off := c.off
			for p, size := range c.pages {
				add(ref{off, size, 0}, "page %d of %s of %s", p, columnName(r, c), name)
				off += uint64(size)
			}
		}
	}
	for i := range r.days {
		d := &r.days[i]
		add(d.persons, "persons of day %d", d.day)
		off := d.timeline.off
		for p, size := range d.timeline.pages {
			add(ref{off, size, 0}, "page %d of the timeline of day %d", p, d.day)
			off += uint64(size)
		}
	}
	for k, ref := range r.dicts {
		add(ref, "dictionary of %s", r.pathName(k))
	}
	for i := range r.ids {
		d := &r.ids[i]
		add(d.place, "places of the ids of %d rows", d.rows)
		for p, page := range d.pages {
			kind := "UUIDs"
			if p >= d.uuidPages() {
				kind = "texts"
			}
			add(page.ref, "page %d of ids: %d %s", p, d.ids(p), kind)
		}
	}
	add(r.filter, "filter of ids")
	footer := ref{off: binary.LittleEndian.Uint64(file[len(file)-trailerSize:]), len: r.footerLen}
	add(footer, "footer: log entries 3 to 9, 1 merge of persons; names, paths, sections, days, dictionaries, ids, filter")
	add(ref{uint64(len(file) - trailerSize), trailerSize, 0}, "trailer: footer offset, length, checksum; version, 0, checksum, magic")

	slices.SortFunc(all, func(a, b region) int { return cmp.Compare(a.off, b.off) })
	var out strings.Builder
	at := uint64(0)
	for _, g := range all {
		require.Equal(t, at, g.off, "%s", g.what)
		fmt.Fprintf(&out, "# %s\n", g.what)
		for line := range slices.Chunk(file[g.off:g.off+uint64(g.len)], 16) {
			fmt.Fprintf(&out, "%06x  % x\n", at, line)
			at += uint64(len(line))
		}
	}
	require.EqualValues(t, len(file), at)
	return out.String()
}

func columnName(r *Reader, c *column) string {
	form := [...]string{"codes", "codes of a dictionary", "texts in place", "numbers", "integers"}[c.form]
	switch c.kind {
	case kindKeys:
		return "keys"
	case kindReceived:
		return "receivedAt"
	case kindUser, kindAnon, kindSource, kindShape:
		return map[batch.Kind]string{kindUser: "userId", kindAnon: "anonymousId", kindSource: "source", kindShape: "shape"}[c.kind] + ", " + form
	}
	return fmt.Sprintf("%s %s, %s", r.paths[c.path], c.kind, form)
}

// bytesOf reads what annotate wrote.
func bytesOf(t *testing.T, text string) (file []byte) {
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, "#") {
			b, err := hex.DecodeString(strings.ReplaceAll(strings.TrimSpace(line[6:]), " ", ""))
			require.NoError(t, err)
			file = append(file, b...)
		}
	}
	return file
}

func TestGoldenSegmentIsWrittenAndReadAsEver(t *testing.T) {
	path := filepath.Join("testdata", fmt.Sprintf("segment-v%d.txt", Version))
	file := goldenFile(t)
	if *update {
		require.NoError(t, os.MkdirAll("testdata", 0o755))
		require.NoError(t, os.WriteFile(path, []byte(annotate(t, file)), 0o644))
	}
	want, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, string(want), annotate(t, file))

	// Also segments of formats that are no longer written stay readable.
	files, err := filepath.Glob(filepath.Join("testdata", "segment-v*.txt"))
	require.NoError(t, err)
	for _, name := range files {
		text, err := os.ReadFile(name)
		require.NoError(t, err)
		file := bytesOf(t, string(text))
		r, err := Open(bytes.NewReader(file), int64(len(file)), name, nil)
		require.NoError(t, err)
		report, err := r.Verify(context.Background(), "order-1")
		require.NoError(t, err)
		require.Equal(t, 8, report.Rows)
		require.Equal(t, []string{`id of row 2: "order-1"`}, report.Found)
		require.Equal(t, Meta{FirstIndex: 3, LastIndex: 9, IdentityIndex: 1}, r.Meta())
		require.Equal(t, 3, r.Find(20_000, "view").DistinctPersons()+r.Find(20_001, "view").DistinctPersons())
	}
}

func TestASegmentOfAnotherVersionIsRefusedByName(t *testing.T) {
	for name, at := range map[string]int{"header": 8, "trailer": -trailerSize + 16} {
		file := goldenFile(t)
		if at < 0 {
			at += len(file)
		}
		file[at] = 99
		if name == "header" {
			binary.LittleEndian.PutUint32(file[12:], checksum(file[:12]))
		} else {
			trailer := file[len(file)-trailerSize:]
			binary.LittleEndian.PutUint32(trailer[24:], checksum(trailer[:24]))
		}
		_, err := Open(bytes.NewReader(file), int64(len(file)), "new", nil)
		require.ErrorIs(t, err, ErrVersion, name)
		require.ErrorContains(t, err, fmt.Sprintf("open segment new: unknown segment format version 99; this program reads versions %d to %d", OldestVersion, Version))
	}
}

// goldenValues writes 40 events of one name: enough for counts of values, with codes in planes.
func goldenValues(t *testing.T) []byte {
	rows := Rows{Names: []string{"view"}, Name: make([]uint32, 40), Person: make([]uint32, 40), Time: make([]int64, 40)}
	ids := make([]batch.ID, 40)
	labels, plans, flags := make([]uint32, 40), make([]uint32, 40), make([]uint32, 40)
	for i := range 40 {
		rows.Time[i] = 20_000*MicrosPerDay + int64(i)*1e6
		ids[i] = batch.ID{Hi: 0x1111111111114000, Lo: 0x8000000000000000 + uint64(i)<<40}
		labels[i], plans[i], flags[i] = uint32(1+i%2), uint32(i/20), uint32(1+i%3/2)
	}
	var dict batch.Texts
	dict.Append([]byte("red"))
	dict.Append([]byte("green"))
	var b bytes.Buffer
	w := NewWriter(&b, NewLayout(rows))
	w.IDs(ids, nil, nil)
	w.Text("context.label", batch.KindString, labels, &dict)
	w.Text("context.plan", batch.KindString, plans, &dict)
	w.Bools("properties.flag", flags)
	_, err := w.Finish(Meta{FirstIndex: 3, LastIndex: 9, IdentityIndex: 1})
	require.NoError(t, err)
	return b.Bytes()
}

func TestGoldenCountsOfValuesAreWrittenAndReadAsEver(t *testing.T) {
	path := filepath.Join("testdata", fmt.Sprintf("values-v%d.txt", Version))
	file := goldenValues(t)
	if *update {
		require.NoError(t, os.WriteFile(path, []byte(annotate(t, file)), 0o644))
	}
	want, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, string(want), annotate(t, file))
	file = bytesOf(t, string(want))
	r, err := Open(bytes.NewReader(file), int64(len(file)), path, nil)
	require.NoError(t, err)
	_, err = r.Verify(context.Background())
	require.NoError(t, err)
	columns, err := r.Sections()[0].AllColumns()
	require.NoError(t, err)
	counts := map[string]map[uint32]uint32{}
	for _, c := range columns {
		codes, rows, ok := c.Values()
		require.True(t, ok, c.Path())
		counts[c.Path()] = map[uint32]uint32{}
		for i, code := range codes {
			counts[c.Path()][code] = rows[i]
		}
	}
	require.Equal(t, map[string]map[uint32]uint32{
		"context.label": {1: 20, 2: 20}, "context.plan": {0: 20, 1: 20}, "properties.flag": {1: 27, 2: 13},
	}, counts)
}
