package render

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
)

// explanation is how a query was answered.
type explanation struct {
	Of     string `json:"of"`
	Query  string `json:"query"`
	Stages []struct {
		Name    string  `json:"name"`
		MS      float64 `json:"ms"`
		Rows    int64   `json:"rows"`
		Workers int     `json:"workers"`
	} `json:"stages"`
	Partitions  share   `json:"partitions"`
	Files       share   `json:"files"`
	Sections    share   `json:"sections"`
	Blocks      share   `json:"blocks"`
	Rows        share   `json:"rows"`
	RowsScanned int64   `json:"rows_scanned"`
	BytesRead   int64   `json:"bytes_read"`
	ElapsedMS   float64 `json:"elapsed_ms"`
}

type share struct {
	Total, Read int64
	Pruned      []struct {
		Reason string
		Count  int64
	}
}

// writeExplanation draws how a query was answered as a tree.
func writeExplanation(out io.Writer, answer []byte) error {
	var e explanation
	if err := json.Unmarshal(answer, &e); err != nil {
		return fmt.Errorf("read the explanation: %w", err)
	}
	var b strings.Builder
	for line := range strings.Lines(e.Query) {
		b.WriteString(printable(strings.TrimRight(line, "\r\n")) + "\n")
	}
	fmt.Fprintf(&b, "\n%s, %s ms\n├─ stages\n", printable(e.Of), decimals(e.ElapsedMS))
	for i, s := range e.Stages {
		fmt.Fprintf(&b, "│  %s %s ms  %s", branch(i, len(e.Stages)), pad(decimals(s.MS), 8), printable(s.Name))
		if s.Workers > 0 {
			fmt.Fprintf(&b, ", %s rows on %d workers", thousands(s.Rows), s.Workers)
		}
		b.WriteByte('\n')
	}
	for _, l := range []struct {
		name string
		share
	}{{"partitions", e.Partitions}, {"files", e.Files}, {"sections", e.Sections}, {"blocks", e.Blocks}, {"rows", e.Rows}} {
		fmt.Fprintf(&b, "├─ %s: %s of %s may matter\n", l.name, thousands(l.Read), thousands(l.Total))
		for i, p := range l.Pruned {
			fmt.Fprintf(&b, "│  %s %s left aside: %s\n", branch(i, len(l.Pruned)), thousands(p.Count), printable(p.Reason))
		}
	}
	fmt.Fprintf(&b, "└─ read: %s rows decoded, %s bytes\n", thousands(e.RowsScanned), thousands(e.BytesRead))
	_, err := io.WriteString(out, b.String())
	return err
}

// branch is what stands before item i of n.
func branch(i, n int) string {
	if i == n-1 {
		return "└─"
	}
	return "├─"
}

// pad writes text at the right of a column.
func pad(text string, width int) string {
	return strings.Repeat(" ", max(width-len(text), 0)) + text
}
