package lang

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// Codes of errors.
const (
	CodeSyntax   = "syntax"            // something else was expected here
	CodeClause   = "unknown_clause"    // no clause of this kind of query
	CodeRepeated = "repeated_clause"   // a clause that a query has once
	CodeMissing  = "missing_clause"    // a clause that the query cannot do without
	CodeType     = "incompatible_type" // a comparison or measure that can never hold a value
	CodeValue    = "invalid_value"     // a duration, date, number, time zone or expression that is none
	CodeLimit    = "limit_exceeded"    // more than one of the limits allows
)

// Error is why a query was refused, for the person who wrote it.
type Error struct {
	Code    string `json:"code"`
	Message string `json:"message"`
	Line    int    `json:"line"`   // from 1
	Column  int    `json:"column"` // from 1, in characters
	Hint    string `json:"hint,omitempty"`
}

// Error is the place, the message and the hint in one line.
func (e *Error) Error() string {
	text := fmt.Sprintf("line %d, column %d: %s", e.Line, e.Column, e.Message)
	if e.Hint != "" {
		text += " (" + e.Hint + ")"
	}
	return text
}

// ErrorAt is an error about the part of a query at a place, for the planner,
// who refuses what only it can judge.
func ErrorAt(at Pos, code, message, hint string) *Error {
	return &Error{Code: code, Message: message, Line: at.Line, Column: at.Column, Hint: hint}
}

// maxNearestBytes bounds the words that are compared: longer ones are no typos.
const maxNearestBytes = 64

// minNearestBytes: shorter words resemble too much.
const minNearestBytes = 3

// nearest is the candidate that word is most likely a slip of the finger or an
// abbreviation for, "" if there is none. Case does not count as a difference.
func nearest(word string, candidates []string) string {
	if len(word) < minNearestBytes || len(word) > maxNearestBytes {
		return ""
	}
	lower := strings.ToLower(word)
	best, bestDistance := "", 1+min(2, (utf8.RuneCountInString(word)+1)/3)
	for _, c := range candidates {
		if len(c) > maxNearestBytes {
			continue
		}
		if strings.HasPrefix(strings.ToLower(c), lower) {
			return c
		}
		if len(c) > len(word)+2 || len(word) > len(c)+2 {
			continue
		}
		if d := editDistance(lower, strings.ToLower(c)); d < bestDistance {
			best, bestDistance = c, d
		}
	}
	return best
}

// editDistance is the number of insertions, deletions, replacements and swaps
// of neighbours that turn a into b (optimal string alignment).
func editDistance(a, b string) int {
	var rows [3][maxNearestBytes + 1]int
	before, last, row := &rows[0], &rows[1], &rows[2]
	for j := range len(b) + 1 {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last, row = last, row, before
	}
	return last[len(b)]
}

// list joins words as prose does: a, b or c.
func list(words []string) string {
	switch len(words) {
	case 0:
		return ""
	case 1:
		return words[0]
	}
	return strings.Join(words[:len(words)-1], ", ") + " or " + words[len(words)-1]
}
