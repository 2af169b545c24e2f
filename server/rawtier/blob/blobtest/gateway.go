// Package blobtest starts a real server that speaks S3, for tests alone.
package blobtest

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Credentials of the gateways, and their one bucket.
const (
	AccessKey = "spoor-test"
	SecretKey = "spoor-test-secret"
	Bucket    = "raw"
)

// Gateway is a versitygw over a directory, on loopback.
type Gateway struct {
	t       testing.TB
	program string
	root    string
	address string
	cmd     *exec.Cmd
}

// Start starts a gateway, and sets the credentials in the environment of the test. The
// test is skipped where there is no versitygw; make s3 installs it.
func Start(t testing.TB, root string) *Gateway {
	t.Helper()
	g := &Gateway{t: t, program: find(), root: root}
	if g.program == "" {
		t.Skip("no versitygw found: make s3 installs it, or name one in SPOOR_VERSITYGW")
	}
	t.Setenv("AWS_ACCESS_KEY_ID", AccessKey)
	t.Setenv("AWS_SECRET_ACCESS_KEY", SecretKey)
	require.NoError(t, os.MkdirAll(filepath.Join(root, Bucket), 0o755))
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	g.address = ln.Addr().String()
	require.NoError(t, ln.Close())
	g.Run()
	t.Cleanup(g.Kill)
	return g
}

func find() string {
	if name := os.Getenv("SPOOR_VERSITYGW"); name != "" {
		return name
	}
	if name, err := exec.LookPath("versitygw"); err == nil {
		return name
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return ""
	}
	name := filepath.Join(cache, "spoor-s3", "versitygw")
	if _, err := os.Stat(name); err != nil {
		return ""
	}
	return name
}

// Endpoint is the URL of the gateway.
func (g *Gateway) Endpoint() string { return "http://" + g.address }

// Run starts the gateway, again after Kill.
func (g *Gateway) Run() {
	g.cmd = exec.Command(g.program, "--port", g.address, "--access", AccessKey, "--secret", SecretKey, "--quiet", "posix", g.root)
	g.cmd.Env = []string{"HOME=" + g.root, "PATH=" + os.Getenv("PATH")}
	require.NoError(g.t, g.cmd.Start())
	answers := func() bool {
		r, err := (&http.Client{Timeout: time.Second}).Get(g.Endpoint() + "/" + Bucket)
		if err == nil {
			_ = r.Body.Close()
		}
		return err == nil
	}
	require.Eventually(g.t, answers, 20*time.Second, 20*time.Millisecond, fmt.Sprintf("%s does not answer at %s", g.program, g.address))
}

// Kill ends the gateway at once, in the middle of whatever it does.
func (g *Gateway) Kill() {
	if g.cmd == nil {
		return
	}
	_ = g.cmd.Process.Kill()
	_ = g.cmd.Wait()
	g.cmd = nil
}
