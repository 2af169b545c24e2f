package roster

import (
	"fmt"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"spoor/engine"
)

func TestANodeThatComesBackIsReadyOnceItHasWhatItsLeaderHad(t *testing.T) {
	w := newWorld(t)
	n3 := w.three()[2]
	require.NoError(t, n3.WaitReady(within(t)))
	n3.stop()
	delete(w.nodes, "n3")
	leader, value := w.leader(), make([]byte, 4<<10)
	var writers sync.WaitGroup
	for from := range 20 {
		writers.Go(func() {
			for i := range 100 {
				if _, _, err := leader.Propose(within(t), engine.PutEntry("test", fmt.Sprint(from, "-", i%5), value)); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	writers.Wait()
	written := leader.AppliedIndex()
	w.nodes["n3"] = n3
	n3 = w.run("n3")
	require.NoError(t, n3.WaitReady(within(t)))
	require.GreaterOrEqual(t, n3.AppliedIndex(), written)
}
