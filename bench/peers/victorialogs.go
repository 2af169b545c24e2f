package peers

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"spoor/bench/ingest"
)

const (
	victoriaBatchBytes  = 256 << 10 // about the batches that Spoor gets
	victoriaConnections = 16
	victoriaStart       = 30 * time.Second
)

// victoria measures how VictoriaLogs takes the file and what it keeps of it. It does not look for duplicates and holds events in memory for a
// second before they are written.
func victoria(ctx context.Context, binary, dir, file string, events int64) (l Load, err error) {
	l.Name = "VictoriaLogs"
	if version, err := exec.CommandContext(ctx, binary, "-version").Output(); err == nil {
		if f := bytes.Fields(version); len(f) > 0 {
			l.Name = "VictoriaLogs " + string(f[0])
		}
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return l, err
	}
	address := listener.Addr().String()
	if err := listener.Close(); err != nil {
		return l, err
	}
	var output bytes.Buffer
	cmd := exec.CommandContext(ctx, binary, "-storageDataPath="+dir, "-httpListenAddr="+address, "-retentionPeriod=100y", "-loggerLevel=ERROR")
	cmd.Stdout, cmd.Stderr = &output, &output
	if err := cmd.Start(); err != nil {
		return l, fmt.Errorf("start VictoriaLogs: %w", err)
	}
	defer func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // it says that it was killed
		err = errors.Join(err, os.RemoveAll(dir))
	}()
	base := "http://" + address
	for limit := time.Now().Add(victoriaStart); ; {
		if err = call(ctx, http.MethodGet, base+"/health", nil); err == nil {
			break
		}
		if time.Now().After(limit) {
			return l, fmt.Errorf("start VictoriaLogs: %w: %s", err, output.String())
		}
		select {
		case <-ctx.Done():
			return l, ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
	pid := strconv.Itoa(cmd.Process.Pid)
	before, err := ingest.UsageOf(pid)
	if err != nil {
		return l, err
	}
	begin := time.Now()
	if err := sendLines(ctx, file, base+"/insert/jsonline?_stream_fields=eventName&_time_field=timestamp&_msg_field=eventName"); err != nil {
		return l, fmt.Errorf("load VictoriaLogs: %w", err)
	}
	l.Seconds = time.Since(begin).Seconds()
	begin = time.Now()
	for _, path := range []string{"/internal/force_flush", "/internal/force_merge"} {
		if err := call(ctx, http.MethodGet, base+path, nil); err != nil {
			return l, err
		}
	}
	if l.Bytes, err = settledSize(ctx, dir); err != nil {
		return l, err
	}
	l.PrepareSeconds = time.Since(begin).Seconds()
	after, err := ingest.UsageOf(pid)
	if err != nil {
		return l, err
	}
	l.CPU, l.PeakRSS = (after.CPU - before.CPU).Seconds(), after.PeakRSS
	l.derive(events)
	return l, nil
}

// settledSize waits until merges have ended, which nothing tells: until the size stands still for two seconds.
func settledSize(ctx context.Context, dir string) (int64, error) {
	last, still := int64(-1), 0
	for range 120 {
		size, err := sizeOf(dir)
		if err != nil {
			return 0, err
		}
		if size != last {
			last, still = size, 0
		} else if still++; still == 4 {
			return size, nil
		}
		select {
		case <-ctx.Done():
			return 0, ctx.Err()
		case <-time.After(500 * time.Millisecond):
		}
	}
	return last, nil
}

func sizeOf(dir string) (sum int64, err error) {
	err = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // merged away meanwhile
		}
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			sum += info.Size()
		} else if errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
		return err
	})
	return sum, err
}

// sendLines posts a file in pieces of whole lines over several connections.
func sendLines(ctx context.Context, file, url string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	pieces := make(chan []byte)
	var failed atomic.Bool
	var senders sync.WaitGroup
	for range victoriaConnections {
		senders.Go(func() {
			for body := range pieces {
				if failed.Load() {
					continue
				}
				if err := call(ctx, http.MethodPost, url, body); err != nil {
					failed.Store(true)
					cancel(err)
				}
			}
		})
	}
	err = cut(f, func(piece []byte) error {
		select {
		case pieces <- piece:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	})
	close(pieces)
	senders.Wait()
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}

// cut hands a stream on in pieces of about victoriaBatchBytes that end with a line.
func cut(r io.Reader, to func([]byte) error) error {
	var rest []byte
	for {
		buf := make([]byte, len(rest)+victoriaBatchBytes)
		copy(buf, rest)
		n, err := io.ReadFull(r, buf[len(rest):])
		buf = buf[:len(rest)+n]
		if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
			return err
		}
		end := bytes.LastIndexByte(buf, '\n') + 1
		if err != nil {
			end = len(buf)
		}
		if end > 0 {
			if err := to(buf[:end:end]); err != nil {
				return err
			}
		}
		if err != nil {
			return nil
		}
		rest = buf[end:]
	}
}

// call sends a request and wants an answer below 300.
func call(ctx context.Context, method, url string, body []byte) error {
	_, err := fetch(ctx, method, url, "", body)
	return err
}
