package peers

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Rows are an answer in the form in which all systems are compared: texts and
// integers, sorted. null is written as the word null, which no text of the workload is.
type Rows [][]string

// normal sorts rows, so that systems that order ties differently agree.
func (r Rows) normal() Rows {
	slices.SortFunc(r, slices.Compare)
	return r
}

// differences tells where two answers part, "" if nowhere.
func differences(want, got Rows) string {
	if len(want) != len(got) {
		return fmt.Sprintf("%d rows and %d", len(want), len(got))
	}
	for i := range want {
		if !slices.Equal(want[i], got[i]) {
			return fmt.Sprintf("%s and %s", strings.Join(want[i], " "), strings.Join(got[i], " "))
		}
	}
	return ""
}

// rowsOf reads rows of JSON values as SQL answers them.
func rowsOf(raw []byte) (Rows, error) {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	var in [][]any
	if err := d.Decode(&in); err != nil {
		return nil, fmt.Errorf("read rows: %w", err)
	}
	out := make(Rows, len(in))
	for i, row := range in {
		for _, cell := range row {
			switch v := cell.(type) {
			case nil:
				out[i] = append(out[i], "null")
			case string:
				out[i] = append(out[i], v)
			case json.Number:
				out[i] = append(out[i], v.String())
			default:
				return nil, fmt.Errorf("read rows: %v is neither a text nor a number", cell)
			}
		}
	}
	return out.normal(), nil
}

// answer is what the API answers, of all kinds that are asked.
type answer struct {
	Kind  string `json:"kind"`
	Steps []step `json:"steps"`
	// Groups are those of a funnel with by.
	Groups []struct {
		Key   []*string `json:"key"`
		Steps []step    `json:"steps"`
	} `json:"groups"`
	Cohorts []struct {
		T        time.Time `json:"t"`
		Retained []int64   `json:"retained"`
	} `json:"cohorts"`
	Sessions   int64   `json:"sessions"`
	Users      any     `json:"users"` // a number in sessions, names in users
	BounceRate float64 `json:"bounce_rate"`
	Series     []struct {
		Key    []*string `json:"key"`
		Points []struct {
			T     time.Time `json:"t"`
			Value float64   `json:"value"`
		} `json:"points"`
	} `json:"series"`
	Values []struct {
		Value *string `json:"value"`
		Count int64   `json:"count"`
		Users int64   `json:"users"`
	} `json:"values"`
	Events []struct {
		EventID string `json:"eventId"`
	} `json:"events"`
	Touchpoints []struct {
		Key         *string `json:"key"`
		Conversions float64 `json:"conversions"`
	} `json:"touchpoints"`
}

type step struct {
	Users int64 `json:"users"`
}

// spoorRows reads an answer of the API. Cells that are zero are left out where SQL has no row for them.
func spoorRows(body []byte) (Rows, error) {
	var a answer
	if err := json.Unmarshal(body, &a); err != nil {
		return nil, fmt.Errorf("read the answer: %w", err)
	}
	var out Rows
	add := func(cells ...string) { out = append(out, cells) }
	switch a.Kind {
	case "funnel":
		if len(a.Groups) == 0 {
			add(users(a.Steps)...)
		}
		for _, g := range a.Groups {
			add(append([]string{text(g.Key[0])}, users(g.Steps)...)...)
		}
	case "retention":
		for _, c := range a.Cohorts {
			for k, n := range c.Retained {
				if n > 0 {
					add(day(c.T), strconv.Itoa(k), integer(n))
				}
			}
		}
	case "sessions":
		persons, _ := a.Users.(float64)
		add(integer(a.Sessions), whole(persons), whole(a.BounceRate*float64(a.Sessions)))
	case "trend":
		for _, s := range a.Series {
			for _, p := range s.Points {
				if p.Value == 0 {
					continue
				}
				if len(s.Key) > 0 {
					add(text(s.Key[0]), day(p.T), whole(p.Value))
				} else {
					add(day(p.T), whole(p.Value))
				}
			}
		}
	case "top":
		for _, v := range a.Values {
			add(text(v.Value), integer(v.Count), integer(v.Users))
		}
	case "events":
		for _, e := range a.Events {
			add(e.EventID)
		}
	case "attribution":
		for _, t := range a.Touchpoints {
			add(text(t.Key), whole(t.Conversions))
		}
	default:
		return nil, fmt.Errorf("read the answer: its kind %q is not compared", a.Kind)
	}
	return out.normal(), nil
}

func users(steps []step) []string {
	var out []string
	for _, s := range steps {
		out = append(out, integer(s.Users))
	}
	return out
}

func text(s *string) string {
	if s == nil {
		return "null"
	}
	return *s
}

func day(t time.Time) string { return t.UTC().Format(time.DateOnly) }
func integer(n int64) string { return strconv.FormatInt(n, 10) }
func whole(x float64) string { return integer(int64(math.Round(x))) }
