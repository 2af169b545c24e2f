package batch

import (
	"fmt"
	"math/rand"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestABatchHasTheRowsThatWereAdded(t *testing.T) {
	r := rand.New(rand.NewSource(1))
	b := NewBuilder()
	for range 25 {
		rows := randomRows(r, r.Intn(700))
		for i := range rows {
			rows[i].addTo(b)
		}
		got := b.Batch(1e15)
		require.Empty(t, broken(got))
		require.Equal(t, texts(rows), rowsOf(got))
		b.Reset()
		require.Zero(t, b.Rows())
		require.Zero(t, b.Size())
	}
}

// A row that was rolled back leaves no byte behind: no value, no text of a
// dictionary, no column.
func TestRollbackLeavesTheBatchAsIfTheRowsHadNeverBeen(t *testing.T) {
	r := rand.New(rand.NewSource(2))
	b := NewBuilder()
	for range 25 {
		kept, gone := randomRows(r, r.Intn(300)), randomRows(r, r.Intn(300))
		for i := range kept {
			kept[i].addTo(b)
		}
		for i := range gone {
			gone[i].addTo(b)
		}
		b.Rollback(len(kept))
		more := randomRows(r, r.Intn(20))
		for i := range more {
			more[i].addTo(b)
		}
		got := b.Batch(1e15)
		require.Empty(t, broken(got))
		require.Equal(t, append(texts(kept), texts(more)...), rowsOf(got))
		for i := range got.Columns {
			require.LessOrEqual(t, got.Columns[i].Dict.Len(), got.Columns[i].Len(got.N))
		}
		require.LessOrEqual(t, got.Users.Dict.Len(), got.N)
		b.Reset()
	}
}

func TestAColumnOfUniqueTextsGoesWithoutDictionary(t *testing.T) {
	b := NewBuilder()
	add := func(row int, text string) {
		m := modelRow{id: "x", name: "n", values: map[string]modelValue{"p": {kind: KindString, text: text}}}
		m.addTo(b)
	}
	for row := range 1000 {
		add(row, fmt.Sprint("value", row))
	}
	got := b.Batch(0)
	require.Nil(t, got.Columns[0].Codes)
	require.Equal(t, "value999", string(got.Columns[0].Text(999)))

	b.Reset()
	add(0, "one")
	require.Nil(t, b.Batch(0).Columns[0].Codes, "the next batch remembers")

	for range plainBatches {
		b.Reset()
		add(0, "one")
	}
	require.NotNil(t, b.Batch(0).Columns[0].Codes, "and after some batches it is tried again")
}

func TestSizeIsCloseToTheEncodedSize(t *testing.T) {
	b := NewBuilder()
	rows := randomRows(rand.New(rand.NewSource(3)), 2000)
	for i := range rows {
		rows[i].addTo(b)
	}
	encoded := len(b.Batch(0).AppendEncoded(nil))
	require.Greater(t, b.Size(), encoded/2)
	require.Less(t, b.Size(), encoded*2)
}

func TestTooManyColumnsAreLetGoAtAReset(t *testing.T) {
	b := NewBuilder()
	for i := range maxKeptColumns + 1 {
		m := modelRow{id: "x", name: "n", values: map[string]modelValue{fmt.Sprint("p", i): {kind: KindNull}}}
		m.addTo(b)
	}
	require.Equal(t, maxKeptColumns+1, b.Columns())
	b.Reset()
	require.Zero(t, b.Columns())
	require.Equal(t, 1, b.Epoch())
}

func TestAValueOutOfRowOrderPanics(t *testing.T) {
	b := NewBuilder()
	(&modelRow{id: "x", name: "n"}).addTo(b)
	c := b.Column("p", KindNull)
	c.Null(0)
	require.Panics(t, func() { c.Null(0) })
}
