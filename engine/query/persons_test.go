package query_test

import (
	"context"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"spoor/engine/query"
	"spoor/engine/query/lang"
	"spoor/engine/query/oracle"
)

func TestThePersonsOfEveryNumberAreAsManyAsItSays(t *testing.T) {
	ctx := context.Background()
	looked := map[string]int{}
	for seed := range 4 {
		w := &world{r: rand.New(rand.NewPCG(uint64(seed), 7)), db: openStore(t), oracle: &oracle.Store{}, coarse: seed == 3}
		w.add(t, 300)
		e := query.New(w.db, smallRanges(seed), func() time.Time { return worldNow })
		persons := func(q *lang.Query, at query.Place) []string {
			at.Limit = 1000
			a, err := e.Persons(ctx, q, at)
			require.NoError(t, err, "%s %+v", q, at)
			require.Len(t, a.Users, a.Count)
			require.Nil(t, a.Next)
			return a.Users
		}
		for range 500 {
			text := w.query()
			q, err := lang.Parse(text)
			require.NoError(t, err)
			switch q.Kind {
			case lang.KindFunnel:
				answer, err := e.Answer(ctx, q, query.Options{})
				require.NoError(t, err, text)
				a := answer.(*query.FunnelAnswer)
				perPerson := q.Funnel.Per.Kind == lang.PerUser // of other units a person may have several
				for i, s := range a.Steps {
					there := persons(q, query.Place{Step: i + 1})
					require.Equal(t, w.oracle.Reached(q, worldNow.UnixMicro(), i, false), there, "%s: step %d", text, i+1)
					if perPerson {
						require.Len(t, there, s.Users, "%s: step %d", text, i+1)
					}
					if i+1 == len(a.Steps) {
						continue
					}
					lost := persons(q, query.Place{Step: i + 1, Lost: true})
					require.Equal(t, w.oracle.Reached(q, worldNow.UnixMicro(), i, true), lost, "%s: lost after step %d", text, i+1)
					next := i + 1
					for q.Funnel.Steps[next].Optional {
						next++
					}
					if perPerson && !q.Funnel.Steps[i].Optional && q.Funnel.Order != lang.OrderAny {
						require.Len(t, lost, s.Users-a.Steps[next].Users, "%s: lost after step %d", text, i+1)
					}
				}
				if q.Funnel.Order == lang.OrderOrdered {
					// Persons of the plain form come out of a sweep; what cannot be swept says the same.
					walked := *q
					never, err := lang.Parse("funnel a never nothing")
					require.NoError(t, err)
					plain := len(q.Funnel.Never) == 0
					f := *q.Funnel
					f.Never = append(slices.Clone(f.Never), never.Funnel.Never...)
					walked.Funnel = &f
					for _, g := range a.Groups {
						if g.Other {
							continue
						}
						at := query.Place{Step: 1 + w.r.IntN(len(a.Steps)), Group: g.Key}
						at.Lost = at.Step < len(a.Steps) && w.r.IntN(2) == 0
						require.Equal(t, persons(&walked, at), persons(q, at), "%s: %+v", text, at)
						if plain {
							looked["walked"]++
						}
					}
				}
				if !perPerson {
					continue
				}
				for _, g := range a.Groups {
					if g.Other {
						continue
					}
					looked["group"]++
					require.Len(t, persons(q, query.Place{Step: 1, Group: g.Key}), g.Steps[0].Users, "%s: group %v", text, g.Key)
				}
				looked["funnel"]++
			case lang.KindRetention:
				answer, err := e.Answer(ctx, q, query.Options{})
				require.NoError(t, err, text)
				for p, c := range answer.(*query.RetentionAnswer).Cohorts {
					require.Len(t, persons(q, query.Place{Cohort: p, Column: -1}), c.Size, "%s: cohort %d", text, p)
					for k := 0; k < len(c.Retained); k += 1 + w.r.IntN(3) {
						require.Len(t, persons(q, query.Place{Cohort: p, Column: k}), c.Retained[k], "%s: cohort %d, column %d", text, p, k)
					}
				}
				looked["retention"]++
			}
		}
	}
	for kind, n := range looked {
		require.Greater(t, n, 20, kind)
	}
	require.Len(t, looked, 4)
}

func TestPersonsComeInPagesByName(t *testing.T) {
	w := &world{r: rand.New(rand.NewPCG(1, 9)), db: openStore(t), oracle: &oracle.Store{}}
	w.add(t, 200)
	e := query.New(w.db, query.Limits{}, func() time.Time { return worldNow })
	q, err := lang.Parse("funnel any -> any from 2026-01-01 to 2027-01-01")
	require.NoError(t, err)
	all, err := e.Persons(context.Background(), q, query.Place{Step: 1, Limit: 1000})
	require.NoError(t, err)
	require.Greater(t, all.Count, 6)
	var paged []string
	for after := ""; ; {
		a, err := e.Persons(context.Background(), q, query.Place{Step: 1, Limit: 3, After: after})
		require.NoError(t, err)
		require.Equal(t, all.Count, a.Count)
		paged = append(paged, a.Users...)
		if a.Next == nil {
			break
		}
		after = *a.Next
	}
	require.Equal(t, all.Users, paged)
}

func TestAPlaceThatAnAnswerDoesNotHaveIsAnError(t *testing.T) {
	w := &world{r: rand.New(rand.NewPCG(1, 9)), db: openStore(t), oracle: &oracle.Store{}}
	w.add(t, 50)
	e := query.New(w.db, query.Limits{}, func() time.Time { return worldNow })
	for text, places := range map[string][]query.Place{
		"funnel a -> b":                  {{Step: 0}, {Step: 3}, {Step: 2, Lost: true}, {Step: 1, Group: []any{"x"}}},
		"funnel a by p":                  {{Step: 1, Group: []any{"x", "y"}}},
		"retention a -> b for 3 last 4d": {{Cohort: -1, Column: -1}, {Cohort: 9, Column: 0}, {Cohort: 0, Column: 3}},
		"trend count of any":             {{Step: 1}},
	} {
		q, err := lang.Parse(text)
		require.NoError(t, err)
		for _, at := range places {
			_, err := e.Persons(context.Background(), q, at)
			var wrong *query.Error
			require.ErrorAs(t, err, &wrong, "%s %+v", text, at)
			require.Equal(t, "bad_place", wrong.Code)
		}
	}
}
