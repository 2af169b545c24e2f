package importer

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"spoor/tools/internal/client"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// store is a server that keeps events by eventId and rejects those without a person.
type store struct {
	mu      sync.Mutex
	events  map[string]string
	batches []int
	fail    func(batch int) int // status to answer with after the events are stored; 0: none
}

func (s *store) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var body io.Reader = r.Body
	if r.Header.Get("Content-Encoding") == "zstd" {
		d, err := zstd.NewReader(body)
		if err != nil {
			w.WriteHeader(400)
			return
		}
		defer d.Close()
		body = d
	}
	text, err := io.ReadAll(body)
	if err != nil {
		w.WriteHeader(400)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	answer := struct {
		Accepted   int              `json:"accepted"`
		Duplicates int              `json:"duplicates"`
		Rejected   []map[string]any `json:"rejected"`
	}{Rejected: []map[string]any{}}
	lines := strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
	s.batches = append(s.batches, len(lines))
	for i, line := range lines {
		var e struct{ EventID, UserID string }
		if err := json.Unmarshal([]byte(line), &e); err != nil || e.UserID == "" || e.EventID == "" {
			answer.Rejected = append(answer.Rejected, map[string]any{"index": i, "eventId": e.EventID, "code": "no_person", "message": "neither userId nor anonymousId"})
			continue
		}
		if _, ok := s.events[e.EventID]; ok {
			answer.Duplicates++
			continue
		}
		s.events[e.EventID] = line
		answer.Accepted++
	}
	if s.fail != nil {
		switch status := s.fail(len(s.batches)); status {
		case 0:
		case -1:
			panic(http.ErrAbortHandler)
		default:
			w.WriteHeader(status)
			return
		}
	}
	_ = json.NewEncoder(w).Encode(answer)
}

func serve(t *testing.T) (*store, *client.Client) {
	t.Helper()
	s := &store{events: map[string]string{}}
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	c, err := client.New(client.Options{Server: server.URL, Wait: func(context.Context, time.Duration) error { return nil }})
	require.NoError(t, err)
	t.Cleanup(c.Close)
	return s, c
}

func text(s string) Source { return Source{Name: "test.ndjson", In: strings.NewReader(s)} }

func numbered(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `{"eventId":"e%d","userId":"u"}`+"\n", i)
	}
	return b.String()
}

func TestAnImportStoresEveryEventOnceHoweverOftenItIsRepeated(t *testing.T) {
	s, c := serve(t)
	sum, err := New(c, Config{}).Run(t.Context(), []Source{text(numbered(2345))})
	require.NoError(t, err)
	require.EqualValues(t, 2345, sum.Accepted)
	require.EqualValues(t, 2345, sum.Events)
	require.Len(t, s.events, 2345)

	sum, err = New(c, Config{}).Run(t.Context(), []Source{text(numbered(2345))})
	require.NoError(t, err)
	require.EqualValues(t, 2345, sum.Duplicates)
	require.Len(t, s.events, 2345)
	for _, n := range s.batches {
		require.LessOrEqual(t, n, DefaultBatchLines)
	}
}

func TestAnAnswerThatGotLostCostsNothingButADuplicate(t *testing.T) {
	s, c := serve(t)
	s.fail = func(batch int) int { // stored, but the sender does not hear of it
		switch batch % 5 {
		case 1:
			return -1
		case 3:
			return 503
		}
		return 0
	}
	sum, err := New(c, Config{BatchLines: 10}).Run(t.Context(), []Source{text(numbered(300))})
	require.NoError(t, err)
	require.Len(t, s.events, 300)
	require.EqualValues(t, 300, sum.Accepted+sum.Duplicates)
	require.Positive(t, sum.Duplicates)
	require.Positive(t, sum.Retries)
}

func TestEveryKindOfFileIsReadByItsFirstBytes(t *testing.T) {
	plain := []byte(numbered(1000))
	var gz, gzTwo, zst bytes.Buffer
	pack := func(w io.WriteCloser, data []byte) {
		_, err := w.Write(data)
		require.NoError(t, err)
		require.NoError(t, w.Close())
	}
	pack(gzip.NewWriter(&gz), plain)
	half := bytes.LastIndexByte(plain[:len(plain)/2], '\n') + 1
	pack(gzip.NewWriter(&gzTwo), plain[:half])
	pack(gzip.NewWriter(&gzTwo), plain[half:])
	encoder, err := zstd.NewWriter(&zst)
	require.NoError(t, err)
	pack(encoder, plain)

	for name, data := range map[string][]byte{
		"plain": plain, "gzip": gz.Bytes(), "gzip of two members": gzTwo.Bytes(), "zstd": zst.Bytes(),
		"crlf and blank lines": bytes.ReplaceAll(plain, []byte("\n"), []byte("\r\n\r\n")),
		"no line end":          bytes.TrimSpace(plain),
		"byte order mark":      append([]byte("\ufeff"), plain...),
	} {
		t.Run(name, func(t *testing.T) {
			s, c := serve(t)
			path := filepath.Join(t.TempDir(), "events")
			require.NoError(t, os.WriteFile(path, data, 0o600))
			source, err := Open(path, nil)
			require.NoError(t, err)
			defer source.In.(io.Closer).Close()
			m := New(c, Config{})
			sum, err := m.Run(t.Context(), []Source{source})
			require.NoError(t, err)
			require.EqualValues(t, 1000, sum.Accepted)
			require.Len(t, s.events, 1000)
			require.EqualValues(t, len(data), sum.Bytes)
			require.Equal(t, source.Size, sum.Bytes)
			require.Equal(t, Progress{Bytes: sum.Bytes, Events: 1000}, m.Progress())
		})
	}
}

func TestAFileThatEndsInTheMiddleIsAnErrorThatNamesIt(t *testing.T) {
	var gz bytes.Buffer
	w := gzip.NewWriter(&gz)
	_, err := io.WriteString(w, numbered(5000))
	require.NoError(t, err)
	require.NoError(t, w.Close())
	_, c := serve(t)
	_, err = New(c, Config{}).Run(t.Context(), []Source{{Name: "cut.gz", In: bytes.NewReader(gz.Bytes()[:gz.Len()-20])}})
	require.ErrorContains(t, err, "cut.gz")
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
}

func TestARejectNamesItsFileAndLine(t *testing.T) {
	_, c := serve(t)
	var out bytes.Buffer
	first := "{\"eventId\":\"a\",\"userId\":\"u\"}\n\n{\"eventId\":\"b\"}\n"
	second := strings.Repeat("{\"eventId\":\"x\"}\n", 3)
	sum, err := New(c, Config{KeepRejects: 3, RejectsTo: &out}).Run(t.Context(), []Source{
		{Name: "one", In: strings.NewReader(first)}, {Name: "two", In: strings.NewReader(second)},
	})
	require.NoError(t, err)
	require.EqualValues(t, 4, sum.Rejected)
	require.Equal(t, 2, sum.Files)
	require.Len(t, sum.Rejects, 3)
	written := strings.Split(strings.TrimSpace(out.String()), "\n")
	require.Len(t, written, 4)
	require.Contains(t, out.String(), `{"file":"one","line":3,"eventId":"b","code":"no_person","message":"neither userId nor anonymousId","text":"{\"eventId\":\"b\"}"}`)
}

func TestRejectsComeInTheOrderOfTheFiles(t *testing.T) {
	_, c := serve(t)
	var sources []Source
	for _, name := range []string{"z", "y", "x"} {
		sources = append(sources, Source{Name: name, In: strings.NewReader("{}\n{}\n")})
	}
	sum, err := New(c, Config{KeepRejects: 10, BatchLines: 1}).Run(t.Context(), sources)
	require.NoError(t, err)
	var got []string
	for _, r := range sum.Rejects {
		got = append(got, fmt.Sprint(r.File, r.Line))
	}
	require.Equal(t, []string{"z1", "z2", "y1", "y2", "x1", "x2"}, got)
}

func TestALineBeyondTheBoundIsPassedOver(t *testing.T) {
	s, c := serve(t)
	long := `{"eventId":"long","userId":"` + strings.Repeat("x", MaxLineBytes) + `"}`
	sum, err := New(c, Config{KeepRejects: 5}).Run(t.Context(), []Source{text(numbered(2) + long + "\n" + `{"eventId":"after","userId":"u"}`)})
	require.NoError(t, err)
	require.EqualValues(t, 3, sum.Accepted)
	require.Contains(t, s.events, "after")
	require.Len(t, sum.Rejects, 1)
	require.Equal(t, "line_too_long", sum.Rejects[0].Code)
	require.EqualValues(t, 3, sum.Rejects[0].Line)
}

func TestManyEmptyFilesAreNoBurden(t *testing.T) {
	_, c := serve(t)
	sources := make([]Source, 100)
	for i := range sources {
		sources[i] = text("\n\n")
	}
	sum, err := New(c, Config{}).Run(t.Context(), sources)
	require.NoError(t, err)
	require.Equal(t, 100, sum.Files)
	require.Zero(t, sum.Events)
}

func TestAnArrayIsToldApartFromLines(t *testing.T) {
	_, c := serve(t)
	_, err := New(c, Config{}).Run(t.Context(), []Source{text(`[{"eventId":"a"}]`)})
	require.ErrorContains(t, err, "JSON array")
}

func TestAnErrorOfOneSenderEndsTheImport(t *testing.T) {
	s, c := serve(t)
	s.fail = func(batch int) int {
		if batch == 3 {
			return 401
		}
		return 0
	}
	_, err := New(c, Config{BatchLines: 1}).Run(t.Context(), []Source{text(numbered(10_000))})
	var e *client.Error
	require.ErrorAs(t, err, &e)
	require.Equal(t, 401, e.Status)
	require.ErrorContains(t, err, "test.ndjson, lines ")
}

func TestACanceledImportSaysWhatItDid(t *testing.T) {
	s, c := serve(t)
	ctx, cancel := context.WithCancel(t.Context())
	s.fail = func(batch int) int {
		if batch == 3 {
			cancel()
		}
		return 0
	}
	sum, err := New(c, Config{BatchLines: 10, Connections: 1}).Run(ctx, []Source{text(numbered(10_000))})
	require.ErrorIs(t, err, context.Canceled)
	require.GreaterOrEqual(t, sum.Accepted, int64(20))
	require.Less(t, sum.Accepted, int64(10_000))
}

func TestAFullDiskUnderTheRejectsEndsTheImport(t *testing.T) {
	_, c := serve(t)
	_, err := New(c, Config{RejectsTo: brokenWriter{}}).Run(t.Context(), []Source{text("{}\n")})
	require.ErrorIs(t, err, errBroken)
}

var errBroken = errors.New("broken")

type brokenWriter struct{}

func (brokenWriter) Write([]byte) (int, error) { return 0, errBroken }

func TestOpenRefusesWhatIsNoFile(t *testing.T) {
	_, err := Open(t.TempDir(), nil)
	require.ErrorContains(t, err, "is a directory")
	_, err = Open(filepath.Join(t.TempDir(), "none"), nil)
	require.ErrorIs(t, err, os.ErrNotExist)
	s, err := Open("-", strings.NewReader("x"))
	require.NoError(t, err)
	require.Zero(t, s.Size)
}
