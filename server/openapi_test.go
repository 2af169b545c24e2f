package server_test

import (
	"bytes"
	"encoding/json"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"spoor/server"
	"spoor/server/backend"
	"spoor/server/openapi"
	"spoor/server/sdkfile"
)

// description is openapi.yaml, and the schemas of its answers as they are needed.
type description struct {
	doc     any
	paths   map[string]any
	schemas *jsonschema.Compiler
	mu      sync.Mutex
	ready   map[string]*jsonschema.Schema
}

var described = sync.OnceValues(func() (*description, error) {
	var tree any
	if err := yaml.Unmarshal(openapi.YAML, &tree); err != nil {
		return nil, err
	}
	text, err := json.Marshal(tree) // numbers and keys become those of JSON
	if err != nil {
		return nil, err
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		return nil, err
	}
	d := &description{doc: doc, paths: doc.(map[string]any)["paths"].(map[string]any), schemas: jsonschema.NewCompiler(), ready: map[string]*jsonschema.Schema{}}
	return d, d.schemas.AddResource("openapi.json", doc)
})

var parameter = regexp.MustCompile(`\{[^}]+\}`)

// find returns the description of a request's path.
func (d *description) find(path string) string {
	path, _, _ = strings.Cut(path, "?")
	if path = strings.TrimSuffix(path, "/"); path == "" {
		return "/"
	}
	if d.paths[path] != nil {
		return path
	}
	for p := range d.paths {
		if before, rest, ok := strings.Cut(p, "{"); ok {
			_, after, _ := strings.Cut(rest, "}")
			segment, starts := strings.CutPrefix(path, before)
			segment, ends := strings.CutSuffix(segment, after)
			if starts && ends && segment != "" && !strings.Contains(segment, "/") {
				return p
			}
		}
	}
	return ""
}

var verbs = []string{"get", "put", "post", "delete", "options"}

// check holds an answer to what is written of it.
func (d *description) check(t testing.TB, verb, path string, r reply) {
	t.Helper()
	place := d.find(path)
	verb = strings.ToLower(verb)
	if place == "" || r.status == 405 || verb == "head" {
		require.GreaterOrEqual(t, r.status, 200)
		return
	}
	op, ok := d.paths[place].(map[string]any)[verb].(map[string]any)
	require.True(t, ok, "%s %s is not described", verb, path)
	status := strconv.Itoa(r.status)
	answers := op["responses"].(map[string]any)
	if answers[status] == nil {
		require.GreaterOrEqual(t, r.status, 400, "%s %s: %d is not described", verb, path, r.status)
		status = "default"
	}
	pointer := "/paths/" + strings.NewReplacer("~", "~0", "/", "~1").Replace(place) + "/" + verb + "/responses/" + status
	answer := answers[status].(map[string]any)
	if ref, ok := answer["$ref"].(string); ok {
		pointer = strings.TrimPrefix(ref, "#")
		answer = map[string]any{"content": map[string]any{"application/json": map[string]any{"schema": true}}}
	}
	content, ok := answer["content"].(map[string]any)
	if !ok {
		require.Empty(t, r.body, "%s %s", verb, path)
		return
	}
	kind, _, _ := strings.Cut(r.header.Get("Content-Type"), ";")
	media, ok := content[kind].(map[string]any)
	require.True(t, ok, "%s %s: %d: the type %q is not described", verb, path, r.status, kind)
	if media["schema"] == nil {
		return
	}
	schema := d.schema(t, pointer+"/content/"+strings.ReplaceAll(kind, "/", "~1")+"/schema")
	values := [][]byte{r.body}
	if kind == "application/x-ndjson" {
		values = bytes.Split(bytes.TrimSuffix(r.body, []byte{'\n'}), []byte{'\n'})
	}
	for _, text := range values {
		value, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
		require.NoError(t, err, "%s %s: %s", verb, path, text)
		require.NoError(t, schema.Validate(value), "%s %s: %d: %s", verb, path, r.status, text)
	}
}

func (d *description) schema(t testing.TB, pointer string) *jsonschema.Schema {
	t.Helper()
	d.mu.Lock()
	defer d.mu.Unlock()
	if s := d.ready[pointer]; s != nil {
		return s
	}
	s, err := d.schemas.Compile("openapi.json#" + pointer)
	require.NoError(t, err, pointer)
	d.ready[pointer] = s
	return s
}

func TestEveryRouteIsDescribedAndTheReverse(t *testing.T) {
	d, err := described()
	require.NoError(t, err)
	script, err := sdkfile.New("/s.js", []byte("spoor()"))
	require.NoError(t, err)
	n := start(t, server.Options{Script: script})
	require.Equal(t, 200, n.do("GET", "/healthz", nil).status)
	found := map[string]string{}
	for path, item := range d.paths {
		for _, verb := range verbs {
			op, ok := item.(map[string]any)[verb].(map[string]any)
			if !ok {
				continue
			}
			role := "open"
			if text, _ := op["description"].(string); strings.HasPrefix(text, "Needs a") {
				role = strings.TrimSuffix(strings.Fields(text)[2], ".")
				require.Regexp(t, `^Needs an? (write|read|admin) key`, text)
			} else {
				require.Equal(t, []any{map[string]any{}}, op["security"], "%s %s: whose key?", verb, path)
			}
			found[strings.ToUpper(verb)+" "+parameter.ReplaceAllString(path, "*")] = role
			require.NotEmpty(t, op["operationId"], path)
			for status := range op["responses"].(map[string]any) {
				require.Regexp(t, `^([2-5][0-9][0-9]|default)$`, status)
			}
		}
	}
	require.Equal(t, n.srv.RouteRoles(), found)
	ids := map[string]bool{}
	for _, item := range d.paths {
		for _, verb := range verbs {
			if op, ok := item.(map[string]any)[verb].(map[string]any); ok {
				id := op["operationId"].(string)
				require.False(t, ids[id], "the operationId %s comes twice", id)
				ids[id] = true
			}
		}
	}
}

func TestEverySchemaOfTheDescriptionCanBeRead(t *testing.T) {
	d, err := described()
	require.NoError(t, err)
	for path, item := range d.paths {
		for verb, op := range item.(map[string]any) {
			body, ok := op.(map[string]any)
			if !ok || body["requestBody"] == nil {
				continue
			}
			for kind := range body["requestBody"].(map[string]any)["content"].(map[string]any) {
				d.schema(t, "/paths/"+strings.ReplaceAll(path, "/", "~1")+"/"+verb+"/requestBody/content/"+strings.ReplaceAll(kind, "/", "~1")+"/schema")
			}
		}
	}
}

func TestEveryExampleOfTheDescriptionObeysItsSchema(t *testing.T) {
	d, err := described()
	require.NoError(t, err)
	seen := 0
	var walk func(pointer string, v any)
	walk = func(pointer string, v any) {
		switch v := v.(type) {
		case []any:
			for i, x := range v {
				walk(pointer+"/"+strconv.Itoa(i), x)
			}
		case map[string]any:
			examples, _ := v["examples"].([]any)
			for _, x := range examples {
				seen++
				require.NoError(t, d.schema(t, pointer).Validate(x), "%s: %v", pointer, x)
			}
			for name, x := range v {
				require.NotNil(t, x, "%s: a text with a comma that is not quoted: %q", pointer, name)
				if name != "examples" {
					walk(pointer+"/"+strings.NewReplacer("~", "~0", "/", "~1").Replace(name), x)
				}
			}
		}
	}
	walk("", d.doc)
	require.Greater(t, seen, 10)
}

func TestTheEndOfABackupIsAsDescribed(t *testing.T) {
	n := start(t, server.Options{})
	n.back.(*backend.Backend).KeepBackups(t.TempDir())
	require.Equal(t, 200, n.post("/api/events", event(1)).status)
	r := n.post("/api/admin/backup", `{"name":"nightly"}`)
	require.Equal(t, 200, r.status, "%s", r.body)
	require.Contains(t, string(r.body), `{"result":{"applied_index":`)
}

func TestTheServerGivesOutItsDescription(t *testing.T) {
	n := start(t, server.Options{})
	r := n.do("GET", "/openapi.yaml", nil)
	require.Equal(t, 200, r.status)
	require.Equal(t, "application/yaml; charset=utf-8", r.header.Get("Content-Type"))
	require.Equal(t, openapi.YAML, r.body)
}

// The description is not lenient: what is not as it says is found.
func TestAnAnswerThatIsNotAsDescribedIsFound(t *testing.T) {
	d, err := described()
	require.NoError(t, err)
	schema := d.schema(t, "/paths/~1api~1events/post/responses/200/content/application~1json/schema")
	for _, bad := range []string{`{}`, `{"accepted":-1,"duplicates":0,"rejected":[]}`, `{"accepted":1,"duplicates":0,"rejected":[{}]}`, `{"accepted":1,"duplicates":0,"rejected":[],"more":1}`} {
		value, err := jsonschema.UnmarshalJSON(strings.NewReader(bad))
		require.NoError(t, err)
		require.Error(t, schema.Validate(value), bad)
	}
	require.Equal(t, "/api/keys/{id}", d.find("/api/keys/abc?x"))
	require.Equal(t, "/api/users/{id}", d.find("/api/users/consent"))
	require.Equal(t, "/api/users/{id}/consent", d.find("/api/users/a%2Fb/consent?id=user"))
	require.Empty(t, d.find("/api/keys/a/b"))
	require.NotEmpty(t, slices.Collect(maps.Keys(d.paths)))
}
