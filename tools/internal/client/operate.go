package client

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
)

// maxLineBytes bounds one line of a stream of progress; the last has the report.
const maxLineBytes = 16 << 20

// Operate has the server do long work, such as a backup. told hears how far it is;
// result takes what came of it. It ends with the connection, not with a timeout.
func (c *Client) Operate(ctx context.Context, path string, call any, told func(done, total int64), result any) error {
	body := []byte{}
	if call != nil {
		var err error
		if body, err = json.Marshal(call); err != nil {
			return fmt.Errorf("POST %s: %w", path, err)
		}
	}
	resp, err := c.open(ctx, path, body)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, maxLineBytes)
	for lines.Scan() {
		var line struct {
			Done, Total int64
			Result      json.RawMessage
			Error       *Error
		}
		if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
			return fmt.Errorf("POST %s: read the answer of %s: %w", path, c.base, err)
		}
		switch {
		case line.Error != nil:
			return line.Error
		case line.Result != nil:
			if err := json.Unmarshal(line.Result, result); err != nil {
				return fmt.Errorf("POST %s: read the answer of %s: %w", path, c.base, err)
			}
			return nil
		}
		told(line.Done, line.Total)
	}
	if err := ctx.Err(); err != nil {
		return errors.New("interrupted")
	}
	return fmt.Errorf("POST %s: the answer was cut off: %w", path, errors.Join(io.ErrUnexpectedEOF, lines.Err()))
}

// Await posts to a path and returns the answer, however long it takes.
func (c *Client) Await(ctx context.Context, path string) (json.RawMessage, error) {
	resp, err := c.open(ctx, path, nil)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxLineBytes))
	if err != nil {
		return nil, fmt.Errorf("POST %s: read the answer: %w", path, err)
	}
	return answer, nil
}

// Stream posts to a path and returns the body of the answer as it comes, however long it takes.
func (c *Client) Stream(ctx context.Context, path string, call any) (io.ReadCloser, error) {
	body, err := json.Marshal(call)
	if err != nil {
		return nil, fmt.Errorf("POST %s: %w", path, err)
	}
	resp, err := c.open(ctx, path, body)
	if err != nil {
		return nil, err
	}
	return resp.Body, nil
}

// open posts once, without a bound on the time of the answer.
func (c *Client) open(ctx context.Context, path string, body []byte) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.base.String()+path, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("POST %s: %w", path, err)
	}
	if len(body) > 0 {
		req.Header.Set("Content-Type", "application/json")
	}
	if c.key != "" {
		req.Header.Set("Authorization", "Bearer "+c.key)
	}
	resp, err := (&http.Client{Transport: c.http.Transport}).Do(req)
	if err != nil {
		var urlErr *url.Error
		switch {
		case ctx.Err() != nil:
			return nil, errors.New("interrupted")
		case unreachable(err):
			return nil, fmt.Errorf("no server answers at %s: %w; start one with: spoor serve", c.base, err)
		case errors.As(err, &urlErr):
			err = urlErr.Err
		}
		return nil, fmt.Errorf("POST %s: %w", path, err)
	}
	if resp.StatusCode == http.StatusOK {
		return resp, nil
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxLineBytes))
	if err != nil {
		return nil, fmt.Errorf("POST %s: read the answer: %w", path, err)
	}
	return nil, errorOf(reply{resp.StatusCode, text})
}
