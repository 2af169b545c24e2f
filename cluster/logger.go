package cluster

import (
	"context"
	"fmt"
	"io"
	"log"
	"log/slog"

	"github.com/hashicorp/go-hclog"
)

// logger lets the Raft library write to a slog.Logger. What it calls information
// is of use to its authors: it goes to debug.
type logger struct {
	l       *slog.Logger
	name    string
	implied []any
}

func newLogger(l *slog.Logger) hclog.Logger { return &logger{l: l.With("part", "raft")} }

// ordinary is what every start of a node brings, and what is said over and over of a node
// that does not answer: package roster tells of that once.
var ordinary = map[string]bool{
	"heartbeat timeout reached, starting election":      true,
	"failed to appendEntries to":                        true,
	"failed to heartbeat to":                            true,
	"failed to contact":                                 true,
	"failed to make requestVote RPC":                    true,
	"rejecting pre-vote request since we have a leader": true,
	"failed to get previous log":                        true, // a follower that is behind
}

func level(l hclog.Level, msg string) slog.Level {
	switch {
	case l >= hclog.Error && !ordinary[msg]:
		return slog.LevelError
	case l == hclog.Warn && !ordinary[msg]:
		return slog.LevelWarn
	case l <= hclog.Trace:
		return slog.LevelDebug - 4
	}
	return slog.LevelDebug
}

func (g *logger) Log(l hclog.Level, msg string, args ...any) {
	to := level(l, msg)
	if !g.l.Enabled(context.Background(), to) {
		return
	}
	for i, a := range args {
		if f, ok := a.(hclog.Format); ok && len(f) > 0 {
			args[i] = fmt.Sprintf(f[0].(string), f[1:]...)
		}
	}
	g.l.Log(context.Background(), to, msg, args...)
}

func (g *logger) Trace(msg string, args ...any) { g.Log(hclog.Trace, msg, args...) }
func (g *logger) Debug(msg string, args ...any) { g.Log(hclog.Debug, msg, args...) }
func (g *logger) Info(msg string, args ...any)  { g.Log(hclog.Info, msg, args...) }
func (g *logger) Warn(msg string, args ...any)  { g.Log(hclog.Warn, msg, args...) }
func (g *logger) Error(msg string, args ...any) { g.Log(hclog.Error, msg, args...) }

func (g *logger) enabled(l hclog.Level) bool {
	return g.l.Enabled(context.Background(), level(l, ""))
}

func (g *logger) IsTrace() bool { return g.enabled(hclog.Trace) }
func (g *logger) IsDebug() bool { return g.enabled(hclog.Debug) }
func (g *logger) IsInfo() bool  { return g.enabled(hclog.Info) }
func (g *logger) IsWarn() bool  { return g.enabled(hclog.Warn) }
func (g *logger) IsError() bool { return g.enabled(hclog.Error) }

func (g *logger) ImpliedArgs() []any { return g.implied }
func (g *logger) Name() string       { return g.name }

func (g *logger) With(args ...any) hclog.Logger {
	return &logger{l: g.l.With(args...), name: g.name, implied: append(g.implied[:len(g.implied):len(g.implied)], args...)}
}

func (g *logger) Named(name string) hclog.Logger {
	if g.name != "" {
		name = g.name + "." + name
	}
	return g.ResetNamed(name)
}

func (g *logger) ResetNamed(name string) hclog.Logger {
	return &logger{l: g.l, name: name, implied: g.implied}
}

// The level is the slog handler's.
func (g *logger) SetLevel(hclog.Level)  {}
func (g *logger) GetLevel() hclog.Level { return hclog.NoLevel }

func (g *logger) StandardLogger(*hclog.StandardLoggerOptions) *log.Logger {
	return slog.NewLogLogger(g.l.Handler(), slog.LevelDebug)
}

func (g *logger) StandardWriter(*hclog.StandardLoggerOptions) io.Writer {
	return g.StandardLogger(nil).Writer()
}
