package datadir

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"spoor/cluster"
	"spoor/cluster/logstore"
	"spoor/engine"
	"spoor/engine/cold"
	"spoor/internal/grep"
	"spoor/internal/vfs"
	"spoor/segment"
	"spoor/segment/batch"
)

// Bounds of a search.
const (
	MaxPlaces  = 1000 // that are listed
	maxPerFile = 20   // of one text
	grepBytes  = 1 << 20
)

// Place is where a text stands.
type Place struct {
	File  string `json:"file"`
	Where string `json:"where"`
	Text  string `json:"text"`
}

// Found is what Grep found. A text is gone if neither Places nor Undecoded name anything.
type Found struct {
	Files  int     `json:"files"`
	Bytes  int64   `json:"bytes"`
	Places []Place `json:"places"` // at most MaxPlaces
	More   int     `json:"more_places"`
	// Undecoded are files that were searched as bytes alone, because they cannot be read.
	Undecoded []engine.Problem `json:"undecoded"`
}

// Gone tells whether the texts are proved to be nowhere.
func (f *Found) Gone() bool { return len(f.Places) == 0 && len(f.Undecoded) == 0 }

// Grep looks for texts in all files of a data directory, a backup or any other
// directory, whether or not they still count: as bytes, and decoded. Segments and files of
// segments that are left over are decoded to the last value, log files record by record, also where
// the log was cut, documents and snapshots out of their encodings; numbers and UUIDs are
// found by the way they are written. The dedupe filters hold keyed hashes of eventIds, no texts.
func Grep(ctx context.Context, fsys vfs.FS, dir string, texts []string, progress engine.Progress) (*Found, error) {
	if len(texts) == 0 || slices.Contains(texts, "") {
		return nil, errors.New("search: no text is given, or an empty one")
	}
	if store, _, err := storeOf(fsys, dir); err == nil {
		lock, err := fsys.Lock(filepath.Join(store, lockName))
		if err != nil {
			return nil, fmt.Errorf("search %s: %w", dir, err)
		}
		defer func() { _ = lock.Close() }()
	}
	g := newGrepper(fsys, dir, texts, progress)
	if _, err := g.round(ctx, false); err != nil {
		return nil, fmt.Errorf("search %s: %w", dir, err)
	}
	return g.found, nil
}

// Bounds of a search through a store in use.
const (
	maxRounds = 20 // through files that came since the round before
	maxTries  = 10 // of a file whose end is being written
)

// GrepInUse is Grep of a data directory that this process has open, for what it held at the time of the call.
// Nothing is in memory alone: what was applied is in the log, until it is in files that the manifest names. A file
// that goes before it is read has left what counts of it to files that are there by then: as long
// as there were such, the files that came or grew in the meantime are read as well.
// objects are the segments of old days in the object store, see engine.DB.EachObject.
func GrepInUse(ctx context.Context, fsys vfs.FS, dir string, objects Objects, texts []string, progress engine.Progress) (*Found, error) {
	if len(texts) == 0 || slices.Contains(texts, "") {
		return nil, errors.New("search: no text is given, or an empty one")
	}
	g := newGrepper(fsys, dir, texts, progress)
	g.inUse = true
	for range maxRounds {
		missed, err := g.round(ctx, true)
		if err != nil {
			return nil, fmt.Errorf("search %s: %w", dir, err)
		}
		fresh, err := g.objects(ctx, objects)
		if err != nil {
			return nil, fmt.Errorf("search %s: %w", dir, err)
		}
		if missed+fresh == 0 {
			return g.found, nil
		}
	}
	g.found.Undecoded = append(g.found.Undecoded, engine.Problem{File: ".", Text: "files came and went faster than they were read; search again when less is written"})
	return g.found, nil
}

// Objects calls f with each object of a store, as a file on the local disk.
type Objects func(ctx context.Context, f func(name string, content vfs.File) error) error

// objects reads the objects that were not read yet, and counts them. A segment may go there, and come back,
// between two rounds, under another name each time.
func (g *grepper) objects(ctx context.Context, each Objects) (fresh int, err error) {
	if each == nil {
		return 0, nil
	}
	err = each(ctx, func(name string, content vfs.File) error {
		name = filepath.Join(g.dir, "object store", name)
		if _, seen := g.read[name]; seen {
			return nil
		}
		g.read[name] = content.Size()
		fresh++
		clear(g.perFile)
		if err := g.raw(ctx, name, content); err != nil {
			return err
		}
		g.segment(ctx, name, content)
		g.found.Files++
		g.found.Bytes += content.Size()
		return ctx.Err()
	})
	if err != nil && ctx.Err() == nil {
		g.undecoded(filepath.Join(g.dir, "object store"), err)
		return 0, nil
	}
	return fresh, err
}

func newGrepper(fsys vfs.FS, dir string, texts []string, progress engine.Progress) *grepper {
	g := &grepper{fsys: fsys, dir: dir, texts: texts, found: &Found{}, perFile: map[string]int{}, read: map[string]int64{}, progress: progress}
	for _, t := range texts {
		g.patterns = append(g.patterns, patternsOf(t)...)
	}
	return g
}

// round reads the files that were not read yet, or have grown. In use some may go before that: missed counts them.
func (g *grepper) round(ctx context.Context, inUse bool) (missed int, err error) {
	g.files, g.total = g.files[:0], 0
	if err := g.list(g.dir, 0); err != nil {
		return 0, err
	}
	for _, f := range g.files {
		if before, seen := g.read[f.name]; seen && (f.bytes <= before || strings.HasSuffix(f.name, ".log")) {
			continue // the log grows by what is new alone
		}
		err := g.fileTried(ctx, f.name, inUse)
		if inUse && errors.Is(err, fs.ErrNotExist) {
			missed++
			continue
		}
		if err != nil {
			return 0, fmt.Errorf("%s: %w", f.name, err)
		}
		g.read[f.name] = f.bytes
		g.found.Files++
		g.found.Bytes += f.bytes
		if g.progress != nil {
			g.progress(g.found.Bytes, max(g.total, g.found.Bytes))
		}
	}
	return missed, nil
}

// fileTried reads a file, again where it cannot be decoded because somebody writes it.
func (g *grepper) fileTried(ctx context.Context, name string, inUse bool) error {
	for try := 1; ; try++ {
		places, more, undecoded := len(g.found.Places), g.found.More, len(g.found.Undecoded)
		if err := g.file(ctx, name); err != nil || len(g.found.Undecoded) == undecoded || !inUse || try == maxTries {
			return err
		}
		g.found.Places, g.found.More, g.found.Undecoded = g.found.Places[:places], more, g.found.Undecoded[:undecoded]
	}
}

type foundFile struct {
	name  string
	bytes int64
}

type grepper struct {
	fsys     vfs.FS
	dir      string
	texts    []string
	patterns []pattern
	files    []foundFile
	total    int64
	found    *Found
	perFile  map[string]int // places of the current file by text
	read     map[string]int64
	progress engine.Progress
	inUse    bool // objects are read, too
}

// pattern is a form in which a text may stand in a file.
type pattern struct {
	text, form string
	bytes      []byte
	suffix     string // of the names of files where the form occurs, "" for all
}

// patternsOf are the forms that no decoder below takes apart.
func patternsOf(text string) []pattern {
	ps := []pattern{{text, "bytes", []byte(text), ""}}
	if quoted, err := json.Marshal(text); err == nil {
		if inner := quoted[1 : len(quoted)-1]; string(inner) != text {
			ps = append(ps, pattern{text, "escaped", inner, ""})
		}
	}
	if id, ok := batch.ParseUUID([]byte(text)); ok {
		ps = append(ps, pattern{text, "UUID", binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, id.Hi), id.Lo), ""})
	}
	// Values of traits: their kind and 8 bytes.
	if n, err := strconv.ParseFloat(text, 64); err == nil {
		ps = append(ps, pattern{text, "number", binary.LittleEndian.AppendUint64([]byte{byte(batch.KindNumber)}, math.Float64bits(n)), ".traits"})
	}
	if n, err := strconv.ParseInt(text, 10, 64); err == nil {
		ps = append(ps, pattern{text, "integer", binary.LittleEndian.AppendUint64([]byte{byte(batch.KindInt)}, uint64(n)), ".traits"})
	}
	return ps
}

// maxDepth of directories below the data directory; there are two.
const maxDepth = 16

func (g *grepper) list(dir string, depth int) error {
	if depth > maxDepth {
		return fmt.Errorf("%s is more than %d directories deep", dir, maxDepth)
	}
	entries, err := g.fsys.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		name := filepath.Join(dir, e.Name())
		info, err := e.Info()
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			return err
		case e.IsDir():
			if err := g.list(name, depth+1); err != nil {
				return err
			}
		default:
			g.files = append(g.files, foundFile{name, info.Size()})
			g.total += info.Size()
		}
	}
	return nil
}

func (g *grepper) rel(name string) string {
	if rel, err := filepath.Rel(g.dir, name); err == nil {
		return rel
	}
	return name
}

func (g *grepper) place(name, where, text string) {
	if g.perFile[text]++; g.perFile[text] > maxPerFile || len(g.found.Places) == MaxPlaces {
		g.found.More++
		return
	}
	g.found.Places = append(g.found.Places, Place{g.rel(name), where, text})
}

// look notes the texts that decoded holds.
func (g *grepper) look(name, where string, decoded []byte) {
	for _, t := range g.texts {
		if grep.Contains(decoded, []byte(t)) {
			g.place(name, where, t)
		}
	}
}

func (g *grepper) undecoded(name string, err error) {
	g.found.Undecoded = append(g.found.Undecoded, engine.Problem{File: g.rel(name), Text: err.Error()})
}

func (g *grepper) file(ctx context.Context, name string) error {
	clear(g.perFile)
	f, err := g.fsys.Open(name)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	g.look(name, "name of the file", []byte(filepath.Base(name)))
	if err := g.raw(ctx, name, f); err != nil {
		return err
	}
	base := strings.TrimSuffix(filepath.Base(name), vfs.TempSuffix)
	switch {
	case f.Size() == 0:
	case strings.HasSuffix(base, ".seg"):
		g.segment(ctx, name, f)
	case strings.HasSuffix(base, cold.Suffix) && !g.inUse:
		g.undecoded(name, errors.New("its events are in the object store; search with the server running"))
	case strings.HasSuffix(base, ".docs"):
		g.whole(name, f, func(b []byte) error {
			return engine.DocumentTexts(b, func(where string, text []byte) { g.look(name, where, text) })
		})
	case strings.HasSuffix(base, ".traits"):
		g.whole(name, f, func(b []byte) error {
			g.look(name, "traits", b)
			return nil
		})
	case strings.HasSuffix(base, ".log"):
		g.whole(name, f, func(b []byte) error { return g.log(name, b) })
	case strings.HasPrefix(base, "snapshot-"):
		g.whole(name, f, func(b []byte) error {
			data, err := cluster.SnapshotData(b)
			g.look(name, "snapshot", data)
			return err
		})
	}
	return ctx.Err()
}

// raw looks for all forms in the bytes of a file.
func (g *grepper) raw(ctx context.Context, name string, f vfs.File) error {
	overlap := 0
	for _, p := range g.patterns {
		overlap = max(overlap, len(p.bytes)-1)
	}
	buf := make([]byte, grepBytes+overlap)
	for off := int64(0); off < f.Size(); off += grepBytes {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, err := f.ReadAt(buf[:min(int64(len(buf)), f.Size()-off)], off)
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		for _, p := range g.patterns {
			if !strings.HasSuffix(strings.TrimSuffix(name, vfs.TempSuffix), p.suffix) {
				continue
			}
			for at := 0; ; {
				i := bytes.Index(buf[at:n], p.bytes)
				if i < 0 || at+i >= grepBytes { // the next piece begins there
					break
				}
				g.place(name, fmt.Sprintf("%s at offset %d", p.form, off+int64(at+i)), p.text)
				at += i + 1
			}
		}
	}
	return nil
}

func (g *grepper) segment(ctx context.Context, name string, f vfs.File) {
	r, err := segment.Open(f, f.Size(), filepath.Base(name), nil)
	if err != nil {
		g.undecoded(name, err)
		return
	}
	report, err := r.Verify(ctx, g.texts...)
	if err != nil {
		g.undecoded(name, err)
		return
	}
	for _, where := range report.Found {
		for _, t := range g.texts {
			if place, ok := strings.CutSuffix(where, fmt.Sprintf(": %q", t)); ok {
				g.place(name, place, t)
				break
			}
		}
	}
}

func (g *grepper) whole(name string, f vfs.File, read func([]byte) error) {
	b := make([]byte, f.Size())
	n, err := f.ReadAt(b, 0)
	if n == len(b) {
		err = read(b)
	}
	if err != nil {
		g.undecoded(name, err)
	}
}

func (g *grepper) log(name string, b []byte) error {
	return logstore.EachRecord(name, b, func(offset int, data []byte) error {
		return engine.EntryTexts(data, func(where string, text []byte) {
			g.look(name, fmt.Sprintf("%s in the entry at offset %d", where, offset), text)
		})
	})
}
