package jobs_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"spoor/server/call"
	"spoor/server/jobs"
)

type world struct {
	t    *testing.T
	jobs *jobs.Jobs
	now  time.Time
}

func newWorld(t *testing.T) *world {
	w := &world{t: t, now: time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)}
	w.jobs = jobs.New(func() time.Time { return w.now })
	return w
}

func (w *world) put(id, body string) jobs.Status {
	w.t.Helper()
	got, err := w.jobs.Put(&call.Call{Name: id, Body: []byte(body)})
	require.NoError(w.t, err)
	return got.(jobs.Status)
}

func (w *world) get(id string) jobs.Status {
	w.t.Helper()
	got, err := w.jobs.Get(&call.Call{Name: id})
	require.NoError(w.t, err)
	return got.(jobs.Status)
}

func (w *world) after(d time.Duration) { w.now = w.now.Add(d) }

func TestAJobTellsItsRateOfTheLastHalfMinuteAndWhatIsLeft(t *testing.T) {
	w := newWorld(t)
	s := w.put("r1", `{"kind":"replay","name":"/raw","unit":"events","total":100000}`)
	require.Equal(t, jobs.Running, s.State)
	require.Nil(t, s.Eta, "no rate is known yet")
	done := 0
	for range 60 { // a slow minute
		w.after(time.Second)
		done += 10
		w.put("r1", fmt.Sprintf(`{"kind":"replay","unit":"events","done":%d,"total":100000}`, done))
	}
	require.InDelta(t, 10, w.get("r1").Rate, 0.5)
	for range 40 { // then a fast one
		w.after(time.Second)
		done += 1000
		w.put("r1", fmt.Sprintf(`{"kind":"replay","unit":"events","done":%d,"total":100000}`, done))
	}
	s = w.get("r1")
	require.InDelta(t, 1000, s.Rate, 20)
	require.InDelta(t, float64(100000-done)/1000, *s.Eta, 2)
	require.Equal(t, "2026-05-01T12:00:00Z", s.Began)
	w.after(10 * time.Second)
	s = w.put("r1", `{"kind":"replay","unit":"events","done":100000,"total":100000,"state":"done"}`)
	require.Equal(t, jobs.Done, s.State)
	require.InDelta(t, 100000.0/110, s.Rate, 1, "when it has ended: of all of it")
	require.Nil(t, s.Eta)
	w.after(time.Hour)
	require.Equal(t, s, w.get("r1"))
}

func TestAJobFromOutsideThatSaysNothingIsSilentUntilItIsHeardOfAgain(t *testing.T) {
	w := newWorld(t)
	w.put("r1", `{"kind":"replay","unit":"events","done":5,"total":10}`)
	w.after(jobs.SilentAfter)
	require.Equal(t, jobs.Silent, w.get("r1").State)
	require.Equal(t, jobs.Running, w.put("r1", `{"kind":"replay","unit":"events","done":6,"total":10}`).State)

	own := w.jobs.Begin("v1", "verify", "", "bytes", func() {})
	w.after(time.Hour)
	require.Equal(t, jobs.Running, w.get("v1").State, "this process knows that it is at work")
	own.End(nil)
	require.Equal(t, jobs.Done, w.get("v1").State)
}

func TestACancelReachesBothKindsOfJobs(t *testing.T) {
	w := newWorld(t)
	w.put("r1", `{"kind":"replay","unit":"events"}`)
	_, err := w.jobs.Cancel(&call.Call{Name: "r1"})
	require.NoError(t, err)
	require.Equal(t, jobs.Canceling, w.put("r1", `{"kind":"replay","unit":"events","done":1}`).State)
	require.Equal(t, jobs.Canceled, w.put("r1", `{"kind":"replay","unit":"events","done":1,"state":"canceled"}`).State)

	ctx, cancel := context.WithCancel(context.Background())
	own := w.jobs.Begin("b1", "backup", "nightly", "bytes", cancel)
	_, err = w.jobs.Cancel(&call.Call{Name: "b1"})
	require.NoError(t, err)
	require.Error(t, ctx.Err())
	own.End(ctx.Err())
	require.Equal(t, jobs.Canceled, w.get("b1").State)
	other := w.jobs.Begin("b2", "backup", "nightly", "bytes", cancel)
	other.End(errors.New("no space"))
	require.Equal(t, jobs.Failed, w.get("b2").State)
	require.Equal(t, "no space", w.get("b2").Error)
	_, err = w.jobs.Cancel(&call.Call{Name: "none"})
	require.Error(t, err)
}

func TestTheListIsBoundedAndShowsWhatIsAtWorkFirst(t *testing.T) {
	w := newWorld(t)
	for i := range 3 * jobs.MaxJobs {
		w.after(time.Second)
		w.put(fmt.Sprintf("r%03d", i), `{"kind":"replay","unit":"events","state":"done"}`)
	}
	w.put("at-work", `{"kind":"replay","unit":"events"}`)
	w.after(time.Second)
	w.put("later", `{"kind":"replay","unit":"events","state":"failed","error":"no"}`)
	got, err := w.jobs.List(&call.Call{})
	require.NoError(t, err)
	b, err := json.Marshal(got)
	require.NoError(t, err)
	var list struct{ Jobs []jobs.Status }
	require.NoError(t, json.Unmarshal(b, &list))
	require.Len(t, list.Jobs, jobs.MaxJobs)
	require.Equal(t, "at-work", list.Jobs[0].ID)
	require.Equal(t, "later", list.Jobs[1].ID)
	require.Equal(t, "r299", list.Jobs[2].ID)

	full := newWorld(t)
	for i := range jobs.MaxJobs {
		full.put(fmt.Sprint(i), `{"kind":"replay","unit":"events"}`)
	}
	_, err = full.jobs.Put(&call.Call{Name: "more", Body: []byte(`{"kind":"replay","unit":"events"}`)})
	var f *call.Failure
	require.ErrorAs(t, err, &f)
	require.Equal(t, "too_many_jobs", f.Code)
}

func TestAReportThatIsNoneIsRefused(t *testing.T) {
	w := newWorld(t)
	for _, body := range []string{
		``, `[]`, `{}`, `{"kind":"replay"}`, `{"kind":"replay","unit":"hours"}`, `{"kind":"replay","unit":"events","done":-1}`,
		`{"kind":"a\u0000","unit":"events"}`, `{"kind":"replay","unit":"events","state":"silent"}`, `{"kind":"replay","unit":"events","more":1}`,
	} {
		_, err := w.jobs.Put(&call.Call{Name: "x", Body: []byte(body)})
		var f *call.Failure
		require.ErrorAs(t, err, &f, body)
		require.Equal(t, "bad_job", f.Code)
	}
	w.jobs.Begin("own", "verify", "", "bytes", func() {})
	_, err := w.jobs.Put(&call.Call{Name: "own", Body: []byte(`{"kind":"replay","unit":"events"}`)})
	require.Error(t, err)
}

func TestWhatGoesOnByItselfIsListedWhileItIsSeenAndDoneWhenItIsNot(t *testing.T) {
	w := newWorld(t)
	var at *jobs.Work
	w.jobs.Watch(func() (jobs.Work, bool) {
		if at == nil {
			return jobs.Work{}, false
		}
		return *at, true
	})
	list := func() []jobs.Status {
		got, err := w.jobs.List(nil)
		require.NoError(t, err)
		return got.(map[string][]jobs.Status)["jobs"]
	}
	require.Empty(t, list())
	at = &jobs.Work{ID: "m1", Kind: "merge", Name: "3 files", Unit: "bytes", Done: 200, Total: 1000, Began: w.now.Add(-2 * time.Second)}
	one := list()[0]
	require.Equal(t, []any{"merge", "3 files", jobs.Running, int64(200), int64(1000)}, []any{one.Kind, one.Name, one.State, one.Done, one.Total})
	require.InDelta(t, 100, one.Rate, 1)
	require.InDelta(t, 8, *one.Eta, 0.1)
	_, err := w.jobs.Cancel(&call.Call{Name: "m1"})
	require.Error(t, err, "nobody began it")
	w.after(time.Second)
	at = &jobs.Work{ID: "m2", Kind: "merge", Unit: "bytes", Total: 50, Began: w.now}
	require.Equal(t, jobs.Done, w.get("m1").State)
	require.Equal(t, int64(1000), w.get("m1").Done)
	require.Equal(t, jobs.Running, w.get("m2").State)
	w.after(2 * jobs.SilentAfter)
	require.Equal(t, jobs.Running, w.get("m2").State, "it is seen, so it is not silent")
	at = nil
	require.Equal(t, jobs.Done, w.get("m2").State)
}
