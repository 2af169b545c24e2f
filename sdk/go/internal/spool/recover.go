package spool

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// recover finds the segments that earlier processes have left.
func (s *Spool) recover() error {
	entries, err := os.ReadDir(s.opts.Dir)
	if err != nil {
		return err
	}
	settled, offset := readCursor(s.path(cursorName))
	var at int // of the cursor in segments, plus 1
	for _, e := range entries {
		number, err := strconv.ParseUint(strings.TrimSuffix(e.Name(), suffix), 10, 64)
		if err != nil || !strings.HasSuffix(e.Name(), suffix) {
			continue
		}
		s.number = max(s.number, number)
		seg := &segment{path: s.path(e.Name()), sealed: true}
		from := int64(0)
		if seg.id, err = headerOf(seg.path); err != nil {
			return err
		}
		if seg.id != "" {
			from = int64(headerBytes)
			if seg.id == settled {
				from, at = max(from, offset), len(s.segments)+1
			}
		}
		if err := seg.count(from); err != nil {
			return err
		}
		s.segments = append(s.segments, seg)
	}
	// What lies before the cursor's segment was settled; only its removal failed.
	for i := 0; i < at-1; i++ {
		s.segments[i].read, s.segments[i].events = s.segments[i].size, 0
	}
	for _, seg := range s.segments {
		s.bytes += seg.size
	}
	for s.head() != nil && s.bytes > s.opts.MaxBytes && len(s.segments) > 1 { // it is smaller than it was
		s.opts.Log.Warn("the spool is larger than it may be; its oldest events are dropped", "file", s.segments[0].path, "events", s.segments[0].events)
		s.remove(s.segments[0])
	}
	for _, seg := range s.segments {
		s.waiting += int64(seg.events)
		s.unread += seg.size - seg.read
	}
	s.found = int(s.waiting)
	s.wakeWriter()
	return nil
}

// headerOf returns the id of a segment; none where the header is torn or
// damaged, for the lines have checksums of their own.
func headerOf(path string) (id string, err error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	header := make([]byte, headerBytes)
	n, _ := f.ReadAt(header, 0)
	text, ok := strings.CutPrefix(string(header[:n]), headerPrefix)
	if !ok || n < headerBytes || header[n-1] != '\n' {
		return "", nil
	}
	v, id, _ := strings.Cut(strings.TrimSuffix(text, "\n"), " ")
	if v != version {
		return "", fmt.Errorf("%s has format %q, this program knows %s; send it with the program that wrote it", path, v, version)
	}
	return id, nil
}

// count finds the end of the last whole line of a segment, and how many there
// are from an offset on.
func (g *segment) count(from int64) error {
	text, err := os.ReadFile(g.path)
	if err != nil {
		return err
	}
	g.size = int64(bytes.LastIndexByte(text, '\n') + 1)
	g.read = min(from, g.size)
	g.events = bytes.Count(text[g.read:g.size], []byte{'\n'})
	return nil
}
