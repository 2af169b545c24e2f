package export_test

import (
	"encoding/csv"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"spoor/server/export"
)

func TestACursorIsALineOrATimestampAndAnID(t *testing.T) {
	const at = 1_777_629_600_123_456
	for raw, want := range map[string]*export.Position{
		`null`:                                  nil,
		`""`:                                    nil,
		`"2026-05-01T10:00:00.123456Z,e1"`:      {Time: at, EventID: "e1"},
		`"2026-05-01T12:00:00.123456+02:00,e1"`: {Time: at, EventID: "e1"},
		`"1777629600123,a,\"b\""`:               {Time: at - 456, EventID: `a,"b"`},
		`{"eventId":"e1","eventName":"home","userId":"u","timestamp":"2026-05-01T10:00:00.123456Z","receivedAt":"2026-05-02T10:00:00.000Z","person":"u","properties":{"a":[1]}}`: {Time: at, EventID: "e1"},
		`{"eventId":"e1","eventName":"home","anonymousId":"u","receivedAt":"2026-05-01T10:00:00.123Z"}`:                                                                          {Time: at - 456, EventID: "e1"},
		`{"eventId":"0196F0A0-0000-7000-8000-000000000000","eventName":"h","userId":"u","timestamp":1777629600123}`:                                                              {Time: at - 456, EventID: "0196F0A0-0000-7000-8000-000000000000"},
	} {
		got, err := export.ReadCursor([]byte(raw))
		require.NoError(t, err, raw)
		require.Equal(t, want, got, raw)
	}
	for _, raw := range []string{`7`, `[]`, `"x"`, `"x,"`, `"soon,e1"`, `{}`, `{"eventId":"e1"}`, `{"eventId":1}`, `{"eventId":"e1","eventName":"a","userId":"u","receivedAt":"x"}`} {
		_, err := export.ReadCursor([]byte(raw))
		var fault *export.Fault
		require.ErrorAs(t, err, &fault, raw)
		require.Equal(t, "bad_cursor", fault.Code)
	}
}

func FuzzReadCursor(f *testing.F) {
	f.Add(`{"eventId":"e1","eventName":"home","userId":"u","timestamp":"2026-05-01T10:00:00Z"}`)
	f.Add(`"2026-05-01T10:00:00.123456Z,e1"`)
	f.Fuzz(func(t *testing.T, raw string) {
		if p, err := export.ReadCursor([]byte(raw)); err == nil && p != nil {
			require.NotEmpty(t, p.EventID)
		}
	})
}

func FuzzCSVCells(f *testing.F) {
	f.Add("=1+1", "a,b")
	f.Add("\"", "\r\n")
	f.Fuzz(func(t *testing.T, a, b string) {
		a, b = strings.ToValidUTF8(a, "?"), strings.ToValidUTF8(b, "?")
		c, err := export.NewCSV([]string{"a", "x.b"})
		require.NoError(t, err)
		event, err := json.Marshal(map[string]any{"a": a, "x": map[string]any{"b": b}})
		require.NoError(t, err)
		line, err := c.Line(nil, event)
		require.NoError(t, err)
		records, err := csv.NewReader(strings.NewReader("head,head\n" + string(line))).ReadAll()
		require.NoError(t, err)
		require.Len(t, records, 2)
		for i, want := range []string{a, b} {
			got := records[1][i]
			require.NotContains(t, "=+-@\t\r", first(got))
			if strings.ContainsAny(first(want), "=+-@\t\r") {
				want = "'" + want
			}
			require.Equal(t, strings.ReplaceAll(want, "\r\n", "\n"), got) // as encoding/csv reads
		}
	})
}

// first is the first byte, or something that is nowhere.
func first(s string) string {
	if s == "" {
		return "none"
	}
	return s[:1]
}

func TestAStreamTellsAnErrorBeforeItsFirstPieceAndIsCutOffByALaterOne(t *testing.T) {
	broken := errors.New("broken")
	early := export.NewStream(export.NDJSON{}, func() error { return nil })
	go early.Run(func(yield func([]byte) error) error {
		if err := yield([]byte("{}")); err != nil {
			return err
		}
		return broken
	})
	require.ErrorIs(t, early.Started(), broken)

	late := export.NewStream(export.NDJSON{}, func() error { return nil })
	go late.Run(func(yield func([]byte) error) error {
		for range 20_000 {
			if err := yield([]byte("{}")); err != nil {
				return err
			}
		}
		return broken
	})
	require.NoError(t, late.Started())
	got, err := io.ReadAll(late)
	require.ErrorIs(t, err, broken)
	require.NotEmpty(t, got)

	left := export.NewStream(export.NDJSON{}, func() error { return nil })
	ended := make(chan error, 1)
	go left.Run(func(yield func([]byte) error) error {
		for {
			if err := yield([]byte("{}")); err != nil {
				ended <- err
				return err
			}
		}
	})
	require.NoError(t, left.Started())
	require.NoError(t, left.Close())
	require.ErrorIs(t, <-ended, io.ErrClosedPipe)
}
