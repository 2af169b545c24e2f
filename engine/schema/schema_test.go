package schema

import (
	"fmt"
	"math/rand"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stretchr/testify/require"

	"spoor/engine/event"
)

// judge applies a schema to every event of a decoder.
type judge struct {
	s     *Schema
	c     Checker
	rules map[string]*Rule
	drops []string
}

func (j *judge) Govern(d *event.Draft) event.Verdict {
	if j.rules == nil {
		j.rules = map[string]*Rule{}
	}
	j.drops = nil
	j.c.Begin(j.s)
	for i := range d.Len() {
		path := d.Path(i)
		if !strings.HasPrefix(path, Root+".") {
			continue
		}
		if j.rules[path] == nil {
			j.rules[path] = j.s.Resolve(path)
		}
		if j.c.Value(j.rules[path], d, i) {
			j.drops = append(j.drops, path)
		}
	}
	j.c.End()
	return event.Verdict{}
}

func compile(t testing.TB, text string) *Schema {
	t.Helper()
	s, err := Compile("e", 1, []byte(text))
	require.NoError(t, err)
	return s
}

// violations of an event with these properties.
func violations(t testing.TB, j *judge, properties string) []string {
	t.Helper()
	d := event.NewDecoder(event.DefaultLimits())
	d.Govern(j)
	_, rej := d.Add([]byte(`{"eventName":"e","userId":"u","properties":`+properties+`}`), "", func() [16]byte { return [16]byte{} })
	if rej != nil {
		t.Fatalf("%s: %v", properties, rej)
	}
	out := []string{}
	for _, v := range j.c.Violations {
		out = append(out, strings.TrimPrefix(v.Path, Root+".")+" "+v.Keyword)
	}
	return out
}

func TestEachKeywordNamesWhatDoesNotObeyIt(t *testing.T) {
	for _, c := range []struct{ schema, properties, want string }{
		{`{"required":["a"]}`, `{}`, "a required"},
		{`{"required":["a"]}`, `null`, "a required"},
		{`{"required":["a"]}`, `{"a":null}`, ""},
		{`{"required":["a"]}`, `{"a":{}}`, ""},
		{`{"required":["a"]}`, `{"a":{"b":1}}`, ""},
		{`{"properties":{"a":{"type":"string"}}}`, `{"a":1}`, "a type"},
		{`{"properties":{"a":{"type":"string"}}}`, `{"a":{"b":{"c":1},"d":2}}`, "a type"},
		{`{"properties":{"a":{"type":"object","required":["b"]}}}`, `{"a":{}}`, "a.b required"},
		{`{"properties":{"a":{"type":"object","required":["b"]}}}`, `{"a":{"c":1}}`, "a.b required"},
		{`{"properties":{"a":{"type":"object","required":["b"]}}}`, `{}`, ""},
		{`{"properties":{"a":{"type":"integer"}}}`, `{"a":1.0}`, ""},
		{`{"properties":{"a":{"type":"integer"}}}`, `{"a":123456789012345678901234567890}`, ""},
		{`{"properties":{"a":{"type":"integer"}}}`, `{"a":1.5}`, "a type"},
		{`{"properties":{"a":{"type":"integer"}}}`, `{"a":1e-999999999}`, "a type"},
		{`{"properties":{"a":{"minimum":9007199254740993}}}`, `{"a":9007199254740993}`, ""},
		{`{"properties":{"a":{"minimum":9007199254740993}}}`, `{"a":9007199254740992}`, "a minimum"},
		{`{"properties":{"a":{"maximum":0.1}}}`, `{"a":0.10000000000000000000001}`, "a maximum"},
		{`{"properties":{"a":{"maxLength":2}}}`, `{"a":"äöü"}`, "a maxLength"},
		{`{"properties":{"a":{"maxLength":3}}}`, `{"a":"äöü"}`, ""},
		{`{"properties":{"a":{"pattern":"^x+$"}}}`, `{"a":"xy"}`, "a pattern"},
		{`{"properties":{"a":{"enum":["x",1,null,true]}}}`, `{"a":1.0}`, ""},
		{`{"properties":{"a":{"enum":["x",1,null,true]}}}`, `{"a":"1"}`, "a enum"},
		{`{"properties":{"a":{"const":"x"}}}`, `{"a":{"x":1}}`, "a enum"},
		{`{"properties":{"a":{"items":{"type":"number"},"minItems":1}}}`, `{"a":[]}`, "a minItems"},
		{`{"properties":{"a":{"items":{"type":"number"}}}}`, `{"a":[1,"x"]}`, "a[] type"},
		{`{"properties":{"a":{"items":{"required":["q"]}}}}`, `{"a":[{"q":1},{}]}`, "a[].q required"},
		{`{"additional":"reject","properties":{"a":true}}`, `{"a":{"z":1},"b.c":2}`, `b\.c additional`},
		{`{"additionalProperties":false}`, `{"a":{"z":1}}`, "a.z additional"},
		{`{"properties":{"a":{"pii":"forbid"}}}`, `{"a":"x"}`, "a pii"},
		{`{"properties":{"a":{"pii":"forbid"}}}`, `{"a":{"b":1}}`, "a.b pii"},
	} {
		want := []string{}
		if c.want != "" {
			want = []string{c.want}
		}
		require.Equal(t, want, violations(t, &judge{s: compile(t, c.schema)}, c.properties), "%s on %s", c.schema, c.properties)
	}
}

func TestAdditionalPropertiesAreDroppedWhereTheSchemaSaysSo(t *testing.T) {
	j := &judge{s: compile(t, `{"additional":"drop","properties":{"a":true,"o":{"properties":{"x":true}}}}`)}
	require.Empty(t, violations(t, j, `{"a":1,"b":2,"o":{"x":1,"y":2},"c":{"d":1}}`))
	require.Equal(t, []string{"properties.b", "properties.c.d"}, j.drops)
}

func TestASchemaThatIsWrongIsRefusedWithThePlace(t *testing.T) {
	for _, c := range []struct{ schema, at, says string }{
		{`[]`, "properties", "JSON object"},
		{`{"type":"string"}`, "properties", `"object"`},
		{`{"type":"object","typ":1}`, "properties", "typ: it is not supported"},
		{`{"properties":{"a":{"pattern":"("}}}`, "properties.a", "RE2"},
		{`{"properties":{"a":{"minimum":"1"}}}`, "properties.a", "number"},
		{`{"properties":{"a":{"minimum":1e999999999}}}`, "properties.a", "too large"},
		{`{"properties":{"a":{"enum":[]}}}`, "properties.a", "enum"},
		{`{"properties":{"a":{"enum":[{}]}}}`, "properties.a", "enum"},
		{`{"properties":{"a":{"items":{"pii":"hash"}}}}`, "properties.a[]", "pii"},
		{`{"properties":{"a":{"pii":"eat"}}}`, "properties.a", "pii"},
		{`{"properties":{"a":{"type":"string","type":"number"}}}`, "properties", "duplicate"},
		{`{"required":["a","a"]}`, "properties", "twice"},
		{strings.Repeat(`{"properties":{"a":`, 14) + `true` + strings.Repeat(`}}`, 14), "", "nested"},
		{`{"title":"` + strings.Repeat("x", MaxBytes) + `"}`, "properties", "limit"},
	} {
		_, err := Compile("e", 1, []byte(c.schema))
		var e *Error
		require.ErrorAs(t, err, &e, c.schema)
		if c.at != "" {
			require.Equal(t, c.at, e.Path)
		}
		require.Contains(t, e.Message, c.says)
	}
}

// random makes schemas and events from the same few names and values, so that they meet.
type random struct{ *rand.Rand }

func (r random) pick(of ...string) string { return of[r.Intn(len(of))] }

func (r random) schema(depth int) string {
	var parts []string
	add := func(format string, args ...any) { parts = append(parts, fmt.Sprintf(format, args...)) }
	if r.Intn(3) > 0 {
		kinds := `"` + r.pick(kindNames...) + `"`
		if r.Intn(2) == 0 {
			kinds = "[" + kinds + `,"` + r.pick(kindNames...) + `"]`
			if p := strings.Split(strings.Trim(kinds, "[]"), ","); p[0] == p[1] {
				kinds = p[0]
			}
		}
		if depth == 0 {
			kinds = `"object"`
		}
		add(`"type":%s`, kinds)
	}
	if depth > 0 && r.Intn(6) == 0 {
		add(`"enum":[%s,%s]`, r.scalar(), r.scalar())
	}
	for _, word := range []string{"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"} {
		if r.Intn(8) == 0 {
			add(`"%s":%s`, word, r.number())
		}
	}
	for _, word := range []string{"minLength", "maxLength", "minItems", "maxItems"} {
		if r.Intn(8) == 0 {
			add(`"%s":%d`, word, r.Intn(4))
		}
	}
	if r.Intn(8) == 0 {
		add(`"pattern":"%s"`, r.pick("a", "^b", "ä$", "^.$"))
	}
	if depth < 3 {
		if r.Intn(2) == 0 || depth == 0 {
			var props []string
			for _, name := range []string{"a", "b", "c.d", "e"} {
				if r.Intn(2) == 0 {
					props = append(props, fmt.Sprintf("%q:%s", name, r.schema(depth+1)))
				}
			}
			add(`"properties":{%s}`, strings.Join(props, ","))
			if r.Intn(3) == 0 {
				add(`"additionalProperties":false`)
			}
		}
		if r.Intn(3) == 0 {
			add(`"required":[%q]`, r.pick("a", "b", "c.d", "e"))
		}
		if r.Intn(4) == 0 {
			add(`"items":%s`, r.schema(depth+1))
		}
	}
	return "{" + strings.Join(parts, ",") + "}"
}

func (r random) number() string {
	return r.pick("0", "1", "1.0", "2", "-1", "0.5", "0.1", "1e1", "10", "9007199254740993", "9007199254740992", "0.30000000000000004", "0.3", "1e-5")
}

func (r random) scalar() string {
	switch r.Intn(5) {
	case 0:
		return "null"
	case 1:
		return r.pick("true", "false")
	case 2:
		return `"` + r.pick("a", "b", "ä", "", "ab", "bä") + `"`
	}
	return r.number()
}

func (r random) value(depth int) string {
	switch n := r.Intn(8); {
	case n == 0 && depth < 4:
		var items []string
		for range r.Intn(4) {
			items = append(items, r.value(depth+1))
		}
		return "[" + strings.Join(items, ",") + "]"
	case n < 3 && depth < 4:
		return r.object(depth + 1)
	}
	return r.scalar()
}

func (r random) object(depth int) string {
	var members []string
	for _, name := range []string{"a", "b", "c.d", "e", "f"} {
		if r.Intn(2) == 0 {
			members = append(members, fmt.Sprintf("%q:%s", name, r.value(depth)))
		}
	}
	return "{" + strings.Join(members, ",") + "}"
}

// TestASchemaJudgesAsTheReferenceDoes holds the verdicts on random events against
// a full implementation of the draft.
func TestASchemaJudgesAsTheReferenceDoes(t *testing.T) {
	rounds := 1500
	if n, err := strconv.Atoi(os.Getenv("SPOOR_SCHEMA_ROUNDS")); err == nil {
		rounds = n
	}
	refused, taken := 0, 0
	for seed := range rounds {
		r := random{rand.New(rand.NewSource(int64(seed)))}
		text := r.schema(0)
		doc, err := jsonschema.UnmarshalJSON(strings.NewReader(text))
		require.NoError(t, err, text)
		c := jsonschema.NewCompiler()
		require.NoError(t, c.AddResource("mem:schema", doc))
		reference, err := c.Compile("mem:schema")
		require.NoError(t, err, text)
		j := &judge{s: compile(t, text)}
		for range 10 {
			properties := r.object(0)
			instance, err := jsonschema.UnmarshalJSON(strings.NewReader(properties))
			require.NoError(t, err)
			want := reference.Validate(instance)
			got := violations(t, j, properties)
			require.Equal(t, want == nil, len(got) == 0, "seed %d: %s\non %s:\n%v\n%v", seed, text, properties, want, got)
			if want == nil {
				taken++
			} else {
				refused++
			}
		}
	}
	require.Greater(t, taken, rounds)
	require.Greater(t, refused, rounds)
}

func TestANewVersionMustTakeWhatTheOldOneTook(t *testing.T) {
	for _, c := range []struct{ from, to, breaks string }{
		{`{}`, `{"required":["a"]}`, "properties.a added"},
		{`{"properties":{"a":{}}}`, `{"required":["a"]}`, "properties.a required"},
		{`{"properties":{"a":{"type":"number"}}}`, `{"properties":{"a":{"type":"integer"}}}`, "properties.a type"},
		{`{"properties":{"a":{"type":"integer"}}}`, `{"properties":{"a":{"type":["number","null"]}}}`, ""},
		{`{"properties":{"a":{"enum":["x","y"]}}}`, `{"properties":{"a":{"enum":["x"]}}}`, "properties.a enum"},
		{`{"properties":{"a":{"enum":["x",1.0]}}}`, `{"properties":{"a":{"enum":["y",1,"x"]}}}`, ""},
		{`{"properties":{"a":{"minimum":1}}}`, `{"properties":{"a":{"minimum":2}}}`, "properties.a minimum"},
		{`{"properties":{"a":{"maximum":1}}}`, `{"properties":{"a":{"maximum":2}}}`, ""},
		{`{"properties":{"a":{"maxLength":9}}}`, `{"properties":{"a":{"maxLength":8}}}`, "properties.a maxLength"},
		{`{"properties":{"a":{}}}`, `{"properties":{"a":{"pattern":"x"}}}`, "properties.a pattern"},
		{`{"properties":{"a":{}}}`, `{"properties":{"a":{},"b":{}}}`, ""},
		{`{"additional":"reject"}`, `{"properties":{"b":{}},"additional":"reject"}`, ""},
		{`{"properties":{"b":{}}}`, `{"additional":"reject"}`, "properties additional, properties.b removed"},
		{`{"properties":{"a":{"items":{"maximum":3}}}}`, `{"properties":{"a":{"items":{"maximum":2}}}}`, "properties.a[] maximum"},
	} {
		var got []string
		for _, x := range Backward.Breaks(Compare(compile(t, c.from), compile(t, c.to))) {
			got = append(got, x.Path+" "+x.What)
		}
		require.Equal(t, c.breaks, strings.Join(got, ", "), "%s -> %s", c.from, c.to)
	}
}

// TestAVersionThatIsCalledCompatibleTakesEveryEventOfTheOldOne checks Compare
// against the checker, on schemas that differ at random.
func TestAVersionThatIsCalledCompatibleTakesEveryEventOfTheOldOne(t *testing.T) {
	compared := 0
	for seed := range 4000 {
		r := random{rand.New(rand.NewSource(int64(seed)))}
		// Without additional properties no value can be there that was not described.
		old := compile(t, `{"additional":"reject","properties":{"a":`+r.schema(3)+`,"b":`+r.schema(3)+`}}`)
		next := compile(t, `{"additional":"reject","properties":{"a":`+r.schema(3)+`,"b":`+r.schema(3)+`}}`)
		if len(Backward.Breaks(Compare(old, next))) > 0 {
			continue
		}
		compared++
		before, after := &judge{s: old}, &judge{s: next}
		for range 20 {
			properties := r.object(0)
			if len(violations(t, before, properties)) == 0 {
				require.Empty(t, violations(t, after, properties), "%s -> %s on %s", old.text, next.text, properties)
			}
		}
	}
	require.Greater(t, compared, 20)
}

func TestARecordKeepsItsHistoryWithinItsBound(t *testing.T) {
	r := &Record{Mode: Observe}
	at := time.Date(2026, 5, 1, 0, 0, 0, 0, time.UTC)
	for i := range 150 {
		_, breaks, err := r.Put("e", fmt.Appendf(nil, `{"title": "%d%s"}`, i, strings.Repeat("x", 4000)), Backward, at)
		require.NoError(t, err)
		require.Empty(t, breaks)
		value, err := r.Append(nil)
		require.NoError(t, err)
		require.Less(t, len(value), 256<<10)
		r, err = ReadRecord(value)
		require.NoError(t, err)
	}
	require.Equal(t, 150, r.Last().Version)
	require.Greater(t, len(r.Versions), 30)
	v, _, err := r.Put("e", r.Last().Schema, Backward, at)
	require.NoError(t, err)
	require.Equal(t, 150, v.Version, "the same schema is the same version")
	_, breaks, err := r.Put("e", []byte(`{"required":["a"]}`), Backward, at)
	require.NoError(t, err)
	require.Len(t, breaks, 1)
	require.Equal(t, 150, r.Last().Version)
}

func TestAProposedSchemaTakesTheEventsItWasMadeFrom(t *testing.T) {
	for seed := range 100 {
		r := random{rand.New(rand.NewSource(int64(seed)))}
		p := &Profile{}
		d := event.NewDecoder(event.DefaultLimits())
		d.Govern(p)
		var bodies []string
		for range 1 + r.Intn(30) {
			bodies = append(bodies, r.object(0))
			_, rej := d.Add([]byte(`{"eventName":"e","userId":"u","properties":`+bodies[len(bodies)-1]+`}`), "", func() [16]byte { return [16]byte{} })
			require.Nil(t, rej)
		}
		text, err := p.Schema()
		require.NoError(t, err)
		j := &judge{s: compile(t, string(text))}
		for _, body := range bodies {
			require.Empty(t, violations(t, j, body), "seed %d: %s on %s", seed, text, body)
		}
	}
}

func FuzzCompile(f *testing.F) {
	f.Add(`{"type":"object","required":["a"],"properties":{"a":{"type":["string","null"],"pii":"hash","items":{"minimum":1e3}}}}`, `{"a":[1,{"b":2}]}`)
	f.Add(`{"additional":"drop"}`, `{"a.b":{"c\\":1}}`)
	f.Fuzz(func(t *testing.T, text, properties string) {
		s, err := Compile("e", 1, []byte(text))
		if err != nil {
			return
		}
		d := event.NewDecoder(event.DefaultLimits())
		j := &judge{s: s}
		d.Govern(j)
		d.Add([]byte(`{"eventName":"e","userId":"u","properties":`+properties+`}`), "", func() [16]byte { return [16]byte{} })
		for _, v := range j.c.Violations {
			if s.Explain(v) == "" {
				t.Fatal("a violation without words")
			}
		}
		if len(Compare(s, s)) > 0 {
			t.Fatalf("it differs from itself: %v", Compare(s, s))
		}
	})
}
