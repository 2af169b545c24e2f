package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"time"

	"spoor/cluster/datadir"
	"spoor/engine"
	"spoor/internal/vfs"
	"spoor/tools/internal/render"
)

// verifyCmd checks data.
type verifyCmd struct {
	Data string   `help:"Check this data directory, or backup, that no server has open; without it the server is asked to check its own." type:"path" placeholder:"DIR"`
	Grep []string `help:"Look for this text in all that is stored, in place of checking: what was deleted must not be found. May be given several times." sep:"none" placeholder:"TEXT"`
	JSON bool     `help:"Print JSON, for programs." name:"json"`
}

// Help implements kong.HelpProvider.
func (verifyCmd) Help() string {
	return examples("Reads every byte: checksums and values of all files, that no event is there twice, that the log fits the store. Nothing is changed. With --grep it decodes all files instead, also those that a crash left and the parts of the log that are cut off, and lists every place that holds the text.\n\nEnds with 0 when all is well and no text was found, with 1 when something is damaged, a text was found or the check could not be done.",
		"spoor verify --data ./data",
		"spoor verify --server http://127.0.0.1:7480",
		"spoor verify --data /backups/monday",
		"spoor verify --data ./data --grep ada@example.com --grep user-4711 && echo gone",
		"spoor verify --server http://127.0.0.1:7480 --grep ada@example.com",
		"spoor verify --data ./data --json | jq .problems")
}

// Run checks.
func (c *verifyCmd) Run(ctx context.Context, env *environment, g *globals) error {
	if len(c.Grep) > 0 {
		return c.grep(ctx, env, g)
	}
	told, hide := shareBar(env)
	report, err := &datadir.Report{}, error(nil)
	if c.Data != "" {
		report, err = datadir.Verify(ctx, vfs.OS(), c.Data, told)
	} else {
		err = operate(ctx, g, "/api/admin/verify", nil, told, report)
		report.Dir = g.Server
	}
	hide()
	if err != nil {
		return err
	}
	if c.JSON {
		report.Problems, report.Notes = listed(report.Problems), listed(report.Notes)
		err = json.NewEncoder(env.Stdout).Encode(report)
	} else {
		err = c.print(env.Stdout, report)
	}
	if err == nil && len(report.Problems) > 0 {
		return errReported
	}
	return err
}

// listed is a list that JSON shows as one, also when it is empty.
func listed[T any](s []T) []T {
	if s == nil {
		return []T{}
	}
	return s
}

func (c *verifyCmd) print(w io.Writer, r *datadir.Report) error {
	for _, p := range r.Problems {
		fmt.Fprintf(w, "DAMAGED %s: %s\n", p.File, render.Printable(p.Text))
	}
	if r.More > 0 {
		fmt.Fprintf(w, "and %d problems more\n", r.More)
	}
	for _, n := range r.Notes {
		fmt.Fprintf(w, "note: %s\n", render.Printable(n))
	}
	what := r.Dir
	if r.Backup {
		what += " (a backup)"
	}
	size := fmt.Sprintf("%s events, %s persons, %s documents in %s files, %s bytes, up to log entry %d",
		render.Count(r.Rows), render.Count(int64(r.Persons)), render.Count(int64(r.Documents)), render.Count(int64(r.Files)), render.Count(r.Bytes), max(r.AppliedIndex, r.LastIndex))
	if len(r.Problems) == 0 {
		_, err := fmt.Fprintf(w, "%s: good: %s\n", what, size)
		return err
	}
	advice := "Stop the server if it runs, keep the directory as it is, restore the newest good backup to another one (spoor restore) and start the server on that."
	if r.Backup {
		advice = "Do not restore this backup. Write a new one from the server into another directory."
	}
	_, err := fmt.Fprintf(w, "%s: %d PROBLEMS in %s\n%s\n", what, len(r.Problems)+r.More, size, advice)
	return err
}

func (c *verifyCmd) grep(ctx context.Context, env *environment, g *globals) error {
	told, hide := shareBar(env)
	found, err := &datadir.Found{}, error(nil)
	if c.Data != "" {
		found, err = datadir.Grep(ctx, vfs.OS(), c.Data, c.Grep, told)
	} else {
		err = operate(ctx, g, "/api/admin/verify", map[string][]string{"grep": c.Grep}, told, found)
	}
	hide()
	if err != nil {
		return err
	}
	if c.JSON {
		found.Places, found.Undecoded = listed(found.Places), listed(found.Undecoded)
		err = json.NewEncoder(env.Stdout).Encode(found)
	} else {
		for _, p := range found.Places {
			fmt.Fprintf(env.Stdout, "FOUND %q in %s: %s\n", p.Text, p.File, render.Printable(p.Where))
		}
		if found.More > 0 {
			fmt.Fprintf(env.Stdout, "and %d places more\n", found.More)
		}
		for _, p := range found.Undecoded {
			fmt.Fprintf(env.Stdout, "NOT PROVED: %s was searched as bytes alone, for it cannot be decoded: %s\n", p.File, render.Printable(p.Text))
		}
		if found.Gone() {
			_, err = fmt.Fprintf(env.Stdout, "Gone: none of %d files, %s bytes, holds the text.\n", found.Files, render.Count(found.Bytes))
		}
	}
	if err == nil && !found.Gone() {
		return errReported
	}
	return err
}

// backupCmd writes backups.
type backupCmd struct {
	Data   string `help:"Back up this data directory that no server has open; without it the server is asked." type:"path" placeholder:"DIR"`
	To     string `help:"Directory of the backup. With --server: a name below the server's --backup-dir." required:"" placeholder:"DIR"`
	NodeID string `help:"Name of the node whose data it is, with --data." default:"n1" placeholder:"NAME"`
	JSON   bool   `help:"Print JSON, for programs." name:"json"`
}

// Help implements kong.HelpProvider.
func (backupCmd) Help() string {
	return examples("A backup is of one moment, while events come in. Files that the directory has from an earlier backup of the same store are compared and not copied again, so repeat it into the same directory; on the disk of the data, files are shared, so copy the directory to another machine. New files are verified, damaged ones are refused.",
		"spoor serve --backup-dir /backups        # on the server",
		"spoor backup --to monday                 # writes /backups/monday on the server's machine",
		"spoor backup --data ./data --to /backups/monday",
		"spoor verify --data /backups/monday")
}

// Run writes the backup.
func (c *backupCmd) Run(ctx context.Context, env *environment, g *globals) error {
	told, hide := shareBar(env)
	report, err := &engine.BackupReport{}, error(nil)
	if c.Data != "" {
		report, err = datadir.Backup(ctx, datadir.Options{
			Dir: c.Data, NodeID: c.NodeID, Logger: slog.New(slog.NewTextHandler(env.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})),
			OnFatal: func(err error) {
				_, _ = fmt.Fprintln(env.Stderr, "spoor:", err)
				os.Exit(exitFailed)
			},
		}, c.To, told)
	} else {
		err = operate(ctx, g, "/api/admin/backup", map[string]string{"name": c.To}, told, report)
	}
	hide()
	if err != nil {
		return err
	}
	if c.JSON {
		return json.NewEncoder(env.Stdout).Encode(report)
	}
	_, err = fmt.Fprintf(env.Stdout, "Backup %s: %s bytes in %d files (%d copied, %d shared with the store, %d from the backup before), up to log entry %d\n",
		c.To, render.Count(report.Bytes), report.Files, report.Copied, report.Linked, report.Reused, report.AppliedIndex)
	return err
}

// restoreCmd makes data from backups.
type restoreCmd struct {
	From   string `help:"Directory of the backup." required:"" type:"path" placeholder:"DIR"`
	Data   string `help:"Data directory to make; it must hold no data." required:"" type:"path" placeholder:"DIR"`
	NodeID string `help:"Name of the node that will be started on it." default:"n1" placeholder:"NAME"`
	JSON   bool   `help:"Print JSON, for programs." name:"json"`
}

// Help implements kong.HelpProvider.
func (restoreCmd) Help() string {
	return examples("Copies a backup, compares every byte with its sums, makes a log that goes on behind it, and verifies the whole. Events that came after the backup are not in it: send them again, what is stored counts as duplicate.",
		"spoor restore --from /backups/monday --data ./restored",
		"spoor serve --data ./restored")
}

// Run restores.
func (c *restoreCmd) Run(ctx context.Context, env *environment) error {
	told, hide := shareBar(env)
	restored, err := datadir.Restore(ctx, vfs.OS(), c.From, c.Data, c.NodeID, told)
	hide()
	if err != nil {
		return err
	}
	if c.JSON {
		return json.NewEncoder(env.Stdout).Encode(restored)
	}
	_, err = fmt.Fprintf(env.Stdout, "Restored %s events (%s bytes in %d files, up to log entry %d) and verified them. Start: spoor serve --data %s%s\n",
		render.Count(restored.Verified.Rows), render.Count(restored.Bytes), restored.Files, restored.AppliedIndex, c.Data, nodeFlag(c.NodeID))
	return err
}

func nodeFlag(id string) string {
	if id == "n1" {
		return ""
	}
	return " --node-id " + id
}

// doneFlags are the flags of commands that wait for a server's work.
type doneFlags struct {
	JSON bool `help:"Print the server's answer as JSON." name:"json"`
}

func (f *doneFlags) run(ctx context.Context, env *environment, g *globals, path, done string) error {
	c, err := g.connect(1, -1)
	if err != nil {
		return err
	}
	defer c.Close()
	begin := time.Now()
	answer, err := c.Await(ctx, path)
	if err != nil {
		return err
	}
	if f.JSON {
		_, err = fmt.Fprintln(env.Stdout, strings.TrimSpace(string(answer)))
		return err
	}
	_, err = fmt.Fprintf(env.Stdout, "%s in %s\n", done, render.Duration(time.Since(begin).Seconds()))
	return err
}

// flushCmd asks for a flush.
type flushCmd struct {
	doneFlags `embed:""`
}

// Help implements kong.HelpProvider.
func (flushCmd) Help() string {
	return examples("Events are durable in the log before they are answered; a flush makes the next start fast and the log short.",
		"spoor flush", "spoor flush --server http://db1:7480 --key $ADMIN_KEY")
}

// Run flushes.
func (c *flushCmd) Run(ctx context.Context, env *environment, g *globals) error {
	return c.run(ctx, env, g, "/api/admin/flush", "Flushed")
}

// compactCmd asks for a compaction.
type compactCmd struct {
	doneFlags `embed:""`
}

// Help implements kong.HelpProvider.
func (compactCmd) Help() string {
	return examples("The server merges its files by itself when little arrives. This merges all of them now, which may take minutes, and returns when it is done; Ctrl-C ends it without harm.",
		"spoor compact", "spoor compact --json --server http://db1:7480 --key $ADMIN_KEY")
}

// Run compacts.
func (c *compactCmd) Run(ctx context.Context, env *environment, g *globals) error {
	return c.run(ctx, env, g, "/api/admin/compact", "Compacted")
}

// operate has a server do long work and reads its result.
func operate(ctx context.Context, g *globals, path string, call any, told func(done, total int64), result any) error {
	c, err := g.connect(1, -1)
	if err != nil {
		return err
	}
	defer c.Close()
	return c.Operate(ctx, path, call, told, result)
}
