package ingest

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// process is a server that was started to be measured.
type process struct {
	cmd     *exec.Cmd
	address string
	output  bytes.Buffer // standard error
	ended   chan error
}

// Bounds of waiting for the server.
const (
	startLimit = 2 * time.Minute
	stopLimit  = 30 * time.Second
)

// start starts the server and returns it with the time until it was ready.
func start(ctx context.Context, binary, data string, args []string) (*process, time.Duration, error) {
	p := &process{ended: make(chan error, 1)}
	p.cmd = exec.Command(binary, append([]string{"serve", "--data", data, "--listen", "127.0.0.1:0"}, args...)...)
	p.cmd.Stderr = &p.output
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, 0, err
	}
	begin := time.Now()
	if err := p.cmd.Start(); err != nil {
		return nil, 0, fmt.Errorf("start the server: %w", err)
	}
	ready := make(chan string, 1)
	go func() {
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			if _, rest, ok := strings.Cut(lines.Text(), "http://"); ok && len(ready) == 0 {
				address, _, _ := strings.Cut(rest, " ")
				ready <- address
			}
		}
		p.ended <- p.cmd.Wait()
	}()
	select {
	case p.address = <-ready:
	case err := <-p.ended:
		return nil, 0, fmt.Errorf("the server ended: %w: %s", err, p.output.String())
	case <-time.After(startLimit):
		err = fmt.Errorf("the server was not ready after %s", startLimit)
	case <-ctx.Done():
		err = ctx.Err()
	}
	if err == nil {
		// It says so itself; that it answers is what counts.
		err = get(ctx, http.MethodGet, "http://"+p.address+"/readyz", "")
	}
	took := time.Since(begin)
	if err != nil {
		return nil, 0, errors.Join(err, p.kill())
	}
	return p, took, nil
}

func (p *process) pid() string { return strconv.Itoa(p.cmd.Process.Pid) }

// stop ends the server as an operator does.
func (p *process) stop() error {
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	select {
	case err := <-p.ended:
		if err != nil {
			return fmt.Errorf("the server ended: %w: %s", err, p.output.String())
		}
		return nil
	case <-time.After(stopLimit):
		return errors.Join(fmt.Errorf("the server did not end within %s", stopLimit), p.kill())
	}
}

// kill ends the server as a crash does.
func (p *process) kill() error {
	if err := p.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	<-p.ended // the error says that it was killed
	return nil
}

// get sends a request without a body and wants 200.
func get(ctx context.Context, method, url, key string) error {
	req, err := http.NewRequestWithContext(ctx, method, url, nil)
	if err != nil {
		return err
	}
	if key != "" {
		req.Header.Set("Authorization", "Bearer "+key)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswerBytes))
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s %s: the server answered %d: %.200s", method, url, resp.StatusCode, body)
	}
	return err
}
