package main

import (
	"encoding/json"
	"fmt"
	"runtime"
	"runtime/debug"
)

// Set by the linker: go build -ldflags "-X main.version=v1.2.3 -X main.commit=0123abc".
var (
	version string
	commit  string
)

// versionCmd prints the version.
type versionCmd struct {
	JSON bool `help:"Print it as JSON." name:"json"`
}

// Help implements kong.HelpProvider.
func (versionCmd) Help() string {
	return examples("Prints what a bug report should say.", "spoor version", "spoor version --json")
}

// buildInfo is how the binary came about.
type buildInfo struct {
	Version  string `json:"version"`
	Commit   string `json:"commit,omitempty"`
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

// build tells what the linker was told, and else what the Go toolchain noted.
func build() buildInfo {
	b := buildInfo{Version: version, Commit: commit, Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	if info, ok := debug.ReadBuildInfo(); ok {
		if b.Version == "" {
			b.Version = info.Main.Version
		}
		for _, setting := range info.Settings {
			if setting.Key == "vcs.revision" && b.Commit == "" {
				b.Commit = setting.Value
			}
		}
	}
	if b.Version == "" || b.Version == "(devel)" {
		b.Version = "devel"
	}
	return b
}

// Run prints the version.
func (c *versionCmd) Run(env *environment) error {
	b := build()
	if c.JSON {
		return json.NewEncoder(env.Stdout).Encode(b)
	}
	text := "spoor " + b.Version
	if b.Commit != "" {
		text += " (commit " + b.Commit + ")"
	}
	_, err := fmt.Fprintf(env.Stdout, "%s, %s, %s\n", text, b.Go, b.Platform)
	return err
}
