package sizes

import (
	"bytes"
	"context"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"spoor/bench/workload"
	"spoor/tools/internal/benchstore"
)

func store(t *testing.T, events int64) string {
	dir := filepath.Join(t.TempDir(), "store")
	db, err := benchstore.Open(context.Background(), dir, workload.Config{Events: events, Seed: 1, Days: 3}, 64<<20, func(int64) {})
	require.NoError(t, err)
	require.NoError(t, db.Close())
	return dir
}

func TestTheAccountIsAllBytesOfAllFilesAndTheFloorsAreBelow(t *testing.T) {
	dir := store(t, 20_000)
	var want int64
	require.NoError(t, filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			info, err := d.Info()
			require.NoError(t, err)
			want += info.Size()
		}
		return err
	}))
	r, err := Of([]string{dir}, true)
	require.NoError(t, err)
	require.Equal(t, want, r.Bytes)
	require.InDelta(t, 20_000, r.Events, 500, "less those that were sent again")
	sum, names := int64(0), map[string]Part{}
	for _, p := range r.Parts {
		sum += p.Bytes
		names[p.Name] = p
	}
	require.Equal(t, want, sum)
	for _, name := range []string{"ids", "places of ids", "filter of ids", keysPart, receivedPart, "timeline", "properties.price (number)", "context.country (string)", "filters against duplicates", "persons and their ids", rest} {
		require.Positive(t, names[name].Bytes, name)
	}
	ids := *names["ids"].Floor
	require.InDelta(t, 15.25, ids, 1e-9)
	require.Greater(t, names["ids"].PerEvent+names["places of ids"].PerEvent, ids)
	for _, name := range []string{keysPart, "properties.price (number)", "context.country (string)"} {
		require.Less(t, *names[name].Floor, names[name].PerEvent, name)
	}
	var out bytes.Buffer
	r.WriteTable(&out)
	require.Contains(t, out.String(), "context.country (string)")
	require.Contains(t, out.String(), "FLOOR")

	quick, err := Of([]string{dir}, false)
	require.NoError(t, err)
	require.Equal(t, r.Bytes, quick.Bytes)
	require.Nil(t, quick.Parts[0].Floor)
}

func TestWhatIsNotThereOrDamagedIsAnError(t *testing.T) {
	_, err := Of([]string{filepath.Join(t.TempDir(), "missing")}, false)
	require.ErrorIs(t, err, fs.ErrNotExist)
	name := filepath.Join(t.TempDir(), "1.seg")
	require.NoError(t, os.WriteFile(name, []byte("no segment, but long enough to have a header and a trailer"), 0o600))
	_, err = Of([]string{name}, false)
	require.ErrorContains(t, err, name)
}

func TestEntropyIsThatOfTheBook(t *testing.T) {
	require.InDelta(t, 4.0, entropy(map[string]int{"a": 2, "b": 2}, 4), 1e-9)
	require.InDelta(t, 0.0, entropy(map[string]int{"a": 9}, 9), 1e-9)
	require.InDelta(t, 8*math.Log2(8), entropy(map[int]int{0: 1, 1: 1, 2: 1, 3: 1, 4: 1, 5: 1, 6: 1, 7: 1}, 8), 1e-9)
	// Two persons of four rows each whose value never changes: one bit for each person.
	keys := []uint64{1 << 37, 1<<37 + 1, 1<<37 + 2, 1<<37 + 3, 2 << 37, 2<<37 + 1, 2<<37 + 2, 2<<37 + 3}
	require.InDelta(t, 2.0, bits([]string{"a", "a", "a", "a", "b", "b", "b", "b"}, keys), 1e-9)
}
