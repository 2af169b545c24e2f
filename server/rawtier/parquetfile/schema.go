// Package parquetfile writes events as Parquet and reads them back: typed
// columns for what other engines ask by, and the event as it was sent for all else.
//
// A file has these columns, in the order of names:
//
//	anonymousId  string, optional
//	eventId      string
//	eventName    string
//	json         string: the event as it was sent, its eventId included
//	receivedAt   timestamp, microseconds, UTC
//	sourceName   string, optional: of the write key
//	timestamp    timestamp, microseconds, UTC: the time that counts
//	userId       string, optional
//	PATH:TYPE    optional; a value of properties or context
//
// PATH joins the keys by "/", in which "/", ".", "%", ":" and control characters are
// percent-encoded, so no name has a dot, which some engines take for nesting. TYPE
// is str, num (a double) or bool, so the name of a column says its type, and files whose events
// disagree on a type still read as one table. Numbers that a double cannot hold, arrays and nulls
// stand in json alone. No column has the name of a part of the path, which engines take for columns, too.
package parquetfile

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/parquet-go/parquet-go"

	"spoor/engine/event"
	"spoor/segment/batch"
)

// MaxColumns bounds the columns of properties and context in one file; those that
// the fewest events have are left to the JSON.
const MaxColumns = 200

// Names of the columns that every file has.
const (
	anonymousIDColumn = "anonymousId"
	eventIDColumn     = "eventId"
	eventNameColumn   = "eventName"
	jsonColumn        = "json"
	receivedAtColumn  = "receivedAt"
	sourceColumn      = "sourceName"
	timestampColumn   = "timestamp"
	userIDColumn      = "userId"
)

// typeOf is the TYPE of a kind of values, "" for those that have no column.
func typeOf(k batch.Kind) string {
	switch k {
	case batch.KindString:
		return "str"
	case batch.KindNumber:
		return "num"
	case batch.KindBool:
		return "bool"
	}
	return ""
}

// ColumnName is the name of the column of a path, as batch.Column has it, and TYPE.
func ColumnName(path, typ string) string {
	var b strings.Builder
	for i, key := range batch.SplitPath(path) {
		if i > 0 {
			b.WriteByte('/')
		}
		for _, c := range []byte(key) {
			if c < 0x20 || c == 0x7f || strings.IndexByte("/.%:", c) >= 0 {
				fmt.Fprintf(&b, "%%%02X", c)
			} else {
				b.WriteByte(c)
			}
		}
	}
	return b.String() + ":" + typ
}

// Paths counts the values of paths, to choose the columns of a file.
type Paths map[Path]int

// Path is a path and the kind of its values.
type Path struct {
	Path string
	Kind batch.Kind
}

// Schema is the columns of a file.
type Schema struct {
	schema *parquet.Schema
	at     map[Path]int   // of a property: its column
	fixed  map[string]int // of the others
	n      int
}

// NewSchema chooses the columns of a file.
func NewSchema(paths Paths) *Schema {
	var chosen []Path
	for p := range paths {
		if typeOf(p.Kind) != "" {
			chosen = append(chosen, p)
		}
	}
	slices.SortFunc(chosen, func(a, b Path) int {
		return cmp.Or(cmp.Compare(paths[b], paths[a]), cmp.Compare(a.Path, b.Path), cmp.Compare(a.Kind, b.Kind))
	})
	chosen = chosen[:min(len(chosen), MaxColumns)]
	text := func() parquet.Node { return parquet.Encoded(parquet.String(), &parquet.RLEDictionary) }
	group := parquet.Group{
		anonymousIDColumn: parquet.Optional(text()),
		eventIDColumn:     parquet.String(),
		eventNameColumn:   text(),
		jsonColumn:        parquet.String(),
		receivedAtColumn:  parquet.Encoded(parquet.Timestamp(parquet.Microsecond), &parquet.DeltaBinaryPacked),
		sourceColumn:      parquet.Optional(text()),
		timestampColumn:   parquet.Encoded(parquet.Timestamp(parquet.Microsecond), &parquet.DeltaBinaryPacked),
		userIDColumn:      parquet.Optional(text()),
	}
	s := &Schema{at: map[Path]int{}, fixed: map[string]int{}}
	for name := range group {
		s.fixed[name] = 0
	}
	names := map[string]Path{}
	for _, p := range chosen {
		name := ColumnName(p.Path, typeOf(p.Kind))
		names[name] = p
		switch p.Kind {
		case batch.KindString:
			group[name] = parquet.Optional(text())
		case batch.KindNumber:
			group[name] = parquet.Optional(parquet.Leaf(parquet.DoubleType))
		case batch.KindBool:
			group[name] = parquet.Optional(parquet.Leaf(parquet.BooleanType))
		}
	}
	s.schema = parquet.NewSchema("event", group)
	for i, f := range s.schema.Fields() {
		if p, ok := names[f.Name()]; ok {
			s.at[p] = i
		} else {
			s.fixed[f.Name()] = i
		}
	}
	s.n = len(group)
	return s
}

// column is where a leaf goes; ok is false where it stands in the JSON alone.
func (s *Schema) column(l *event.Leaf) (at int, ok bool) {
	at, ok = s.at[Path{l.Path, l.Kind}]
	return at, ok
}
