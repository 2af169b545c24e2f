package scan

import (
	"slices"

	"spoor/segment"
	"spoor/segment/batch"
)

// codes tells for each code of a column of booleans or nulls whether it passes; nil of a column
// none of whose values does, or of another kind.
func (t *Test) codes(kind batch.Kind) []bool {
	switch {
	case kind == batch.KindBool && t.Bool != nil:
		return []bool{false, t.Bool(false), t.Bool(true)}
	case kind == batch.KindNull && t.Null:
		return []bool{false, true}
	}
	return nil
}

// codesOf sets the rows [from, to) whose code pass marks. What the file's counts of values decide is not read.
func (e *evaluator) codesOf(c segment.Column, pass []bool, from, to int, out Bits, x *segment.Scratch) error {
	if !slices.Contains(pass, true) {
		return nil
	}
	if n, ok := passed(c, pass); ok {
		switch n {
		case 0:
			return nil
		case c.Section().Rows():
			out.fill(to - from)
			return nil
		}
	}
	return c.Match(pass, out, from, to, x)
}

// passed counts the rows of a column whose code passes; ok is false where the file does not say.
func passed(c segment.Column, pass []bool) (n int, ok bool) {
	codes, rows, ok := c.Values()
	for i, code := range codes {
		if int(code) < len(pass) && pass[code] {
			n += int(rows[i])
		}
	}
	return n, ok
}

// Count is the number of rows of a section for which a filter, nil for all, holds.
type Count struct {
	S     *segment.Section
	Where *Filter
	Rows  int
}

// FromDirectory counts the rows if the section's directory is enough to tell.
func (c *Count) FromDirectory() (known bool, err error) {
	if c.Where == nil {
		c.Rows = c.S.Rows()
		return true, nil
	}
	c.Rows, known, err = c.Where.tally(c.S)
	return known, err
}

// FromRows counts the rows by what the filter asks for: it reads no key for it.
func (c *Count) FromRows(w *Worker) error {
	rows, err := w.Rows(c.Where, c.S)
	c.Rows = rows.Count()
	return err
}

// tally counts the rows of a section for which f holds by what its directory says; ok is false where that is not enough.
func (f *Filter) tally(s *segment.Section) (n int, ok bool, err error) {
	switch f.op {
	case opTest:
		return f.tallyTest(s)
	case opNot:
		n, ok, err = f.kids[0].tally(s)
		return s.Rows() - n, ok, err
	}
	// Of a condition that holds everywhere or nowhere the others say nothing, or all.
	whole := s.Rows() // what changes nothing: all rows of And, none of Or
	if f.op == opOr {
		whole = 0
	}
	result, all := whole, true
	for _, kid := range f.kids {
		n, ok, err := kid.tally(s)
		switch {
		case err != nil:
			return 0, false, err
		case ok && n == s.Rows()-whole:
			return n, true, nil
		case ok && n == whole:
		case ok && result == whole:
			result = n
		default:
			all = false
		}
	}
	return result, all, nil
}

func (f *Filter) tallyTest(s *segment.Section) (n int, ok bool, err error) {
	var cols []segment.Column
	switch f.field.Kind {
	case FieldEvent:
		if f.test.Text != nil && f.test.Text([]byte(s.Event())) {
			return s.Rows(), true, nil
		}
		return 0, true, nil
	case FieldColumn:
		columns := s.Columns
		if f.field.Hidden {
			columns = s.StoredColumns
		}
		cols, err = columns(f.field.Path)
	case FieldSource:
		var c segment.Column
		if c, ok, err = s.Sources(); ok {
			cols = append(cols, c)
		}
	default:
		return 0, false, nil
	}
	if err != nil {
		return 0, false, err
	}
	// A row may have values of several columns of a path, so only one of them may have any that passes.
	for _, c := range cols {
		some, ok, err := f.tallyColumn(c)
		if err != nil || !ok || some > 0 && n > 0 {
			return 0, false, err
		}
		n += some
	}
	return n, true, nil
}

func (f *Filter) tallyColumn(c segment.Column) (n int, ok bool, err error) {
	text := f.test.Text
	switch c.Kind() {
	case batch.KindNumber:
		return 0, f.test.Number == nil, nil
	case batch.KindInt:
		return 0, f.test.Int == nil, nil
	case batch.KindJSON:
		text = f.test.JSON
	case batch.KindNumText:
		text = numText(f.test.Number)
	case batch.KindBool, batch.KindNull:
		pass := f.test.codes(c.Kind())
		if pass == nil {
			return 0, true, nil
		}
		n, ok = passed(c, pass)
		return n, ok, nil
	}
	if text == nil {
		return 0, true, nil
	}
	dict, err := c.Dict()
	if err != nil || dict == nil {
		return 0, false, err
	}
	table := f.table(dict, text)
	if !slices.Contains(table, true) {
		return 0, true, nil
	}
	n, ok = passed(c, table)
	return n, ok, nil
}
