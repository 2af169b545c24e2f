package lang

import "strings"

// Format is the text laid out for reading: the head, each further step and each
// clause on a line of its own, spelled as in canonical text. Defaults that were
// written stay, and so do comments: one on a line of its own stays before the
// clause that it stood before, one behind a clause stays behind it. Formatting
// the result changes nothing. There is no line end at the end. The error is an *Error.
func Format(text string) (string, error) {
	q, err := Parse(text)
	if err != nil {
		return "", err
	}
	lines := q.lines(printMode{written: true})
	before := make([][]string, len(lines)+1) // the last are those behind all lines
	behind := make([]string, len(lines))
	for _, c := range lex(text).comments {
		if c.trailing {
			owner := lastBefore(lines, c.at.Offset)
			if behind[owner] == "" {
				behind[owner] = " " + c.text
			} else {
				before[owner] = append(before[owner], c.text)
			}
			continue
		}
		owner := firstAfter(lines, c.at.Offset)
		before[owner] = append(before[owner], c.text)
	}
	var b strings.Builder
	for i := range lines {
		indent := "  "
		if lines[i].head {
			indent = ""
		}
		for _, c := range before[i] {
			b.WriteString(indent + c + "\n")
		}
		b.WriteString(indent + lines[i].text + behind[i] + "\n")
	}
	for _, c := range before[len(lines)] {
		b.WriteString(c + "\n")
	}
	return strings.TrimSuffix(b.String(), "\n"), nil
}

// lastBefore is the line that began last before an offset of the source.
func lastBefore(lines []line, offset int) int {
	best := 0
	for i := range lines {
		if at := lines[i].at; at.Line > 0 && at.Offset < offset && at.Offset >= lines[best].at.Offset {
			best = i
		}
	}
	return best
}

// firstAfter is the line that began first behind an offset of the source, or
// len(lines).
func firstAfter(lines []line, offset int) int {
	best := len(lines)
	for i := range lines {
		if at := lines[i].at; at.Offset > offset && (best == len(lines) || at.Offset < lines[best].at.Offset) {
			best = i
		}
	}
	return best
}
