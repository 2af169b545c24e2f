package oracle

import (
	"fmt"
	"math/rand"
	"testing"

	"github.com/stretchr/testify/require"
)

// A person with hundreds of events is no trouble: the search looks at each state
// of a chain once. This test has no clock; where it was not so it would not end.
func TestAPersonWithManyEventsIsAnswered(t *testing.T) {
	r := rand.New(rand.NewSource(1))
	s := &Store{}
	for i := range 200 {
		s.Add(Event{
			EventID: fmt.Sprint(i), UserID: "u", Name: string(rune('a' + r.Intn(5))), Time: int64(r.Intn(3600)) * 1e6,
			Properties: map[string]any{"p": fmt.Sprint(r.Intn(3))},
		})
	}
	for _, clauses := range []string{
		"", " order strict", " order any", " excluding e between 2 and 3", " order any excluding e", " holding p", " per p by p at last", " per session gap 1m every hour",
	} {
		for _, steps := range []string{"a -> b -> c -> d", "a -> any -> b? -> any"} {
			f := ask(t, s, "funnel "+steps+" within 1h"+clauses+" from 1970-01-01 to 1970-01-02").Funnel
			require.NotEmpty(t, f.Steps)
		}
	}
}
