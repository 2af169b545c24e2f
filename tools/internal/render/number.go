package render

import (
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// number is a JSON number as it was written; "" is null.
type number string

// UnmarshalJSON implements json.Unmarshaler.
func (n *number) UnmarshalJSON(data []byte) error {
	if string(data) == "null" {
		*n = ""
		return nil
	}
	var text json.Number
	if err := json.Unmarshal(data, &text); err != nil {
		return err
	}
	*n = number(text)
	return nil
}

// value is the number, 0 for null.
func (n number) value() float64 {
	v, err := strconv.ParseFloat(string(n), 64)
	if err != nil {
		return 0
	}
	return v
}

// cell shows the number with separators.
func (n number) cell() cell {
	if n == "" {
		return shown("–")
	}
	if whole, err := strconv.ParseInt(string(n), 10, 64); err == nil {
		return cell{show: thousands(whole), raw: string(n)}
	}
	return cell{show: decimals(n.value()), raw: string(n)}
}

// percent shows a share of 1.
func (n number) percent() cell {
	if n == "" {
		return shown("–")
	}
	return cell{show: percent(n.value()), raw: string(n)}
}

// duration shows seconds.
func (n number) duration() cell {
	if n == "" {
		return shown("–")
	}
	return cell{show: duration(n.value()), raw: string(n)}
}

func percent(share float64) string { return strconv.FormatFloat(100*share, 'f', 1, 64) + " %" }

// thousands writes an integer with a comma every three digits.
func thousands(n int64) string {
	digits := strconv.FormatInt(n, 10)
	sign := ""
	if digits[0] == '-' {
		sign, digits = "-", digits[1:]
	}
	var b strings.Builder
	b.WriteString(sign)
	for i, d := range digits {
		if i > 0 && (len(digits)-i)%3 == 0 {
			b.WriteByte(',')
		}
		b.WriteRune(d)
	}
	return b.String()
}

// decimals writes a number with as many decimals as a reader wants: at least
// three significant digits, at most two decimals from 1 on.
func decimals(v float64) string {
	switch a := math.Abs(v); {
	case math.IsInf(v, 0) || math.IsNaN(v):
		return strconv.FormatFloat(v, 'g', -1, 64)
	case a >= 1e15 || a > 0 && a < 0.001:
		return strconv.FormatFloat(v, 'g', 3, 64)
	case a >= 1:
		text := strconv.FormatFloat(v, 'f', 2, 64)
		whole, fraction, _ := strings.Cut(text, ".")
		n, err := strconv.ParseInt(whole, 10, 64)
		if err != nil {
			return text
		}
		if fraction = strings.TrimRight(fraction, "0"); fraction == "" {
			return thousands(n)
		}
		return thousands(n) + "." + fraction
	default:
		return strings.TrimRight(strings.TrimRight(strconv.FormatFloat(v, 'f', 4, 64), "0"), ".")
	}
}

// duration writes seconds in their two largest units.
func duration(seconds float64) string {
	if seconds < 1 {
		return decimals(seconds*1000) + " ms"
	}
	if seconds < 60 {
		return decimals(math.Round(seconds*10)/10) + " s"
	}
	s := int64(math.Round(seconds))
	switch {
	case s < 3600:
		return fmt.Sprintf("%d m %02d s", s/60, s%60)
	case s < 86400:
		return fmt.Sprintf("%d h %02d m", s/3600, s/60%60)
	default:
		return fmt.Sprintf("%s d %02d h", thousands(s/86400), s/3600%24)
	}
}

// moment shortens a time of RFC 3339: a midnight is a date, and whole seconds
// and the T are left out.
func moment(text string) string {
	t, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		return printable(text)
	}
	layout := "2006-01-02 15:04:05.999"
	switch {
	case t.Hour() == 0 && t.Minute() == 0 && t.Second() == 0 && t.Nanosecond() == 0:
		return t.Format("2006-01-02")
	case t.Second() == 0 && t.Nanosecond() == 0:
		layout = "2006-01-02 15:04"
	}
	return t.Format(layout)
}

func timeCell(text string) cell { return cell{show: moment(text), raw: text} }

// barCells is the width of a full bar.
const barCells = 30

// bar draws a share of 1 in eighths of a character.
func bar(share float64, width int) string {
	if math.IsNaN(share) || share <= 0 {
		return ""
	}
	eighths := int(math.Round(min(share, 1) * float64(width) * 8))
	text := strings.Repeat("█", eighths/8)
	if rest := eighths % 8; rest > 0 {
		text += string([]rune("▏▎▍▌▋▊▉")[rest-1])
	}
	if text == "" {
		return "▏" // little, but not nothing
	}
	return text
}

// sparkline draws values in one character each, thinned to width characters by
// their sums.
func sparkline(values []float64, width int) string {
	if len(values) > width {
		thin := make([]float64, width)
		for i, v := range values {
			thin[i*width/len(values)] += v
		}
		values = thin
	}
	top := 0.0
	for _, v := range values {
		top = max(top, v)
	}
	marks := []rune("▁▂▃▄▅▆▇█")
	var b strings.Builder
	for _, v := range values {
		if top <= 0 || v <= 0 {
			b.WriteRune(marks[0])
			continue
		}
		b.WriteRune(marks[min(int(v/top*8), 7)])
	}
	return b.String()
}

// printable replaces what would move a terminal's cursor or change its state.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == '\u2028' || r == '\u2029' || r >= '\u202a' && r <= '\u202e' || r >= '\u2066' && r <= '\u2069' {
			return '\ufffd'
		}
		return r
	}, text)
}

// Count writes a number with a comma every three digits.
func Count(n int64) string { return thousands(n) }

// Duration writes seconds in their two largest units.
func Duration(seconds float64) string { return duration(seconds) }

// Printable replaces what would move a terminal's cursor or change its state.
func Printable(text string) string { return printable(text) }
