package reliability

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const memoryBytes = 512 << 20

// smallMemory makes a control group of 512 MiB, of version 2 or 1, and returns the file
// that takes processes into it.
func smallMemory(t *testing.T) (procs string, killed func() bool) {
	t.Helper()
	const root = "/sys/fs/cgroup"
	top, limit, events, field := root, "memory.max", "memory.events", "oom_kill "
	if b, err := os.ReadFile(filepath.Join(root, "cgroup.subtree_control")); err != nil || !strings.Contains(string(b), "memory") {
		top, limit, events = filepath.Join(root, "memory"), "memory.limit_in_bytes", "memory.oom_control"
	}
	group := filepath.Join(top, "spoor-test-"+strconv.Itoa(os.Getpid()))
	if err := os.Mkdir(group, 0o755); err != nil {
		t.Skipf("no control group for memory can be made here (%v); run as root to test 512 MiB", err)
	}
	t.Cleanup(func() { _ = os.Remove(group) })
	if err := os.WriteFile(filepath.Join(group, limit), []byte(strconv.Itoa(memoryBytes)), 0o600); err != nil {
		t.Skipf("the memory of a control group cannot be limited here (%v)", err)
	}
	_ = os.WriteFile(filepath.Join(group, "memory.swap.max"), []byte("0"), 0o600) // where there is swap
	return filepath.Join(group, "cgroup.procs"), func() bool {
		b, err := os.ReadFile(filepath.Join(group, events))
		require.NoError(t, err)
		for _, line := range strings.Split(string(b), "\n") {
			if n, ok := strings.CutPrefix(line, field); ok {
				return n != "0"
			}
		}
		return false
	}
}

// TestAServerIn512MiBIsSlowerAndNeverKilled loads, asks, compacts and restarts.
func TestAServerIn512MiBIsSlowerAndNeverKilled(t *testing.T) {
	procs, killed := smallMemory(t)
	events := number(t, "SPOOR_MEMORY_EVENTS", 300_000, 10_000_000)
	dir := filepath.Join(t.TempDir(), "data")
	within := func(c *exec.Cmd) {
		c.Args = append([]string{"sh", "-c", `echo $$ > "$0"; exec "$@"`, procs, binary}, c.Args[1:]...)
		c.Path = "/bin/sh"
	}
	p := launch(t, within, "--data", dir)
	require.True(t, p.await(), "%s", p.out)
	load := exec.Command(binary, "demo", "--server", p.url(), "--events", strconv.Itoa(events), "--connections", "4", "--json")
	out, err := load.CombinedOutput()
	require.NoError(t, err, "%s\n%s", out, p.out)
	questions := []string{
		"funnel view_product -> add_to_cart -> purchase_completed within 7d by context.device",
		"retention any -> any every day for 14 first", "sessions by context.country", "trend users, sum(properties.price) of any every day",
		"top properties.category of view_product", "paths from any depth 4", "users of any at least 3",
	}
	for _, q := range questions {
		status, answer, err := p.post("/api/query", []byte(q))
		require.NoError(t, err, "%s\n%s", q, p.out)
		require.Contains(t, []int{200, 422}, status, "%s: %s", q, answer) // 422: more than a query may
	}
	p.ask("/api/admin/compact", "")
	for _, q := range questions {
		_, _, err := p.post("/api/query", []byte(q))
		require.NoError(t, err, "%s\n%s", q, p.out)
	}
	peak := peakRSS(t, p.cmd.Process.Pid)
	p.kill()
	p = launch(t, within, "--data", dir)
	require.True(t, p.await(), "%s", p.out)
	code, text := run(t, "verify", "--server", p.url())
	require.Zero(t, code, text)
	p.stop()
	require.False(t, killed(), "a process in the group was killed for memory")
	verifies(t, dir)
	t.Logf("%s; %d events, peak RSS %d MiB before the restart", strings.TrimSpace(string(out)), events, peak>>20)
}

// peakRSS is the most memory that a process has had, in bytes.
func peakRSS(t *testing.T, pid int) int64 {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "status"))
	require.NoError(t, err)
	for _, line := range strings.Split(string(b), "\n") {
		if text, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kib, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(text, "kB")), 10, 64)
			require.NoError(t, err)
			return kib << 10
		}
	}
	t.Fatal("the peak of memory is not told")
	return 0
}
