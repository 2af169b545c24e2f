package questions

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestTheMedianOfTheRunsAfterTheFirstCounts(t *testing.T) {
	took := []int{900, 5, 9, 1, 7, 3} // milliseconds; the first is for warmth
	now := time.Unix(0, 0)
	asked := 0
	rows, err := Measure(context.Background(), []Question{{"q", "trend count of any", 5 * time.Millisecond}}, 5,
		func() time.Time { return now },
		func(context.Context, string) error {
			now = now.Add(time.Duration(took[asked]) * time.Millisecond)
			asked++
			return nil
		})
	require.NoError(t, err)
	require.Equal(t, []Row{{Name: "q", Query: "trend count of any", Median: 5, Fastest: 1, Slowest: 9, Runs: 5, Mark: 5, Met: true}}, rows)
}

func TestAQuestionThatFailsEndsTheMeasurement(t *testing.T) {
	broken := errors.New("broken")
	_, err := Measure(context.Background(), All("u"), 1, time.Now, func(context.Context, string) error { return broken })
	require.ErrorIs(t, err, broken)
	require.ErrorContains(t, err, "funnel view_product")
}

func TestTheTableShowsTheMarkBesideTheFigure(t *testing.T) {
	rows := []Row{{Name: "quick", Median: 1, Mark: 2, Met: true}, {Name: "slow", Median: 3, Mark: 2}}
	var b strings.Builder
	require.NoError(t, WriteTable(&b, rows, true))
	require.Regexp(t, `quick +1\.00 .* 2 +met\n`, b.String())
	require.Regexp(t, `slow +3\.00 .* 2 +MISSED\n`, b.String())
	b.Reset()
	require.NoError(t, WriteTable(&b, rows, false))
	require.NotContains(t, b.String(), "mark")
}

func TestNumbersOfRunsHaveBounds(t *testing.T) {
	for _, runs := range []int{0, MaxRuns + 1} {
		_, err := Measure(context.Background(), All("u"), runs, time.Now, nil)
		require.Error(t, err)
	}
}
