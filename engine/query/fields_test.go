package query_test

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"spoor/engine/query"
)

// shopOf are purchases of some persons over three days.
func shopOf(t *testing.T, persons int) *query.Engine {
	t.Helper()
	db := openStore(t)
	var lines [][]byte
	for day := range 3 {
		for p := range persons {
			lines = append(lines, fmt.Appendf(nil, `{"eventId":"%d-%d","userId":"u%d","eventName":"purchase","timestamp":"2026-05-0%dT10:00:00Z","properties":{"price":%d,"item":{"size":"l"}},"context":{"device":"phone"}}`,
				day, p, p, day+1, p%7))
		}
	}
	load(t, db, lines, 500)
	_, err := db.Checkpoint(context.Background())
	require.NoError(t, err)
	return newEngine(db)
}

func warnings(t *testing.T, a query.Answer) []string {
	t.Helper()
	b, err := json.Marshal(a)
	require.NoError(t, err)
	var common query.Common
	require.NoError(t, json.Unmarshal(b, &common))
	return common.Warnings
}

const threeDays = " from 2026-05-01 to 2026-05-04"

func TestAFieldThatNoEventHasIsAWarningWithTheNearestName(t *testing.T) {
	e := shopOf(t, 5)
	for text, want := range map[string]string{
		"trend count of purchase where pryce > 3" + threeDays:               `no event has the field properties.pryce; did you mean "properties.price"?`,
		"trend sum(prize) of purchase" + threeDays:                          `no event has the field properties.prize; did you mean "properties.price"?`,
		"funnel purchase -> purchase by context.devise" + threeDays:         `no event has the field context.devise; did you mean "context.device"?`,
		"top nothing of purchase" + threeDays:                               `no event has the field properties.nothing`,
		"attribution purchase by context.campaign touch any" + threeDays:    `no event has the field context.campaign`,
		"trend count of purchase[item.colour exists] every day" + threeDays: `no event has the field properties.item.colour`,
	} {
		a, err := e.Ask(context.Background(), text)
		require.NoError(t, err, text)
		require.Equal(t, []string{want}, warnings(t, a), text)
	}
	for _, text := range []string{
		"trend sum(price) of purchase where context.device exists" + threeDays,
		"trend count of purchase where item exists and item.size = \"l\"" + threeDays, // an object is no value, and no unknown field
	} {
		a, err := e.Ask(context.Background(), text)
		require.NoError(t, err, text)
		require.Empty(t, warnings(t, a), text)
	}
}

func TestAnAnswerSaysHowManyBlocksItReadAndPassedBy(t *testing.T) {
	e := shopOf(t, 20) // a block a day
	top := ask[*query.TopAnswer](t, e, "top price of purchase from 2026-05-01 to 2026-05-02")
	require.Positive(t, top.Stats.BlocksRead)
	require.Zero(t, top.Stats.BlocksSkipped)
	counted := ask[*query.TrendAnswer](t, e, "trend count of purchase"+threeDays)
	require.Zero(t, counted.Stats.BlocksRead, "the directory of the file knows it")
	require.EqualValues(t, 3, counted.Stats.BlocksSkipped)
	one := ask[*query.EventsAnswer](t, e, `events of purchase user "u7"`+threeDays)
	require.Len(t, one.Events, 3)
	require.Positive(t, one.Stats.BlocksRead)
}
