package export

import (
	"bytes"
	"fmt"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"spoor/segment/batch"
)

// CSV writes events as RFC 4180 records. A cell is a text, a number or a
// literal as it was sent; objects and arrays stay JSON.
type CSV struct {
	names []string
	paths [][]string // keys from the event's top level, per column
}

// eventColumns are the columns where none are asked for.
var eventColumns = []string{
	"eventId", "eventName", "timestamp", "receivedAt", "userId", "anonymousId", "person", "source", "properties", "context",
}

// maxColumns bounds the columns of one CSV export.
const maxColumns = 200

// NewCSV takes the columns as paths, properties.price; none stand for the usual ones.
func NewCSV(columns []string) (*CSV, error) {
	if len(columns) == 0 {
		columns = eventColumns
	}
	if len(columns) > maxColumns {
		return nil, fault("bad_columns", "columns lists more than %d", maxColumns)
	}
	c := &CSV{names: columns}
	for _, name := range columns {
		c.paths = append(c.paths, batch.SplitPath(name))
	}
	return c, nil
}

// ContentType is the registered one.
func (c *CSV) ContentType() string { return "text/csv; charset=utf-8; header=present" }

// Head is the line of column names.
func (c *CSV) Head(dst []byte) []byte {
	for i, name := range c.names {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendCell(dst, []byte(name), true)
	}
	return append(dst, "\r\n"...)
}

// Line is the record of an event.
func (c *CSV) Line(dst, event []byte) ([]byte, error) {
	var members map[string]jsontext.Value
	if err := json.Unmarshal(event, &members); err != nil {
		return dst, fmt.Errorf("export an event as CSV: %w", err)
	}
	objects := map[string]map[string]jsontext.Value{"": members}
	for i, path := range c.paths {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendValueCell(dst, find(objects, path))
	}
	return append(dst, "\r\n"...), nil
}

// find returns the value at path, nil where there is none. objects keeps the
// objects on the way by their joined path.
func find(objects map[string]map[string]jsontext.Value, path []string) jsontext.Value {
	at := ""
	members := objects[""]
	for _, key := range path[:len(path)-1] {
		at = batch.JoinPath(at, key)
		inner, ok := objects[at]
		if !ok {
			if v := members[key]; v.Kind() == '{' {
				_ = json.Unmarshal(v, &inner) // it was valid as a part of the whole
			}
			objects[at] = inner
		}
		members = inner
	}
	return members[path[len(path)-1]]
}

func appendValueCell(dst []byte, v jsontext.Value) []byte {
	switch v.Kind() {
	case 0, 'n':
		return dst
	case '"':
		text, err := jsontext.AppendUnquote(nil, v)
		if err != nil {
			return dst
		}
		return appendCell(dst, text, true)
	}
	return appendCell(dst, v, false)
}

// appendCell appends a cell. A text that a spreadsheet would take for a formula
// gets an apostrophe in front: event names and properties come from anybody.
func appendCell(dst, text []byte, isText bool) []byte {
	formula := isText && len(text) > 0 && bytes.IndexByte([]byte("=+-@\t\r"), text[0]) >= 0
	if !formula && !bytes.ContainsAny(text, ",\"\r\n") {
		return append(dst, text...)
	}
	dst = append(dst, '"')
	if formula {
		dst = append(dst, '\'')
	}
	for _, b := range text {
		if b == '"' {
			dst = append(dst, '"')
		}
		dst = append(dst, b)
	}
	return append(dst, '"')
}
