package query_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"spoor/engine/query"
)

// A bound that cuts nothing takes sessions event by event; without one they follow from
// pieces of days.
func TestSessionsAreTheSameFromPiecesOfDaysAndEventByEvent(t *testing.T) {
	for seed := range uint64(30) {
		r := rand.New(rand.NewPCG(seed, 7))
		db := openStore(t)
		begin := time.Date(2026, 5, 1, 0, 0, 0, 0, time.UTC)
		var lines [][]byte
		for i := range 400 {
			at := begin.Add(time.Duration(r.IntN(4*24*60)) * time.Minute)
			if r.IntN(2) == 0 { // near midnight
				at = begin.AddDate(0, 0, 1+r.IntN(3)).Add(time.Duration(r.IntN(180)-90) * time.Minute)
			}
			lines = append(lines, fmt.Appendf(nil, `{"eventId":"e%d","userId":"u%d","eventName":"n%d","timestamp":%q}`,
				i, r.IntN(12), r.IntN(5), at.Format(time.RFC3339)))
		}
		load(t, db, lines, 100)
		if seed%2 == 0 {
			require.NoError(t, db.Compact(context.Background()))
		}
		limits := query.DefaultLimits()
		limits.Workers = 1 + int(seed%3)
		e := query.New(db, limits, time.Now)
		for _, gap := range []string{"1m", "30m", "2h", "13h", "20h"} {
			for _, which := range []string{"", ` where eventName != "n3"`} { // the second cuts a list of events
				text := "sessions gap " + gap + which + " every day from 2026-05-01 to 2026-05-05"
				require.Equal(t, plain(t, ask[*query.SessionsAnswer](t, e, text+" max 3000d")), plain(t, ask[*query.SessionsAnswer](t, e, text)), "seed %d, %s", seed, text)
			}
		}
	}
}

// Sections of several blocks, of which a worker's persons begin and end within one.
func TestSessionsAreTheSameFromPiecesOfManyBlocks(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 8))
	db := openStore(t)
	begin := time.Date(2026, 5, 1, 0, 0, 0, 0, time.UTC)
	var lines [][]byte
	for i := range 40_000 {
		name := "often"
		if r.IntN(8) == 0 {
			name = fmt.Sprintf("n%d", r.IntN(4))
		}
		lines = append(lines, fmt.Appendf(nil, `{"eventId":"e%d","userId":"u%d","eventName":%q,"timestamp":%q}`,
			i, r.IntN(150), name, begin.Add(time.Duration(r.IntN(2*24*3600))*time.Second).Format(time.RFC3339)))
	}
	load(t, db, lines, 5000)
	require.NoError(t, db.Compact(context.Background()))
	for _, workers := range []int{1, 2, 5} {
		limits := query.DefaultLimits()
		limits.Workers = workers
		for _, rows := range []int{limits.Rows, 3000} {
			limits.Rows = rows
			e := query.New(db, limits, time.Now)
			for _, gap := range []string{"1s", "2m", "30m", "14h"} {
				text := "sessions gap " + gap + " every day from 2026-05-01 to 2026-05-03"
				want, got := plain(t, ask[*query.SessionsAnswer](t, e, text+" max 3000d")), plain(t, ask[*query.SessionsAnswer](t, e, text))
				require.Equal(t, want, got, "%d workers, %d rows, gap %s", workers, rows, gap)
			}
		}
	}
}
