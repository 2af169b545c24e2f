// Package engines holds the raw tier to what other engines read in it. It is a
// module of its own: the program needs none of them. It drives the built server and nothing else.
package engines

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// world is a server with a raw tier of generated events.
type world struct {
	dir, binary, raw, url string
	sent                  map[string]string // by eventId: the first line that had it
}

var spoor world

func TestMain(m *testing.M) {
	var err error
	if spoor.dir, err = os.MkdirTemp("", "spoor-engines"); err != nil {
		panic(err)
	}
	stop, err := spoor.make()
	code := 1
	if err == nil {
		code = m.Run()
	} else {
		fmt.Fprintln(os.Stderr, err)
	}
	stop()
	_ = os.RemoveAll(spoor.dir)
	os.Exit(code)
}

// count is how many events are generated; EVENTS says otherwise.
func count() int {
	if n, err := strconv.Atoi(os.Getenv("EVENTS")); err == nil {
		return n
	}
	return 30_000
}

func (w *world) run(name string, args ...string) ([]byte, error) {
	cmd := exec.Command(name, args...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("%s %s: %w: %s", filepath.Base(name), strings.Join(args, " "), err, &errs)
	}
	return out.Bytes(), nil
}

// make fills a server and waits until its raw tier has all events.
func (w *world) make() (stop func(), err error) {
	stop = func() {}
	w.binary, w.raw = filepath.Join(w.dir, "spoor"), filepath.Join(w.dir, "raw")
	build := exec.Command("go", "build", "-o", w.binary, "./tools/spoor")
	build.Dir = filepath.Join("..", "..")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return stop, fmt.Errorf("build the server: %w: %s", err, out)
	}
	events := filepath.Join(w.dir, "events.ndjson")
	if _, err := w.run(w.binary, "bench", "generate", "--events", strconv.Itoa(count()), "--seed", "7", "--out", events); err != nil {
		return stop, err
	}
	if err := w.remember(events); err != nil {
		return stop, err
	}
	end, err := w.serve()
	if err != nil {
		return stop, err
	}
	if _, err := w.run(w.binary, "--server", w.url, "import", "--strict", events); err != nil {
		end()
		return stop, err
	}
	end() // the next start writes all days at once
	if end, err = w.serve(); err != nil {
		return stop, err
	}
	for late := time.Now().Add(10 * time.Minute); time.Now().Before(late); time.Sleep(50 * time.Millisecond) {
		var s struct {
			Events int
			Error  string
		}
		if b, err := get(w.url + "/api/raw"); err == nil && json.Unmarshal(b, &s) == nil && s.Events == len(w.sent) {
			return end, nil
		}
	}
	end()
	return stop, fmt.Errorf("the raw tier does not get its %d events", len(w.sent))
}

func (w *world) remember(events string) error {
	w.sent = map[string]string{}
	f, err := os.Open(events)
	if err != nil {
		return err
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var e struct{ EventID string }
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			return err
		}
		if _, again := w.sent[e.EventID]; !again {
			w.sent[e.EventID] = lines.Text()
		}
	}
	return nil
}

func get(url string) ([]byte, error) {
	resp, err := http.Get(url)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	return io.ReadAll(resp.Body)
}

// serve starts the server.
func (w *world) serve() (end func(), err error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	address := ln.Addr().String()
	if err := ln.Close(); err != nil {
		return nil, err
	}
	w.url = "http://" + address
	cmd := exec.Command(w.binary, "serve", "--data", filepath.Join(w.dir, "data"), "--listen", address, "--raw", w.raw, "--log-level", "warn")
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	end = func() {
		_ = cmd.Process.Signal(os.Interrupt)
		_ = cmd.Wait()
	}
	for late := time.Now().Add(30 * time.Second); time.Now().Before(late); time.Sleep(20 * time.Millisecond) {
		if resp, err := http.Get(w.url + "/readyz"); err == nil {
			_ = resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return end, nil
			}
		}
	}
	end()
	return nil, fmt.Errorf("the server is not ready after 30 s")
}

// python runs a script with the engines; the test is skipped where they are not.
func python(t *testing.T, module, script string, stdin any) []byte {
	t.Helper()
	env := append(os.Environ(), "PYTHONPATH="+os.Getenv("SPOOR_ENGINES_DIR"))
	look := exec.Command("python3", "-c", "import "+module)
	look.Env = env
	if out, err := look.CombinedOutput(); err != nil {
		t.Skipf("no %s for Python is found; make engines installs it: %s", module, bytes.TrimSpace(out[max(0, len(out)-100):]))
	}
	in, err := json.Marshal(stdin)
	require.NoError(t, err)
	cmd := exec.Command("python3", "-c", script)
	cmd.Env, cmd.Stdin = env, bytes.NewReader(in)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	require.NoError(t, err, "%s", &errs)
	return out
}

// same wants an event equal, as JSON, to what was sent.
func (w *world) same(t *testing.T, id, got string) {
	want, ok := w.sent[id]
	require.True(t, ok, "%s was not sent", id)
	require.Equal(t, decoded(t, want), decoded(t, got))
}

func decoded(t *testing.T, text string) (v any) {
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	require.NoError(t, d.Decode(&v), "%s", text)
	return v
}
