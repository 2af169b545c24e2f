package logstore

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"

	"github.com/hashicorp/raft"

	"spoor/internal/vfs"
)

// Report is what Verify found in a log that is sound.
type Report struct {
	Cluster     ClusterID
	First, Last uint64 // indexes; 0 if there are no entries
	Files       int
	Bytes       int64 // that were read
	// Notes are what is unusual and does no harm; each begins with the name of its file.
	Notes []string
}

// ErrNoLog is wrapped when a directory holds no log.
var ErrNoLog = errors.New("there is no log")

// Verify reads the log of a directory that no process has open as Open would,
// every byte and every record, and changes nothing. The error says what Open would
// refuse, with the file.
func Verify(ctx context.Context, fsys vfs.FS, dir string) (*Report, error) {
	report, err := verify(ctx, fsys, dir)
	if err != nil {
		return nil, fmt.Errorf("verify log %s: %w", dir, err)
	}
	return report, nil
}

func verify(ctx context.Context, fsys vfs.FS, dir string) (*Report, error) {
	entries, err := fsys.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNoLog, err)
	}
	r := &Report{}
	segments := 0
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			return nil, err
		}
		r.Files++
		r.Bytes += info.Size()
		if _, ok := segmentSeq(e.Name()); ok {
			segments++
		} else if strings.HasSuffix(e.Name(), vfs.TempSuffix) {
			r.Notes = append(r.Notes, e.Name()+" is left from a crash and will be removed at the next start")
		}
	}
	if found, err := exists(fsys, dir); err != nil {
		return nil, err
	} else if !found {
		if segments > 0 {
			return nil, damage("%s is missing, but log files are there", filepath.Join(dir, metaName))
		}
		return nil, ErrNoLog
	}
	notes := &noteLog{}
	s, err := Open(Options{
		FS: vfs.DryRun{FS: fsys}, Dir: dir, SegmentBytes: MinSegmentBytes, // of the file that it makes ahead
		OnFatal: func(error) {}, Logger: slog.New(notes),
	})
	if err != nil {
		return nil, err
	}
	r.Cluster = s.Cluster()
	r.First, _ = s.FirstIndex()
	r.Last, _ = s.LastIndex()
	var l raft.Log
	for i := r.First; i > 0 && i <= r.Last && err == nil; i++ {
		if err = ctx.Err(); err == nil {
			err = s.GetLog(i, &l)
		}
	}
	r.Notes = append(r.Notes, notes.texts...)
	if err = errors.Join(err, s.Close()); err != nil {
		return nil, err
	}
	for _, f := range []struct {
		name, magic string
		bytes       int
	}{{markName, magicMark, markSlotBytes}, {voteName, magicVote, voteSlotBytes}} {
		if err := checkSlots(fsys, filepath.Join(dir, f.name), f.magic, f.bytes); err != nil {
			r.Notes = append(r.Notes, fmt.Sprintf("%s: one of its two copies cannot be read (%v), as after a power cut; the other one is used", f.name, err))
		}
	}
	return r, nil
}

// checkSlots tells of the first slot that is not whole.
func checkSlots(fsys vfs.FS, name, magic string, slotBytes int) error {
	b, err := vfs.ReadFile(fsys, name)
	if err != nil {
		return err
	}
	if len(b) != 2*slotBytes {
		return fmt.Errorf("it has %d bytes, not %d", len(b), 2*slotBytes)
	}
	for i := range 2 {
		slot := b[i*slotBytes : (i+1)*slotBytes]
		_, p, err := openEnvelope(slot, magic)
		if err != nil {
			return err
		}
		if !isZero(slot[envelopeBytes+len(p):]) {
			return errors.New("the bytes behind it are not zero")
		}
	}
	return nil
}

// EachRecord calls f with the data of every whole record in the bytes of a log
// file, wherever it begins and whether or not it still belongs to the log: what was cut off, too,
// is there until its place is used again. name is the file's.
func EachRecord(name string, b []byte, f func(offset int, data []byte) error) error {
	seq, ok := segmentSeq(filepath.Base(name))
	cluster, _, err := openEnvelope(b, magicSegment)
	if !ok || err != nil {
		return nil // of no cluster: nothing in it can be told from noise
	}
	salt := segmentSalt(cluster, seq)
	for at := segmentHeaderBytes; at+recordHeaderBytes <= len(b); {
		r, err := decodeRecord(b[at:], salt)
		if err != nil {
			at += recordAlign
			continue
		}
		if err := f(at, r.data); err != nil {
			return err
		}
		at += r.size
	}
	return nil
}

// noteLog keeps what Open warns of.
type noteLog struct{ texts []string }

func (n *noteLog) Enabled(_ context.Context, l slog.Level) bool { return l >= slog.LevelWarn }

func (n *noteLog) Handle(_ context.Context, r slog.Record) error {
	text := r.Message
	r.Attrs(func(a slog.Attr) bool {
		if a.Key == "file" {
			text = filepath.Base(a.Value.String()) + ": " + text
		} else {
			text += fmt.Sprintf(", %s %v", a.Key, a.Value)
		}
		return true
	})
	n.texts = append(n.texts, text)
	return nil
}

func (n *noteLog) WithAttrs([]slog.Attr) slog.Handler { return n }
func (n *noteLog) WithGroup(string) slog.Handler      { return n }
