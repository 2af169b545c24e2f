package ingest

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// loader sends the batches of a source over some connections.
type loader struct {
	address string // host:port of the server
	key     string
	src     *source
	next    atomic.Int64 // batch that is sent next
	done    atomic.Int64 // events that were answered

	mu   sync.Mutex
	sums loaded
}

// loaded is what the server answered.
type loaded struct {
	accepted, duplicates, rejected, retries int64
	latency                                 []time.Duration // of every request that was taken, ascending at the end
}

const (
	// retryAfter is the wait after an answer that asks for one.
	retryAfter = 10 * time.Millisecond
	// maxTries bounds how often a batch is sent: together some minutes.
	maxTries = 10_000
	// maxAnswerBytes bounds an answer: each rejected event is named in it.
	maxAnswerBytes = 16 << 20
)

// run sends everything and returns what was answered.
func (l *loader) run(ctx context.Context, connections int) (loaded, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	errs := make([]error, connections)
	var senders sync.WaitGroup
	for i := range connections {
		senders.Go(func() {
			if errs[i] = l.send(ctx); errs[i] != nil {
				cancel()
			}
		})
	}
	senders.Wait()
	slices.Sort(l.sums.latency)
	for _, err := range errs { // the first that is no consequence of another
		if err != nil && !errors.Is(err, context.Canceled) {
			return l.sums, err
		}
	}
	return l.sums, errors.Join(errs...)
}

// send is one connection: it takes batch after batch and waits for each answer.
func (l *loader) send(ctx context.Context) error {
	f, err := os.Open(l.src.path) // a file position of its own
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", l.address)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()

	in := bufio.NewReader(conn)
	var sums loaded
	for {
		i := int(l.next.Add(1) - 1)
		if i >= len(l.src.ends) {
			break
		}
		if err := l.batch(ctx, conn, in, f, i, &sums); err != nil {
			if ctx.Err() != nil {
				err = ctx.Err()
			}
			return fmt.Errorf("send batch %d: %w", i, err)
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sums.accepted += sums.accepted
	l.sums.duplicates += sums.duplicates
	l.sums.rejected += sums.rejected
	l.sums.retries += sums.retries
	l.sums.latency = append(l.sums.latency, sums.latency...)
	return nil
}

// batch sends one batch until it is taken.
func (l *loader) batch(ctx context.Context, conn net.Conn, in *bufio.Reader, f *os.File, i int, sums *loaded) error {
	from, to, events := l.src.batch(i)
	for range maxTries {
		begin := time.Now()
		status, body, err := l.post(conn, in, f, from, to)
		if err != nil {
			return err
		}
		if status == http.StatusServiceUnavailable || status == http.StatusTooManyRequests {
			sums.retries++
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(retryAfter):
			}
			continue
		}
		var answer struct {
			Accepted   int64             `json:"accepted"`
			Duplicates int64             `json:"duplicates"`
			Rejected   []json.RawMessage `json:"rejected"`
		}
		if err := json.Unmarshal(body, &answer); err != nil || status != http.StatusOK {
			return fmt.Errorf("the server answered %d: %.200s", status, body)
		}
		if n := answer.Accepted + answer.Duplicates + int64(len(answer.Rejected)); n != int64(events) {
			return fmt.Errorf("the server answered for %d events of %d", n, events)
		}
		sums.latency = append(sums.latency, time.Since(begin))
		sums.accepted += answer.Accepted
		sums.duplicates += answer.Duplicates
		sums.rejected += int64(len(answer.Rejected))
		l.done.Add(int64(events))
		return nil
	}
	return fmt.Errorf("the server was busy %d times", maxTries)
}

// post sends the bytes [from, to) of f as a body. From a file to a TCP
// connection they go within the kernel.
func (l *loader) post(conn net.Conn, in *bufio.Reader, f *os.File, from, to int64) (status int, body []byte, err error) {
	var head strings.Builder
	fmt.Fprintf(&head, "POST /api/events/batch HTTP/1.1\r\nHost: %s\r\nContent-Type: application/x-ndjson\r\nContent-Length: %d\r\n", l.address, to-from)
	if l.key != "" {
		fmt.Fprintf(&head, "Authorization: Bearer %s\r\n", l.key)
	}
	head.WriteString("\r\n")
	if _, err := io.WriteString(conn, head.String()); err != nil {
		return 0, nil, err
	}
	if _, err := f.Seek(from, io.SeekStart); err != nil {
		return 0, nil, err
	}
	if _, err := io.CopyN(conn, f, to-from); err != nil {
		return 0, nil, err
	}
	resp, err := http.ReadResponse(in, nil)
	if err != nil {
		return 0, nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err = io.ReadAll(io.LimitReader(resp.Body, maxAnswerBytes))
	return resp.StatusCode, body, err
}

// quantile is the latency that a share of the requests did not exceed.
func (s *loaded) quantile(share float64) time.Duration {
	if len(s.latency) == 0 {
		return 0
	}
	return s.latency[min(int(share*float64(len(s.latency))), len(s.latency)-1)]
}
