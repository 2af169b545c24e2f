package catalog_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"spoor/engine"
	"spoor/engine/erasure"
	"spoor/engine/event"
	"spoor/engine/query/catalog"
	"spoor/internal/vfs"
)

func TestACatalogKnowsNoFieldNorTimeThatOnlyErasedEventsHave(t *testing.T) {
	db, err := engine.Open("data", engine.Options{FS: vfs.NewMem(), ManualCompaction: true})
	require.NoError(t, err)
	defer func() { require.NoError(t, db.Close()) }()
	d := event.NewDecoder(event.DefaultLimits())
	for _, line := range []string{
		`{"eventId":"1","eventName":"buy","userId":"bob","timestamp":"2026-04-01T10:00:00Z","properties":{"price":5}}`,
		`{"eventId":"2","eventName":"buy","userId":"ada","timestamp":"2026-04-01T09:00:00Z","properties":{"price":7,"secret":"x","deep":{"flag":true,"big":9007199254740993}}}`,
		`{"eventId":"3","eventName":"buy","userId":"ada","timestamp":"2026-04-01T11:00:00Z","properties":{"price":"seven"}}`,
		`{"eventId":"4","eventName":"gone","userId":"bob","timestamp":"2026-04-01T11:00:00Z"}`,
	} {
		_, rejected := d.Add([]byte(line), "", func() [16]byte { return [16]byte{} })
		require.Nil(t, rejected)
	}
	require.IsType(t, &engine.EventsResult{}, db.Apply(1, engine.EventsEntry(nil, d.Seal(0))))
	for i, r := range []erasure.Request{
		{ID: "er1", Kind: erasure.Person, User: "ada"},
		{ID: "er2", Kind: erasure.Events, Events: []string{"gone"}},
	} {
		entry, err := engine.EraseEntry(&r)
		require.NoError(t, err)
		require.IsType(t, &erasure.Record{}, db.Apply(uint64(i)+2, entry))
	}
	v, err := db.View()
	require.NoError(t, err)
	defer v.Release()
	c := catalog.Of(v, nil)
	events := c.Events(10)
	require.Len(t, events, 1)
	at := time.Date(2026, 4, 1, 10, 0, 0, 0, time.UTC).UnixMicro()
	require.Equal(t, []any{"buy", int64(1), at, at}, []any{events[0].Name, events[0].Events, events[0].First, events[0].Last})
	require.Equal(t, []catalog.Field{{Path: "properties.price", Kinds: []string{"number"}, Share: 1, Examples: []any{5.0}}}, c.Describe("buy"))
}
