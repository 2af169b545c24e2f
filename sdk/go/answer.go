package spoor

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// verdict is what an answer means for a batch.
type verdict int

const (
	again   verdict = iota // not stored, or not known to be: send it again
	stored                 // every event is stored, or refused by name
	refused                // no event is stored, and none will be
	divide                 // it is too large for one request
)

// answer is what a server said to a batch.
type answer struct {
	verdict verdict
	code    string        // the server's, or "http_<status>"
	message string        // the server's
	wait    time.Duration // as Retry-After says; 0: it says nothing

	accepted, duplicates uint64
	rejected             []rejection
}

// rejection is an event that the server refused among others that it stored.
type rejection struct {
	Index   int    `json:"index"`
	Code    string `json:"code"`
	Message string `json:"message"`
}

// Bounds of what a client believes and keeps of an answer.
const (
	maxAnswerBytes = 8 << 20
	maxRetryAfter  = time.Hour
	maxMessage     = 500 // bytes of an answer that is not Spoor's
)

// readAnswer judges the answer to a batch of events. now is for Retry-After as a date.
func readAnswer(status int, header http.Header, body []byte, events int, now time.Time) answer {
	a := answer{code: "http_" + strconv.Itoa(status), wait: retryAfter(header.Get("Retry-After"), now)}
	var said struct {
		Accepted   *uint64     `json:"accepted"`
		Duplicates uint64      `json:"duplicates"`
		Rejected   []rejection `json:"rejected"`
		Error      struct {
			Code    string `json:"code"`
			Message string `json:"message"`
		} `json:"error"`
	}
	err := json.Unmarshal(body, &said)
	if said.Error.Code != "" {
		a.code, a.message = said.Error.Code, said.Error.Message
	} else {
		a.message = strings.ToValidUTF8(string(body[:min(len(body), maxMessage)]), "")
	}
	switch {
	case status == http.StatusOK:
		if err != nil || said.Accepted == nil || !counts(*said.Accepted, said.Duplicates, said.Rejected, events) {
			a.code, a.message = "bad_answer", fmt.Sprintf("the answer 200 is not that of a Spoor server to %d events: %s", events, a.message)
			return a
		}
		a.verdict, a.accepted, a.duplicates, a.rejected = stored, *said.Accepted, said.Duplicates, said.Rejected
	case status == http.StatusRequestEntityTooLarge:
		a.verdict = divide
	case status == http.StatusRequestTimeout || status == http.StatusTooEarly || status == http.StatusTooManyRequests:
	case status >= 400 && status < 500:
		a.verdict = refused
	}
	return a
}

// counts tells whether an answer accounts for each event once.
func counts(accepted, duplicates uint64, rejected []rejection, events int) bool {
	if accepted > uint64(events) || duplicates > uint64(events) || accepted+duplicates+uint64(len(rejected)) != uint64(events) {
		return false
	}
	seen := make(map[int]bool, len(rejected))
	for _, r := range rejected {
		if r.Index < 0 || r.Index >= events || seen[r.Index] {
			return false
		}
		seen[r.Index] = true
	}
	return true
}

// retryAfter reads seconds or a date, at most maxRetryAfter.
func retryAfter(text string, now time.Time) time.Duration {
	if seconds, err := strconv.ParseUint(text, 10, 32); err == nil {
		return min(time.Duration(seconds)*time.Second, maxRetryAfter)
	}
	if date, err := http.ParseTime(text); err == nil {
		return min(max(date.Sub(now), 0), maxRetryAfter)
	}
	return 0
}
