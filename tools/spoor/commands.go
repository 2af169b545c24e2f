package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/alecthomas/kong"

	"spoor/tools/internal/client"
	"spoor/tools/internal/clusterctl"
	"spoor/tools/internal/codegen"
	"spoor/tools/internal/governance"
	"spoor/tools/internal/raw"
)

// globals are the flags of every command.
type globals struct {
	Server string `help:"URL of the server that client commands talk to." default:"http://127.0.0.1:7480" placeholder:"URL"`
	Key    string `help:"Key for servers that ask for one." placeholder:"KEY"`
	Config string `help:"Read settings from this YAML or JSON file." files:"" placeholder:"FILE"`
}

// commands is the command line.
type commands struct {
	Global globals `embed:""`

	Serve   serveCmd           `cmd:"" group:"server" help:"Run the server."`
	Demo    demoCmd            `cmd:"" group:"events" help:"Load generated events into a server and show a funnel of them."`
	Import  importCmd          `cmd:"" group:"events" help:"Send events from files to a server."`
	Export  raw.Export         `cmd:"" group:"events" help:"Take events out of a server, as JSON lines, CSV or Parquet."`
	Tables  raw.Tables         `cmd:"" group:"events" help:"Keep answers as tables beside the raw tier, day by day."`
	Exports raw.Exports        `cmd:"" group:"events" help:"Show and end exports into the raw tier."`
	Replay  raw.Replay         `cmd:"" group:"events" help:"Fill a server from a raw tier."`
	Query   queryCmd           `cmd:"" group:"events" help:"Ask a question, or many at a prompt."`
	Segment segmentCmd         `cmd:"" group:"server" help:"Look into segment files."`
	Schema  governance.Schema  `cmd:"" group:"govern" help:"Say what events may be, and look after it."`
	Codegen codegen.Command    `cmd:"" group:"govern" help:"Write functions that track events, typed by their schemas."`
	Dlq     governance.Letters `cmd:"" group:"govern" help:"Look after the events that were refused and kept: the dead letters."`
	Quality governance.Quality `cmd:"" group:"govern" help:"Show what came in and what was wrong with it."`
	Policy  governance.Policy  `cmd:"" group:"govern" help:"Say what becomes of personal data and unknown events."`
	Erase   governance.Erase   `cmd:"" group:"govern" help:"Take data away: users, events, fields."`

	Retention governance.Retention `cmd:"" group:"govern" help:"Say how long events are kept."`

	Verify  verifyCmd  `cmd:"" group:"server" help:"Read every byte of the data and check it; prove that a text is nowhere in it."`
	Backup  backupCmd  `cmd:"" group:"server" help:"Write a consistent copy of the data, also while events come in."`
	Restore restoreCmd `cmd:"" group:"server" help:"Make a data directory from a backup."`
	Flush   flushCmd   `cmd:"" group:"server" help:"Have a server write recent events to files, and wait for it."`
	Compact compactCmd `cmd:"" group:"server" help:"Have a server merge its files, and wait for it."`
	Key     keyCmd     `cmd:"" group:"server" help:"Make, list and revoke keys."`

	Cluster clusterctl.Cluster `cmd:"" group:"server" help:"Look after a cluster: show it, change its nodes, recover one."`

	Bench benchCmd `cmd:"" group:"other" help:"Make the workload of the benchmarks, and measure with it."`

	Completion completionCmd `cmd:"" group:"other" help:"Print the script that completes commands in a shell."`
	Version    versionCmd    `cmd:"" group:"other" help:"Print the version and how it was built."`
}

const description = `Spoor collects product events, keeps them, and answers funnels, retention, trends and sessions over them, exactly.

To begin, in two terminals:

    spoor serve --data ./data
    spoor demo

Each command explains itself with examples: spoor COMMAND --help.

A flag may also be set in the environment or in a file, the former before the latter: --server is SPOOR_SERVER or "server:", --data of serve is SPOOR_SERVE_DATA or "data:" below "serve:".

Exit codes: 0 done, 1 failed, 2 the command line or the settings were wrong.`

// newParser builds the parser of the command line.
func newParser(c *commands, env *environment) (*kong.Kong, error) {
	settings := &settings{getenv: env.Getenv, keys: map[*kong.Flag]string{}}
	return kong.New(c,
		kong.Name("spoor"),
		kong.Description(description),
		kong.Writers(env.Stdout, env.Stderr),
		kong.Exit(func(code int) { panic(earlyExit(code)) }),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, WrapUpperBound: 100, NoExpandSubcommands: true}),
		kong.ExplicitGroups([]kong.Group{
			{Key: "server", Title: "The server:"},
			{Key: "events", Title: "Events and questions:"},
			{Key: "govern", Title: "Governance:"},
			{Key: "other", Title: "Other:"},
		}),
		kong.PostBuild(settings.nameFlags),
		kong.Resolvers(settings),
	)
}

// connect returns a client of the server that the flags name.
func (g *globals) connect(connections int, retryFor time.Duration) (*client.Client, error) {
	c, err := client.New(client.Options{Server: g.Server, Key: g.Key, Connections: connections, RetryFor: retryFor})
	if err != nil {
		return nil, usageError{fmt.Errorf("--server: %w", err)}
	}
	return c, nil
}

// examples lays out the help of a command: what it does, and lines to copy.
func examples(text string, lines ...string) string {
	return text + "\n\nExamples:\n\n    " + strings.Join(lines, "\n    ")
}

// interrupted tells whether a person ended the command.
func interrupted(ctx context.Context) bool { return ctx.Err() != nil }
