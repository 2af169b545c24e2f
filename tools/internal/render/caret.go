package render

import (
	"errors"
	"strings"

	"github.com/mattn/go-runewidth"
)

var errNotObject = errors.New("not a JSON object")

// Caret points into the text of a query: the line, and below it a caret under
// the column. Line and column count from 1, columns in characters. A place
// outside the text gives "".
func Caret(text string, line, column int) string {
	lines := strings.Split(text, "\n")
	if line < 1 || line > len(lines) || column < 1 {
		return ""
	}
	source := []rune(strings.TrimSuffix(lines[line-1], "\r"))
	if column > len(source)+1 {
		return ""
	}
	var pad strings.Builder
	for _, r := range source[:column-1] {
		if r == '\t' {
			pad.WriteByte('\t')
			continue
		}
		pad.WriteString(strings.Repeat(" ", max(runewidth.RuneWidth(r), 0)))
	}
	shown := strings.Map(func(r rune) rune {
		if r == '\t' {
			return r
		}
		return []rune(printable(string(r)))[0]
	}, string(source))
	return "  " + shown + "\n  " + pad.String() + "^"
}
