package render

import (
	"bytes"
	"encoding/json"
	"strings"
)

// value is any JSON value as text: a string without its quotes.
type value struct{ json.RawMessage }

// text is the value as a reader knows it; raw gives "" for null.
func (v value) cell() cell {
	if len(v.RawMessage) == 0 || bytes.Equal(v.RawMessage, []byte("null")) {
		return shown("(none)")
	}
	var s string
	if json.Unmarshal(v.RawMessage, &s) == nil {
		if s == "" {
			return shown(`""`)
		}
		return same(s)
	}
	var n number
	if json.Unmarshal(v.RawMessage, &n) == nil && n != "" {
		return n.cell()
	}
	return same(string(v.RawMessage))
}

// group is what a breakdown adds to a part of an answer.
type group struct {
	Key   []value `json:"key"`
	Other bool    `json:"other"`
}

// cells is one cell per field of the breakdown.
func (g *group) cells(fields int) []cell {
	row := make([]cell, fields)
	for i := range row {
		switch {
		case g.Other:
			row[i] = cell{show: "(other)", raw: "other"}
		case i < len(g.Key):
			row[i] = g.Key[i].cell()
		}
	}
	return row
}

// name is the group in one text.
func (g *group) name() string {
	if g.Other {
		return "(other)"
	}
	var parts []string
	for _, v := range g.Key {
		parts = append(parts, v.cell().show)
	}
	return strings.Join(parts, ", ")
}

// fieldNames is the heads of the breakdown's columns: as the answer names them,
// else numbered.
func fieldNames(by []string, keys int) []string {
	for len(by) < keys {
		if keys == 1 {
			return []string{"key"}
		}
		by = append(by[:len(by):len(by)], "key"+string(rune('1'+len(by))))
	}
	return by
}
