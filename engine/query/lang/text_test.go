package lang

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
	"github.com/stretchr/testify/require"
)

// The files under testdata are texts and what becomes of them: `parse` gives
// the canonical text or the error, `format` the layout, `resolved` the full
// text at 2026-05-10T12:00:00Z, `each` one line of `parse` per line of input.
func TestTextsAndWhatBecomesOfThem(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		if strings.Contains(path, "fuzz") {
			return
		}
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			switch d.Cmd {
			case "parse":
				return canonical(t, d.Input) + "\n"
			case "each":
				var b strings.Builder
				for _, text := range strings.Split(d.Input, "\n") {
					fmt.Fprintln(&b, canonical(t, text))
				}
				return b.String()
			case "format":
				text, err := Format(d.Input)
				require.NoError(t, err)
				requireRoundTrip(t, d.Input)
				return text + "\n"
			case "resolved":
				q, err := Parse(d.Input)
				require.NoError(t, err)
				full := q.Resolved(time.Date(2026, 5, 10, 12, 0, 0, 0, time.UTC))
				again, err := Parse(full)
				require.NoError(t, err)
				require.Equal(t, full, again.Resolved(time.Time{}))
				return full + "\n"
			}
			d.Fatalf(t, "unknown command %s", d.Cmd)
			return ""
		})
	})
}

// canonical is the canonical text, or the error.
func canonical(t *testing.T, text string) string {
	_, err := Parse(text)
	if err == nil {
		return requireRoundTrip(t, text).String()
	}
	var e *Error
	require.True(t, errors.As(err, &e))
	out := fmt.Sprintf("%d:%d %s: %s", e.Line, e.Column, e.Code, e.Message)
	if e.Hint != "" {
		out += "\n    hint: " + e.Hint
	}
	return out
}

func TestATextBeyondTheLimitsIsRefusedWithTheLimit(t *testing.T) {
	for _, c := range []struct{ text, message string }{
		{"events where " + strings.Repeat("x = 1 and ", MaxTextBytes/10) + "x = 1", "at most 65536 bytes"},
		{"funnel a" + strings.Repeat(" -> a", MaxSteps), "at most 64 steps"},
		{"events where x in (" + strings.Repeat("1,", MaxInValues) + "1)", "at most 10000 values"},
		{"events where " + strings.Repeat("(", MaxDepthOfExpr+1) + "x = 1", "at most 100 nested"},
		{"events where " + strings.Repeat("not ", MaxDepthOfExpr+1) + "x = 1", "at most 100 nested"},
		{`events where x matches "` + strings.Repeat("a", MaxRegexpBytes+1) + `"`, "at most 1000 bytes"},
		{"trend count" + strings.Repeat(", count", MaxSeries) + " of any", "at most 32 measures"},
		{"events of (a" + strings.Repeat(" or a", MaxEventNames) + ")", "at most 1000 events"},
		{"funnel a -> b" + strings.Repeat(" never c", MaxClauses+1), "at most 64 of `never`"},
		{"trend count of a by a, b, c, d, e, f, g, h, i", "at most 8 fields"},
		{"events where x = " + strings.Repeat("1", MaxNumberBytes+1), "at most 128 characters"},
		{`events after "` + strings.Repeat("1", MaxCursorBytes+1) + `"`, "at most 4096 bytes"},
		{`events where "` + strings.Repeat("k", 1024) + `" exists`, "at most 1024 bytes"},
	} {
		_, err := Parse(c.text)
		require.ErrorContains(t, err, c.message, c.text[:20])
		require.Equal(t, CodeLimit, err.(*Error).Code)
	}
}

func TestAnExpressionThatRepeatsItselfTooOftenIsRefused(t *testing.T) {
	_, err := Parse(`events where x matches "` + strings.Repeat("a{1000}", 11) + `"`)
	require.ErrorContains(t, err, "more than 10000")
}

func TestATextAtTheLimitsIsAccepted(t *testing.T) {
	for _, text := range []string{
		"funnel a" + strings.Repeat(" -> a", MaxSteps-1),
		"events where x in (" + strings.Repeat("1,", MaxInValues-1) + "1)",
		"events where " + strings.Repeat("(", MaxDepthOfExpr) + "x = 1" + strings.Repeat(")", MaxDepthOfExpr),
		`events where x matches "` + strings.Repeat("a", MaxRegexpBytes) + `"`,
		"funnel a -> b within 3660d",
	} {
		requireRoundTrip(t, text)
	}
}
