package codegen

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"spoor/tools/internal/client"
	"spoor/tools/internal/governance"
)

var update = flag.Bool("update", false, "write the golden files anew")

const schemas = "testdata/schemas"

func generated(t testing.TB, language string) []byte {
	t.Helper()
	events, err := (&source{From: schemas}).events(context.Background(), nil)
	require.NoError(t, err)
	if language == "ts" {
		return TypeScript(events)
	}
	text, err := Go(events, "events")
	require.NoError(t, err)
	return text
}

func golden(language string) string { return filepath.Join("testdata", "events."+language+".golden") }

func TestWhatIsWrittenIsThatOfTheGoldenFilesEachTime(t *testing.T) {
	for _, language := range []string{"ts", "go"} {
		text := generated(t, language)
		if *update {
			require.NoError(t, os.WriteFile(golden(language), text, 0o644))
		}
		want, err := os.ReadFile(golden(language))
		require.NoError(t, err)
		for range 5 {
			require.Equal(t, string(want), string(generated(t, language)))
		}
	}
}

// program uses the generated package as an application does and prints what it tracks.
const program = `package main

import (
	"context"
	"encoding/json"
	"os"

	spoor "spoor/sdk/go"
	"spoor/sdk/go/internal/events"
)

var _ events.Tracker = (*spoor.Client)(nil)

type printer struct{}

func (printer) Track(_ context.Context, who spoor.Person, name string, properties map[string]any) error {
	return json.NewEncoder(os.Stdout).Encode(map[string]any{"user": who.UserID, "name": name, "properties": properties})
}

func main() {
	ctx, who := context.Background(), spoor.User("u")
	events.TrackPurchaseCompleted(ctx, printer{}, who, events.PurchaseCompleted{
		Price: 19.5, Currency: events.PurchaseCompletedCurrencyEUR, Note: nil, Undescribed: []int{1},
		Items: []events.PurchaseCompletedItemsItem{{Sku: "a", Sizes: []events.PurchaseCompletedItemsItemSizesItem{events.PurchaseCompletedItemsItemSizesItemM}}},
		Rating: new(events.PurchaseCompletedRatingMinus2), Express: new(false), Grid: [][]int64{{1}, nil},
		Rows: [][]events.PurchaseCompletedRowsItemItem{{{N: new(int64(7))}}}, Address: &events.PurchaseCompletedAddress{City: "Bonn"},
	})
	events.TrackPurchaseCompleted(ctx, printer{}, who, events.PurchaseCompleted{})
	events.TrackThing(ctx, printer{}, who, events.Thing{})
}
`

func TestTheGoPackageIsBuiltAgainstTheSDKAndTracksWhatItIsGiven(t *testing.T) {
	sdk, err := filepath.Abs("../../../sdk/go")
	require.NoError(t, err)
	dir := t.TempDir()
	replace := map[string]string{}
	for virtual, text := range map[string][]byte{"internal/events/events.go": generated(t, "go"), "internal/eventsmain/main.go": []byte(program)} {
		path := filepath.Join(dir, strings.ReplaceAll(virtual, "/", "_"))
		require.NoError(t, os.WriteFile(path, text, 0o644))
		replace[filepath.Join(sdk, virtual)] = path
	}
	overlay, err := json.Marshal(map[string]any{"Replace": replace})
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "overlay.json"), overlay, 0o644))
	run := func(args ...string) string {
		cmd := exec.Command("go", args...)
		cmd.Dir = sdk
		cmd.Env = append(os.Environ(), "GOWORK=off", "CGO_ENABLED=0")
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		require.NoError(t, err, "%s", stderr.String())
		return string(out)
	}
	lines := strings.Split(strings.TrimSpace(run("run", "-overlay", filepath.Join(dir, "overlay.json"), "./internal/eventsmain")), "\n")
	require.Len(t, lines, 3)
	require.JSONEq(t, `{"user":"u","name":"purchase_completed","properties":{"price":19.5,"currency":"EUR","note":null,"undescribed":[1],
		"items":[{"sku":"a","sizes":["m"]}],"rating":-2,"express":false,"grid":[[1],[]],"rows":[[{"n":7}]],"address":{"city":"Bonn"}}}`, lines[0])
	require.JSONEq(t, `{"user":"u","name":"purchase_completed","properties":{"price":0,"currency":"","note":null,"undescribed":null,"items":[]}}`, lines[1])
	require.JSONEq(t, `{"user":"u","name":"thing","properties":{}}`, lines[2])
}

// page is a module that must be good TypeScript with the clients of both entries,
// but for the lines that are marked as wrong.
const page = `import type { Client as Page } from "spoor-js/browser";
import type { Client as Node } from "spoor-js/node";
import { track, trackDelete, trackPageViewed, trackPurchaseCompleted, type PurchaseCompleted } from "./events";
declare const page: Page, node: Node;
const p: PurchaseCompleted = { price: 1, currency: "EUR", note: null, undescribed: [], items: [{ sku: "a", sizes: ["m"] }], "item count": 3 };
trackPurchaseCompleted(page, p);
trackPurchaseCompleted(page, p, { timestamp: 5 });
trackPurchaseCompleted(node, p, { userId: "u" });
trackDelete(page);
trackPageViewed(page, { title: "Home" });
track(page, "purchase_completed", p);
track(node, "page_viewed", {}, { anonymousId: "a" });
// @ts-expect-error a person is missing
trackPurchaseCompleted(node, p);
// @ts-expect-error a property is missing
trackPurchaseCompleted(page, { price: 1 });
// @ts-expect-error a value is none of the enum
trackPurchaseCompleted(page, { ...p, currency: "GBP" });
// @ts-expect-error a property is of another type
trackPageViewed(page, { title: 5 });
// @ts-expect-error a property has no name in the schema
trackPageViewed(page, { titel: "Home" });
// @ts-expect-error there is no such event
track(page, "purchase", p);
`

func TestTheTypeScriptModuleFitsTheClientsOfTheSDK(t *testing.T) {
	sdk, err := filepath.Abs("../../../sdk/js")
	require.NoError(t, err)
	compiler := filepath.Join(sdk, "node_modules", ".bin", "tsc")
	if _, err := os.Stat(compiler); err != nil {
		t.Skip("sdk/js has no compiler of TypeScript; make sdk installs it")
	}
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "events.ts"), generated(t, "ts"), 0o644))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "page.ts"), []byte(page), 0o644))
	config := fmt.Sprintf(`{"compilerOptions":{"target":"ES2020","module":"ESNext","moduleResolution":"Bundler","strict":true,"noEmit":true,"skipLibCheck":true,
		"exactOptionalPropertyTypes":true,"types":[],"lib":["ES2022","DOM"],"paths":{"spoor-js/browser":[%q],"spoor-js/node":[%q]}},"include":["*.ts"]}`,
		filepath.Join(sdk, "src/browser/index.ts"), filepath.Join(sdk, "src/node/index.ts"))
	config = strings.Replace(config, `"types":[]`, fmt.Sprintf(`"types":["node"],"typeRoots":[%q]`, filepath.Join(sdk, "node_modules/@types")), 1)
	config = strings.Replace(config, `"exactOptionalPropertyTypes":true,`, "", 1)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "tsconfig.json"), []byte(config), 0o644))
	out, err := exec.Command(compiler, "-p", dir).CombinedOutput()
	require.NoError(t, err, "%s", out)
}

func TestASchemaCannotPutProgramIntoWhatIsWritten(t *testing.T) {
	nasty := "*/ alert(1) /*\n//go:generate rm -rf /\r\u2028import \"os\" `${x}` \u202e\x00"
	text, err := json.Marshal(map[string]any{
		"type": "object", "description": nasty, "title": nasty,
		"properties": map[string]any{
			nasty: map[string]any{"type": "string", "description": nasty, "enum": []string{nasty, "*/"}},
			"x":   map[string]any{"type": "string", "pattern": "*/"[1:] + "[\n]"},
		},
	})
	require.NoError(t, err)
	e, err := Load(nasty, 1, text)
	require.NoError(t, err)
	program, err := Go([]*Event{e}, "events")
	require.NoError(t, err)
	module := TypeScript([]*Event{e})
	for _, text := range []string{string(program), string(module)} {
		require.NotContains(t, text, "\u2028")
		require.NotContains(t, text, "\u202e")
		require.NotContains(t, text, "\x00")
		for line := range strings.Lines(text) {
			require.False(t, strings.HasPrefix(strings.TrimSpace(line), "//go:"), line)
			require.False(t, strings.HasPrefix(strings.TrimSpace(line), "import \"os\""), line)
			require.False(t, strings.HasPrefix(strings.TrimSpace(line), "alert"), line)
		}
	}
	// Without its texts, each comment that begins ends where it was meant to.
	require.Equal(t, strings.Count(string(module), "/**"), strings.Count(withoutTexts(string(module)), "*/"))
}

// withoutTexts takes texts in quotes out of a module.
func withoutTexts(module string) string {
	var out strings.Builder
	for line := range strings.Lines(module) {
		if trimmed := strings.TrimSpace(line); strings.HasPrefix(trimmed, "*") || strings.HasPrefix(trimmed, "/**") {
			out.WriteString(line)
		}
	}
	return out.String()
}

func TestNamesThatLookAlikeAreToldApartWhicheverComesFirst(t *testing.T) {
	same := func(name string) string { return "Same" }
	one := distinct(scope{}, []string{"a", "b"}, same)
	other := distinct(scope{}, []string{"b", "c", "a"}, same)
	require.Equal(t, one["a"], other["a"])
	require.Equal(t, one["b"], other["b"])
	require.Len(t, map[string]bool{other["a"]: true, other["b"]: true, other["c"]: true, "Same": true}, 4)
	taken := scope{"Tracker": true}
	require.NotEqual(t, "Tracker", taken.take("Tracker", "tracker"))
}

// registry is a server with schemas.
func registry(t *testing.T) *governance.Console {
	versions := map[string][]string{
		"purchase":   {`{"type":"object","properties":{"old":{"type":"string"}}}`, `{"type":"object","properties":{"new":{"type":"string"}}}`},
		"page / one": {`{"type":"object"}`},
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/api/schemas" {
			fmt.Fprint(w, `{"schemas":[{"event":"purchase","mode":"enforce","version":2},{"event":"page / one","mode":"off","version":1}]}`)
			return
		}
		name := strings.TrimPrefix(r.URL.Path, "/api/schemas/")
		list := versions[name]
		n := len(list)
		if v := r.URL.Query().Get("version"); v != "" {
			fmt.Sscan(v, &n)
		}
		if n < 1 || n > len(list) {
			w.WriteHeader(http.StatusNotFound)
			fmt.Fprint(w, `{"error":{"code":"not_found","message":"no such version"}}`)
			return
		}
		fmt.Fprintf(w, `{"event":%q,"mode":"enforce","version":%d,"at":"2026-05-01T00:00:00Z","schema":%s}`, name, n, list[n-1])
	}))
	t.Cleanup(server.Close)
	return &governance.Console{Stdout: &bytes.Buffer{}, Connect: func() (*client.Client, error) {
		return client.New(client.Options{Server: server.URL, Connections: 1, RetryFor: time.Second})
	}}
}

func TestSchemasComeFromTheServerInTheVersionThatIsAskedFor(t *testing.T) {
	run := func(change func(*source)) (string, error) {
		c := registry(t)
		x := &toTypeScript{}
		change(&x.source)
		err := x.Run(context.Background(), c)
		return c.Stdout.(*bytes.Buffer).String(), err
	}
	text, err := run(func(*source) {})
	require.NoError(t, err)
	require.Contains(t, text, `"purchase", version 2 of its schema`)
	require.Contains(t, text, "new?: string;")
	require.Contains(t, text, `"page / one": PageOne;`)
	text, err = run(func(s *source) { s.Pin, s.Event = map[string]int{"purchase": 1}, []string{"purchase"} })
	require.NoError(t, err)
	require.Contains(t, text, "old?: string;")
	require.NotContains(t, text, "PageOne")
	for want, change := range map[string]func(*source){
		"no such version":      func(s *source) { s.Pin = map[string]int{"purchase": 9} },
		`no schema of "pay"`:   func(s *source) { s.Event = []string{"pay"} },
		`no schema of "order"`: func(s *source) { s.Pin = map[string]int{"order": 1} },
		"--pin is for schemas": func(s *source) { s.From, s.Pin = schemas, map[string]int{"purchase": 1} },
		"--out FILE":           func(s *source) { s.Check = true },
	} {
		_, err := run(change)
		require.ErrorContains(t, err, want)
	}
}

func TestACheckFailsWhereTheFileIsNotWhatTheSchemasSay(t *testing.T) {
	out := filepath.Join(t.TempDir(), "events.ts")
	x := &toTypeScript{source{Out: out}}
	require.NoError(t, x.Run(context.Background(), registry(t)))
	x.Check = true
	require.NoError(t, x.Run(context.Background(), registry(t)))
	text, err := os.ReadFile(out)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(out, bytes.ReplaceAll(text, []byte("\n"), []byte("\r\n")), 0o644))
	require.NoError(t, x.Run(context.Background(), registry(t)), "a checkout of Windows")
	changed := bytes.Replace(text, []byte("new?: string"), []byte("new?: number"), 1)
	require.NoError(t, os.WriteFile(out, changed, 0o644))
	require.ErrorContains(t, x.Run(context.Background(), registry(t)), "not what the schemas say, from line")
	after, err := os.ReadFile(out)
	require.NoError(t, err)
	require.Equal(t, string(changed), string(after), "a check writes nothing")
}

func TestFilesThatAreNoSchemasAreNamed(t *testing.T) {
	for name, c := range map[string]struct{ file, text, want string }{
		"no JSON":         {"a.json", "{", "a.json"},
		"unknown keyword": {"a.json", `{"type":"object","oneOf":[]}`, "oneOf"},
		"bad name":        {"%zz.json", `{"type":"object"}`, "percent-encoded"},
		"no event":        {".json", `{"type":"object"}`, "of no event"},
		"none":            {"a.txt", ``, "there are no schemas"},
	} {
		dir := t.TempDir()
		require.NoError(t, os.WriteFile(filepath.Join(dir, c.file), []byte(c.text), 0o644))
		_, err := (&source{From: dir}).events(context.Background(), nil)
		require.ErrorContains(t, err, c.want, name)
	}
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "a.json"), []byte(`{"type":"object"}`), 0o644))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "b.json"), []byte(`{"event":"a","schema":{"type":"object"}}`), 0o644))
	_, err := (&source{From: dir}).events(context.Background(), nil)
	require.ErrorContains(t, err, `several files have a schema of "a"`)
}
