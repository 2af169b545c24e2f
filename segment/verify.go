package segment

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sort"
	"strconv"

	"github.com/cespare/xxhash/v2"

	"spoor/index"
	"spoor/internal/grep"
	"spoor/segment/batch"
)

// VerifyReport is what Verify read.
type VerifyReport struct {
	Name     string `json:"name"`
	Bytes    int64  `json:"bytes"`
	Rows     int    `json:"rows"`
	Sections int    `json:"sections"`
	Columns  int    `json:"columns"`
	// Found are the places where a wanted text stands, at most maxFound.
	Found []string `json:"found,omitempty"`
}

// maxFound bounds VerifyReport.Found.
const maxFound = 100

// Verify reads every byte of the file, past any cache: the regions lie one behind the
// other without a gap, every checksum holds, every column decodes, keys are
// sorted, the timelines and person sets agree with them, counts of values with the codes, and no id stands twice in events of
// one day that were received on one day, or is missing in the filter. It also looks for texts in all that is stored: values of
// every kind, ids, names of events and columns. A number is found by the way it is written.
// The first damage is returned, with the section and column where it is.
func (r *Reader) Verify(ctx context.Context, texts ...string) (*VerifyReport, error) {
	fresh, err := Open(r.src, r.size, r.name, nil)
	if err != nil {
		return nil, err
	}
	v := &verifier{r: fresh, report: &VerifyReport{Name: r.name, Bytes: r.size, Rows: fresh.rows, Sections: len(fresh.sections)}}
	for _, text := range texts {
		if text != "" {
			v.wanted = append(v.wanted, []byte(text))
		}
	}
	if err := v.run(ctx); err != nil {
		return v.report, fmt.Errorf("verify segment %s: %w", r.name, err)
	}
	return v.report, nil
}

type verifier struct {
	r       *Reader
	x       Scratch
	wanted  [][]byte
	text    []byte // of a number or id that is looked at
	report  *VerifyReport
	regions []ref
}

func (v *verifier) run(ctx context.Context) error {
	for i := range v.r.sections {
		if err := ctx.Err(); err != nil {
			return err
		}
		s := &v.r.sections[i]
		if err := v.section(s); err != nil {
			return fmt.Errorf("section %s of day %d: %w", s.name, s.day, err)
		}
	}
	for i := range v.r.days {
		if err := v.day(&v.r.days[i]); err != nil {
			return fmt.Errorf("day %d: %w", v.r.days[i].day, err)
		}
	}
	for _, path := range v.r.paths {
		v.look([]byte(path), "name of a column")
	}
	for k, ref := range v.r.dicts {
		v.regions = append(v.regions, ref)
		dict, err := v.r.dict(k.path, k.kind)
		if err != nil {
			return err
		}
		for i := range dict.Len() {
			v.look(dict.At(i), "dictionary of %s", v.r.pathName(k))
		}
	}
	if err := v.ids(); err != nil {
		return fmt.Errorf("ids: %w", err)
	}
	return v.tiles()
}

// pathName is the path that a dictionary belongs to.
func (r *Reader) pathName(k dictKey) string {
	if int(k.path) < len(r.paths) && r.paths[k.path] != "" {
		return r.paths[k.path]
	}
	return k.kind.String()
}

// look notes where a wanted text stands.
func (v *verifier) look(text []byte, format string, args ...any) {
	for _, w := range v.wanted {
		if len(v.report.Found) < maxFound && grep.Contains(text, w) {
			v.report.Found = append(v.report.Found, fmt.Sprintf(format, args...)+fmt.Sprintf(": %q", w))
		}
	}
}

// lookNumber notes where a wanted text is how a number is written.
func (v *verifier) lookNumber(c Column, n float64) {
	if len(v.wanted) > 0 {
		v.text = strconv.AppendFloat(v.text[:0], n, 'f', -1, 64)
		v.look(v.text, "%s of %s, day %d", c.Path(), c.s.name, c.s.day)
	}
}

// pages notes the pages of a column.
func (v *verifier) pages(c *column) {
	off := c.off
	for _, size := range c.pages {
		v.regions = append(v.regions, ref{off: off, len: size})
		off += uint64(size)
	}
}

func (v *verifier) section(s *Section) error {
	d, err := s.directory()
	if err != nil {
		return err
	}
	v.regions = append(v.regions, s.dirRef, s.personsRef)
	v.look([]byte(s.name), "name of an event, day %d", s.day)
	keys := make([]uint64, s.rows)
	if err := s.Keys(keys, 0, s.rows, &v.x); err != nil {
		return err
	}
	var persons []uint32
	for i, k := range keys {
		if i > 0 && k < keys[i-1] {
			return corrupt("keys of the rows %d and %d are not in order", i-1, i)
		}
		if t := KeyTime(k, s.day); t < s.minTime || t > s.maxTime {
			return corrupt("time of row %d is outside of the section's bounds", i)
		}
		if i%blockRows == 0 && d.firstKeys[i/blockRows] != k {
			return corrupt("the index of block %d names another key", i/blockRows)
		}
		if p := KeyPerson(k); len(persons) == 0 || persons[len(persons)-1] != p {
			persons = append(persons, p)
		}
	}
	set, err := s.Persons()
	if err != nil {
		return err
	}
	if len(persons) != s.distinct || !set.Equal(index.NewPersons(persons)) {
		return corrupt("the set of persons is not that of the keys")
	}
	for i := range d.columns {
		c := &d.columns[i]
		v.pages(c)
		v.report.Columns++
		if err := v.column(s, Column{s, c}); err != nil {
			return fmt.Errorf("column %d (%s): %w", i, v.r.pathName(dictKey{c.path, c.kind}), err)
		}
	}
	return nil
}

// column decodes a column and counts its values.
func (v *verifier) column(s *Section, c Column) error {
	present := 0
	switch c.c.form {
	case formNumbers:
		vals := make([]float64, s.rows)
		if err := c.Numbers(vals, 0, s.rows, &v.x); err != nil {
			return err
		}
		for _, n := range vals {
			if n != n {
				continue
			}
			if n < c.c.min || n > c.c.max {
				return corrupt("%v is outside of the column's bounds", n)
			}
			v.lookNumber(c, n)
			present++
		}
	case formInts:
		vals, has := make([]int64, s.rows), make([]bool, s.rows)
		if err := c.Ints(vals, has, 0, s.rows, &v.x); err != nil {
			return err
		}
		for i, h := range has {
			if h {
				present++
				if len(v.wanted) > 0 {
					v.text = strconv.AppendInt(v.text[:0], vals[i], 10)
					v.look(v.text, "%s of %s, day %d", c.Path(), s.name, s.day)
				}
			}
		}
	default:
		switch c.c.kind {
		case kindKeys:
			return nil
		case kindReceived:
			return s.Received(make([]int64, s.rows), 0, s.rows, &v.x)
		}
		codes := make([]uint32, s.rows)
		texts, err := c.Codes(codes, 0, s.rows, &v.x)
		if err != nil {
			return err
		}
		var t tally
		var found values
		present, found = t.count(codes)
		if has := &c.c.values; len(has.codes) > 0 && (!slices.Equal(has.codes, found.codes) || !slices.Equal(has.rows, found.rows)) {
			return corrupt("the directory counts other values than the codes have")
		}
		if c.c.form == formPlain {
			for i := range texts.Len() {
				v.look(texts.At(i), "%s of %s, day %d", c.Path(), s.name, s.day)
			}
		}
	}
	if present != c.c.present {
		return corrupt("%d rows have a value, the directory says %d", present, c.c.present)
	}
	return nil
}

// day holds the timeline and the persons of a day against its sections.
func (v *verifier) day(d *dayDir) error {
	v.pages(&d.timeline)
	v.regions = append(v.regions, d.persons)
	sections := v.r.sections[d.from:d.to]
	keys := make([][]uint64, len(sections))
	var sets []*index.Persons
	for i := range sections {
		keys[i] = make([]uint64, sections[i].rows)
		if err := sections[i].Keys(keys[i], 0, len(keys[i]), &v.x); err != nil {
			return err
		}
		set, err := sections[i].Persons()
		if err != nil {
			return err
		}
		if !sections[i].Erased() {
			sets = append(sets, set)
		}
	}
	set, err := v.r.Persons(d.day)
	if err != nil {
		return err
	}
	if !set.Equal(index.Union(sets...)) {
		return corrupt("the set of persons is not that of the sections")
	}
	line := make([]uint32, d.timeline.present)
	if err := v.r.Timeline(d.day, line, 0, len(line), &v.x); err != nil {
		return err
	}
	last := uint64(0)
	for i, s := range line {
		if len(keys[s]) == 0 || keys[s][0] < last {
			return corrupt("the timeline is out of order at event %d", i)
		}
		last, keys[s] = keys[s][0], keys[s][1:]
	}
	return nil
}

// ids checks that no id stands twice, see twice, and that the filter knows all of them.
func (v *verifier) ids() error {
	b, err := v.r.region(v.r.filter)
	if err != nil {
		return err
	}
	v.regions = append(v.regions, v.r.filter)
	filter, err := index.ParseBloom(b)
	if err != nil {
		return corrupt("filter: %v", err)
	}
	for i := range v.r.ids {
		v.regions = append(v.regions, v.r.ids[i].place)
		for _, p := range v.r.ids[i].pages {
			v.regions = append(v.regions, p.ref)
		}
	}
	all, err := v.r.IDs(0, v.r.rows)
	if err != nil {
		return err
	}
	seen := make(map[batch.ID]int, v.r.rows) // 1 + row
	texts := map[string]int{}
	for i, id := range all.IDs {
		isText := all.Texts != nil && all.Texts[i] != nil
		if isText {
			id = batch.ID{Lo: xxhash.Sum64(all.Texts[i])}
		}
		if !filter.Has(id.Hash(isText)) {
			return corrupt("the filter does not know the id of row %d", i)
		}
		before := seen[id]
		if isText {
			before = texts[string(all.Texts[i])]
			texts[string(all.Texts[i])] = i + 1
		} else {
			seen[id] = i + 1
		}
		if before > 0 {
			if err := v.twice(before-1, i); err != nil {
				return err
			}
		}
		if len(v.wanted) > 0 {
			v.text = all.AppendText(v.text[:0], i)
			v.look(v.text, "id of row %d", i)
		}
	}
	return nil
}

// twice checks two rows with one id: the engine stores an id again when it has forgotten the first, so
// they are of different days, or were received on different ones.
func (v *verifier) twice(a, b int) error {
	moment := func(row int) (day, received int32, err error) {
		i := sort.Search(len(v.r.sections), func(i int) bool { return v.r.sections[i].first > row }) - 1
		s := &v.r.sections[i]
		at, err := s.ReceivedAt(row - s.first)
		return s.day, Day(at), err
	}
	dayA, receivedA, err := moment(a)
	if err != nil {
		return err
	}
	dayB, receivedB, err := moment(b)
	if err == nil && dayA == dayB && receivedA == receivedB {
		err = corrupt("the id of row %d stands twice", b)
	}
	return err
}

// tiles checks that the regions fill the file from the header to the trailer.
func (v *verifier) tiles() error {
	slices.SortFunc(v.regions, func(a, b ref) int { return cmp.Compare(a.off, b.off) })
	at := uint64(headerSize)
	for _, r := range v.regions {
		if r.off != at {
			return corrupt("%d bytes at %d belong to nothing, or to two things", int64(r.off-at), at)
		}
		at += uint64(r.len)
	}
	if footer := uint64(v.r.size) - trailerSize - uint64(v.r.footerLen); at != footer {
		return corrupt("the regions end at %d, the footer begins at %d", at, footer)
	}
	return nil
}

// Part is what some of a file's bytes are for.
type Part struct {
	Name  string
	Bytes int64
}

// Parts tells what the bytes of the file are for, all of them, in no order. Columns have their path and kind for a name, and their dictionaries in it;
// directories alone are read.
func (r *Reader) Parts() ([]Part, error) {
	bytes := map[string]int64{"directories": headerSize + trailerSize + int64(r.footerLen), "filter of ids": int64(r.filter.len)}
	pages := func(name string, c *column) {
		for _, size := range c.pages {
			bytes[name] += int64(size)
		}
	}
	for i := range r.sections {
		s := &r.sections[i]
		d, err := s.directory()
		if err != nil {
			return nil, err
		}
		bytes["directories"] += int64(s.dirRef.len)
		bytes["sets of persons"] += int64(s.personsRef.len)
		for j := range d.columns {
			pages(r.partName(dictKey{d.columns[j].path, d.columns[j].kind}), &d.columns[j])
		}
	}
	for i := range r.days {
		pages("timeline", &r.days[i].timeline)
		bytes["sets of persons"] += int64(r.days[i].persons.len)
	}
	for k, ref := range r.dicts {
		bytes[r.partName(k)] += int64(ref.len)
	}
	for i := range r.ids {
		bytes["places of ids"] += int64(r.ids[i].place.len)
		for _, p := range r.ids[i].pages {
			bytes["ids"] += int64(p.ref.len)
		}
	}
	out := make([]Part, 0, len(bytes))
	for name, n := range bytes {
		out = append(out, Part{name, n})
	}
	return out, nil
}

// partName is the name of a column among Parts.
func (r *Reader) partName(k dictKey) string {
	switch k.kind {
	case kindKeys:
		return "keys: person and time"
	case kindReceived:
		return "receivedAt"
	case kindUser, kindAnon:
		return "userId and anonymousId, by the person's ids"
	case kindSource:
		return "source"
	case kindShape:
		return "shape"
	}
	return fmt.Sprintf("%s (%s)", r.pathName(k), k.kind)
}
