package server_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"spoor/cluster/datadir"
	"spoor/engine"
	"spoor/engine/letters"
	"spoor/server"
)

// lastLine is how a stream of progress ended; the lines before say how far the work was.
func (r reply) lastLine(t *testing.T, into any) {
	t.Helper()
	lines := strings.Split(strings.TrimSpace(string(r.body)), "\n")
	for _, l := range lines[:len(lines)-1] {
		require.Contains(t, l, `"done":`)
	}
	require.NoError(t, json.Unmarshal([]byte(lines[len(lines)-1]), into), "%s", r.body)
}

func TestVerifyAnswersWithItsReport(t *testing.T) {
	n := start(t, server.Options{})
	for i := range 10 {
		require.Equal(t, 200, n.post("/api/events", event(i)).status)
	}
	require.Equal(t, 200, n.post("/api/admin/flush", "").status)
	var end struct{ Result datadir.Report }
	r := n.post("/api/admin/verify", "")
	require.Equal(t, "application/x-ndjson", r.header.Get("Content-Type"))
	r.lastLine(t, &end)
	require.EqualValues(t, 10, end.Result.Rows)
	require.Empty(t, end.Result.Problems)
}

func TestASearchNeedsTextsAndADirectory(t *testing.T) {
	n := start(t, server.Options{})
	r := n.post("/api/admin/verify", `{"grep":["ada@example.com"]}`)
	require.Equal(t, 409, r.status, "%s", r.body)
	require.Equal(t, "no_data_dir", r.errorCode(t), "the store of this test is in memory")
	for _, bad := range []string{`{"grep":[]}`, `{"grep":[""]}`, `{"grep":["` + strings.Repeat("x", 1025) + `"]}`, `{"grep":"x"}`, `{"texts":["x"]}`, `{`} {
		require.Equal(t, 400, n.post("/api/admin/verify", bad).status, bad)
	}
}

func TestABackupWithoutADirectoryOrWithAPathIsRefused(t *testing.T) {
	n := start(t, server.Options{})
	r := n.post("/api/admin/backup", `{"name":"nightly"}`)
	require.Equal(t, 409, r.status)
	require.Equal(t, "no_backup_dir", r.errorCode(t))
	for _, bad := range []string{`""`, `".."`, `"."`, `"a/b"`, `"/etc"`, `"a\\b"`, `".x"`, `"a\u0000b"`, `"` + strings.Repeat("x", 200) + `"`} {
		r := n.post("/api/admin/backup", `{"name":`+bad+`}`)
		require.Equal(t, 400, r.status, bad)
		require.Equal(t, "bad_name", r.errorCode(t), bad)
	}
	require.Equal(t, "malformed_json", n.post("/api/admin/backup", `{"to":"x"}`).errorCode(t))
}

// slowBackend works until it is told to end.
type slowBackend struct {
	server.Backend
	begun chan string
	end   chan error
}

func (b *slowBackend) Ready() error                       { return nil }
func (b *slowBackend) DocumentsIndex() uint64             { return 0 }
func (b *slowBackend) Letters() *letters.Store            { return letters.New() }
func (b *slowBackend) Documents(string) []server.Document { return nil }
func (b *slowBackend) Document(string, string) (server.Document, bool) {
	return server.Document{}, false
}
func (b *slowBackend) Store() server.StoreStatus { return server.StoreStatus{} }
func (b *slowBackend) Backup(ctx context.Context, name string, progress engine.Progress) (*engine.BackupReport, error) {
	progress(3, 7)
	b.begun <- name
	select {
	case err := <-b.end:
		return &engine.BackupReport{Files: 5}, err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func TestALongBackupTellsOfItselfAndIsDoneOneAtATime(t *testing.T) {
	b := &slowBackend{begun: make(chan string), end: make(chan error)}
	n := startOver(t, b, server.Options{})
	for _, outcome := range []error{nil, errors.New("the disk is gone"), engine.ErrOtherBackup} {
		begun := make(chan struct{})
		go func() {
			defer close(begun)
			if name := <-b.begun; name != "nightly" {
				t.Errorf("the backup is named %q", name)
			}
		}()
		resp, err := n.http.Post("http://"+n.addr+"/api/admin/backup", "application/json", strings.NewReader(`{"name":"nightly"}`))
		require.NoError(t, err) // the headers come with the first line
		require.Equal(t, 200, resp.StatusCode)
		<-begun
		lines := bufio.NewReader(resp.Body)
		first, err := lines.ReadString('\n')
		require.NoError(t, err)
		require.JSONEq(t, `{"done":3,"total":7}`, first)
		require.Equal(t, "busy", n.post("/api/admin/verify", "").errorCode(t))
		b.end <- outcome
		rest, err := io.ReadAll(lines)
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		r := reply{resp.StatusCode, resp.Header, rest}
		require.Equal(t, 200, r.status)
		var end struct {
			Result *engine.BackupReport
			Error  *struct{ Code, Message string }
		}
		r.lastLine(t, &end)
		switch {
		case outcome == nil:
			require.Equal(t, 5, end.Result.Files)
		case errors.Is(outcome, engine.ErrOtherBackup):
			require.Equal(t, "other_backup", end.Error.Code)
		default:
			require.Equal(t, "failed", end.Error.Code)
			require.Contains(t, end.Error.Message, "the disk is gone")
		}
	}
}

// failingBackend fails at once.
type failingBackend struct {
	slowBackend
	err error
}

func (b *failingBackend) Verify(context.Context, engine.Progress) (*datadir.Report, error) {
	return nil, b.err
}

func TestWorkThatFailsAtOnceIsAnErrorThatNamesTheFile(t *testing.T) {
	n := startOver(t, &failingBackend{err: fmt.Errorf("%w: 00000007.seg: checksum", engine.ErrDamaged)}, server.Options{})
	r := n.post("/api/admin/verify", "")
	require.Equal(t, 500, r.status)
	require.Equal(t, "damaged", r.errorCode(t))
	require.Contains(t, string(r.body), "00000007.seg")
}
