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

// In is what is left of f, nil for all, in a section whose directory may know that all of its rows
// or none of them pass; some is false if none do.
func (f *Filter) In(s *segment.Section) (left *Filter, some bool, err error) {
	if f == nil {
		return nil, true, nil
	}
	n, ok, err := f.tally(s)
	switch {
	case err != nil:
		return nil, false, err
	case ok && n == 0:
		return nil, false, nil
	case ok && n == s.Rows():
		return nil, true, nil
	}
	return f, true, nil
}

// CountDirectory calls add with the rows of a section for which where, nil for all, holds, by the combination of the
// fields, if the section's directory is enough to tell them.
func (t *Tuples) CountDirectory(s *segment.Section, where *Filter, fields []Field, add func(group uint32, rows int)) (ok bool, err error) {
	n := s.Rows()
	if where != nil {
		if n, ok, err = where.tally(s); err != nil || !ok {
			return false, err
		}
	}
	switch {
	case n == 0:
		return true, nil
	case len(fields) == 0:
		t.Empty()
		add(0, n)
		return true, nil
	case len(fields) > 1:
		return false, nil
	case fields[0].Kind == FieldEvent:
		add(t.one(t.fields[0].text(batch.KindString, []byte(s.Event()))), n)
		return true, nil
	case n < s.Rows():
		return false, nil
	}
	return t.countValues(s, fields[0], add)
}

// countValues calls add with the rows of a section by the value of a field.
func (t *Tuples) countValues(s *segment.Section, field Field, add func(group uint32, rows int)) (ok bool, err error) {
	cols, ok, err := columnsOf(s, field)
	if err != nil || !ok {
		return false, err
	}
	// An explicit null counts as missing.
	cols = slices.DeleteFunc(cols, func(c segment.Column) bool { return c.Kind() == batch.KindNull })
	if len(cols) == 0 {
		add(t.one(0), s.Rows())
		return true, nil
	}
	if len(cols) > 1 { // of a row that has values of two of them, one counts
		return false, nil
	}
	c, g := cols[0], t.fields[0]
	codes, rows, ok := c.Values()
	if !ok {
		return false, nil
	}
	var dict *batch.Texts
	kind := c.Kind()
	switch {
	case kind == batch.KindBool:
	case kind.HasText() || field.Kind == FieldSource:
		if dict, err = c.Dict(); err != nil || dict == nil {
			return false, err
		}
		if field.Kind == FieldSource {
			kind = batch.KindString
		}
	default:
		return false, nil
	}
	for i, code := range codes {
		group := uint32(0)
		switch {
		case code == 0:
		case dict == nil:
			group = g.bool(code == 2)
		case int(code) > dict.Len():
			return false, nil // damage: reading the codes says so
		default:
			group = g.text(kind, dict.At(int(code-1)))
		}
		add(t.one(group), int(rows[i]))
	}
	return true, nil
}

// columnsOf are the columns of a field; ok is false of a field that has none.
func columnsOf(s *segment.Section, f Field) (cols []segment.Column, ok bool, err error) {
	switch f.Kind {
	case FieldSource:
		c, some, err := s.Sources()
		if some {
			cols = append(cols, c)
		}
		return cols, true, err
	case FieldColumn:
		columns := s.Columns
		if f.Hidden {
			columns = s.StoredColumns
		}
		cols, err = columns(f.Path)
		return cols, true, err
	}
	return nil, false, nil
}

// one numbers the combination of one field's group.
func (t *Tuples) one(group uint32) uint32 {
	t.cols[0] = append(t.cols[0][:0], group)
	return t.of(0)
}

// CountRows does what CountDirectory does by reading what where and fields ask for, and no key unless one of them does.
func (t *Tuples) CountRows(w *Worker, s *segment.Section, where *Filter, fields []Field, add func(group uint32, rows int)) error {
	n, rows := s.Rows(), Bits(nil)
	if where != nil {
		var err error
		if rows, err = w.Rows(where, s); err != nil {
			return err
		}
		if n = rows.Count(); n == 0 {
			return nil
		}
	}
	if len(fields) == 0 {
		t.Empty()
		add(0, n)
		return nil
	}
	t.rows = grow(t.rows, s.Rows())
	if err := t.Section(w, s, fields, t.rows, 0, s.Rows()); err != nil {
		return err
	}
	counts := make([]int, t.Len())
	for i, group := range t.rows {
		if rows == nil || rows.Has(i) {
			counts[group]++
		}
	}
	for group, n := range counts {
		if n > 0 {
			add(uint32(group), n)
		}
	}
	return nil
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
	if f.field.Kind == FieldEvent {
		if f.test.Text != nil && f.test.Text([]byte(s.Event())) {
			return s.Rows(), true, nil
		}
		return 0, true, nil
	}
	cols, ok, err := columnsOf(s, f.field)
	if err != nil || !ok {
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
