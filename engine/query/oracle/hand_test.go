package oracle

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// hand makes a store of lines "time person event [json]"; a time is RFC 3339, or
// minutes:seconds of 2026-05-01. A person a... is anonymous, x+y is the user x with the anonymousId y.
func hand(t *testing.T, lines string) *Store {
	t.Helper()
	s := &Store{}
	for i, line := range strings.Split(strings.TrimSpace(lines), "\n") {
		parts := strings.SplitN(strings.TrimSpace(line), " ", 4)
		at, err := time.Parse(time.RFC3339Nano, parts[0])
		if err != nil {
			at, err = time.Parse("2006-01-02T15:04:05.999999", "2026-05-01T00:"+parts[0])
			require.NoError(t, err)
		}
		e := Event{EventID: fmt.Sprint("e", i), Name: parts[2], Time: at.UnixMicro(), ReceivedAt: at.UnixMicro()}
		user, anon, both := strings.Cut(parts[1], "+")
		switch {
		case both:
			e.UserID, e.AnonymousID = user, anon
		case strings.HasPrefix(user, "a"):
			e.AnonymousID = user
		default:
			e.UserID = user
		}
		if len(parts) > 3 {
			d := json.NewDecoder(strings.NewReader(parts[3]))
			d.UseNumber()
			require.NoError(t, d.Decode(&e.Properties))
		}
		s.Add(e)
	}
	return s
}

const thatDay = " from 2026-05-01 to 2026-05-02"

// answers checks lines of the answer's JSON, from the given path of it on.
func answers(t *testing.T, s *Store, question, want string) {
	t.Helper()
	a, err := s.Ask(question, at(t, "2026-05-03T00:00:00Z"))
	require.NoError(t, err, question)
	got, err := json.Marshal(a)
	require.NoError(t, err)
	require.Empty(t, Diff([]byte(want), got), question)
}

func at(t *testing.T, text string) int64 {
	t.Helper()
	v, err := time.Parse(time.RFC3339Nano, text)
	require.NoError(t, err)
	return v.UnixMicro()
}

// reach asks a funnel and returns the users of its steps.
func reach(t *testing.T, s *Store, question string) string {
	t.Helper()
	var n []string
	for _, step := range ask(t, s, question+thatDay).Funnel.Steps {
		n = append(n, fmt.Sprint(step.Users))
	}
	return strings.Join(n, " ")
}

func TestFunnelsCountWhatTheContractSays(t *testing.T) {
	for _, c := range []struct{ name, events, question, want string }{
		{"one event serves one step", "00:00 u a", "funnel a -> a", "1 0"},
		{"two events serve two", "00:00 u a\n00:00 u a", "funnel a -> a", "1 1"},
		{"the window runs from step 1", "00:00 u a\n00:50 u b\n01:40 u c", "funnel a -> b -> c within 1m", "1 1 0"},
		{"the window's end is in it", "00:00 u a\n01:00 u b", "funnel a -> b within 1m", "1 1"},
		{"a microsecond more is not", "00:00 u a\n01:00.000001 u b", "funnel a -> b within 1m", "1 0"},
		{"equal times convert, whatever came first", "00:07 u b\n00:07 u a", "funnel a -> b", "1 1"},
		{"any start may be tried", "00:00 u a\n10:00 u a\n10:30 u b", "funnel a -> b within 1m", "1 1"},
		{"later starts do not undo", "00:00 u a\n00:10 u b\n00:20 u a\n00:50 u c", "funnel a -> b -> c within 1m", "1 1 1"},
		{"steps may follow the range", "2026-05-01T23:59:00Z u a\n2026-05-02T00:01:00Z u b", "funnel a -> b within 5m", "1 1"},
		{"starts may not", "2026-05-02T00:00:00Z u a\n2026-05-02T00:01:00Z u b", "funnel a -> b within 5m", "0 0"},
		{"strict: another event lies between", "00:00 u a\n00:01 u x\n00:02 u b", "funnel a -> b order strict", "1 0"},
		{"strict: an event beside the first does not", "00:00 u a\n00:00 u x\n00:02 u b", "funnel a -> b order strict", "1 1"},
		{"strict: nor one beside the last", "00:00 u a\n00:02 u x\n00:02 u b", "funnel a -> b order strict", "1 1"},
		{"strict: one beside the middle does", "00:00 u a\n00:01 u x\n00:01 u b\n00:02 u c", "funnel a -> b -> c order strict", "1 1 0"},
		{"strict: what where leaves out is not there", "00:00 u a\n00:01 u x\n00:02 u b", `funnel a -> b order strict where eventName != "x"`, "1 1"},
		{"any order", "00:00 u c\n00:01 u a\n00:02 u b", "funnel a -> b -> c order any", "1 1 1"},
		{"any order: any step is the first", "00:00 u c", "funnel a -> b -> c order any", "1 0 0"},
		{"any order: within the window of the earliest", "00:00 u b\n00:40 u c\n01:10 u a", "funnel a -> b -> c order any within 1m", "1 1 0"},
		{"optional steps are passed by", "00:00 u a\n00:01 u c\n00:00 v a\n00:01 v b\n00:02 v c", "funnel a -> b? -> c", "2 1 2"},
		{"an optional step after its time does not count", "00:00 u a\n00:01 u c\n00:02 u b", "funnel a -> b? -> c", "1 0 1"},
		{"excluded between", "00:00 u a\n00:01 u x\n00:02 u b", "funnel a -> b excluding x", "0 0"},
		{"excluded at the very time is not between", "00:00 u a\n00:00 u x\n00:02 u b\n00:02 u x", "funnel a -> b excluding x", "1 1"},
		{"another start is free of it", "00:00 u a\n00:01 u x\n00:02 u a\n00:03 u b", "funnel a -> b excluding x", "1 1"},
		{"excluded between later steps", "00:00 u a\n00:01 u x\n00:02 u b\n00:03 u c", "funnel a -> b -> c excluding x between 2 and 3", "1 1 1"},
		{"never leaves the person out", "00:00 u a\n00:01 u b\n00:02 u x\n00:00 v a", "funnel a -> b never x", "1 0"},
		{"holding a value", `00:00 u a {"p":1}` + "\n" + `00:01 u b {"p":2}` + "\n" + `00:02 v a {"p":1}` + "\n" + `00:03 v b {"p":1.0}`, "funnel a -> b holding p", "2 1"},
		{"holding a value that is missing", "00:00 u a\n00:01 u b", "funnel a -> b holding p", "0 0"},
		{"per session", "00:00 u a\n00:01 u b\n50:00 u a", "funnel a -> b per session", "2 1"},
		{"a session bounds a chain", "00:00 u a\n31:00 u b", "funnel a -> b per session", "1 0"},
		{"per value", `00:00 u a {"p":"x"}` + "\n" + `00:01 u a {"p":"y"}` + "\n" + `00:02 u b {"p":"y"}` + "\n00:03 u a", "funnel a -> b per p", "2 1"},
		{"a step with a condition", `00:00 u a {"n":1}` + "\n" + `00:01 u a {"n":2}`, "funnel a[n = 1] -> a[n = 2]", "1 1"},
	} {
		t.Run(c.name, func(t *testing.T) { require.Equal(t, c.want, reach(t, hand(t, c.events), c.question), c.question) })
	}
}

func TestAFunnelTellsTimesGroupsAndWhoMayStillConvert(t *testing.T) {
	s := hand(t, `
		00:00 u a {"d":"x"}
		00:10 u a {"d":"y"}
		00:30 u b {"d":"z"}
		00:00 v a {"d":"x"}
		10:00 w a
		59:00 w z`)
	answers(t, s, "funnel a -> b within 50m by d"+thatDay, `{"kind":"funnel","open":1,"by":["properties.d"],
		"steps":[{"event":"a","users":3,"conversion":1,"step_conversion":1,"median_seconds":null},
			{"event":"b","users":1,"conversion":0.3333333333,"step_conversion":0.3333333333,"median_seconds":20}],
		"time_to_convert":{"median_seconds":20,"p90_seconds":20,"histogram":[{"from":20,"to":20,"count":1}]},
		"groups":[
			{"key":[null],"steps":[{"event":"a","users":1,"conversion":1,"step_conversion":1,"median_seconds":null},{"event":"b","users":0,"conversion":0,"step_conversion":0,"median_seconds":null}]},
			{"key":["x"],"steps":[{"event":"a","users":1,"conversion":1,"step_conversion":1,"median_seconds":null},{"event":"b","users":0,"conversion":0,"step_conversion":0,"median_seconds":null}]},
			{"key":["y"],"steps":[{"event":"a","users":1,"conversion":1,"step_conversion":1,"median_seconds":null},{"event":"b","users":1,"conversion":1,"step_conversion":1,"median_seconds":20}]}]}`)
	require.Equal(t, "z", ask(t, s, "funnel a -> b by d at last"+thatDay).Funnel.Groups[2].Key[0], "groups of one size are in the order of keys")
	require.Len(t, ask(t, s, "funnel a -> b by d at step 2 limit 1"+thatDay).Funnel.Groups, 2)
}

func TestAFunnelWithEveryCountsAPersonInEachPeriodOfEntry(t *testing.T) {
	s := hand(t, "2026-05-01T10:00:00Z u a\n2026-05-02T10:00:00Z u a\n2026-05-02T11:00:00Z u b")
	f := ask(t, s, "funnel a -> b within 2h every day from 2026-05-01 to 2026-05-03").Funnel
	require.Equal(t, 1, f.Steps[0].Users)
	require.Equal(t, []string{"2026-05-01T00:00:00Z", "2026-05-02T00:00:00Z"}, []string{f.Points[0].T, f.Points[1].T})
	require.Equal(t, []int{1, 0, 1, 1}, []int{f.Points[0].Steps[0].Users, f.Points[0].Steps[1].Users, f.Points[1].Steps[0].Users, f.Points[1].Steps[1].Users})
}

func TestPersonsAreWhoTheFirstLinkSaysAlsoInHindsight(t *testing.T) {
	s := hand(t, "00:00 a1 a\n00:01 u+a1 b\n00:02 v+a1 c\n00:03 a1 d\n00:04 a2 e")
	s.Identify("v", "a2")
	s.Identify("u", "a2")
	s.Add(Event{EventID: "e0", UserID: "w", AnonymousID: "a9", Name: "a"}) // a duplicate, which links nothing
	s.Add(Event{EventID: "new", AnonymousID: "a9", Name: "f"})
	for anon, want := range map[string]string{"a1": "u", "a2": "v", "a3": "a3", "a9": "a9"} {
		require.Equal(t, want, s.Person("", anon))
	}
	answers(t, s, "users of any"+thatDay, `{"kind":"users","count":2,"users":["u","v"],"next":null}`)
	require.Equal(t, "1 1 0 1", reach(t, s, "funnel a -> b -> c? -> d"))
}

func TestTrendsMeasureEvents(t *testing.T) {
	s := hand(t, `
		00:00 u a {"n":1,"g":"x"}
		00:01 u a {"n":2.0,"g":"x"}
		00:02 v a {"n":"3","g":"y"}
		00:03 v a {"n":null}
		00:04 w a {"n":10}
		00:05 w b {"g":"z"}`)
	value := func(measure string) any {
		v := ask(t, s, "trend "+measure+thatDay).Trend.Series[0].Points[0].Value
		if v == nil {
			return nil
		}
		return *v
	}
	for measure, want := range map[string]any{
		"count of a": 5.0, "users of a": 3.0, "per_user of a": 5.0 / 3, "sum(n) of a": 13.0, "avg(n) of a": 13.0 / 3, "min(n) of a": 1.0,
		"max(n) of a": 10.0, "median(n) of a": 2.0, "p75(n) of a": 6.0, "distinct(n) of a": 4.0, "sum(n) of b": 0.0, "avg(n) of b": nil,
		"count of a / count of b": 5.0, "count of b / count of c": nil, "count of c / count of b": 0.0,
	} {
		require.Equal(t, want, value(measure), measure)
	}
	answers(t, s, "trend users of any by g limit 1"+thatDay, `{"kind":"trend","by":["properties.g"],"series":[
		{"measure":"users","event":"any","key":[null],"points":[{"t":"2026-05-01T00:00:00Z","value":2}]},
		{"measure":"users","event":"any","key":[null],"other":true,"points":[{"t":"2026-05-01T00:00:00Z","value":3}]}]}`)
}

func TestPeriodsFollowTheClockOfTheZone(t *testing.T) {
	s := hand(t, "2026-03-29T00:30:00Z u a\n2026-03-29T22:30:00Z u a\n2011-12-31T09:00:00Z u a")
	days := func(question string) (out []string) {
		for _, p := range ask(t, s, question).Trend.Series[0].Points {
			out = append(out, fmt.Sprint(p.T, " ", *p.Value))
		}
		return out
	}
	require.Equal(t, []string{"2026-03-29T00:00:00+01:00 1", "2026-03-30T00:00:00+02:00 1"},
		days(`trend count of a every day from 2026-03-29 to 2026-03-31 tz "Europe/Berlin"`))
	require.Len(t, days(`trend count of a every hour from 2026-03-29 to 2026-03-30 tz "Europe/Berlin"`), 23)
	require.Len(t, days(`trend count of a every hour from 2025-10-26 to 2025-10-27 tz "Europe/Berlin"`), 25)
	require.Equal(t, []string{"2011-12-29T00:00:00-10:00 0", "2011-12-31T00:00:00+14:00 1"},
		days(`trend count of a every day from 2011-12-29 to 2012-01-01 tz "Pacific/Apia"`), "the 30th does not exist")
	require.Equal(t, []string{"2026-03-23T00:00:00-02:30 1", "2026-03-30T00:00:00-02:30 0"},
		days(`trend count of a[timestamp < 2026-03-29T12:00Z] every week from 2026-03-25 to 2026-04-02 tz "America/St_Johns"`), "weeks begin on Monday")
	require.Equal(t, "2026-03-01T00:00:00+05:45 2", days(`trend count of a every month from 2026-03-02 to 2026-04-01 tz "Asia/Kathmandu"`)[0])
	require.Equal(t, "2026-03-27T12:00:00Z 0", days("trend count of a every 36h from 2026-03-28T01:00Z to 2026-03-29")[0])
}

func TestRetentionCountsReturnsByPeriod(t *testing.T) {
	s := hand(t, `
		2026-05-01T01:00:00Z u a {"g":"x"}
		2026-05-02T01:00:00Z u a {"g":"y"}
		2026-05-03T01:00:00Z u b
		2026-05-02T02:00:00Z v a {"g":"x"}
		2026-05-02T03:00:00Z v b`)
	answers(t, s, "retention a -> b every day for 3 from 2026-05-01 to 2026-05-04", `{"kind":"retention","every":"day","cohorts":[
		{"t":"2026-05-01T00:00:00Z","size":1,"retained":[0,0,1]},
		{"t":"2026-05-02T00:00:00Z","size":2,"retained":[1,1,0]},
		{"t":"2026-05-03T00:00:00Z","size":0,"retained":[0,0,0]}]}`)
	answers(t, s, "retention a -> b every day for 2 first by g from 2026-05-01 to 2026-05-03", `{"kind":"retention","every":"day","by":["properties.g"],
		"cohorts":[{"t":"2026-05-01T00:00:00Z","size":1,"retained":[0,0]},{"t":"2026-05-02T00:00:00Z","size":1,"retained":[1,0]}],
		"groups":[{"key":["x"],"cohorts":[{"t":"2026-05-01T00:00:00Z","size":1,"retained":[0,0]},{"t":"2026-05-02T00:00:00Z","size":1,"retained":[1,0]}]}]}`)
}

func TestSessionsEndAtGapsAndAtMax(t *testing.T) {
	s := hand(t, "00:00 u a\n30:00 u b\n59:59 u c\n00:00 v a\n30:00.000001 v b")
	answers(t, s, "sessions gap 30m"+thatDay, `{"kind":"sessions","sessions":3,"users":2,"mean_duration_seconds":1199.6666666667,
		"median_duration_seconds":0,"mean_events":1.6666666667,"bounce_rate":0.6666666667}`)
	require.Equal(t, 4, ask(t, s, "sessions gap 30m max 30m"+thatDay).Sessions.Sessions, "59:59 is more than 30m from the start")
}

func TestPathsGoForwardFromAndBackwardTo(t *testing.T) {
	s := hand(t, "00:00 u a\n00:01 u b\n00:02 u b\n00:03 u c\n00:00 v x\n00:01 v b\n00:02 v c")
	answers(t, s, "paths from b depth 2"+thatDay, `{"kind":"paths","links":[
		{"depth":1,"from":"b","to":"b","count":1,"users":1},{"depth":1,"from":"b","to":"c","count":1,"users":1},
		{"depth":2,"from":"b","to":"c","count":1,"users":1}]}`)
	answers(t, s, "paths to c collapse depth 2"+thatDay, `{"kind":"paths","links":[
		{"depth":1,"from":"b","to":"c","count":2,"users":2},
		{"depth":2,"from":"a","to":"b","count":1,"users":1},{"depth":2,"from":"x","to":"b","count":1,"users":1}]}`)
}

func TestAttributionSharesEachConversionOut(t *testing.T) {
	s := hand(t, `
		00:00 u v {"c":"mail"}
		00:01 u v {"c":"ads"}
		00:02 u v {"c":""}
		00:03 u v {"c":"mail"}
		00:04 u buy {"price":100}
		00:00 w buy {"price":50}`)
	credit := func(model string) map[any]float64 {
		a := ask(t, s, "attribution buy by c touch v value price model "+model+thatDay).Attribution
		require.Equal(t, 150.0, *a.Value)
		out, total := map[any]float64{}, 0.0
		for _, p := range a.Touchpoints {
			out[p.Key] = *p.Value
			total += p.Conversions
		}
		require.InDelta(t, 2, total, 1e-12)
		return out
	}
	require.Equal(t, map[any]float64{"mail": 100, nil: 50}, credit("last_touch"))
	require.Equal(t, map[any]float64{"mail": 100, nil: 50}, credit("first_touch"))
	require.InDelta(t, 200.0/3, credit("linear")["mail"], 1e-9)
	require.InDelta(t, 80, credit("position")["mail"], 1e-9)
	// Weights 2^-age of the ages 4, 3 and 1 seconds: 1/16, 1/8 and 1/2.
	require.InDelta(t, 100*(1./16+1./2)/(1./16+1./8+1./2), credit("time_decay half_life 1s")["mail"], 1e-9)
	require.InDelta(t, 100, credit("time_decay half_life 1ms")["mail"], 1e-9, "weights too small for a float64")
}

func TestAnExperimentLeavesOutWhoSawTwoVariants(t *testing.T) {
	s := hand(t, `
		00:00 u see {"v":"a"}
		00:01 u goal
		00:00 v see {"v":"a"}
		00:00 w goal
		00:01 w see {"v":"b"}
		00:02 x see {"v":"b"}
		00:02 x goal
		00:03 y see {"v":"b"}
		00:04 y see {"v":"a"}
		00:05 z see {"v":null}`)
	x := ask(t, s, "experiment v goal goal exposure see"+thatDay).Experiment
	require.Equal(t, 1, x.Multiple)
	require.Equal(t, []any{"a", true, 2, 1, "b", false, 2, 1}, []any{
		x.Variants[0].Name, x.Variants[0].Control, x.Variants[0].Users, x.Variants[0].Converted,
		x.Variants[1].Name, x.Variants[1].Control, x.Variants[1].Users, x.Variants[1].Converted,
	})
	require.InDelta(t, 0.5, *x.Variants[1].ChanceToWin, 1e-9)
	require.InDelta(t, 1, *x.SRM, 1e-9)
	require.InDelta(t, 1, *x.Variants[1].PValue, 1e-9)
}

func TestTheChanceToWinIsThatOfTwoBetas(t *testing.T) {
	require.InDelta(t, 0.5, chanceToBeat(0, 0, 0, 0), 1e-6, "two flat priors")
	require.InDelta(t, 2.0/3, chanceToBeat(1, 1, 0, 0), 1e-6, "Beta(2,1) against a flat prior")
	require.InDelta(t, 1, chanceToBeat(500, 1000, 100, 1000), 1e-9)
	require.InDelta(t, 1, chanceToBeat(30, 100, 37, 120)+chanceToBeat(37, 120, 30, 100), 1e-9)
}

func TestListsAreInTheOrderOfTimeAndGoOnBehindTheirCursor(t *testing.T) {
	s := hand(t, `
		00:02 u a {"c":"x"}
		00:01 v a {"c":"y"}
		00:01 w b {"c":"x"}
		00:03 v a {"c":1}
		00:04 v a {"c":"1"}`)
	answers(t, s, "top c of any limit 2"+thatDay, `{"kind":"top","field":"properties.c","values":[{"value":"x","count":2,"users":2},{"value":1,"count":1,"users":1}]}`)
	answers(t, s, "users of a at least 2"+thatDay, `{"kind":"users","count":1,"users":["v"],"next":null}`)
	answers(t, s, "users of a at most 1"+thatDay, `{"kind":"users","count":2,"users":["w","u"],"next":null}`)
	answers(t, s, "users of a newest"+thatDay, `{"kind":"users","count":2,"users":["u","v"],"next":null}`)
	ids, next := "", ""
	for {
		question := "events limit 2" + thatDay
		if next != "" {
			question += " after " + quoted(next)
		}
		e := ask(t, s, question).Events
		for _, row := range e.Events {
			ids += row.EventID
		}
		if e.Next == nil {
			break
		}
		next = *e.Next
	}
	require.Equal(t, "e1e2e0e3e4", ids)
}

func TestLifecycleAndStickinessCountPersonsByPeriod(t *testing.T) {
	s := hand(t, `
		2026-05-01T01:00:00Z u a
		2026-05-02T01:00:00Z u a
		2026-05-04T01:00:00Z u a
		2026-05-02T01:00:00Z v a
		2026-05-02T02:00:00Z v a`)
	answers(t, s, "lifecycle a every day from 2026-05-02 to 2026-05-05", `{"kind":"lifecycle","every":"day","points":[
		{"t":"2026-05-02T00:00:00Z","new":1,"returning":1,"resurrecting":0,"dormant":0},
		{"t":"2026-05-03T00:00:00Z","new":0,"returning":0,"resurrecting":0,"dormant":2},
		{"t":"2026-05-04T00:00:00Z","new":0,"returning":0,"resurrecting":1,"dormant":0}]}`)
	answers(t, s, "stickiness a every day from 2026-05-01 to 2026-05-05", `{"kind":"stickiness","every":"day","days":[
		{"periods":1,"users":1},{"periods":2,"users":0},{"periods":3,"users":1},{"periods":4,"users":0}]}`)
}

func TestPredicatesHaveTwoValuesAndCompareNoTypesAcross(t *testing.T) {
	s := hand(t, `
		00:00 u a {"n":10,"s":"10","t":true,"z":null,"o":{"k":1},"l":["x"],"big":9007199254740993}
		00:01 v a`)
	s.SetTraits("u", "", 1, map[string]any{"plan": "free"})
	s.SetTraits("u", "", 2, map[string]any{"plan": "pro"})
	s.SaveCohort("us", `users where userId = "u" from 2026-05-01 to 2026-05-02`)
	for predicate, want := range map[string]string{
		`n = 10`: "u", `n = "10"`: "", `s = "10"`: "u", `s = 10`: "", `n != "10"`: "u v", `n < 11`: "u", `s < "2"`: "u", `not n = 10`: "v",
		`t = true`: "u", `t != true`: "v", `z = null`: "u", `z exists`: "u", `z missing`: "v", `n in (1, 10)`: "u", `n not in (10)`: "v",
		`o exists`: "", `o.k = 1`: "u", `l exists`: "u", `l contains "x"`: "", `s contains "1"`: "u", `s matches "^1.$"`: "u", `q = null`: "",
		`big = 9007199254740993`: "u", `big = 9007199254740992`: "", `big > 9007199254740992`: "u", `user.plan = "pro"`: "u", `user.plan = "free"`: "",
		`user in cohort "us"`: "u", `user not in cohort "us"`: "v", `timestamp >= 2026-05-01T00:00:01Z`: "v", `n > 5 and s != "x" or userId = "v"`: "u v",
	} {
		require.Equal(t, want, strings.Join(ask(t, s, "users of a where "+predicate+thatDay).Users.Users, " "), predicate)
	}
	_, err := s.Ask(`users where user in cohort "none"`, 0)
	require.ErrorContains(t, err, "none")
}

func TestDiffFindsWhatDiffersAndPassesWhatDoesNot(t *testing.T) {
	same := `{"a":[1,{"t":"2026-05-01T00:00:00.5Z"}],"n":null,"next":"x"}`
	require.Empty(t, Diff([]byte(same), []byte(`{"a":[1.0000000000001,{"t":"2026-05-01T00:00:00.500Z"}],"next":"y","stats":{}}`)))
	require.Contains(t, Diff([]byte(same), []byte(`{"a":[1,{"t":"2026-05-01T00:00:00Z"}],"next":"x"}`)), ".a[1].t")
	require.Contains(t, Diff([]byte(same), []byte(`{"a":[1],"next":"x"}`)), ".a")
	require.Contains(t, Diff([]byte(same), []byte(`{"a":[1,{"t":"2026-05-01T00:00:00.5Z"}]}`)), ".next")
	require.Contains(t, Diff([]byte(same), []byte(`{"a":[1,{"t":"2026-05-01T00:00:00.5Z","more":1}],"next":"x"}`)), ".a[1].more")
}
