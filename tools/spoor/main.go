// Command spoor is Spoor in one binary: the server, and what a person or a
// program does with one from a shell. It is where an event's way begins (import)
// and where its answer is read (query).
//
// Commands are thin: each reads its flags and calls a package that does the work.
// Settings come from flags, the environment (SPOOR_*), a file (--config) and
// defaults, the former before the latter.
//
// Exit codes: 0 done, 1 failed, 2 the command line, the environment or the
// configuration file was wrong.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/alecthomas/kong"
	"golang.org/x/term"

	"spoor/tools/internal/client"
	"spoor/tools/internal/clusterctl"
	"spoor/tools/internal/governance"
	"spoor/tools/internal/raw"
)

// Exit codes.
const (
	exitDone   = 0
	exitFailed = 1
	exitUsage  = 2
)

// environment is what a command finds around it.
type environment struct {
	Stdin  io.Reader
	Stdout io.Writer
	Stderr io.Writer
	Getenv func(string) string

	StdinTerminal  bool // whether a person types
	StdoutTerminal bool
	StderrTerminal bool
	Width          int // columns of the terminal, 0 where there is none
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	env := &environment{
		Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, Getenv: os.Getenv,
		StdinTerminal:  term.IsTerminal(int(os.Stdin.Fd())),
		StdoutTerminal: term.IsTerminal(int(os.Stdout.Fd())),
		StderrTerminal: term.IsTerminal(int(os.Stderr.Fd())),
	}
	if env.StdoutTerminal {
		if width, _, err := term.GetSize(int(os.Stdout.Fd())); err == nil {
			env.Width = width
		}
	}
	code := run(ctx, env, os.Args[1:])
	stop()
	os.Exit(code)
}

// usageError is an error that a look into the help would have prevented.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

// earlyExit leaves the parser after it has printed help.
type earlyExit int

// run executes one command line and returns the exit code.
func run(ctx context.Context, env *environment, args []string) (code int) {
	defer func() {
		switch exit := recover().(type) {
		case nil:
		case earlyExit:
			code = int(exit)
		default:
			panic(exit) // a fault, which must not look like success
		}
	}()
	var c commands
	parser, err := newParser(&c, env)
	if err != nil {
		_, _ = fmt.Fprintln(env.Stderr, "spoor:", err)
		return exitFailed
	}
	if len(args) > 0 && args[0] == completeCommand {
		return answerCompletion(env, parser, args[1:])
	}
	if len(args) == 0 {
		args = []string{"--help"}
	}
	parsed, err := parser.Parse(args)
	if err != nil {
		return report(env, parsed, usageError{err})
	}
	parsed.BindTo(ctx, (*context.Context)(nil))
	parsed.Bind(env, &c.Global, &governance.Console{
		Stdin: env.Stdin, Stdout: env.Stdout,
		Connect: func() (*client.Client, error) { return c.Global.connect(1, time.Minute) },
	}, &raw.Console{
		Stdout: env.Stdout, Stderr: env.Stderr, Terminal: env.StderrTerminal,
		Connect: func(connections int) (*client.Client, error) { return c.Global.connect(connections, 2*time.Minute) },
	}, &clusterctl.Console{
		Stdin: env.Stdin, Stdout: env.Stdout, Terminal: env.StdoutTerminal,
		Connect: func(server string, retryFor time.Duration) (*client.Client, error) {
			g := c.Global
			if server != "" {
				g.Server = server
			}
			return g.connect(1, retryFor)
		},
	})
	if err := parsed.Run(); err != nil {
		return report(env, parsed, err)
	}
	return exitDone
}

// errReported is a failure that the command has already told of.
var errReported = errors.New("failed")

// report tells of an error and returns the exit code that belongs to it.
func report(env *environment, parsed *kong.Context, err error) int {
	var parse *kong.ParseError
	if errors.As(err, &parse) && parsed == nil {
		parsed = parse.Context
	}
	if !errors.Is(err, errReported) {
		_, _ = fmt.Fprintln(env.Stderr, "spoor:", err)
	}
	var usage usageError
	if !errors.As(err, &usage) {
		return exitFailed
	}
	command := "spoor"
	if parsed != nil && parsed.Selected() != nil {
		command += " " + parsed.Selected().Path()
	}
	_, _ = fmt.Fprintf(env.Stderr, "Try: %s --help\n", command)
	return exitUsage
}
