package query_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"spoor/engine"
	"spoor/engine/query"
)

// did stores what persons did: who, what, when and on which device.
func did(t *testing.T, events ...[4]string) (*engine.DB, *query.Engine) {
	t.Helper()
	db := openStore(t)
	var lines [][]byte
	for i, e := range events {
		lines = append(lines, fmt.Appendf(nil, `{"eventId":"e%d","userId":%q,"eventName":%q,"timestamp":%q,"context":{"device":%q}}`, i, e[0], e[1], e[2], e[3]))
	}
	load(t, db, lines, len(lines))
	return db, newEngine(db)
}

const may = " from 2026-05-01 to 2026-06-01"

func TestOneEventDoesNotServeTwoSteps(t *testing.T) {
	_, e := did(t,
		[4]string{"once", "a", "2026-05-02T10:00:00Z", "x"},
		[4]string{"twice", "a", "2026-05-02T10:00:00Z", "x"}, [4]string{"twice", "a", "2026-05-02T10:00:00Z", "x"})
	require.Equal(t, []int{2, 1}, users(ask[*query.FunnelAnswer](t, e, "funnel a -> a within 1h"+may)))
}

func TestTheWindowRunsFromTheFirstStepAndDoesNotBeginAnew(t *testing.T) {
	_, e := did(t,
		[4]string{"u", "a", "2026-05-02T10:00:00Z", "x"},
		[4]string{"u", "b", "2026-05-02T10:50:00Z", "x"},
		[4]string{"u", "c", "2026-05-02T11:40:00Z", "x"})
	require.Equal(t, []int{1, 1, 0}, users(ask[*query.FunnelAnswer](t, e, "funnel a -> b -> c within 1h"+may)))
	require.Equal(t, []int{1, 1, 1}, users(ask[*query.FunnelAnswer](t, e, "funnel a -> b -> c within 100m"+may)))
}

func TestStepsOfOneTimeConvertWhateverTheOrderOfArrival(t *testing.T) {
	_, e := did(t,
		[4]string{"u", "c", "2026-05-02T10:00:00Z", "x"},
		[4]string{"u", "b", "2026-05-02T10:00:00Z", "x"},
		[4]string{"u", "a", "2026-05-02T10:00:00Z", "x"})
	for _, order := range []string{"", " order strict", " order any"} {
		require.Equal(t, []int{1, 1, 1}, users(ask[*query.FunnelAnswer](t, e, "funnel a -> b -> c within 1h"+order+may)), order)
	}
}

func TestAValueThatChangesOnTheWayDoesNotSplitAPerson(t *testing.T) {
	_, e := did(t,
		[4]string{"u", "a", "2026-05-02T10:00:00Z", "phone"},
		[4]string{"u", "b", "2026-05-02T10:01:00Z", "desk"})
	for at, device := range map[string]string{"": "phone", " at step 1": "phone", " at step 2": "desk", " at last": "desk"} {
		f := ask[*query.FunnelAnswer](t, e, "funnel a -> b within 1h by context.device"+at+may)
		require.Len(t, f.Groups, 1, at)
		require.Equal(t, []any{device}, f.Groups[0].Key, at)
		require.Equal(t, 1, f.Groups[0].Steps[1].Users, at)
	}
}

func TestLateEntrantsConvertBehindTheRangeAndThoseWhoStillCanAreNamed(t *testing.T) {
	_, e := did(t,
		[4]string{"late", "a", "2026-05-31T23:59:00Z", "x"}, [4]string{"late", "b", "2026-06-01T00:30:00Z", "x"},
		[4]string{"running", "a", "2026-05-31T23:59:30Z", "x"},
		[4]string{"missed", "a", "2026-05-02T10:00:00Z", "x"})
	f := ask[*query.FunnelAnswer](t, e, "funnel a -> b within 1h"+may)
	require.Equal(t, []int{3, 1}, users(f))
	require.Equal(t, 1, f.Open)
	require.Equal(t, "2026-06-01T00:30:00Z", *f.AsOf.DataThrough)
}

func TestDataThroughIsNoTimeInAnEmptyStoreAndOneBefore1970InAnOldOne(t *testing.T) {
	require.Nil(t, ask[*query.TrendAnswer](t, newEngine(openStore(t)), "trend count of any"+may).AsOf.DataThrough)
	_, e := did(t, [4]string{"u", "a", "1955-05-02T10:00:00Z", "x"})
	f := ask[*query.FunnelAnswer](t, e, "funnel a -> b within 1h from 1950-01-01 to 1960-01-01")
	require.Equal(t, "1955-05-02T10:00:00Z", *f.AsOf.DataThrough)
	require.Equal(t, 1, f.Open)
}

func TestDaysHaveTheLengthThatTheirTimeZoneGivesThem(t *testing.T) {
	for zone, hours := range map[string][]int{
		"Europe/Berlin":     {24, 23, 24}, // 29 March 2026
		"America/St_Johns":  {24, 24, 24},
		"Asia/Kathmandu":    {24, 24, 24},
		"Africa/Casablanca": {24, 24, 24},
		"Pacific/Apia":      {24, 24, 24},
	} {
		var events [][4]string
		for d := 27; d <= 31; d++ {
			for h := range 24 {
				events = append(events, [4]string{"u", "a", fmt.Sprintf("2026-03-%02dT%02d:00:00Z", d, h), "x"})
			}
		}
		_, e := did(t, events...)
		a := ask[*query.TrendAnswer](t, e, `trend count of a every day from 2026-03-28 to 2026-03-31 tz "`+zone+`"`)
		for i, want := range hours {
			require.Equal(t, float64(want), *a.Series[0].Points[i].Value, "%s day %d", zone, i)
		}
	}
}
