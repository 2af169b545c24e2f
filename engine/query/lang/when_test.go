package lang

import (
	"archive/zip"
	"os/exec"
	"path/filepath"
	"sort"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestALocalTimeResolvesByTheRulesOfItsZone(t *testing.T) {
	for _, c := range []struct{ zone, local, utc string }{
		{"UTC", "2026-05-01", "2026-05-01T00:00:00Z"},
		{"Europe/Berlin", "2026-05-01", "2026-04-30T22:00:00Z"},
		{"Asia/Kathmandu", "2026-05-01", "2026-04-30T18:15:00Z"},
		{"Europe/Berlin", "2026-03-29T02:30", "2026-03-29T01:00:00Z"}, // skipped: the moment of the skip
		{"Europe/Berlin", "2026-10-25T02:30", "2026-10-25T00:30:00Z"}, // twice: the first
		{"Europe/Berlin", "2026-10-25T03:00", "2026-10-25T02:00:00Z"}, // behind both
		{"America/Sao_Paulo", "2018-11-04", "2018-11-04T03:00:00Z"},   // the day begins at one o'clock
		{"America/St_Johns", "2006-10-29", "2006-10-29T02:30:00Z"},    // midnight twice, from 00:01 back
		{"Pacific/Apia", "2011-12-30", "2011-12-30T10:00:00Z"},        // a day that did not exist
		{"Pacific/Apia", "2011-12-31", "2011-12-30T10:00:00Z"},        // begins where it would have
	} {
		loc, err := LoadZone(c.zone)
		require.NoError(t, err)
		at, ok := parseTime(c.local)
		require.True(t, ok)
		got := time.UnixMicro(at.Resolve(loc)).UTC().Format(time.RFC3339)
		require.Equal(t, c.utc, got, "%s in %s", c.local, c.zone)
	}
}

// The definition, spelled out minute by minute: the first moment of all whose
// clock shows the time or, if none does, the first whose clock is beyond it.
func TestResolvingAgreesWithWalkingThroughTheTransitions(t *testing.T) {
	for _, name := range []string{"Europe/Berlin", "America/St_Johns", "Asia/Kathmandu", "Africa/Casablanca", "Pacific/Apia", "Australia/Lord_Howe", "America/Sao_Paulo"} {
		loc, err := LoadZone(name)
		require.NoError(t, err)
		for _, year := range []int{2006, 2011, 2018, 2026} {
			at := time.Date(year, 1, 1, 0, 0, 0, 0, time.UTC)
			for at.Year() == year {
				_, end := at.In(loc).ZoneBounds()
				if end.IsZero() || end.UTC().Year() != year {
					break
				}
				checkAround(t, loc, end)
				at = end.UTC()
			}
		}
	}
}

func checkAround(t *testing.T, loc *time.Location, transition time.Time) {
	_, before := transition.Add(-time.Second).In(loc).Zone()
	walls := map[int64]int64{} // of each minute, the first moment
	for m := -30 * 60; m <= 30*60; m++ {
		at := transition.Add(time.Duration(m) * time.Minute)
		_, offset := at.In(loc).Zone()
		wall := at.UnixMicro() + int64(offset)*Second
		if _, ok := walls[wall]; !ok {
			walls[wall] = at.UnixMicro()
		}
	}
	for m := -3 * 60; m <= 3*60; m += 15 {
		local := transition.UnixMicro() + int64(before)*Second + int64(m)*Minute
		want, ok := walls[local]
		if !ok {
			want = transition.UnixMicro()
		}
		require.Equal(t, want, Time{Local: true, Micros: local}.Resolve(loc), "%s at %s", loc, transition)
	}
}

func TestARangeOfTheLastDaysEndsNow(t *testing.T) {
	q, err := Parse("sessions last 3d")
	require.NoError(t, err)
	now := time.Date(2026, 5, 10, 12, 0, 0, 0, time.UTC)
	from, to := q.Range.Resolve(now, q.Location())
	require.Equal(t, now.UnixMicro(), to)
	require.Equal(t, 3*Day, to-from)
}

func TestOnlyNamesOfTheDatabaseAreTimeZones(t *testing.T) {
	for _, name := range []string{"", "Local", "UTC+25", "../../etc/passwd", "Europe", "europe/berlin", "Europe/Berlin\n", "zone.tab", "posixrules", "Africa/Abidjan\nAfrica/Accra"} {
		_, err := LoadZone(name)
		require.Error(t, err, "%q", name)
	}
	for _, name := range strings.Fields(zoneNames) {
		_, err := LoadZone(name)
		require.NoError(t, err, name)
	}
}

func TestTheListOfTimeZonesIsThatOfTheToolchain(t *testing.T) {
	root, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		t.Skip("the toolchain is not here: ", err)
	}
	db, err := zip.OpenReader(filepath.Join(strings.TrimSpace(string(root)), "lib", "time", "zoneinfo.zip"))
	if err != nil {
		t.Skip("the toolchain's database is not here: ", err)
	}
	defer db.Close()
	known := strings.Fields(zoneNames)
	require.True(t, sort.StringsAreSorted(known))
	for _, f := range db.File {
		switch f.Name {
		case "Factory", "localtime", "posixrules":
			continue
		}
		if !strings.HasSuffix(f.Name, "/") {
			require.Contains(t, known, f.Name)
		}
	}
}
