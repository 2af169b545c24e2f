package engine

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"spoor/engine/letters"
	"spoor/internal/vfs"
)

func letterEntryOf(ids ...int) []byte {
	var encoded []byte
	for _, id := range ids {
		encoded = letters.Append(encoded, &letters.Letter{ID: fmt.Sprint("id", id), Name: "e", Reason: "r", Received: int64(id), Event: fmt.Appendf(nil, `{"n":%d}`, id)})
	}
	return LettersEntry(letters.Bounds{Bytes: letters.MaxBytes}, encoded)
}

func letterIDs(t *testing.T, db *DB) (ids []string) {
	require.NoError(t, db.Letters().Each(func(l *letters.Letter) { ids = append(ids, l.ID) }))
	return ids
}

func TestDeadLettersOutliveCheckpointsReplaysBackupsAndAreVerified(t *testing.T) {
	ctx := context.Background()
	fsys := vfs.NewMem()
	open := func(dir string) *DB {
		db, err := Open(dir, Options{FS: fsys, ManualCompaction: true})
		require.NoError(t, err)
		return db
	}
	log := [][]byte{
		letterEntryOf(1, 2, 3), letterEntryOf(2, 4), UnletterEntry(letters.Bounds{Bytes: letters.MaxBytes}, []string{"id1", "nobody"}),
		letterEntryOf(1), UnletterEntry(letters.Bounds{Bytes: letters.MaxBytes, Oldest: 2}, nil), letterEntryOf(5),
	}
	want := []string{"id2", "id3", "id4", "id1", "id5"} // id1 came back; it expires only from the front
	for saved := range len(log) + 1 {
		dir := fmt.Sprint("store", saved)
		db := open(dir)
		for i, entry := range log {
			if i == saved {
				_, err := db.Checkpoint(ctx)
				require.NoError(t, err)
			}
			require.IsType(t, 0, db.Apply(uint64(i+1), entry))
		}
		require.Equal(t, want, letterIDs(t, db))
		before, err := db.StateHash(ctx)
		require.NoError(t, err)
		require.NoError(t, db.Close())

		db = open(dir)
		for i := int(db.DurableIndex()); i < len(log); i++ {
			db.Apply(uint64(i+1), log[i])
		}
		after, err := db.StateHash(ctx)
		require.NoError(t, err)
		require.Equal(t, before.Letters, after.Letters, "saved at %d", saved)
		_, err = db.Backup(ctx, fsys, dir+"-backup", nil)
		require.NoError(t, err)
		require.NoError(t, db.Close())
		_, err = Restore(ctx, fsys, dir+"-backup", fsys, dir+"-back", nil)
		require.NoError(t, err)
		db = open(dir + "-back")
		require.Equal(t, want, letterIDs(t, db))
		file := db.lettersFile
		require.NoError(t, db.Close())

		f, err := fsys.OpenReadWrite(dir + "-back/" + file.Name)
		require.NoError(t, err)
		_, err = f.WriteAt([]byte{0xff}, file.Bytes-3)
		require.NoError(t, err)
		require.NoError(t, f.Close())
		report, err := Verify(ctx, fsys, dir+"-back", nil)
		require.NoError(t, err)
		require.ErrorIs(t, report.Err(), ErrDamaged)
		_, err = Open(dir+"-back", Options{FS: fsys, ManualCompaction: true})
		require.ErrorIs(t, err, letters.ErrFile)
	}
}

func TestAnEntryOfLettersThatIsCutOffIsAnError(t *testing.T) {
	var fatal error
	db, err := Open("store", Options{FS: vfs.NewMem(), ManualCompaction: true, OnFatal: func(err error) { fatal = err }})
	require.NoError(t, err)
	defer func() { require.NoError(t, db.Close()) }()
	entry := letterEntryOf(1, 2)
	err, _ = db.Apply(1, entry[:len(entry)-1]).(error)
	require.ErrorIs(t, err, ErrEntry)
	require.ErrorIs(t, fatal, ErrEntry)
	require.Empty(t, letterIDs(t, db))
}

func TestAfterAPowerCutAtAnyCallTheLogCompletesTheLetters(t *testing.T) {
	ctx := context.Background()
	r := rand.New(rand.NewPCG(1, 1))
	var log [][]byte
	for i := range 30 {
		if i%4 == 3 {
			log = append(log, UnletterEntry(letters.Bounds{Bytes: letters.MaxBytes}, []string{fmt.Sprint("id", i/2)}))
		} else {
			log = append(log, letterEntryOf(i, i+100))
		}
	}
	images := 0
	for seed := uint64(0); images < 50; seed++ {
		mem := vfs.NewMem()
		var promised, applied atomic.Uint64
		fs := vfs.NewFault(mem, vfs.Plan{Before: func(vfs.Call) {
			if images >= 50 || r.IntN(20) != 0 {
				return
			}
			images++
			least, most := promised.Load(), applied.Load()
			db, err := Open("store", Options{FS: mem.CrashClone(r), ManualCompaction: true})
			require.NoError(t, err)
			require.GreaterOrEqual(t, db.DurableIndex(), least)
			require.LessOrEqual(t, db.DurableIndex(), most)
			for i := int(db.DurableIndex()); i < len(log); i++ {
				require.IsType(t, 0, db.Apply(uint64(i+1), log[i]))
			}
			whole := letters.New()
			for i, entry := range log {
				change := whole.Put
				if entry[0] == entryUnletter {
					change = whole.Remove
				}
				_, err := change(uint64(i+1), entry[1:])
				require.NoError(t, err)
			}
			var want []string
			require.NoError(t, whole.Each(func(l *letters.Letter) { want = append(want, l.ID) }))
			require.Equal(t, want, letterIDs(t, db))
			_, err = db.Checkpoint(ctx)
			require.NoError(t, err)
			require.Equal(t, want, letterIDs(t, db), "each is read from the file, and has its checksum")
			require.NoError(t, db.Close())
		}})
		db, err := Open("store", Options{FS: fs, ManualCompaction: true})
		require.NoError(t, err)
		for i, entry := range log {
			applied.Store(uint64(i + 1))
			db.Apply(uint64(i+1), entry)
			if r.IntN(3) == 0 {
				durable, err := db.Checkpoint(ctx)
				require.NoError(t, err)
				promised.Store(durable)
			}
		}
		require.NoError(t, db.Close())
	}
}
