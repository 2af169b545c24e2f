package oracle

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"spoor/engine/query"
)

// peerCase is a case that another system published, in neutral form.
type peerCase struct {
	ID, Tier    string
	Recommended bool
	Events      []struct {
		User, Event         string
		TS                  time.Time
		Properties, Context map[string]any
	}
	Query     peerQuery
	Expect    map[string]json.RawMessage
	Tolerance float64
	Needs     []string
	engines   map[string]*query.Engine // by where they have the events
}

type peerSel struct {
	Event *string
	Where []struct {
		Property, Op string
		Value        any
	}
}

type peerQuery struct {
	Kind          string
	Steps         []peerSel
	WindowSeconds *float64 `json:"window_seconds"`
	Order         string
	Breakdown     *struct{ Property string }
	Exclude       []struct {
		Event    string
		FromStep int `json:"from_step"`
		ToStep   int `json:"to_step"`
	}
	Start, Return, Touch, Conversion peerSel
	Granularity, Mode                string
	From                             time.Time
	Intervals                        int
	MinReturnEvents                  int     `json:"min_return_events"`
	GapSeconds                       float64 `json:"gap_seconds"`
	Key                              any
	MaxSteps                         int      `json:"max_steps"`
	ChannelProperty                  string   `json:"channel_property"`
	Model                            string   `json:"model"`
	HalfLife                         float64  `json:"half_life_seconds"`
	Lookback                         *float64 `json:"lookback_seconds"`
	ValueProperty                    string   `json:"value_property"`
	Metric, Difference, Test         string
	Variants                         []struct {
		Name               string
		Users, Conversions int
	}
}

func readPeerCases(t *testing.T) (cases []peerCase) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(shared, "cases", "cases.json"))
	if err != nil {
		t.Skip("the peers' cases are not here: " + err.Error())
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	require.NoError(t, d.Decode(&cases))
	return cases
}

// shared is the folder that the project's specifications and data come in.
var shared = filepath.Join("..", "..", "..", "..", "shared")

func (c *peerCase) store() *Store {
	s := &Store{}
	for i, e := range c.Events {
		at := e.TS.UnixMicro()
		s.Add(Event{EventID: fmt.Sprint(c.ID, "-", i), UserID: e.User, Name: e.Event, Time: at, ReceivedAt: at, Properties: e.Properties, Context: e.Context})
	}
	return s
}

func (c *peerCase) ask(t *testing.T, text string) *Answer {
	t.Helper()
	a, err := c.store().Ask(text, 0)
	require.NoError(t, err, text)
	c.askEngines(t, text, a)
	return a
}

// expect decodes what is expected under a name; false: nothing is.
func (c *peerCase) expect(t *testing.T, name string, into any) bool {
	t.Helper()
	raw, ok := c.Expect[name]
	if ok {
		require.NoError(t, json.Unmarshal(raw, into))
		delete(c.Expect, name)
	}
	return ok
}

func (c *peerCase) within() float64 { return max(c.Tolerance, 1e-9) }

// foreign says why a case asks for something that the language has no word for; "" if it has.
func (c *peerCase) foreign() string {
	q := &c.Query
	for _, need := range c.Needs {
		switch {
		case need == "strict:only_step_events_break", need == "ties:strictly_increasing",
			need == "same_event:many_steps", strings.HasPrefix(need, "sequential"), need == "bayes:gaussian_effect",
			need == "error:null_p", need == "bayes:beta_binomial", need == "histogram:posthog", need == "ties:row_order":
			return need
		}
	}
	switch {
	case q.Metric == "mean":
		return strings.TrimSpace(q.Kind + " " + strings.Join(c.Needs, " "))
	}
	return ""
}

func TestThePeersCasesAgree(t *testing.T) {
	cases := readPeerCases(t)
	ran, skipped := map[string]int{}, map[string]int{}
	for i := range cases {
		c := &cases[i]
		t.Run(c.ID, func(t *testing.T) {
			if c.Tier != "core" && !c.Recommended {
				skipped["a dialect that is not ours"]++
				t.Skip("a dialect that is not ours")
			}
			if why := c.foreign(); why != "" {
				require.NotEqual(t, "core", c.Tier)
				skipped["no word for "+why]++
				t.Skip("the language has no word for it: " + why)
			}
			c.run(t)
			for name := range c.Expect {
				t.Errorf("not checked: %s", name)
			}
			ran[c.Tier]++
		})
	}
	t.Logf("checked: %v of %d; left out: %v", ran, len(cases), skipped)
}

func (c *peerCase) run(t *testing.T) {
	switch c.Query.Kind {
	case "funnel":
		c.funnel(t)
	case "retention":
		c.retention(t)
	case "sessions":
		c.sessions(t)
	case "attribution":
		c.attribution(t)
	case "experiment":
		c.experiment(t)
	case "paths":
		if key, ok := c.Query.Key.(map[string]any); ok { // our paths go by the names of events
			for i := range c.Events {
				c.Events[i].Event = fmt.Sprint(c.Events[i].Properties[key["property"].(string)])
			}
		}
		a := c.ask(t, "paths limit 1000 depth "+strconv.Itoa(c.Query.MaxSteps-1)+always)
		type edge struct {
			Step     int `json:"from_step"`
			From, To string
			Users    int
		}
		var want, got []edge
		require.True(t, c.expect(t, "edges", &want))
		for _, l := range a.Paths.Links {
			got = append(got, edge{l.Depth, l.From, l.To, l.Users})
		}
		require.ElementsMatch(t, want, got)
	case "sequence":
		c.sequence(t)
	default:
		t.Fatalf("unknown kind %q", c.Query.Kind)
	}
}

func (c *peerCase) funnel(t *testing.T) {
	q := &c.Query
	var steps []string
	for _, s := range q.Steps {
		steps = append(steps, s.text())
	}
	text := "funnel " + strings.Join(steps, " -> ") + " within " + window(q.WindowSeconds) + always
	text += map[string]string{"ordered": "", "strict": " order strict", "unordered": " order any"}[q.Order]
	for _, x := range q.Exclude {
		text += fmt.Sprintf(" excluding %s between %d and %d", quoted(x.Event), x.FromStep, x.ToStep)
	}
	if q.Breakdown != nil {
		text += " by " + peerField(q.Breakdown.Property)
	}
	f := c.ask(t, text).Funnel
	users := func(steps []Step) (n []int) {
		for _, s := range steps {
			n = append(n, s.Users)
		}
		return n
	}
	got := users(f.Steps)
	var counts []int
	if c.expect(t, "counts", &counts) {
		require.Equal(t, counts, got, text)
	}
	var first, last int
	if c.expect(t, "first_step", &first) {
		require.Equal(t, first, got[0], text)
	}
	if c.expect(t, "last_step", &last) {
		require.Equal(t, last, got[len(got)-1], text)
	}
	var levels map[string]int
	if c.expect(t, "levels", &levels) {
		for user, want := range levels {
			level := 0
			for _, s := range c.ask(t, text+" user "+quoted(user)).Funnel.Steps {
				level += s.Users
			}
			require.Equal(t, want, level, "%s user %s", text, user)
		}
	}
	var by map[string][]int
	if c.expect(t, "by", &by) {
		groups := map[string][]int{}
		for _, g := range f.Groups {
			groups[fmt.Sprint(g.Key[0])] = users(g.Steps)
		}
		require.Equal(t, by, groups, text)
	}
	var conversion []*float64
	if c.expect(t, "step_conversion", &conversion) {
		for k, want := range conversion {
			if want != nil {
				require.InDelta(t, *want, f.Steps[k].StepConversion, c.within(), text)
			}
		}
	}
	c.times(t, text, f)
}

// times checks times from step to step, of which an answer has those from the
// first step alone: of two steps, or of one person, they can be told.
func (c *peerCase) times(t *testing.T, text string, f *Funnel) {
	var from []*float64
	for _, name := range []string{"avg_seconds_from_prev", "median_seconds_from_prev"} {
		if !c.expect(t, name, &from) {
			continue
		}
		sums := make([]float64, len(from))
		counts := make([]float64, len(from))
		values := make([][]float64, len(from))
		for _, p := range c.store().everyone() {
			steps := c.ask(t, text+" user "+quoted(p.id)).Funnel.Steps
			for k := 1; k < len(steps); k++ {
				if steps[k].Users == 0 {
					continue
				}
				lag := *steps[k].MedianSeconds
				if k > 1 {
					lag -= *steps[k-1].MedianSeconds
				}
				sums[k], counts[k], values[k] = sums[k]+lag, counts[k]+1, append(values[k], lag)
			}
		}
		for k := range from {
			if from[k] == nil {
				continue
			}
			if strings.HasPrefix(name, "avg") {
				require.InDelta(t, *from[k], sums[k]/counts[k], c.within(), "%s step %d", text, k+1)
			} else {
				require.InDelta(t, *from[k], *median(values[k]), c.within(), "%s step %d", text, k+1)
			}
		}
	}
}

// sequence checks whether a sequence occurs; how often has no word in the language.
func (c *peerCase) sequence(t *testing.T) {
	var steps, names []string
	for _, s := range c.Query.Steps {
		steps, names = append(steps, s.text()), append(names, quoted(*s.Event))
	}
	f := c.ask(t, "funnel "+strings.Join(steps, " -> ")+" order strict within 3660d where eventName in ("+strings.Join(names, ", ")+")"+always).Funnel
	var matched bool
	require.True(t, c.expect(t, "matched", &matched))
	require.Equal(t, matched, f.Steps[len(steps)-1].Users > 0)
	delete(c.Expect, "count")
}

func (c *peerCase) retention(t *testing.T) {
	q := &c.Query
	from := q.From.UTC()
	before := 0 // periods of history, so that a first start before those that are asked for counts as one
	if q.Mode == "first_time" {
		before = 20
	}
	var to time.Time
	switch q.Granularity {
	case "day":
		from, to = from.AddDate(0, 0, -before), from.AddDate(0, 0, q.Intervals)
	case "week":
		from, to = from.AddDate(0, 0, -7*before), from.AddDate(0, 0, 7*q.Intervals)
	case "month":
		from, to = from.AddDate(0, -before, 0), from.AddDate(0, q.Intervals, 0)
	default:
		t.Fatalf("unknown granularity %q", q.Granularity)
	}
	text := fmt.Sprintf("retention %s -> %s every %s for %d from %s to %s", q.Start.text(), q.Return.text(), q.Granularity, q.Intervals,
		from.Format("2006-01-02"), to.Format("2006-01-02"))
	if q.Mode == "first_time" {
		text += " first"
	}
	if q.Mode == "rolling" {
		text += " rolling"
	}
	if q.MinReturnEvents > 1 {
		text += fmt.Sprintf(" at least %d", q.MinReturnEvents)
	}
	r := c.ask(t, text).Retention
	var want [][]int
	require.True(t, c.expect(t, "matrix", &want))
	var got [][]int
	for i := range want {
		cohort := r.Cohorts[before+i]
		row := append([]int{cohort.Size}, cohort.Retained[1:]...)
		got = append(got, row[:len(want[i])])
	}
	require.Equal(t, want, got, text)
}

func (c *peerCase) sessions(t *testing.T) {
	a := c.ask(t, "sessions gap "+millis(c.Query.GapSeconds)+always).Sessions
	var n int
	if c.expect(t, "session_count", &n) {
		require.Equal(t, n, a.Sessions)
	}
	var x float64
	if c.expect(t, "mean_events", &x) {
		require.InDelta(t, x, *a.MeanEvents, c.within())
	}
	if c.expect(t, "mean_duration_seconds", &x) {
		require.InDelta(t, x, *a.MeanDuration, c.within())
	}
	type span struct {
		User       string
		Start, End time.Time
		Events     int
	}
	var want, got []span
	if c.expect(t, "sessions", &want) {
		for _, p := range c.store().everyone() {
			for _, s := range split(p.events, int64(c.Query.GapSeconds*1e6), 0) {
				got = append(got, span{p.id, time.UnixMicro(s[0].Time).UTC(), time.UnixMicro(s[len(s)-1].Time).UTC(), len(s)})
			}
		}
		require.Equal(t, len(want), len(got))
		for i := range want {
			if want[i].Events == 0 {
				want[i].Events = got[i].Events
			}
			require.Equal(t, want[i], got[i])
		}
	}
}

func (c *peerCase) attribution(t *testing.T) {
	q := &c.Query
	model := q.Model
	if model == "position_based" {
		model = "position"
	}
	text := fmt.Sprintf("attribution %s by %s touch %s model %s lookback %s", q.Conversion.text(), peerField(q.ChannelProperty), q.Touch.text(), model, window(q.Lookback))
	if q.ValueProperty != "" {
		text += " value " + peerField(q.ValueProperty)
	}
	if q.HalfLife > 0 {
		text += " half_life " + millis(q.HalfLife)
	}
	a := c.ask(t, text+always).Attribution
	got := map[string]float64{}
	for _, p := range a.Touchpoints {
		if p.Key != nil {
			got[fmt.Sprint(p.Key)] = p.Conversions
			if p.Value != nil {
				got[fmt.Sprint(p.Key)] = *p.Value
			}
		}
	}
	var want map[string]float64
	require.True(t, c.expect(t, "credit", &want))
	require.InDeltaMapValues(t, want, got, c.within(), text)
}

func (c *peerCase) experiment(t *testing.T) {
	var users []int
	var variants []Variant
	for _, v := range c.Query.Variants {
		users = append(users, v.Users)
		variants = append(variants, Variant{Name: v.Name, Users: v.Users, Converted: v.Conversions, Rate: share(v.Conversions, v.Users)})
	}
	var x float64
	if c.expect(t, "srm_p_value", &x) {
		require.InDelta(t, x, sampleRatio(users), max(c.within(), x*1e-2))
	}
	var srm bool
	if c.expect(t, "srm", &srm) {
		require.Equal(t, srm, sampleRatio(users) < 0.001)
	}
	if len(variants) < 2 || variants[1].Users == 0 {
		return
	}
	compareVariants(&variants[1], &variants[0])
	var rates []float64
	if c.expect(t, "rates", &rates) {
		require.InDeltaSlice(t, rates, []float64{variants[0].Rate, variants[1].Rate}, max(c.within(), 1e-5))
	}
	if c.expect(t, "difference", &x) {
		if c.Query.Difference == "absolute" {
			require.InDelta(t, x, variants[1].Rate-variants[0].Rate, max(c.within(), 1e-5))
		} else {
			require.InDelta(t, x, *variants[1].Lift, max(c.within(), 1e-5))
		}
	}
	if c.expect(t, "p_value", &x) {
		require.InDelta(t, x, *variants[1].PValue, max(c.within(), 1e-5))
	}
	if c.expect(t, "chance_to_win", &x) {
		require.InDelta(t, x, *variants[1].ChanceToWin, max(c.within(), 1e-5))
	}
	var ci []float64
	if c.expect(t, "ci", &ci) {
		got := slices.Clone(variants[1].LiftCI[:])
		require.InDeltaSlice(t, ci, got, max(c.within(), 1e-5))
	}
}
