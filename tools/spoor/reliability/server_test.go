package reliability

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// binary is spoor as it ships, built once. SPOOR_BINARY names another one: a
// build that was made worse must fail these tests, see docs/reliability.md.
var binary = os.Getenv("SPOOR_BINARY")

func TestMain(m *testing.M) {
	os.Exit(func() int {
		if binary != "" {
			return m.Run()
		}
		dir, err := os.MkdirTemp("", "spoor-reliability-")
		if err != nil {
			panic(err)
		}
		defer os.RemoveAll(dir)
		binary = filepath.Join(dir, "spoor")
		build := exec.Command("go", "build", "-o", binary, "spoor/tools/spoor")
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "build spoor: %v\n%s", err, out)
			return 1
		}
		return m.Run()
	}())
}

// number is a count: the environment's, or that of CI, or of a soak (SOAK=1).
func number(t testing.TB, name string, ci, soak int) int {
	text := os.Getenv(name)
	switch {
	case text == "" && os.Getenv("SOAK") != "":
		return soak
	case text == "":
		return ci
	}
	n, err := strconv.Atoi(text)
	require.NoError(t, err, name)
	return n
}

// output keeps what a process writes, for tests that wait for it.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
	news chan struct{}
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	select {
	case o.news <- struct{}{}:
	default:
	}
	return o.text.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// process is `spoor serve`.
type process struct {
	t      testing.TB
	cmd    *exec.Cmd
	said   atomic.Pointer[string] // where it serves, once it says so
	out    *output                // stdout and stderr
	exited chan struct{}
	client *http.Client
}

var address = regexp.MustCompile(`Spoor serves (http://[0-9.:]+)`)

// launch starts a server and does not wait for it. prepare may change the command.
func launch(t testing.TB, prepare func(*exec.Cmd), args ...string) *process {
	t.Helper()
	p := &process{
		t: t, out: &output{news: make(chan struct{}, 1)}, exited: make(chan struct{}),
		client: &http.Client{Timeout: time.Minute, Transport: &http.Transport{MaxIdleConnsPerHost: 16}},
	}
	p.cmd = exec.Command(binary, append([]string{"serve", "--listen", "127.0.0.1:0"}, args...)...)
	p.cmd.Stdout, p.cmd.Stderr = p.out, p.out
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if prepare != nil {
		prepare(p.cmd)
	}
	require.NoError(t, p.cmd.Start())
	go func() {
		_ = p.cmd.Wait()
		close(p.exited)
	}()
	t.Cleanup(p.kill)
	return p
}

// url is where the server is, "" before it says so.
func (p *process) url() string {
	if u := p.said.Load(); u != nil {
		return *u
	}
	return ""
}

// await waits until the server is ready, or has ended: then false.
func (p *process) await() bool {
	p.t.Helper()
	for late := time.After(2 * time.Minute); ; {
		if m := address.FindStringSubmatch(p.out.String()); m != nil {
			p.said.Store(&m[1])
			return true
		}
		select {
		case <-p.out.news:
		case <-p.exited:
			return address.MatchString(p.out.String())
		case <-late:
			p.t.Fatalf("the server is not ready: %s", p.out)
		}
	}
}

func serve(t testing.TB, args ...string) *process {
	t.Helper()
	p := launch(t, nil, args...)
	require.True(t, p.await(), "the server ended: %s", p.out)
	return p
}

// kill ends the process as a crash does, and waits until it is gone.
func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	<-p.exited
	p.client.CloseIdleConnections()
}

// stop ends the process as an operator does.
func (p *process) stop() {
	p.t.Helper()
	require.NoError(p.t, p.cmd.Process.Signal(syscall.SIGTERM))
	<-p.exited
	require.Zero(p.t, p.cmd.ProcessState.ExitCode(), "%s", p.out)
	p.client.CloseIdleConnections()
}

// post returns an error where no answer came.
func (p *process) post(path string, body []byte) (status int, answer []byte, err error) {
	resp, err := p.client.Post(p.url()+path, "application/json", bytes.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	answer, err = io.ReadAll(resp.Body)
	return resp.StatusCode, answer, err
}

// ask posts and requires 200.
func (p *process) ask(path, body string) []byte {
	p.t.Helper()
	status, answer, err := p.post(path, []byte(body))
	require.NoError(p.t, err)
	require.Equal(p.t, http.StatusOK, status, "%s", answer)
	return answer
}

// run runs another command of the binary.
func run(t testing.TB, args ...string) (code int, out string) {
	t.Helper()
	cmd := exec.Command(binary, args...)
	b, err := cmd.CombinedOutput()
	if cmd.ProcessState == nil {
		require.NoError(t, err)
	}
	return cmd.ProcessState.ExitCode(), string(b)
}

// verifies requires that spoor verify finds no damage.
func verifies(t testing.TB, dir string) {
	t.Helper()
	code, out := run(t, "verify", "--data", dir)
	require.Zero(t, code, out)
}

// ledger is what the server has acknowledged: eventId -> a value that the event
// carries. It is kept outside of the process that is killed.
type ledger struct {
	mu    sync.Mutex
	acked map[string]int
	sent  map[string]int // all that may be stored
}

func newLedger() *ledger { return &ledger{acked: map[string]int{}, sent: map[string]int{}} }

// send sends events and notes what the answer says of them. It returns the status, 0 without an answer.
func (l *ledger) send(p *process, events []numbered) int {
	var body bytes.Buffer
	l.mu.Lock()
	for _, e := range events {
		l.sent[e.id] = e.value
		body.WriteString(e.line)
		body.WriteByte('\n')
	}
	l.mu.Unlock()
	status, answer, err := p.post("/api/events/batch", body.Bytes())
	if err != nil {
		return 0
	}
	if status != http.StatusOK {
		return status
	}
	var result struct {
		Accepted, Duplicates int
		Rejected             []json.RawMessage
	}
	if err := json.Unmarshal(answer, &result); err != nil || result.Accepted+result.Duplicates != len(events) {
		p.t.Errorf("the answer to %d events is %s", len(events), answer)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range events {
		l.acked[e.id] = e.value
	}
	return status
}

// check exports all events and compares: every acknowledged one is there once, with
// its value, and nothing is there that was never sent.
func (l *ledger) check(p *process) {
	p.t.Helper()
	l.checkAs(p, "")
}

// checkAs is check with arguments of the request.
func (l *ledger) checkAs(p *process, args string) {
	p.t.Helper()
	seen := map[string]bool{}
	for _, line := range bytes.Split(p.ask("/api/events/export"+args, `{}`), []byte("\n")) {
		if len(line) == 0 {
			continue
		}
		var e struct {
			EventID    string
			Properties struct{ V int }
		}
		require.NoError(p.t, json.Unmarshal(line, &e), "%s", line)
		require.False(p.t, seen[e.EventID], "%s is there twice", e.EventID)
		seen[e.EventID] = true
		value, ok := l.sent[e.EventID]
		require.True(p.t, ok, "%s was never sent", e.EventID)
		require.Equal(p.t, value, e.Properties.V, "%s has another value", e.EventID)
	}
	lost := []string{}
	for id := range l.acked {
		if !seen[id] {
			lost = append(lost, id)
		}
	}
	require.Empty(p.t, lost, "%d acknowledged events of %d are lost", len(lost), len(l.acked))
}

// numbered is an event whose id and value follow from a number.
type numbered struct {
	id, line string
	value    int
}

// eventOf makes an event; ids are UUIDs and texts by turns, times spread over ten days.
func eventOf(writer, n int) numbered {
	e := numbered{id: fmt.Sprintf("writer %d event %d", writer, n), value: writer<<24 + n}
	if n%2 == 0 {
		e.id = fmt.Sprintf("%08x-0000-7000-8000-%012x", writer, n)
	}
	e.line = fmt.Sprintf(`{"eventId":%q,"eventName":"e%d","userId":"u%d","anonymousId":"a%d","timestamp":"2026-05-%02dT%02d:00:00Z","properties":{"v":%d,"text":%q}}`,
		e.id, n%5, n%300, n%700, 1+n%10, n%24, e.value, strings.Repeat("x", n%50))
	return e
}
