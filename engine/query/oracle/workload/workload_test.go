package workload

import (
	"encoding/json"
	"math/rand"
	"testing"

	"github.com/stretchr/testify/require"

	"spoor/engine/query/lang"
	"spoor/engine/query/oracle"
)

func TestEveryRandomQuestionParsesAndHasAnAnswer(t *testing.T) {
	kinds := map[lang.Kind]int{}
	for seed := range int64(60) {
		r := rand.New(rand.NewSource(seed))
		w := Random(r, Size{Persons: 1 + r.Intn(8), Events: 1 + r.Intn(120)})
		s := w.Store()
		for range 40 {
			text := Query(r, w)
			q, err := lang.Parse(text)
			require.NoError(t, err, text)
			a, err := s.Answer(q, w.Now)
			require.NoError(t, err, text)
			data, err := json.Marshal(a)
			require.NoError(t, err, text)
			require.Empty(t, oracle.Diff(data, data), text)
			kinds[q.Kind]++
		}
	}
	require.Len(t, kinds, int(lang.KindStickiness))
}

func TestAWorkloadFollowsFromItsSeed(t *testing.T) {
	make1 := func() []byte {
		data, err := json.Marshal(Random(rand.New(rand.NewSource(5)), Size{Persons: 5, Events: 100}))
		require.NoError(t, err)
		return data
	}
	require.Equal(t, make1(), make1())
}

func TestWorkloadsHaveWhatMakesQuestionsHard(t *testing.T) {
	ties, duplicates, late, links := 0, 0, 0, 0
	for seed := range int64(20) {
		w := Random(rand.New(rand.NewSource(seed)), Size{Persons: 6, Events: 150})
		s := w.Store()
		all := 0
		last := int64(0)
		for i := range w.Batches {
			b := &w.Batches[i]
			all += len(b.Events)
			links += len(b.Links)
			for k := range b.Events {
				if i+k > 0 && b.Events[k].Time < last {
					late++
				}
				last = b.Events[k].Time
			}
		}
		duplicates += all - len(s.Events())
		at := map[string]map[int64]bool{}
		for _, e := range s.Events() {
			p := s.Person(e.UserID, e.AnonymousID)
			if at[p] == nil {
				at[p] = map[int64]bool{}
			}
			if at[p][e.Time] {
				ties++
			}
			at[p][e.Time] = true
		}
	}
	require.Positive(t, ties)
	require.Positive(t, duplicates)
	require.Positive(t, late)
	require.Positive(t, links)
}
