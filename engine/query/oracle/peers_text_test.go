package oracle

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"
)

const always = ` from 1970-01-01 to 2198-01-01`

// quoted is a string of the query language; JSON has the same escapes.
func quoted(s string) string {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	_ = e.Encode(s)
	return strings.TrimSuffix(b.String(), "\n")
}

func millis(seconds float64) string {
	return strconv.FormatInt(int64(math.Round(seconds*1000)), 10) + "ms"
}

// window writes a bound of time; nil is the longest that the language has.
func window(seconds *float64) string {
	if seconds == nil {
		return "3660d"
	}
	return millis(*seconds)
}

func peerField(name string) string {
	if name == "$event" {
		return "eventName"
	}
	return "properties." + quoted(name)
}

func (s peerSel) text() string {
	name := "any"
	if s.Event != nil {
		name = quoted(*s.Event)
	}
	var terms []string
	for _, w := range s.Where {
		f := peerField(w.Property)
		op := map[string]string{"eq": "=", "neq": "!=", "gt": ">", "gte": ">=", "lt": "<", "lte": "<=", "contains": "contains"}[w.Op]
		switch {
		case w.Op == "is_null":
			terms = append(terms, f+" missing")
		case w.Op == "is_set":
			terms = append(terms, f+" exists")
		case w.Op == "in" || w.Op == "not_in":
			var values []string
			for _, v := range w.Value.([]any) {
				values = append(values, literal(v))
			}
			terms = append(terms, f+" "+strings.ReplaceAll(w.Op, "_", " ")+" ("+strings.Join(values, ", ")+")")
		default:
			terms = append(terms, f+" "+op+" "+literal(w.Value))
		}
	}
	if len(terms) > 0 {
		name += "[" + strings.Join(terms, " and ") + "]"
	}
	return name
}

func literal(v any) string {
	if s, ok := v.(string); ok {
		return quoted(s)
	}
	return fmt.Sprint(v)
}
