package benchstore

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"spoor/bench/questions"
	"spoor/bench/workload"
	"spoor/engine"
	"spoor/engine/query"
)

func open(t *testing.T, dir string, c workload.Config) (*engine.DB, error) {
	t.Helper()
	return Open(context.Background(), dir, c, 64<<20, func(int64) {})
}

func TestAStoreIsFilledOnceAndAnswersEveryQuestion(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	c := workload.Config{Events: 30_000, Seed: 3, Days: 30}
	var told int64
	db, err := Open(context.Background(), dir, c, 64<<20, func(n int64) { told = n })
	require.NoError(t, err)
	require.Equal(t, c.Events, told)
	index := db.AppliedIndex()
	require.NoError(t, db.Close())

	db, err = open(t, dir, c)
	require.NoError(t, err)
	defer func() { require.NoError(t, db.Close()) }()
	require.Equal(t, index, db.AppliedIndex(), "it was filled again")
	e := query.New(db, query.Limits{}, time.Now)
	person, err := Person(context.Background(), e)
	require.NoError(t, err)
	for _, q := range questions.All(person) {
		a, err := e.Ask(context.Background(), q.Text)
		require.NoError(t, err, q.Text)
		switch a := a.(type) {
		case *query.EventsAnswer:
			require.GreaterOrEqual(t, len(a.Events), workload.EventsPerPerson) // what the person did unknown comes in addition
		case *query.FunnelAnswer:
			require.Positive(t, a.Steps[0].Users, q.Text)
			require.Empty(t, a.Warnings, q.Text)
		}
	}
}

func TestAnotherWorkloadOrStrangeFilesAreRefused(t *testing.T) {
	dir := t.TempDir()
	c := workload.Config{Events: 1000, Seed: 3, Days: 30}
	db, err := open(t, dir, c)
	require.NoError(t, err)
	require.NoError(t, db.Close())
	c.Seed = 4
	_, err = open(t, dir, c)
	require.ErrorContains(t, err, "holds another workload: events 1000 seed 3 days 30")

	strange := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(strange, "x"), nil, 0o600))
	_, err = open(t, strange, c)
	require.ErrorContains(t, err, "is not empty")
}
