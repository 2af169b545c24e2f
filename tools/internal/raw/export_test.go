package raw_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"spoor/tools/internal/client"
	"spoor/tools/internal/raw"
)

// exporting is a server with some events, which cuts its answers off.
type exporting struct {
	lines []string
	cut   []int // of each answer: after so many lines; none: not
	asked []string
}

func (e *exporting) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var call struct {
		Cursor struct{ EventID string }
		Limit  int
	}
	_ = json.NewDecoder(r.Body).Decode(&call)
	e.asked = append(e.asked, fmt.Sprint(call.Cursor.EventID, "/", call.Limit))
	lines := e.lines
	for i, l := range lines {
		if strings.Contains(l, `"`+call.Cursor.EventID+`"`) && call.Cursor.EventID != "" {
			lines = lines[i+1:]
			break
		}
	}
	if call.Limit > 0 {
		lines = lines[:min(call.Limit, len(lines))]
	}
	if len(e.cut) > 0 {
		n := e.cut[0]
		e.cut = e.cut[1:]
		_, _ = w.Write([]byte(strings.Join(lines[:n], "") + lines[n][:3]))
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	}
	_, _ = w.Write([]byte(strings.Join(lines, "")))
}

func export(t *testing.T, e *exporting, c raw.Export) error {
	s := httptest.NewServer(e)
	defer s.Close()
	return c.Run(context.Background(), &raw.Console{Stdout: &bytes.Buffer{}, Stderr: &bytes.Buffer{}, Connect: func(n int) (*client.Client, error) {
		return client.New(client.Options{Server: s.URL, Connections: n, RetryFor: time.Second})
	}})
}

func TestAnExportThatIsCutOffGoesOnBehindItsLastWholeLine(t *testing.T) {
	e := &exporting{cut: []int{3, 0, 4}}
	for i := range 20 {
		e.lines = append(e.lines, fmt.Sprintf("{\"eventId\":\"e%d\",\"eventName\":\"a\"}\n", i))
	}
	all := e.lines
	out := filepath.Join(t.TempDir(), "out")
	require.NoError(t, export(t, e, raw.Export{Out: out, Format: "ndjson"}))
	got, err := os.ReadFile(out)
	require.NoError(t, err)
	require.Equal(t, strings.Join(e.lines, ""), string(got))
	require.Equal(t, []string{"/0", "e2/0", "e2/0", "e6/0"}, e.asked)

	require.NoError(t, os.WriteFile(out, []byte(strings.Join(e.lines[:7], "")+`{"eventId":"to`), 0o600))
	e.asked = nil
	require.NoError(t, export(t, e, raw.Export{Out: out, Format: "ndjson", Resume: true, Limit: 12}))
	got, err = os.ReadFile(out)
	require.NoError(t, err)
	require.Equal(t, strings.Join(e.lines[:12], ""), string(got))
	require.Equal(t, []string{"e6/5"}, e.asked)
	require.NoError(t, export(t, e, raw.Export{Out: out, Format: "ndjson", Resume: true, Limit: 12}), "nothing is left")
	require.Len(t, e.asked, 1)

	e.lines, e.cut = all, []int{0, 0, 0, 0, 0, 0, 0, 0}
	require.ErrorContains(t, export(t, e, raw.Export{Out: out, Format: "ndjson"}), "cut off after 0 events")
	require.Error(t, export(t, e, raw.Export{Out: "-", Format: "ndjson", Resume: true}))
	require.Error(t, export(t, e, raw.Export{Out: out, Format: "csv", Resume: true}))
}
