package peers

import (
	"fmt"
	"strings"
	"time"
)

// The questions in SQL, by their names in bench/questions.
const (
	funnelName    = "4-step funnel, 7 days, all persons"
	byDeviceName  = "same by context.device"
	filteredName  = "same where category and country"
	longName      = "20-step funnel"
	retentionName = "30 x 30 daily retention"
	sessionsName  = "sessions, 30 min gap, all events"
	personsName   = "unique persons per day"
	countsName    = "events per name and day"
	topName       = "top 20 of a property, one event, 10 days"
	historyName   = "one person's history"
	lastTouchName = "last-touch attribution, 7 days"
)

const (
	week       = 7 * 24 * time.Hour
	thirtyDays = 30 * 24 * time.Hour
	gap        = 30 * time.Minute
)

// stepsOf reads the steps of a funnel's text.
func stepsOf(text string) []string {
	text, _, _ = strings.Cut(strings.TrimPrefix(text, "funnel "), " within ")
	return strings.Split(text, " -> ")
}

// quoted is a list of SQL texts.
func quoted(names []string) string { return "'" + strings.Join(names, "', '") + "'" }

// each writes format for 1 to n, joined by sep. The format takes the number as %[1]d.
func each(n int, sep, format string) string {
	parts := make([]string, n)
	for i := range parts {
		parts[i] = fmt.Sprintf(format, i+1)
	}
	return strings.Join(parts, sep)
}

// deepest is a CASE of the deepest of n steps that was reached: then is what it answers for one.
func deepest(n int, reached, then, otherwise string) string {
	var b strings.Builder
	b.WriteString("CASE")
	for i := n; i > 0; i-- {
		fmt.Fprintf(&b, " WHEN "+reached+" THEN "+then, i)
	}
	return b.String() + " ELSE " + otherwise + " END"
}
