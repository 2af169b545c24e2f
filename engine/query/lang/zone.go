package lang

import (
	_ "embed"
	"fmt"
	"strings"
	"time"
	_ "time/tzdata" // the rules are in the binary, on a machine without any too
)

// zones.txt is the list of the names of the IANA time zones, one a line, sorted
// by bytes. Only these are looked up, so that no text of a query becomes the
// path of a file.
//
//go:embed zones.txt
var zoneNames string

// LoadZone is the time zone with the given IANA name, exactly as the database spells it.
func LoadZone(name string) (*time.Location, error) {
	if name == "" || strings.ContainsRune(name, '\n') || !strings.Contains("\n"+zoneNames, "\n"+name+"\n") {
		return nil, fmt.Errorf("unknown time zone %q", name)
	}
	loc, err := time.LoadLocation(name)
	if err != nil {
		return nil, fmt.Errorf("load time zone %q: %w", name, err)
	}
	return loc, nil
}

// nearestZone is a hint for a name that is none.
func nearestZone(name string) string {
	if best := nearest(name, strings.Fields(zoneNames)); best != "" {
		return `did you mean "` + best + `"?`
	}
	return `write a name of the IANA database, such as "Europe/Berlin" or "UTC"`
}
