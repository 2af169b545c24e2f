package render

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/cockroachdb/datadriven"
	"github.com/stretchr/testify/require"
)

// TestAnswersLookAsTheFilesShow runs testdata/*: an answer and what is shown of
// it. "go test ./tools/internal/render -rewrite" writes them anew.
func TestAnswersLookAsTheFilesShow(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			o := Options{Format: Format(d.Cmd), Width: 120, Color: d.HasArg("color")}
			var out, notes bytes.Buffer
			if err := Answer(&out, &notes, json.RawMessage(d.Input), o); err != nil {
				return "error: " + err.Error() + "\n"
			}
			if notes.Len() > 0 {
				out.WriteString("-- notes --\n" + notes.String())
			}
			return string(bytes.ReplaceAll(out.Bytes(), []byte("\x1b"), []byte("ESC")))
		})
	})
}

func TestNumbersReadWell(t *testing.T) {
	for n, want := range map[int64]string{0: "0", 7: "7", 999: "999", 1000: "1,000", -1234567: "-1,234,567", 100000: "100,000"} {
		require.Equal(t, want, thousands(n))
	}
	for v, want := range map[float64]string{0: "0", 0.5: "0.5", 0.12345: "0.1235", 12.5: "12.5", 1234.567: "1,234.57", 3: "3", -2.5: "-2.5", 1e20: "1e+20", 0.00001: "1e-05"} {
		require.Equal(t, want, decimals(v))
	}
	for seconds, want := range map[float64]string{0.25: "250 ms", 12.34: "12.3 s", 90: "1 m 30 s", 3700: "1 h 01 m", 200000: "2 d 07 h"} {
		require.Equal(t, want, duration(seconds))
	}
	for at, want := range map[string]string{
		"2026-05-01T00:00:00Z": "2026-05-01", "2026-05-01T10:30:00Z": "2026-05-01 10:30",
		"2026-05-01T10:30:05.25Z": "2026-05-01 10:30:05.25", "2026-05-01T00:00:00+02:00": "2026-05-01", "soon": "soon",
	} {
		require.Equal(t, want, moment(at))
	}
}

func TestABarGrowsWithItsShareAndFillsItsWidth(t *testing.T) {
	require.Empty(t, bar(0, 10))
	require.Empty(t, bar(-1, 10))
	require.Equal(t, "▏", bar(0.0001, 10))
	require.Equal(t, "█████", bar(0.5, 10))
	require.Equal(t, "██████████", bar(1, 10))
	require.Equal(t, "██████████", bar(7, 10))
	eighths := func(text string) (n int) {
		for _, r := range text {
			n += 1 + int('▏'-r) // ▏ to █ are eight neighbours, the full one first
		}
		return n
	}
	for i := 1; i <= 80; i++ {
		require.Equal(t, i, eighths(bar(float64(i)/80, 10)))
	}
}

func TestASparklineThinsWhatIsTooWide(t *testing.T) {
	require.Equal(t, "▁▅█", sparkline([]float64{0, 5, 9.9}, 10))
	require.Equal(t, "▁▁", sparkline([]float64{0, 0}, 10))
	require.Equal(t, "██", sparkline([]float64{1, 1, 1, 1}, 2))
}

func TestTheCaretStandsUnderTheCharacter(t *testing.T) {
	require.Equal(t, "  funnel a wihtin 7d\n           ^", Caret("funnel a wihtin 7d", 1, 10))
	require.Equal(t, "  b\n   ^", Caret("a\r\nb\r\nc", 2, 2), "behind the last character")
	require.Equal(t, "  \tx y\n  \t  ^", Caret("\tx y", 1, 4))
	require.Equal(t, "  日本 x\n       ^", Caret("日本 x", 1, 4), "wide characters take two columns")
	for _, place := range [][2]int{{0, 1}, {1, 0}, {2, 1}, {1, 9}} {
		require.Empty(t, Caret("a", place[0], place[1]))
	}
}

func TestNothingFromAnEventReachesTheTerminalAsACommand(t *testing.T) {
	answer := `{"kind":"top","values":[{"value":"a\u001b[31mb\n\u202ec","count":1,"users":1}]}`
	var out bytes.Buffer
	require.NoError(t, Answer(&out, &out, json.RawMessage(answer), Options{Format: Table}))
	require.NotContains(t, out.String(), "\x1b")
	require.NotContains(t, out.String(), "\u202e")
	require.Contains(t, out.String(), "a\ufffd[31mb\ufffd\ufffdc")
}

func FuzzNoAnswerBreaksAPicture(f *testing.F) {
	for kind := range pictures {
		f.Add([]byte(`{"kind":"` + kind + `","steps":[],"groups":[{"key":[1]}],"points":[{"t":"x"}],"series":[{}],"cohorts":[{"retained":[1]}],"values":[{}],"events":[{}]}`))
	}
	f.Add([]byte(`{"kind":"x","a":[1,{"b":2},[3]],"c":{"d":1}}`))
	f.Fuzz(func(t *testing.T, answer []byte) {
		for _, format := range []Format{Table, CSV, JSON} {
			var out bytes.Buffer
			_ = Answer(&out, &out, answer, Options{Format: format, Color: true})
		}
	})
}

func TestRowsSayWhichColumnsAreNumbers(t *testing.T) {
	columns, rows, err := Rows([]byte(`{"kind":"trend","by":["plan"],"series":[{"measure":"users","event":"any","key":["=pro"],"points":[{"t":"2026-05-01T00:00:00Z","value":12}]}]}`))
	require.NoError(t, err)
	require.Equal(t, []Column{{Name: "t"}, {Name: "measure"}, {Name: "event"}, {Name: "plan"}, {Name: "value", Number: true}}, columns)
	require.Equal(t, [][]string{{"2026-05-01T00:00:00Z", "users", "any", "=pro", "12"}}, rows)
	columns, rows, err = Rows([]byte(`{"kind":"funnel","steps":[{"event":"a","users":2,"conversion":1,"step_conversion":1,"median_seconds":null}]}`))
	require.NoError(t, err)
	require.Equal(t, "step event users", columns[1].Name+" "+columns[2].Name+" "+columns[3].Name)
	require.True(t, columns[1].Number && !columns[2].Number && columns[6].Number)
	require.Equal(t, []string{"", "1", "a", "2", "1", "1", ""}, rows[0])
	_, _, err = Rows([]byte("nonsense"))
	require.Error(t, err)
}
