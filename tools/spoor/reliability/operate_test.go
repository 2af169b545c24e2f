package reliability

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// fill sends events of one writer in batches.
func fill(t testing.TB, p *process, book *ledger, from, to int) {
	t.Helper()
	for ; from < to; from += 500 {
		var events []numbered
		for i := from; i < min(from+500, to); i++ {
			events = append(events, eventOf(9, i))
		}
		require.Equal(t, http.StatusOK, book.send(p, events))
	}
}

var questions = []string{
	"funnel e0 -> e1 -> e2 within 10d by properties.v", "retention any -> any every day for 5 first", "sessions", "trend count, users of any every day",
	"users of any at least 2", "events of e3 limit 1000", "paths from e0 depth 3",
}

// answers are what a server says to the questions, but for what depends on the moment.
func answers(p *process) (all []string) {
	for _, q := range questions {
		text := string(p.ask("/api/query?cache=off", q+" from 2026-05-01 to 2026-06-01"))
		if head, _, found := strings.Cut(text, `"stats"`); found {
			text = head
		}
		all = append(all, text)
	}
	return all
}

// TestABackupThatIsTakenUnderLoadAnswersTheSameWhenItIsRestored takes backups over
// HTTP while events come in, and restores the last, which was taken in quiet.
func TestABackupThatIsTakenUnderLoadAnswersTheSameWhenItIsRestored(t *testing.T) {
	tmp := t.TempDir()
	backups, data := filepath.Join(tmp, "backups"), filepath.Join(tmp, "data")
	p := serve(t, "--data", data, "--backup-dir", backups, "--memory", "32MiB", "--flush-rows", "2000")
	book := newLedger()
	fill(t, p, book, 0, 4000)
	var load sync.WaitGroup
	load.Go(func() { fill(t, p, book, 4000, 20_000) })
	for range 3 {
		code, out := run(t, "backup", "--server", p.url(), "--to", "nightly")
		require.Zero(t, code, out)
		code, out = run(t, "verify", "--server", p.url(), "--grep", "no-such-text")
		require.Zero(t, code, "%s", out)
		require.Contains(t, string(out), "Gone: none of")
		code, out = run(t, "verify", "--server", p.url())
		require.Zero(t, code, out)
		verifies(t, filepath.Join(backups, "nightly"))
	}
	load.Wait()
	code, out := run(t, "backup", "--server", p.url(), "--to", "nightly")
	require.Zero(t, code, out)
	for _, bad := range []string{"../elsewhere", "/tmp/elsewhere", ".hidden", ""} {
		code, out = run(t, "backup", "--server", p.url(), "--to", bad)
		require.Equal(t, 1, code, out)
		require.Contains(t, out, "bad_name")
	}
	want := answers(p)
	p.kill()

	restored := filepath.Join(tmp, "restored")
	code, out = run(t, "restore", "--from", filepath.Join(backups, "nightly"), "--data", restored)
	require.Zero(t, code, out)
	p = serve(t, "--data", restored)
	require.Equal(t, want, answers(p))
	book.check(p)
	fill(t, p, book, 0, 21_000)
	book.check(p)
	p.kill()
	verifies(t, restored)
	p = serve(t, "--data", restored)
	book.check(p)
	p.stop()
}

// TestADamagedDirectoryIsRefusedByNameAtTheStart flips a byte of each file type below a
// server that has ended. Package cluster/datadir does so at many more places, without a process.
func TestADamagedDirectoryIsRefusedByNameAtTheStart(t *testing.T) {
	data := filepath.Join(t.TempDir(), "data")
	p := serve(t, "--data", data)
	book := newLedger()
	fill(t, p, book, 0, 2000)
	p.ask("/api/identify", `{"userId":"u1","traits":{"plan":"pro"}}`)
	p.ask("/api/admin/flush", "")
	fill(t, p, book, 2000, 2100)
	p.kill()
	refused := 0
	for pattern, needle := range map[string]string{
		"store/MANIFEST": "MANIFEST", "store/*.seg": ".seg", "store/*.identity": "identity", "store/*.docs": "documents", "store/*.traits": "traits",
		"log/meta": "meta", "log/*.log": ".log", "snapshots/*": "snapshot",
	} {
		files, err := filepath.Glob(filepath.Join(data, pattern))
		require.NoError(t, err)
		require.NotEmpty(t, files, pattern)
		b, err := os.ReadFile(files[0])
		require.NoError(t, err)
		at := min(len(b)-10, 200)
		if strings.HasSuffix(pattern, ".seg") {
			at = len(b) - 10 // else it is noticed when it is read
		}
		b[at] ^= 4
		require.NoError(t, os.WriteFile(files[0], b, 0o600))
		code, out := run(t, "verify", "--data", data)
		require.Equal(t, 1, code, "%s: %s", pattern, out)
		require.Contains(t, out, "DAMAGED", pattern)
		p := launch(t, nil, "--data", data)
		require.False(t, p.await(), "%s: it started", pattern)
		require.Equal(t, 1, p.cmd.ProcessState.ExitCode())
		require.Contains(t, p.out.String(), needle, pattern)
		refused++
		b[at] ^= 4
		require.NoError(t, os.WriteFile(files[0], b, 0o600))
	}
	p = serve(t, "--data", data)
	book.check(p)
	p.stop()
	t.Logf("%d of %d refused", refused, refused)
}

// TestTinyInsertsNeverMakeManyFiles sends one event per request, for days that come
// in any order, to a server that flushes every 25 rows.
func TestTinyInsertsNeverMakeManyFiles(t *testing.T) {
	const requests, maxFiles = 6000, 60
	data := filepath.Join(t.TempDir(), "data")
	p := serve(t, "--data", data, "--flush-rows", "25", "--memory", "32MiB")
	book := newLedger()
	count := func() int {
		files, err := os.ReadDir(filepath.Join(data, "store"))
		require.NoError(t, err)
		return len(files)
	}
	most, sent := 0, 0
	for sent < requests {
		var senders sync.WaitGroup
		for w := range 8 {
			senders.Go(func() {
				for i := range 10 {
					if status := book.send(p, []numbered{eventOf(w, sent/8+i)}); status != http.StatusOK {
						t.Errorf("an event was answered with %d", status)
					}
				}
			})
		}
		senders.Wait()
		sent += 80
		most = max(most, count())
	}
	require.LessOrEqual(t, most, maxFiles)
	p.ask("/api/admin/flush", "")
	p.ask("/api/admin/compact", "")
	require.Less(t, count(), 20)
	book.check(p)
	logs, err := os.ReadDir(filepath.Join(data, "log"))
	require.NoError(t, err)
	require.LessOrEqual(t, len(logs), 8)
	require.Less(t, len(p.out.String()), 64<<10, "the log of the server stays small")
	p.stop()
	t.Logf("%d requests of one event, at most %d files in the store, %d after a compaction", requests, most, count())
}
