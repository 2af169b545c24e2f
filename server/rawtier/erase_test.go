package rawtier_test

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"spoor/engine/erasure"
	"spoor/server/rawtier"
)

func TestAnErasureReachesDaysThatHaveNoEventOfThePersonButItsId(t *testing.T) {
	w := newWorld(t, directory(t))
	w.fill(3, 100, 4)
	w.now = day0.AddDate(0, 0, 3)
	w.send("", `{"eventId":"own","eventName":"view","userId":"gone","anonymousId":"shared-phone","timestamp":"2026-05-01T12:00:00Z","properties":{"n":1}}`)
	w.send("", `{"eventId":"others","eventName":"view","userId":"u1","anonymousId":"shared-phone","timestamp":"2026-05-02T12:00:00Z","properties":{"n":1}}`)
	w.at(4, 2)
	w.round()
	before := w.days()
	require.NotEmpty(t, before[0].Who)
	w.erase(&erasure.Request{Kind: erasure.Person, User: "gone"}, func(_, sent string) bool { return strings.Contains(sent, `"gone"`) })
	w.sent["others"] = strings.Replace(w.sent["others"], `"anonymousId":"shared-phone",`, "", 1)
	w.round()
	w.now = w.now.Add(3 * time.Hour)
	w.round()
	require.NotContains(t, w.everything(), "shared-phone")
	w.check(day0.AddDate(0, 0, 3))
	after := w.days()
	require.NotEqual(t, before[0].Files, after[0].Files)
	require.NotEqual(t, before[1].Files, after[1].Files)
	require.Equal(t, before[2], after[2], "a day that it does not reach is as it was")

	w.erase(&erasure.Request{Kind: erasure.Field, Fields: []string{"properties.price"}}, func(string, string) bool { return false })
	w.round()
	w.now = w.now.Add(3 * time.Hour)
	w.round()
	require.NotContains(t, w.everything(), `"price"`, "ids do not tell of fields: all of each day is read")
}

// BenchmarkErasureOfOnePerson is a round after an erasure of somebody with one event: of SPOOR_EVENTS events over 30 days.
func BenchmarkErasureOfOnePerson(b *testing.B) {
	events := 30_000
	if n, err := strconv.Atoi(os.Getenv("SPOOR_EVENTS")); err == nil {
		events = n
	}
	w := newWorld(b, directory(b))
	w.opts.MinRows = 0 // the default
	w.restart()
	const days = 30
	for d := range days {
		var lines []string
		for i := range events / days {
			lines = append(lines, fmt.Sprintf(`{"eventId":"0196f0a0-0000-7000-8000-%012x","eventName":"%s","userId":"u%d","timestamp":%q,"properties":{"n":%d,"price":%d.5,"category":"c%d"},"context":{"country":"c%d","device":"d%d"}}`,
				d*events+i, []string{"view", "cart", "buy"}[i%3], i%5000, day0.AddDate(0, 0, d).Add(time.Duration(i)*time.Millisecond).Format(time.RFC3339Nano), i, i%70, i%20, i%30, i%3))
			if len(lines) == 4000 {
				w.sendAll("", lines...)
				lines = nil
			}
		}
		w.sendAll("", lines...)
	}
	for i := range 100 {
		w.now = day0.AddDate(0, 0, 12)
		w.send("", `{"eventId":"own-%d","eventName":"view","userId":"gone-%d","timestamp":"2026-05-12T12:00:00Z"}`, i, i)
	}
	w.at(days+2, 0)
	require.NoError(b, w.tier.Round(b.Context()))
	person := 0
	for _, c := range []struct {
		name     string
		erasures func() ([]erasure.Record, error)
	}{{"all of each day", nil}, {"ids of each day", w.opts.Erasures}} {
		b.Run(c.name, func(b *testing.B) {
			for b.Loop() {
				b.StopTimer()
				w.opts.Erasures = c.erasures
				w.tier = rawtier.New(w.store, w, w.opts)
				w.erase(&erasure.Request{Kind: erasure.Person, User: fmt.Sprintf("gone-%d", person)}, func(string, string) bool { return false })
				person++
				w.now = w.now.Add(time.Minute)
				b.StartTimer()
				require.NoError(b, w.tier.Round(b.Context()))
			}
		})
	}
}
