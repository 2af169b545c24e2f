package importer

import (
	"encoding/json"
	"fmt"
	"io"
	"sync"
)

// Reject is one line that was not stored.
type Reject struct {
	File    string `json:"file"`
	Line    int64  `json:"line"` // from 1
	EventID string `json:"eventId,omitempty"`
	Code    string `json:"code"`
	Message string `json:"message"`

	source int // place of File in the list of sources
}

// rejects counts what was not stored, keeps the first and writes out all.
type rejects struct {
	mu    sync.Mutex
	keep  int
	to    io.Writer
	count int64
	kept  []Reject
}

func (r *rejects) add(reject Reject, line []byte) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.count++
	if len(r.kept) < r.keep {
		r.kept = append(r.kept, reject)
	}
	if r.to == nil {
		return nil
	}
	text, err := json.Marshal(struct {
		Reject
		Text string `json:"text"` // the line as it was sent
	}{reject, string(line)})
	if err == nil {
		_, err = r.to.Write(append(text, '\n'))
	}
	if err != nil {
		return fmt.Errorf("write the rejects: %w", err)
	}
	return nil
}
