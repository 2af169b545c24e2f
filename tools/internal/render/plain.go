package render

import (
	"bytes"
	"encoding/json"

	"github.com/go-json-experiment/json/jsontext"
)

// member is one member of an object.
type member struct {
	name  string
	value value
}

// ordered reads an object's members in the order in which they stand.
func ordered(object json.RawMessage) ([]member, error) {
	if len(object) == 0 {
		return nil, nil
	}
	d := jsontext.NewDecoder(bytes.NewReader(object), jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
	if d.PeekKind() != '{' {
		return nil, errNotObject
	}
	if _, err := d.ReadToken(); err != nil {
		return nil, err
	}
	var list []member
	for d.PeekKind() != '}' {
		name, err := d.ReadToken()
		if err != nil {
			return nil, err
		}
		text := name.String()
		v, err := d.ReadValue()
		if err != nil {
			return nil, err
		}
		list = append(list, member{text, value{json.RawMessage(v.Clone())}})
	}
	return list, nil
}

// aside is what is told at another place than the sheets.
var aside = map[string]bool{"kind": true, "query": true, "stats": true, "as_of": true, "warnings": true, "next": true}

// plainSheets shows an answer without a picture of its own: its single values in
// one table, and each list in another.
func plainSheets(answer []byte) ([]sheet, error) {
	list, err := ordered(answer)
	if err != nil {
		return nil, err
	}
	var sheets []sheet
	single := sheet{columns: left("name", "value")}
	for _, m := range list {
		if aside[m.name] {
			continue
		}
		var elements []json.RawMessage
		if json.Unmarshal(m.value.RawMessage, &elements) != nil || elements == nil {
			single.rows = append(single.rows, []cell{same(m.name), m.value.cell()})
			continue
		}
		sheets = append(sheets, listSheet(m.name, elements))
	}
	switch {
	case len(single.rows) == 0:
	case len(sheets) > 0: // a program that wants a list gets the list alone
		single.columns = onlyIn(Table, single.columns)
		fallthrough
	default:
		sheets = append([]sheet{single}, sheets...)
	}
	return sheets, nil
}

// listSheet is a table of objects, a column for each name that occurs; elements
// that are no objects stand in a column that has the list's name.
func listSheet(name string, elements []json.RawMessage) sheet {
	s := sheet{}
	at := map[string]int{}
	place := func(name string, numeric bool) int {
		i, ok := at[name]
		if !ok {
			i = len(s.columns)
			at[name] = i
			s.columns = append(s.columns, column{name: printable(name), right: numeric})
		}
		return i
	}
	for _, element := range elements {
		list, err := ordered(element)
		if err != nil {
			list = []member{{name, value{element}}}
		}
		row := make([]cell, len(s.columns), len(s.columns)+len(list))
		for _, m := range list {
			var n number
			numeric := json.Unmarshal(m.value.RawMessage, &n) == nil && n != ""
			i := place(m.name, numeric)
			for len(row) <= i {
				row = append(row, cell{})
			}
			row[i] = m.value.cell()
			if m.name == "t" {
				row[i] = timeCell(row[i].raw)
			}
		}
		s.rows = append(s.rows, row)
	}
	if len(s.columns) == 0 {
		s.columns = left(name)
	}
	for i := range s.rows { // columns that came up later
		for len(s.rows[i]) < len(s.columns) {
			s.rows[i] = append(s.rows[i], cell{})
		}
	}
	return s
}
