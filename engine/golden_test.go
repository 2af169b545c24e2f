package engine

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"flag"
	"fmt"
	"hash/crc32"
	"log/slog"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"spoor/engine/erasure"
	"spoor/engine/event"
	"spoor/engine/letters"
	"spoor/engine/traits"
	"spoor/internal/vfs"
	"spoor/segment/batch"
)

var update = flag.Bool("update", false, "write the golden files anew")

// Directories of testdata/stores hold stores as they were written, a dump of each
// file, and what they answer. The one that is written at present is goldenStore;
// a copy of it under another name stays when a format changes, and stays openable.
const (
	stores      = "testdata/stores"
	goldenStore = "v3"
	answersName = "answers.txt"
)

// goldenLog makes every kind of entry: events with every kind of value and of id,
// links, an alias that merges two persons, traits, documents, erasures that were carried out and one that
// was not, a retention, dead letters.
func goldenLog(t *testing.T) [][]byte {
	dec := event.NewDecoder(event.DefaultLimits())
	events := func(received int64, lines ...string) []byte {
		noID := func() [16]byte { panic("every event has an id") }
		require.NoError(t, dec.AddAll([]byte(strings.Join(lines, "\n")), "web", noID, func(it event.Item) error {
			if it.Reject != nil {
				return it.Reject
			}
			return nil
		}))
		return EventsEntry(nil, dec.Seal(received))
	}
	const may1 = 1_777_593_600_000_000
	text := func(path, value string) event.Leaf {
		return event.Leaf{Path: path, Kind: batch.KindString, Text: []byte(value)}
	}
	erase := func(r *erasure.Request) []byte {
		entry, err := EraseEntry(r)
		require.NoError(t, err)
		return entry
	}
	retention, err := RetentionEntry(&erasure.Retention{Events: map[string]int{"old": 30}}, time.UnixMicro(may1))
	require.NoError(t, err)
	letter := letters.Append(nil, &letters.Letter{ID: "bad", Name: "view", Reason: "type", Path: "properties.price", Version: 2, Received: may1, Event: []byte(`{"eventId":"bad","eventName":"view","userId":"u9"}`)})
	return [][]byte{
		events(may1+1_000_000,
			`{"eventId":"3b5c1d58-6f6c-4c3e-9d0b-0d8f0d3f9a01","eventName":"view","userId":"u1","anonymousId":"a1","timestamp":"2026-05-01T00:00:00.001Z","properties":{"price":1.5,"sku":"red","deep":{"list":[1,"x",null]}}}`,
			`{"eventId":"order/1","eventName":"buy","anonymousId":"a2","timestamp":"2026-05-01T00:00:00.000001Z","properties":{"big":9007199254740993,"exact":0.10000000000000000001,"gift":true,"note":null}}`),
		IdentifyEntry(traits.Call{UserID: []byte("u1"), AnonymousID: []byte("a1"), Time: may1, Traits: []event.Leaf{text("city", "Wien"), text("plan", "pro")}}),
		events(may1+2_000_000,
			`{"eventId":"3b5c1d58-6f6c-4c3e-9d0b-0d8f0d3f9a02","eventName":"view","userId":"u2","timestamp":"2026-05-02T10:00:00Z","context":{"os":"iOS"}}`,
			`{"eventId":"order/1","eventName":"buy","anonymousId":"a2","timestamp":"2026-05-01T00:00:00.000001Z"}`),
		events(may1+2_500_000, `{"eventId":"3b5c1d58-6f6c-4c3e-9d0b-0d8f0d3f9a04","eventName":"view","userId":"leaver","anonymousId":"a9","timestamp":"2026-05-02T10:00:00Z"}`),
		erase(&erasure.Request{ID: "er-1", Kind: erasure.Person, User: "leaver", Reference: "ticket 1", At: may1}),
		erase(&erasure.Request{ID: "er-2", Kind: erasure.Field, Fields: []string{"context.os"}, At: may1}),
		LettersEntry(letters.Bounds{Bytes: letters.MaxBytes}, letter),
		retention,
		PutEntry("query", "checkout", []byte("funnel view -> buy within 1d")),
		IdentifyEntry(traits.Call{UserID: []byte("u2"), AnonymousID: []byte("a2"), Time: may1}),
		PutEntry("query", "gone", []byte("trend events of view")),
		DeleteEntry("query", "gone"),
		events(may1+3_000_000,
			`{"eventId":"3b5c1d58-6f6c-4c3e-9d0b-0d8f0d3f9a03","eventName":"view","anonymousId":"a3","timestamp":"2026-05-02T10:00:01Z","properties":{"sku":"green"}}`),
		erase(&erasure.Request{ID: "er-3", Kind: erasure.Events, Events: []string{"buy"}, Where: "properties.gift = false", At: may1}),
	}
}

// writeGolden makes the store: a merged file of two flushes, and one that is not merged.
func writeGolden(t *testing.T) map[string][]byte {
	mem := vfs.NewMem()
	db, err := Open("data", Options{
		FS: mem, ManualCompaction: true, firstFilterKeys: testFilterKeys,
		Random: bytes.NewReader(bytes.Repeat([]byte{7}, 64)), OnFatal: func(err error) { t.Errorf("fatal: %v", err) },
	})
	require.NoError(t, err)
	ctx := context.Background()
	for i, entry := range goldenLog(t) {
		err, failed := db.Apply(uint64(i)+1, entry).(error)
		require.False(t, failed, "%v", err)
		switch i {
		case 1, 12, 13:
			_, err := db.Checkpoint(ctx)
			require.NoError(t, err)
		case 11:
			require.NoError(t, db.Compact(ctx))
		}
	}
	require.NoError(t, db.Close())
	files := map[string][]byte{}
	entries, err := mem.ReadDir("data")
	require.NoError(t, err)
	for _, e := range entries {
		if e.Name() != lockName {
			files[e.Name()], err = vfs.ReadFile(mem, path.Join("data", e.Name()))
			require.NoError(t, err)
		}
	}
	return files
}

// fsOf is a file system with the files in the directory data.
func fsOf(t *testing.T, files map[string][]byte) vfs.FS {
	mem := vfs.NewMem()
	require.NoError(t, mem.MkdirAll("data"))
	for name, b := range files {
		require.NoError(t, vfs.WriteFileAtomic(mem, path.Join("data", name), b))
	}
	return mem
}

// answers is everything that a store says, as text.
func answers(t *testing.T, db *DB) string {
	v, err := db.View()
	require.NoError(t, err)
	defer v.Release()
	var out strings.Builder
	fmt.Fprintf(&out, "applied %d\n", v.AppliedIndex)
	rows := rowsIn(t, v)
	for _, id := range slices.Sorted(maps.Keys(rows)) {
		r := rows[id]
		fmt.Fprintf(&out, "event %s %s of %s, user %q, anonymous %q, at %d, received %d: %s\n", id, r.name, r.person, r.user, r.anon, r.time, r.received, r.body)
	}
	for p := range uint32(v.Identity.Persons()) {
		fmt.Fprintf(&out, "person %d is %s, traits %s\n", p, v.Identity.Name(v.Identity.Person(p)), event.AppendObject(nil, v.Identity.Traits(p)))
	}
	for _, d := range db.Documents("query") {
		fmt.Fprintf(&out, "%s %s of entry %d: %s\n", d.Kind, d.Name, d.Index, d.Value)
	}
	records, err := db.Erasures()
	require.NoError(t, err)
	for i := range records {
		r := &records[i]
		fmt.Fprintf(&out, "erasure %s, %s, of entry %d: known %v, %d ids, %d rows\n", r.ID, r.Kind, r.Index, r.Known, r.IDs, db.EraseStatus(r).Rows)
	}
	rules, cutoffs, err := db.Retention()
	require.NoError(t, err)
	fmt.Fprintf(&out, "retention {%v %v %v}, cutoffs %v\n", rules.Default, rules.Events, rules.Dedupe, cutoffs)
	list, _, err := db.Letters().List(letters.Filter{}, "", 10, 1<<20)
	require.NoError(t, err)
	for _, l := range list {
		fmt.Fprintf(&out, "letter %s of entry %d: %s at %s: %s\n", l.ID, l.Index, l.Reason, l.Path, l.Event)
	}
	return out.String()
}

func openGolden(t *testing.T, fsys vfs.FS) (*DB, error) {
	return Open("data", Options{FS: fsys, ManualCompaction: true, firstFilterKeys: testFilterKeys, OnFatal: func(err error) { t.Errorf("fatal: %v", err) }})
}

// readStore reads the dumps of a directory of testdata/stores.
func readStore(t *testing.T, dir string) (files map[string][]byte, answers string) {
	files = map[string][]byte{}
	names, err := filepath.Glob(filepath.Join(dir, "*.hex"))
	require.NoError(t, err)
	require.NotEmpty(t, names)
	for _, name := range names {
		text, err := os.ReadFile(name)
		require.NoError(t, err)
		b := []byte{}
		for line := range strings.Lines(string(text)) {
			if len(line) > 60 {
				part, err := hex.DecodeString(strings.ReplaceAll(line[10:58], " ", ""))
				require.NoError(t, err)
				b = append(b, part...)
			}
		}
		files[strings.TrimSuffix(filepath.Base(name), ".hex")] = b
	}
	text, err := os.ReadFile(filepath.Join(dir, answersName))
	require.NoError(t, err)
	return files, string(text)
}

func TestGoldenStoreIsWrittenAsEver(t *testing.T) {
	dir := filepath.Join(stores, goldenStore)
	files := writeGolden(t)
	if *update {
		require.NoError(t, os.RemoveAll(dir))
		require.NoError(t, os.MkdirAll(dir, 0o755))
		for name, b := range files {
			require.NoError(t, os.WriteFile(filepath.Join(dir, name+".hex"), []byte(hex.Dump(b)), 0o644))
		}
		db, err := openGolden(t, fsOf(t, files))
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(dir, answersName), []byte(answers(t, db)), 0o644))
		require.NoError(t, db.Close())
	}
	want, _ := readStore(t, dir)
	require.Equal(t, slices.Sorted(maps.Keys(want)), slices.Sorted(maps.Keys(files)))
	for name := range want {
		require.Equal(t, hex.Dump(want[name]), hex.Dump(files[name]), "%s", name)
	}
}

func TestGoldenStoresOfEveryFormatOpenAndAnswer(t *testing.T) {
	dirs, err := filepath.Glob(filepath.Join(stores, "*"))
	require.NoError(t, err)
	require.NotEmpty(t, dirs)
	for _, dir := range dirs {
		files, want := readStore(t, dir)
		db, err := openGolden(t, fsOf(t, files))
		require.NoError(t, err, "%s", dir)
		require.Equal(t, want, answers(t, db), "%s", dir)
		// It goes on from there: everything is written in the format of today.
		require.NoError(t, db.Compact(context.Background()))
		require.Equal(t, want, answers(t, db), "%s", dir)
		require.NoError(t, db.Close())
	}
}

func TestAFileOfAnotherVersionIsRefusedByName(t *testing.T) {
	files, _ := readStore(t, filepath.Join(stores, goldenStore))
	versions := map[string]int{".seg": 8, ".docs": 8, traits.Suffix: 8, identitySuffix: 8, letters.Suffix: 8, manifestName: 8, ".bloom": 4}
	for suffix, at := range versions {
		found := false
		for name := range files {
			if !strings.HasSuffix(name, suffix) {
				continue
			}
			found = true
			changed := maps.Clone(files)
			b := bytes.Clone(files[name])
			b[at] = 99
			if suffix == ".seg" { // its header has a checksum
				binary.LittleEndian.PutUint32(b[12:], crc32.Checksum(b[:12], crc32.MakeTable(crc32.Castagnoli)))
			}
			changed[name] = b
			var log bytes.Buffer
			db, err := Open("data", Options{
				FS: fsOf(t, changed), Logger: slog.New(slog.NewTextHandler(&log, nil)),
				ManualCompaction: true, firstFilterKeys: testFilterKeys, OnFatal: func(err error) { t.Errorf("fatal: %v", err) },
			})
			message := log.String()
			if suffix == ".bloom" { // what it knows is in the segments too
				require.NoError(t, err)
				require.NoError(t, db.Close())
			} else {
				require.Error(t, err, name)
				message = err.Error()
			}
			require.Regexp(t, `version 99[,;] this program reads versions? \d`, message, name)
		}
		require.True(t, found, "there is no file of %s", suffix)
	}
}
