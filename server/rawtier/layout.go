// Package rawtier keeps all events for years, in a directory or an object
// store, as Parquet that other engines read.
//
// On the way of an event it comes last: when a day is over and late events have
// had their time, the node that leads writes the day's events to files, puts them in
// the store, reads them back, and names them in the day's manifest. The manifest
// is the commit: a file that none names does not count. What the raw tier holds follows from
// what a view of the store holds; so every step may be cut off at any moment, and another
// leader goes on where the manifests say.
//
// The layout, drawn:
//
//	owner.json                                         which store it belongs to
//	manifest/date=2026-05-01.json                      the files of a day, see Day
//	manifest/erased.json, manifest/persons.json        see Erased and Persons
//	persons/persons-SHA.parquet                        who is who
//	manifest/governance.json                           what governs a store that is rebuilt, see Governance
//	governance/documents-SHA.ndjson, refused-, letters-
//	events/date=2026-05-01/hour=13/event=E/source=S/base-SHA.parquet
//	events/date=2026-05-01/hour=all/event=_rest/source=_rest/late-SHA.parquet
//
// See docs/scale.md for how to read it with other engines.
package rawtier

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"

	"spoor/segment"
)

// Names of the layout. Those that begin with "_" are no event's and no source's.
const (
	ownerKey      = "owner.json"
	manifestDir   = "manifest/"
	erasedKey     = manifestDir + "erased.json"
	personsKey    = manifestDir + "persons.json"
	governanceKey = manifestDir + "governance.json"
	governanceDir = "governance/"
	eventsDir     = "events/"
	personsDir    = "persons/"
	rest          = "_rest" // of events that are too few for a file of their own
	noSource      = "_none"
	allHours      = -1
)

// A name in a path has at most maxEscaped bytes; a longer one is cut and told apart by its hash.
const (
	maxEscaped  = 100
	cutEscaped  = 80
	hashDigits  = 16
	shaInName   = 32 // hexadecimal digits
	hexDigits   = "0123456789ABCDEF"
	plainLetter = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-"
)

// escape makes a part of a path of an event's name or a source, which may be anything.
func escape(name string) string {
	var b strings.Builder
	for i := range len(name) {
		c := name[i]
		if strings.IndexByte(plainLetter, c) >= 0 || c == '_' && i > 0 {
			b.WriteByte(c)
		} else {
			b.Write([]byte{'%', hexDigits[c>>4], hexDigits[c&15]})
		}
	}
	text := b.String()
	if len(text) <= maxEscaped {
		return text
	}
	cut := text[:cutEscaped]
	if i := strings.LastIndexByte(cut, '%'); i > len(cut)-3 {
		cut = cut[:i]
	}
	sum := sha256.Sum256([]byte(name))
	return cut + "~" + hex.EncodeToString(sum[:])[:hashDigits]
}

// dayName is a day as dates are written.
func dayName(day int32) string {
	return time.Unix(int64(day)*24*60*60, 0).UTC().Format(time.DateOnly)
}

func manifestKey(day int32) string { return manifestDir + "date=" + dayName(day) + ".json" }

func dayDir(day int32) string { return eventsDir + "date=" + dayName(day) + "/" }

// place is where the events of a file stand in the layout.
type place struct {
	hour          int // allHours: of the whole day
	event, source string
	rest          bool
}

var restPlace = place{hour: allHours, rest: true}

// dir is the directory of a place.
func (p place) dir(day int32) string {
	hour, event, source := "all", rest, rest
	if p.hour != allHours {
		hour = fmt.Sprintf("%02d", p.hour)
	}
	if !p.rest {
		event, source = escape(p.event), noSource
		if p.source != "" {
			source = escape(p.source)
		}
	}
	return dayDir(day) + "hour=" + hour + "/event=" + event + "/source=" + source + "/"
}

// group is what events are counted by.
type group struct {
	event, source string
	hour          int8
}

func hourOf(micros int64, day int32) int8 {
	return int8((micros - int64(day)*segment.MicrosPerDay) / (segment.MicrosPerDay / 24))
}

// DefaultMinRows is how many events a file has at least, but for one file of the
// rest per day, one for the small hours of a busy event, and late ones.
const DefaultMinRows = 10_000

// layOut says in which file the events of each group go. A day of n events has at most
// n/least + 1 files, and one more for each event of a source that fills 24 of them.
func layOut(counts map[group]int, least int) map[group]place {
	type pair struct{ event, source string }
	sums := map[pair]int{}
	for g, n := range counts {
		sums[pair{g.event, g.source}] += n
	}
	out := make(map[group]place, len(counts))
	for g, n := range counts {
		sum := sums[pair{g.event, g.source}]
		switch {
		case sum >= 24*least && n >= least:
			out[g] = place{hour: int(g.hour), event: g.event, source: g.source}
		case sum >= least:
			out[g] = place{hour: allHours, event: g.event, source: g.source}
		default:
			out[g] = restPlace
		}
	}
	return out
}

// pass is what is written in one reading of the day: few files at once.
type pass struct {
	events  []string // nil: any
	sources map[string]bool
	rest    bool
}

const (
	// maxOpenFiles bounds the files that are written at once, each of which holds a row group.
	maxOpenFiles = 8
	// maxNamedEvents is how many names a reading asks for; beyond, it reads all.
	maxNamedEvents = 64
)

// passes splits a layout into readings, each of few open files: those of an event by
// hour follow one another.
func passes(layout map[group]place) []pass {
	sources := map[string][]string{}
	restNames := map[string]bool{}
	for g, p := range layout {
		if p.rest {
			restNames[g.event] = true
		} else if !slices.Contains(sources[g.event], g.source) {
			sources[g.event] = append(sources[g.event], g.source)
		}
	}
	var out []pass
	for event, of := range sources {
		slices.Sort(of)
		for chunk := range slices.Chunk(of, maxOpenFiles/2) { // of each an hour's and that of the small hours
			p := pass{events: []string{event}, sources: map[string]bool{}}
			for _, s := range chunk {
				p.sources[s] = true
			}
			out = append(out, p)
		}
	}
	slices.SortStableFunc(out, func(a, b pass) int { return strings.Compare(a.events[0], b.events[0]) })
	if len(restNames) > 0 {
		p := pass{rest: true}
		if len(restNames) <= maxNamedEvents {
			for name := range restNames {
				p.events = append(p.events, name)
			}
			slices.Sort(p.events)
		}
		out = append(out, p)
	}
	return out
}
