package clusterctl

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"spoor/tools/internal/client"
)

// three is what a server answers of a cluster; other is the URL of its second node.
func three(other string) string {
	return `{"cluster":"c1","leader":"n1","term":4,"command_version":1,"nodes":[
	 {"id":"n1","address":"127.0.0.1:1","http":"http://gone.invalid","voter":true,"state":"leader","applied_index":12345,"lag":0,"silent_seconds":0,"version":"v1"},
	 {"id":"n2","address":"127.0.0.1:2","http":"` + other + `","voter":true,"state":"follower","applied_index":12300,"lag":45,"silent_seconds":0.26,"version":"v1"},
	 {"id":"n3","address":"127.0.0.1:3","http":"","voter":false,"state":"STATE","applied_index":0,"lag":12345,"silent_seconds":null,"version":"v1"}]}`
}

// console asks a server of a test.
func console(t *testing.T, handle http.HandlerFunc) (*Console, *bytes.Buffer) {
	srv := httptest.NewServer(handle)
	t.Cleanup(srv.Close)
	var out bytes.Buffer
	return &Console{Stdin: strings.NewReader(""), Stdout: &out, Connect: func(server string, retryFor time.Duration) (*client.Client, error) {
		if server == "" {
			server = srv.URL
		}
		return client.New(client.Options{Server: server, RetryFor: retryFor})
	}}, &out
}

func TestTheStatusIsATableAndItsExitCodeTellsWhetherAllIsWell(t *testing.T) {
	state := "learner"
	c, out := console(t, func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, strings.Replace(three("http://db2"), "STATE", state, 1))
	})
	require.NoError(t, new(statusCmd).Run(context.Background(), c))
	require.Equal(t, `Cluster c1: n1 leads in term 4.

NODE  STATE     VOTE  APPLIED  LAG     HEARD     CLIENTS              NODES        RELEASE
n1    leader    yes   12,345   0       -         http://gone.invalid  127.0.0.1:1  v1
n2    follower  yes   12,300   45      0.3s ago  http://db2           127.0.0.1:2  v1
n3    learner   no    0        12,345  never                          127.0.0.1:3  v1
`, out.String())
	for _, state = range []string{"stalled", "unreachable"} {
		require.ErrorIs(t, new(statusCmd).Run(context.Background(), c), errUnwell)
	}
	state = "learner\\u001b[2J"
	out.Reset()
	require.NoError(t, new(statusCmd).Run(context.Background(), c))
	require.NotContains(t, out.String(), "\x1b", "no answer commands the terminal")
}

func TestWatchingGoesOnWithAnotherNodeWhenTheFirstOneDies(t *testing.T) {
	var second *httptest.Server
	second = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, strings.Replace(three(second.URL), "STATE", "learner", 1))
	}))
	defer second.Close()
	asked := 0
	c, out := console(t, func(w http.ResponseWriter, _ *http.Request) {
		if asked++; asked > 1 {
			panic(http.ErrAbortHandler)
		}
		_, _ = io.WriteString(w, strings.Replace(three(second.URL), "STATE", "learner", 1))
	})
	x := &watchCmd{Every: time.Nanosecond, Count: 3, JSON: true}
	require.NoError(t, x.Run(context.Background(), c))
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	require.Len(t, lines, 3)
	for _, line := range lines {
		require.Contains(t, line, `"leader":"n1"`)
	}
}

func TestChangesSayWhatTheyAsk(t *testing.T) {
	var asked string
	c, out := console(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		asked = r.Method + " " + r.URL.String() + " " + string(body)
		_, _ = io.WriteString(w, `{"token":"join_x","voter":false}`)
	})
	ctx := context.Background()
	for _, x := range []struct {
		run         func() error
		asked, told string
	}{
		{func() error { return (&tokenCmd{For: 90 * time.Second}).Run(ctx, c) }, `POST /api/cluster/token {"seconds":90}`, "join_x\n"},
		{func() error { return (&transferCmd{To: "n2"}).Run(ctx, c) }, `POST /api/cluster/transfer {"to":"n2"}`, "Another node leads.\n"},
		{func() error { return (&promoteCmd{Node: "n 3"}).Run(ctx, c) }, `POST /api/cluster/nodes/n%203/promote `, "n 3 gets a vote as soon as it has caught up.\n"},
		{func() error { return (&demoteCmd{Node: "n3"}).Run(ctx, c) }, `POST /api/cluster/nodes/n3/demote `, "n3 has no vote.\n"},
		{func() error { return (&removeCmd{Node: "n3", Force: true}).Run(ctx, c) }, `DELETE /api/cluster/nodes/n3?force=1 `, "n3 is no member any more, and its name is not used again. Stop it.\n"},
	} {
		out.Reset()
		require.NoError(t, x.run())
		require.Equal(t, x.asked, asked)
		require.Equal(t, x.told, out.String())
	}
}

func TestARecoveryIsConfirmedByTheNameOfTheNode(t *testing.T) {
	var out bytes.Buffer
	c := &Console{Stdin: strings.NewReader("yes\n"), Stdout: &out}
	x := &recoverCmd{Data: t.TempDir(), NodeID: "n2"}
	require.ErrorContains(t, x.Run(context.Background(), c), "nothing was changed")
	require.Contains(t, out.String(), "LOST")
	c.Stdin = strings.NewReader("n2\n")
	err := x.Run(context.Background(), c)
	require.Error(t, err)
	require.False(t, errors.Is(err, io.EOF))
	require.ErrorContains(t, err, "no data of a server")
}
