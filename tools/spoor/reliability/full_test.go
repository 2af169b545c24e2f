package reliability

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// smallDisk mounts a file system of its own, which only root may.
func smallDisk(t *testing.T, bytes int) string {
	t.Helper()
	dir := t.TempDir()
	if err := syscall.Mount("spoor-test", dir, "tmpfs", 0, fmt.Sprintf("size=%d,mode=0700", bytes)); err != nil {
		t.Skipf("a disk of its own cannot be mounted here (%v); run as root to test a full disk", err)
	}
	t.Cleanup(func() { require.NoError(t, syscall.Unmount(dir, 0)) })
	return dir
}

// fillDisk writes a file that leaves so many bytes free.
func fillDisk(t *testing.T, dir string, leave int64) (ballast string) {
	t.Helper()
	var s syscall.Statfs_t
	require.NoError(t, syscall.Statfs(dir, &s))
	free := int64(s.Bavail) * int64(s.Bsize)
	ballast = filepath.Join(dir, "ballast")
	f, err := os.Create(ballast)
	require.NoError(t, err)
	defer f.Close()
	b := bytes.Repeat([]byte{1}, 64<<10)
	for ; free > leave; free -= int64(len(b)) {
		if _, err := f.Write(b); err != nil {
			break
		}
	}
	return ballast
}

// large is an event of which few fit.
func large(r *rand.Rand, n int) numbered {
	e := numbered{id: fmt.Sprintf("large %d", n), value: n}
	noise := make([]byte, 30<<10)
	for i := range noise {
		noise[i] = byte('a' + r.IntN(26))
	}
	e.line = fmt.Sprintf(`{"eventId":%q,"eventName":"large","userId":"u%d","properties":{"v":%d,"noise":%q}}`, e.id, n%50, n, noise)
	return e
}

// TestAFullDiskRefusesWritesServesReadsAndResumesByItself fills the disk below a
// server until it answers 507, and makes space again.
func TestAFullDiskRefusesWritesServesReadsAndResumesByItself(t *testing.T) {
	disk := smallDisk(t, 160<<20)
	dir := filepath.Join(disk, "data")
	args := []string{"--data", dir, "--memory", "32MiB", "--flush-rows", "200"}
	p := serve(t, args...)
	book, r, n := newLedger(), rand.New(rand.NewPCG(5, 5)), 0
	for ; n < 300; n++ {
		require.Equal(t, http.StatusOK, book.send(p, []numbered{large(r, n)}))
	}
	ballast := fillDisk(t, disk, 0)

	refused := 0
	for until := time.Now().Add(time.Minute); refused < 20; n++ {
		require.True(t, time.Now().Before(until), "the disk is full and nothing is refused")
		switch status := book.send(p, []numbered{large(r, n)}); status {
		case http.StatusOK:
			require.Zero(t, refused, "a write after one that was refused for want of space, with none made")
		case http.StatusInsufficientStorage:
			refused++
		default:
			require.Equal(t, http.StatusServiceUnavailable, status, "on the way to a full disk the outcome may be unknown")
		}
	}
	status, answer, err := p.post("/api/events", []byte(large(r, 1_000_000).line))
	require.NoError(t, err)
	require.Equal(t, http.StatusInsufficientStorage, status)
	require.Contains(t, string(answer), `"disk_full"`)
	p.ask("/api/query", "trend count of large")
	book.check(p) // reads go on

	require.NoError(t, os.Remove(ballast))
	resumed := false
	for until := time.Now().Add(30 * time.Second); !resumed && time.Now().Before(until); n++ {
		resumed = book.send(p, []numbered{large(r, n)}) == http.StatusOK
	}
	require.True(t, resumed, "there is space again and the server does not go on: %s", p.out)
	p.ask("/api/admin/flush", "")
	book.check(p)
	p.stop()
	verifies(t, dir)

	// A server that is started on a full disk serves reads or says why not; with space it has everything.
	ballast = fillDisk(t, disk, 0)
	p = launch(t, nil, args...)
	if p.await() {
		book.check(p)
	} else {
		require.Contains(t, p.out.String(), "no space")
	}
	p.kill()
	require.NoError(t, os.Remove(ballast))
	p = serve(t, args...)
	book.check(p)
	p.stop()
	verifies(t, dir)
	t.Logf("%d events acknowledged, %d refused with 507, 0 lost", len(book.acked), refused)
}
