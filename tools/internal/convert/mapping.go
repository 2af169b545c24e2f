// Package convert makes events of records that other systems have exported. A
// mapping says which field of a record is what of an event.
//
// On the way of an event it stands before the importer, which takes lines of events from it.
package convert

import (
	"bytes"
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"go.yaml.in/yaml/v3"

	"spoor/segment/batch"
)

// Paths are fields of a record, of which the first that is there counts. A dot leads
// into an object; one inside a name is escaped by a backslash.
type Paths []string

// UnmarshalYAML takes one path or a list.
func (p *Paths) UnmarshalYAML(n *yaml.Node) error {
	if n.Kind == yaml.ScalarNode {
		*p = Paths{n.Value}
		return nil
	}
	return n.Decode((*[]string)(p))
}

// Object is what becomes properties or context: a field that is an object, "*" for all
// fields that the mapping does not name, or names with the field of each.
type Object struct {
	Path   string
	Fields map[string]string
}

// UnmarshalYAML takes a path or a map.
func (o *Object) UnmarshalYAML(n *yaml.Node) error {
	if n.Kind == yaml.ScalarNode {
		o.Path = n.Value
		return nil
	}
	return n.Decode(&o.Fields)
}

// Mapping says what of a record is what of an event.
type Mapping struct {
	EventID     Paths `yaml:"eventId"`
	EventName   Paths `yaml:"eventName"`
	UserID      Paths `yaml:"userId"`
	AnonymousID Paths `yaml:"anonymousId"`
	// Timestamp is RFC 3339, "2026-05-01 10:00:00.123" in UTC, or seconds or milliseconds since 1970.
	Timestamp  Paths  `yaml:"timestamp"`
	Properties Object `yaml:"properties"`
	Context    Object `yaml:"context"`
	// Names replaces names of events.
	Names map[string]string `yaml:"names"`
	// Skip passes records by whose field has one of some values.
	Skip map[string][]string `yaml:"skip"`
}

// maxMapping bounds a file.
const maxMapping = 1 << 20

// ReadMapping reads a YAML file.
func ReadMapping(text []byte) (*Mapping, error) {
	if len(text) > maxMapping {
		return nil, fmt.Errorf("a mapping has at most %d bytes", maxMapping)
	}
	m := &Mapping{}
	d := yaml.NewDecoder(bytes.NewReader(text))
	d.KnownFields(true)
	if err := d.Decode(m); err != nil {
		return nil, fmt.Errorf("read the mapping: %w", err)
	}
	if len(m.EventName) == 0 || len(m.UserID)+len(m.AnonymousID) == 0 {
		return nil, fmt.Errorf("the mapping says nothing of eventName, or of userId and anonymousId")
	}
	return m, nil
}

// Known are the exports whose mapping is built in.
var Known = map[string]*Mapping{
	"segment": {
		EventID: Paths{"messageId"}, EventName: Paths{"event", "type"}, UserID: Paths{"userId"}, AnonymousID: Paths{"anonymousId"},
		Timestamp: Paths{"timestamp", "originalTimestamp", "receivedAt"}, Properties: Object{Path: "properties"}, Context: Object{Path: "context"},
		Names: map[string]string{"page": "page_viewed", "screen": "screen_viewed"}, Skip: map[string][]string{"type": {"identify", "alias", "group"}},
	},
	"posthog": {
		EventID: Paths{"uuid"}, EventName: Paths{"event"}, UserID: Paths{"distinct_id"}, AnonymousID: Paths{"properties.$device_id"},
		Timestamp: Paths{"timestamp"}, Properties: Object{Path: "properties"},
		Names: map[string]string{"$pageview": "page_viewed", "$screen": "screen_viewed"}, Skip: map[string][]string{"event": {"$identify", "$create_alias", "$set"}},
	},
	"mixpanel": {
		EventID: Paths{`properties.$insert_id`}, EventName: Paths{"event"}, UserID: Paths{"properties.$user_id", "properties.distinct_id"}, AnonymousID: Paths{"properties.$device_id"},
		Timestamp: Paths{"properties.time"}, Properties: Object{Path: "properties"}, Skip: map[string][]string{"event": {"$identify", "$create_alias", "$merge"}},
	},
	"amplitude": {
		EventID: Paths{"$insert_id", "insert_id", "uuid"}, EventName: Paths{"event_type"}, UserID: Paths{"user_id"}, AnonymousID: Paths{"device_id"},
		Timestamp: Paths{"event_time", "time"}, Properties: Object{Path: "event_properties"},
		Context: Object{Fields: map[string]string{"country": "country", "city": "city", "platform": "platform", "os": "os_name", "device": "device_type", "locale": "language", "appVersion": "version_name"}},
		Skip:    map[string][]string{"event_type": {"$identify", "$groupidentify"}},
	},
}

// record is the members of an object, of which those that are objects are taken apart when asked.
type record map[string]jsontext.Value

func (r record) at(path string) jsontext.Value {
	keys := batch.SplitPath(path)
	for _, k := range keys[:len(keys)-1] {
		var inner record
		if v := r[k]; v.Kind() != '{' || json.Unmarshal(v, &inner) != nil {
			return nil
		}
		r = inner
	}
	return r[keys[len(keys)-1]]
}

// text is a field as an id or a name; "" where it has none.
func (r record) text(paths Paths) string {
	for _, p := range paths {
		switch v := r.at(p); v.Kind() {
		case '"':
			if t, err := jsontext.AppendUnquote(nil, v); err == nil && len(t) > 0 {
				return string(t)
			}
		case '0':
			return string(v)
		}
	}
	return ""
}

// layouts of timestamps beside RFC 3339; they are in UTC.
var layouts = []string{"2006-01-02 15:04:05.999999999", "2006-01-02T15:04:05.999999999", "2006-01-02 15:04:05.999999999-07:00", "2006-01-02 15:04:05.999999999 MST", time.DateOnly}

// secondsBelow is where a number of seconds ends and one of milliseconds begins: the year 5138, or 1973.
const secondsBelow = 1e11

func (r record) time(paths Paths) (rfc3339 string, err error) {
	text := r.text(paths)
	if text == "" {
		return "", nil
	}
	if n, err := strconv.ParseFloat(text, 64); err == nil {
		if math.Abs(n) < secondsBelow {
			n *= 1000
		}
		if math.Abs(n) > 1e14 {
			return "", fmt.Errorf("the timestamp %.50q is neither seconds nor milliseconds", text)
		}
		return time.UnixMilli(int64(math.Round(n))).UTC().Format(time.RFC3339Nano), nil
	}
	if _, err := time.Parse(time.RFC3339Nano, text); err == nil {
		return text, nil
	}
	for _, l := range layouts {
		if t, err := time.Parse(l, text); err == nil {
			return t.UTC().Format(time.RFC3339Nano), nil
		}
	}
	return "", fmt.Errorf("the timestamp %.50q is none that is known", text)
}

// Append appends the event of a record; skipped is true where there is none.
func (m *Mapping) Append(dst []byte, object []byte) (out []byte, skipped bool, err error) {
	var r record
	if err := json.Unmarshal(object, &r); err != nil || r == nil {
		return dst, false, fmt.Errorf("the record is no JSON object: %.100s", object)
	}
	for path, values := range m.Skip {
		for _, v := range values {
			if r.text(Paths{path}) == v {
				return dst, true, nil
			}
		}
	}
	user, anon := r.text(m.UserID), r.text(m.AnonymousID)
	if user == anon && anon != "" {
		user = "" // some systems give the id of the device as that of the user until there is one
	}
	name := r.text(m.EventName)
	if other, ok := m.Names[name]; ok {
		name = other
	}
	when, err := r.time(m.Timestamp)
	if err != nil {
		return dst, false, err
	}
	dst = append(dst, '{')
	comma := ""
	for _, f := range [][2]string{{"eventId", r.text(m.EventID)}, {"userId", user}, {"anonymousId", anon}, {"eventName", name}, {"timestamp", when}} {
		if f[1] == "" {
			continue
		}
		dst = append(append(append(dst, comma...), `"`+f[0]+`":`...), quote(f[1])...)
		comma = ","
	}
	for _, o := range []struct {
		name string
		of   Object
	}{{"properties", m.Properties}, {"context", m.Context}} {
		v, err := m.object(r, o.of)
		if err != nil {
			return dst, false, err
		}
		if v != nil {
			dst = append(append(append(dst, comma...), `"`+o.name+`":`...), v...)
			comma = ","
		}
	}
	return append(dst, '}'), false, nil
}

// quote writes text as JSON; what is no UTF-8 in it was refused when the record was read.
func quote(text string) []byte {
	b, _ := jsontext.AppendQuote(nil, text)
	return b
}

func (m *Mapping) object(r record, o Object) (jsontext.Value, error) {
	switch {
	case o.Path == "*":
		rest := record{}
		for k, v := range r {
			if !m.names(k) {
				rest[k] = v
			}
		}
		if len(rest) == 0 {
			return nil, nil
		}
		return json.Marshal(rest, json.Deterministic(true))
	case o.Path != "":
		if v := r.at(o.Path); v.Kind() == '{' {
			return v, nil
		}
		return nil, nil
	case len(o.Fields) == 0:
		return nil, nil
	}
	out := record{}
	for name, path := range o.Fields {
		if v := r.at(path); v != nil && v.Kind() != 'n' {
			out[name] = v
		}
	}
	if len(out) == 0 {
		return nil, nil
	}
	return json.Marshal(out, json.Deterministic(true))
}

// names tells whether the mapping takes a top-level field for something.
func (m *Mapping) names(key string) bool {
	for _, paths := range []Paths{m.EventID, m.EventName, m.UserID, m.AnonymousID, m.Timestamp, {m.Properties.Path, m.Context.Path}} {
		for _, p := range paths {
			if p != "" && p != "*" && batch.SplitPath(p)[0] == key {
				return true
			}
		}
	}
	for _, o := range []Object{m.Properties, m.Context} {
		for _, p := range o.Fields {
			if batch.SplitPath(p)[0] == key {
				return true
			}
		}
	}
	return false
}
