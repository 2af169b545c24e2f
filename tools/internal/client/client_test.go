package client

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/require"
)

// clock counts the waits of a client instead of waiting.
type clock struct {
	mu    sync.Mutex
	now   time.Time
	waits []time.Duration
}

func (c *clock) wait(_ context.Context, d time.Duration) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
	c.waits = append(c.waits, d)
	return nil
}

func (c *clock) read() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func start(t *testing.T, handler http.HandlerFunc) (*Client, *clock) {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	k := &clock{now: time.Unix(1_780_000_000, 0)}
	c, err := New(Options{Server: server.URL, Key: "secret", Wait: k.wait, Now: k.read})
	require.NoError(t, err)
	t.Cleanup(c.Close)
	return c, k
}

func sender(t *testing.T, c *Client, compression Compression) *Sender {
	t.Helper()
	s, err := c.NewSender(compression)
	require.NoError(t, err)
	return s
}

// eventsOf reads the lines of a posted batch.
func eventsOf(r *http.Request) []string {
	var body io.Reader = r.Body
	switch r.Header.Get("Content-Encoding") {
	case "zstd":
		d, err := zstd.NewReader(r.Body)
		if err != nil {
			return nil
		}
		defer d.Close()
		body = d
	case "gzip":
		d, err := gzip.NewReader(r.Body)
		if err != nil {
			return nil
		}
		body = d
	}
	text, err := io.ReadAll(body)
	if err != nil {
		return nil
	}
	return strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
}

func accept(w http.ResponseWriter, n int) {
	_, _ = fmt.Fprintf(w, `{"accepted":%d,"duplicates":0,"rejected":[]}`, n)
}

func refuse(w http.ResponseWriter, status int, code string) {
	w.WriteHeader(status)
	_, _ = fmt.Fprintf(w, `{"error":{"code":%q,"message":"no"}}`, code)
}

func batch(n int) (lines [][]byte) {
	for i := range n {
		lines = append(lines, fmt.Appendf(nil, `{"eventId":"e%d"}`, i))
	}
	return lines
}

func TestABatchArrivesAsItWasWithTheKeyInEachCompression(t *testing.T) {
	for _, compression := range []Compression{Zstd, Gzip, Uncompressed} {
		t.Run(string(compression), func(t *testing.T) {
			var got []string
			c, _ := start(t, func(w http.ResponseWriter, r *http.Request) {
				if r.Header.Get("Authorization") != "Bearer secret" || r.URL.Path != "/api/events/batch" {
					refuse(w, http.StatusUnauthorized, "unauthorized")
					return
				}
				events := eventsOf(r)
				got = append(got, events...)
				accept(w, len(events))
			})
			s := sender(t, c, compression)
			for range 2 { // buffers are reused
				sum, err := s.Send(t.Context(), batch(3))
				require.NoError(t, err)
				require.Equal(t, Ingested{Accepted: 3}, sum)
			}
			one := []string{`{"eventId":"e0"}`, `{"eventId":"e1"}`, `{"eventId":"e2"}`}
			require.Equal(t, append(one, one...), got)
		})
	}
}

func TestABusyServerIsAskedAgainWhenItSaysSo(t *testing.T) {
	for _, status := range []int{429, 503} {
		calls := 0
		c, k := start(t, func(w http.ResponseWriter, r *http.Request) {
			if calls++; calls < 3 {
				w.Header().Set("Retry-After", "7")
				refuse(w, status, "overloaded")
				return
			}
			accept(w, len(eventsOf(r)))
		})
		sum, err := sender(t, c, Zstd).Send(t.Context(), batch(2))
		require.NoError(t, err)
		require.EqualValues(t, 2, sum.Accepted)
		require.Equal(t, []time.Duration{7 * time.Second, 7 * time.Second}, k.waits)
		require.EqualValues(t, 2, c.Retries())
	}
}

func TestACutConnectionIsAnsweredBySendingTheSameEventsAgain(t *testing.T) {
	var bodies []string
	c, k := start(t, func(w http.ResponseWriter, r *http.Request) {
		bodies = append(bodies, strings.Join(eventsOf(r), "\n"))
		if len(bodies) < 4 {
			panic(http.ErrAbortHandler)
		}
		accept(w, 2)
	})
	sum, err := sender(t, c, Zstd).Send(t.Context(), batch(2))
	require.NoError(t, err)
	require.EqualValues(t, 2, sum.Accepted)
	require.Len(t, k.waits, 3)
	for _, body := range bodies {
		require.Equal(t, bodies[0], body)
	}
}

func TestWaitsGrowAndEndWithAnError(t *testing.T) {
	c, k := start(t, func(w http.ResponseWriter, _ *http.Request) { refuse(w, 503, "overloaded") })
	begin := k.now
	_, err := sender(t, c, Zstd).Send(t.Context(), batch(1))
	require.ErrorContains(t, err, "given up after")
	require.ErrorContains(t, err, "overloaded")
	require.LessOrEqual(t, k.now.Sub(begin), 2*time.Minute)
	require.Greater(t, len(k.waits), 5)
	for i, d := range k.waits {
		require.LessOrEqual(t, d, min(firstWait<<i, maxWait)+firstWait/2)
	}
}

func TestACanceledContextEndsTheTries(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	c, _ := start(t, func(w http.ResponseWriter, _ *http.Request) {
		cancel()
		refuse(w, 503, "overloaded")
	})
	_, err := sender(t, c, Zstd).Send(ctx, batch(1))
	require.ErrorIs(t, err, context.Canceled)
}

func TestNobodyAtTheAddressIsSaidAtOnce(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	server.Close()
	k := &clock{now: time.Unix(0, 0)}
	c, err := New(Options{Server: server.URL, Wait: k.wait, Now: k.read})
	require.NoError(t, err)
	_, err = sender(t, c, Zstd).Send(t.Context(), batch(1))
	require.ErrorContains(t, err, "spoor serve")
	require.Empty(t, k.waits)
	require.ErrorContains(t, c.Ready(t.Context()), "spoor serve")
}

func TestAnAnswerThatTryingAgainDoesNotHelpIsAnError(t *testing.T) {
	for _, status := range []int{401, 403, 404, 507} {
		c, k := start(t, func(w http.ResponseWriter, _ *http.Request) { refuse(w, status, "stop") })
		_, err := sender(t, c, Zstd).Send(t.Context(), batch(5))
		var e *Error
		require.ErrorAs(t, err, &e)
		require.Equal(t, status, e.Status)
		require.Empty(t, k.waits)
	}
}

func TestARejectKeepsItsPlaceInTheBatch(t *testing.T) {
	for _, status := range []int{200, 400} { // 400: none of them was taken
		c, _ := start(t, func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(status)
			if status == 200 {
				_, _ = io.WriteString(w, `{"accepted":1,"duplicates":1,"rejected":[{"index":1,"eventId":"e1","code":"no_person","message":"m"}]}`)
				return
			}
			_, _ = io.WriteString(w, `{"error":{"code":"x","message":"y"},"accepted":0,"duplicates":0,"rejected":[{"index":0,"code":"a","message":"m"},{"index":1,"code":"a","message":"m"},{"index":2,"code":"a","message":"m"}]}`)
		})
		sum, err := sender(t, c, Zstd).Send(t.Context(), batch(3))
		require.NoError(t, err)
		if status == 200 {
			require.Equal(t, Ingested{1, 1, []Reject{{1, "e1", "no_person", "m"}}}, sum)
		} else {
			require.Len(t, sum.Rejected, 3)
		}
	}
}

// strictServer refuses a batch whole for one line that is no JSON, and for more
// than most lines or a line longer than longest.
func strictServer(most, longest int) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		events := eventsOf(r)
		if len(events) > most {
			refuse(w, 413, "too_many_events")
			return
		}
		for _, e := range events {
			if len(e) > longest {
				refuse(w, 413, "too_large")
				return
			}
			if !json.Valid([]byte(e)) || e[0] != '{' {
				refuse(w, 400, "malformed_json")
				return
			}
		}
		accept(w, len(events))
	}
}

func TestOneBadLineDoesNotCostTheOthers(t *testing.T) {
	c, k := start(t, strictServer(1000, 1000))
	lines := batch(100)
	lines[0] = []byte(`{"eventId":`)
	lines[41] = []byte(`[1]`) // JSON, but no event
	lines[42] = []byte(`{} {}`)
	lines[99] = []byte(`eventId,userId`)
	sum, err := sender(t, c, Zstd).Send(t.Context(), lines)
	require.NoError(t, err)
	require.EqualValues(t, 96, sum.Accepted)
	var at []int
	for _, r := range sum.Rejected {
		at = append(at, r.Index)
	}
	require.Equal(t, []int{0, 41, 42, 99}, at)
	require.Empty(t, k.waits)
}

func TestABatchThatIsTooLargeIsSentInParts(t *testing.T) {
	c, _ := start(t, strictServer(30, 100))
	lines := batch(100)
	lines[7] = append([]byte(`{"eventId":"`), append(bytes.Repeat([]byte{'x'}, 200), `"}`...)...)
	sum, err := sender(t, c, Gzip).Send(t.Context(), lines)
	require.NoError(t, err)
	require.EqualValues(t, 99, sum.Accepted)
	require.Len(t, sum.Rejected, 1)
	require.Equal(t, 7, sum.Rejected[0].Index)
	require.Equal(t, "too_large", sum.Rejected[0].Code)
}

func TestAnAnswerThatDoesNotCountEveryEventIsAnError(t *testing.T) {
	c, _ := start(t, func(w http.ResponseWriter, _ *http.Request) { accept(w, 2) })
	_, err := sender(t, c, Zstd).Send(t.Context(), batch(3))
	require.ErrorContains(t, err, "2 events of 3")
}

func TestAQueryErrorCarriesItsPlace(t *testing.T) {
	c, k := start(t, func(w http.ResponseWriter, r *http.Request) {
		var q struct{ Query string }
		if json.NewDecoder(r.Body).Decode(&q) != nil || q.Query != "funel" {
			accept(w, 0)
			return
		}
		w.WriteHeader(400)
		_, _ = io.WriteString(w, `{"error":{"code":"syntax","message":"unknown","line":1,"column":3,"hint":"did you mean funnel?"}}`)
	})
	_, err := c.Query(t.Context(), "funel", false)
	var e *Error
	require.ErrorAs(t, err, &e)
	require.Equal(t, Error{400, "syntax", "unknown", 1, 3, "did you mean funnel?"}, *e)
	require.Empty(t, k.waits)
}

func TestAQuestionThatFailedIsNotAskedAgain(t *testing.T) {
	for status, code := range map[int]string{500: "internal", 503: "timeout", 422: "query_limit"} {
		c, k := start(t, func(w http.ResponseWriter, _ *http.Request) { refuse(w, status, code) })
		_, err := c.Query(t.Context(), "q", false)
		require.ErrorContains(t, err, code)
		require.Empty(t, k.waits)
	}
}

func TestAQuestionWaitsForABusyServerNoLongerThanAPersonWould(t *testing.T) {
	c, k := start(t, func(w http.ResponseWriter, _ *http.Request) { refuse(w, 503, "overloaded") })
	begin := k.now
	_, err := c.Query(t.Context(), "q", false)
	require.ErrorContains(t, err, "overloaded")
	require.NotEmpty(t, k.waits)
	require.LessOrEqual(t, k.now.Sub(begin), maxPatience)
}

func TestExplainIsAskedForInTheAddress(t *testing.T) {
	c, _ := start(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = fmt.Fprintf(w, `{"explain":%q}`, r.URL.Query().Get("explain"))
	})
	answer, err := c.Query(t.Context(), "q", true)
	require.NoError(t, err)
	require.JSONEq(t, `{"explain":"1"}`, string(answer))
}

func TestAnAnswerThatIsNoJSONIsNotTakenForOne(t *testing.T) {
	c, _ := start(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "<html>") })
	_, err := c.Query(t.Context(), "q", false)
	require.ErrorContains(t, err, "is it a Spoor server?")
}

func TestReadyTellsWhyAServerIsNot(t *testing.T) {
	c, _ := start(t, func(w http.ResponseWriter, _ *http.Request) { refuse(w, 503, "starting") })
	require.ErrorContains(t, c.Ready(t.Context()), "starting")
	c, _ = start(t, func(http.ResponseWriter, *http.Request) {})
	require.NoError(t, c.Ready(t.Context()))
}

func TestWaitingForAServerEndsWhenItIsReadyOrTheTimeIsOver(t *testing.T) {
	looks := 0
	c, k := start(t, func(w http.ResponseWriter, _ *http.Request) {
		if looks++; looks < 4 {
			refuse(w, 503, "starting")
		}
	})
	require.NoError(t, c.WaitReady(t.Context(), time.Second))
	require.Len(t, k.waits, 3)

	c, k = start(t, func(w http.ResponseWriter, _ *http.Request) { refuse(w, 503, "starting") })
	begin := k.now
	require.ErrorContains(t, c.WaitReady(t.Context(), time.Second), "starting")
	require.Equal(t, time.Second, k.now.Sub(begin))
}

func TestRetryAfterIsSecondsOrADate(t *testing.T) {
	now := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	for header, want := range map[string]time.Duration{
		"": 0, "0": 0, "12": 12 * time.Second, "-1": 0, "soon": 0,
		"Fri, 01 May 2026 12:00:30 GMT": 30 * time.Second,
		"Fri, 01 May 2026 11:00:00 GMT": 0,
	} {
		require.Equal(t, want, retryAfter(header, now), header)
	}
}

func TestAnAddressThatIsNoneIsRefused(t *testing.T) {
	for _, server := range []string{"", "127.0.0.1:7480", "ftp://x", "http://"} {
		_, err := New(Options{Server: server})
		require.ErrorContains(t, err, "is not the URL of a server", server)
	}
}
