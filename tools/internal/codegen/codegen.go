// Package codegen writes functions that track events, with types for their
// properties, from the schemas of a server or of files: what may be sent is then
// known where a program is written, and not only when its events are refused.
//
// What is written depends on the schemas alone, to the byte.
package codegen

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"go/token"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"spoor/tools/internal/governance"
)

// Command is the group of commands that write programs.
type Command struct {
	TS toTypeScript `cmd:"" name:"ts" help:"Write a TypeScript module, for the SDK of sdk/js in pages and Node."`
	Go toGo         `cmd:"" name:"go" help:"Write a Go package, for the SDK of sdk/go."`
}

// source is where schemas come from and where the program goes.
type source struct {
	From  string         `help:"Read schemas from this file, or all .json files of this directory, instead of the server. A file is the schema of the event that it is named for, or an answer of GET /api/schemas/EVENT." type:"path" placeholder:"PATH"`
	Event []string       `help:"Only these events; all by default." placeholder:"NAME"`
	Pin   map[string]int `help:"Take this version of an event's schema and not the last." placeholder:"NAME=VERSION"`
	Out   string         `help:"Write to this file, instead of standard output." short:"o" type:"path" placeholder:"FILE"`
	Check bool           `help:"Write nothing, and fail where --out is not what would be written: for builds."`
}

type toTypeScript struct {
	source `embed:""`
}

// Help implements kong.HelpProvider.
func (toTypeScript) Help() string {
	return `The module imports nothing: its functions take a client of either entry of sdk/js.

Examples:

    spoor codegen ts --out src/events.ts
    spoor codegen ts --from schemas --out src/events.ts --check`
}

// Run writes it.
func (x *toTypeScript) Run(ctx context.Context, c *governance.Console) error {
	return x.run(ctx, c, "ts", func(events []*Event) ([]byte, error) { return TypeScript(events), nil })
}

type toGo struct {
	source  `embed:""`
	Package string `help:"Name of the package." default:"events" placeholder:"NAME"`
}

// Help implements kong.HelpProvider.
func (toGo) Help() string {
	return `The package imports spoor/sdk/go.

Examples:

    spoor codegen go --out events/events.go
    spoor codegen go --package tracking --event purchase --pin purchase=2`
}

// Run writes it.
func (x *toGo) Run(ctx context.Context, c *governance.Console) error {
	if !token.IsIdentifier(x.Package) || x.Package == "_" {
		return fmt.Errorf("--package: %q cannot be the name of a package", x.Package)
	}
	return x.run(ctx, c, "go", func(events []*Event) ([]byte, error) { return Go(events, x.Package) })
}

func (s *source) run(ctx context.Context, c *governance.Console, language string, write func([]*Event) ([]byte, error)) error {
	if s.Check && s.Out == "" {
		return errors.New("--check needs the file to check: --out FILE")
	}
	events, err := s.events(ctx, c)
	if err != nil {
		return err
	}
	text, err := write(events)
	if err != nil {
		return err
	}
	switch {
	case s.Check:
		return s.check(text, language)
	case s.Out == "":
		_, err = c.Stdout.Write(text)
		return err
	}
	// Whole or not at all: a build may read it meanwhile.
	next := s.Out + ".new"
	if err := os.WriteFile(next, text, 0o644); err != nil {
		return err
	}
	return os.Rename(next, s.Out)
}

// check compares what would be written with the file.
func (s *source) check(text []byte, language string) error {
	is, err := os.ReadFile(s.Out)
	if err != nil {
		return err
	}
	is = bytes.ReplaceAll(is, []byte("\r\n"), []byte("\n")) // git may have made them
	if bytes.Equal(is, text) {
		return nil
	}
	have, want := strings.Split(string(is), "\n"), strings.Split(string(text), "\n")
	line := 0
	for line < min(len(have), len(want)) && have[line] == want[line] {
		line++
	}
	return fmt.Errorf("%s is not what the schemas say, from line %d on; write it with spoor codegen %s --out %s", s.Out, line+1, language, s.Out)
}

// events are those that are asked for, by name.
func (s *source) events(ctx context.Context, c *governance.Console) (events []*Event, err error) {
	if s.From != "" {
		if len(s.Pin) > 0 {
			return nil, errors.New("--pin is for schemas of a server; a file has one version")
		}
		events, err = s.files()
	} else {
		events, err = s.served(ctx, c)
	}
	if err != nil {
		return nil, err
	}
	slices.SortFunc(events, func(a, b *Event) int { return cmp.Compare(a.Name, b.Name) })
	for i := 1; i < len(events); i++ {
		if events[i].Name == events[i-1].Name {
			return nil, fmt.Errorf("several files have a schema of %q", events[i].Name)
		}
	}
	for _, name := range s.Event {
		if !slices.ContainsFunc(events, func(e *Event) bool { return e.Name == name }) {
			return nil, fmt.Errorf("there is no schema of %q", name)
		}
	}
	if len(s.Event) > 0 {
		events = slices.DeleteFunc(events, func(e *Event) bool { return !slices.Contains(s.Event, e.Name) })
	}
	if len(events) == 0 {
		return nil, errors.New("there are no schemas; spoor schema put and spoor schema infer make some")
	}
	return events, nil
}

// entry is an answer of GET /api/schemas/EVENT.
type entry struct {
	Event   string          `json:"event"`
	Version int             `json:"version"`
	Schema  json.RawMessage `json:"schema"`
}

// served reads the schemas of the server.
func (s *source) served(ctx context.Context, c *governance.Console) (events []*Event, err error) {
	server, err := c.Connect()
	if err != nil {
		return nil, err
	}
	defer server.Close()
	var all struct{ Schemas []entry }
	answer, err := server.Call(ctx, http.MethodGet, "/api/schemas", nil, nil)
	if err == nil {
		err = json.Unmarshal(answer, &all)
	}
	if err != nil {
		return nil, err
	}
	for _, named := range all.Schemas {
		if len(s.Event) > 0 && !slices.Contains(s.Event, named.Event) {
			continue
		}
		args := url.Values{}
		if n, ok := s.Pin[named.Event]; ok {
			args.Set("version", strconv.Itoa(n))
		}
		answer, err := server.Call(ctx, http.MethodGet, "/api/schemas/"+url.PathEscape(named.Event), args, nil)
		var e entry
		if err == nil {
			err = json.Unmarshal(answer, &e)
		}
		if err != nil {
			return nil, fmt.Errorf("schema of %q: %w", named.Event, err)
		}
		event, err := Load(e.Event, e.Version, e.Schema)
		if err != nil {
			return nil, err
		}
		events = append(events, event)
	}
	for name := range s.Pin {
		if !slices.ContainsFunc(events, func(e *Event) bool { return e.Name == name }) {
			return nil, fmt.Errorf("--pin: there is no schema of %q among those asked for", name)
		}
	}
	return events, nil
}

const extension = ".json"

// files reads the schemas of a file or a directory.
func (s *source) files() (events []*Event, err error) {
	info, err := os.Stat(s.From)
	if err != nil {
		return nil, err
	}
	paths := []string{s.From}
	if info.IsDir() {
		names, err := os.ReadDir(s.From)
		if err != nil {
			return nil, err
		}
		paths = paths[:0]
		for _, name := range names {
			if strings.HasSuffix(name.Name(), extension) && !name.IsDir() {
				paths = append(paths, filepath.Join(s.From, name.Name()))
			}
		}
	}
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		e := entry{}
		if json.Unmarshal(text, &e) != nil || e.Schema == nil {
			name, err := url.PathUnescape(strings.TrimSuffix(filepath.Base(path), extension))
			if err != nil {
				return nil, fmt.Errorf("%s: the name of the file is that of the event, percent-encoded where it has to be: %w", path, err)
			}
			e = entry{Event: name, Schema: text}
		}
		event, err := Load(e.Event, e.Version, bytes.TrimSpace(e.Schema))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		events = append(events, event)
	}
	return events, nil
}

// header is the first line of what is written; the form is that by which tools
// of Go know such files.
func header(language string) string {
	return "Code generated by spoor codegen " + language + "; DO NOT EDIT."
}

func namesOf(events []*Event) (names []string) {
	for _, e := range events {
		names = append(names, e.Name)
	}
	return names
}

// version says which schema the type is made of.
func (e *Event) version() string {
	if e.Version == 0 {
		return ""
	}
	return ", version " + strconv.Itoa(e.Version) + " of its schema"
}

// needs tells whether there are properties without which the event is refused.
func (e *Event) needs() bool {
	return slices.ContainsFunc(e.Root.Fields, func(f Field) bool { return f.Required })
}
