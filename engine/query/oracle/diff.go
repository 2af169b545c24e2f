package oracle

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"time"
)

// Diff compares two answers in JSON: that of the oracle, and another one that may
// have more top-level members (query, stats, as_of, warnings). It returns "" when they say the
// same, or the first place where they do not. Numbers may differ by rounding;
// of cursors it only counts that there is one; touchpoints are compared by key, for sums that
// are equal but for rounding have no order; null, an empty list or object and a missing member are one.
func Diff(want, got []byte) string {
	w, err := decode(want)
	if err != nil {
		return "the oracle's answer: " + err.Error()
	}
	g, err := decode(got)
	if err != nil {
		return "the other answer: " + err.Error()
	}
	return diff("", w, g)
}

func decode(data []byte) (v any, err error) {
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	return v, d.Decode(&v)
}

func diff(at string, want, got any) string {
	differ := func() string { return fmt.Sprintf("%s: want %s, got %s", at, short(want), short(got)) }
	switch w := want.(type) {
	case map[string]any:
		g, ok := got.(map[string]any)
		if !ok {
			return differ()
		}
		for _, name := range members(w, g, at == "") {
			switch {
			case name == "next":
				if (w[name] == nil) != (g[name] == nil) {
					return diff(at+".next", w[name], g[name])
				}
			case name == "touchpoints":
				if d := diff(at+".touchpoints", byKey(w[name]), byKey(g[name])); d != "" {
					return d
				}
			default:
				if d := diff(at+"."+name, w[name], g[name]); d != "" {
					return d
				}
			}
		}
		return ""
	case []any:
		g, ok := got.([]any)
		if !ok && got != nil {
			return differ()
		}
		for i := range min(len(w), len(g)) {
			if d := diff(fmt.Sprintf("%s[%d]", at, i), w[i], g[i]); d != "" {
				return d
			}
		}
		if len(w) != len(g) {
			return fmt.Sprintf("%s: want %d elements, got %d; %s against %s", at, len(w), len(g), short(want), short(got))
		}
		return ""
	case json.Number:
		g, ok := got.(json.Number)
		if !ok || !near(w, g) {
			return differ()
		}
		return ""
	}
	if want == nil && isEmpty(got) {
		return ""
	}
	if want == nil || got == nil || want != got && !sameMoment(want, got) {
		return differ()
	}
	return ""
}

// sameMoment tells whether two texts are one time with one offset, written with
// more or fewer zeros behind the seconds.
func sameMoment(a, b any) bool {
	x, ok := a.(string)
	y, ok2 := b.(string)
	if !ok || !ok2 {
		return false
	}
	s, err := time.Parse(time.RFC3339Nano, x)
	t, err2 := time.Parse(time.RFC3339Nano, y)
	return err == nil && err2 == nil && s.Format(time.RFC3339Nano) == t.Format(time.RFC3339Nano)
}

// isEmpty tells whether a value is the same as a member that is not there.
func isEmpty(v any) bool {
	switch v := v.(type) {
	case nil:
		return true
	case []any:
		return len(v) == 0
	case map[string]any:
		return len(v) == 0
	}
	return false
}

// members are the names to compare; at the top only those that the oracle knows.
func members(w, g map[string]any, top bool) (names []string) {
	for name := range w {
		names = append(names, name)
	}
	for name := range g {
		if _, ok := w[name]; !ok && !top {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

func byKey(v any) any {
	list, ok := v.([]any)
	if !ok {
		return v
	}
	out := map[string]any{}
	for _, x := range list {
		if m, ok := x.(map[string]any); ok {
			out[fmt.Sprint(short(m["key"]), m["other"])] = m
		}
	}
	return out
}

func near(a, b json.Number) bool {
	if a == b {
		return true
	}
	x, err := a.Float64()
	y, err2 := b.Float64()
	const tolerance = 1e-9
	return err == nil && err2 == nil && math.Abs(x-y) <= tolerance*max(1, math.Abs(x), math.Abs(y))
}

// short is the beginning of a value's JSON.
func short(v any) string {
	b, _ := json.Marshal(v)
	const most = 400
	if len(b) > most {
		return string(b[:most]) + "..."
	}
	return string(b)
}
