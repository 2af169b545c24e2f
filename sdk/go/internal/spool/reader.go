package spool

import (
	"bytes"
	"fmt"
	"io"
	"os"
)

// Take appends the oldest lines to batch, at least one where there is one, and
// on while they are at most maxLines and maxBytes. They stay the spool's until
// Settle, which must be called before the next Take. damaged is how many lines
// were left out.
func (s *Spool) Take(batch [][]byte, maxLines, maxBytes int) (lines [][]byte, damaged int) {
	for {
		s.mu.Lock()
		seg := s.head()
		if seg == nil {
			s.mu.Unlock()
			return batch, damaged
		}
		from, size := seg.read, seg.size
		s.mu.Unlock()

		lines, consumed, bad, err := s.lines(batch, seg, from, size, maxLines, maxBytes)
		s.mu.Lock()
		if seg.gone { // it was dropped meanwhile, and its events counted as such
			s.mu.Unlock()
			continue
		}
		if err != nil {
			damaged += seg.events
			s.waiting -= int64(seg.events)
			s.unread -= seg.size - seg.read
			seg.events, seg.read = 0, seg.size
			s.mu.Unlock()
			s.opts.Log.Error("a file of the spool cannot be read; its events are left out", "file", seg.path, "error", err)
			return batch, damaged
		}
		n := len(lines) - len(batch)
		seg.read = from + consumed
		s.unread -= consumed
		seg.events -= n + bad
		s.waiting -= int64(n + bad)
		s.flight = flight{seg: seg, to: seg.read, events: int64(n)}
		s.mu.Unlock()
		if bad > 0 {
			s.opts.Log.Error("lines of the spool are damaged and left out", "file", seg.path, "lines", bad)
		}
		if damaged += bad; n > 0 {
			return lines, damaged
		}
		s.Settle()
	}
}

// head returns the segment with the next line, and lets go of those without.
// The caller holds mu.
func (s *Spool) head() *segment {
	for len(s.segments) > 0 {
		seg := s.segments[0]
		if seg.read < seg.size {
			return seg
		}
		if !seg.sealed {
			return nil
		}
		s.remove(seg)
		s.wakeWriter()
	}
	return nil
}

// lines reads what Take takes of one segment between from and size. consumed
// counts the bytes of good and bad lines.
func (s *Spool) lines(batch [][]byte, seg *segment, from, size int64, maxLines, maxBytes int) (_ [][]byte, consumed int64, bad int, err error) {
	if s.reading != seg {
		s.closeReader()
		if s.reader, err = os.Open(seg.path); err != nil {
			return batch, 0, 0, err
		}
		s.reading = seg
	}
	// Enough for the first line of any length; a longer one is damage.
	want := min(size-from, int64(max(maxBytes, s.opts.MaxLine+lineBytes)))
	if int64(cap(s.buf)) < want {
		s.buf = make([]byte, want)
	}
	buf := s.buf[:want]
	if n, err := s.reader.ReadAt(buf, from); err != nil && (err != io.EOF || int64(n) < want) {
		return batch, 0, 0, err
	}
	lines, taken := batch, 0
	for len(lines) < maxLines {
		rest := buf[consumed:]
		end := bytes.IndexByte(rest, '\n')
		if end < 0 {
			if consumed == 0 && len(rest) > 0 { // longer than a line can be: its end is in what follows
				return batch, want, 0, nil
			}
			break
		}
		line, ok := lineOf(rest[:end])
		if ok && taken > 0 && taken+len(line) > maxBytes {
			break
		}
		consumed += int64(end) + 1
		if !ok {
			bad++
			continue
		}
		taken += len(line)
		lines = append(lines, line)
	}
	return lines, consumed, bad, nil
}

func (s *Spool) closeReader() {
	if s.reader != nil {
		s.reader.Close()
	}
	s.reader, s.reading = nil, nil
}

// Settle says that what was taken last is decided and need not be kept.
func (s *Spool) Settle() {
	s.mu.Lock()
	f := s.flight
	s.flight = flight{}
	if f.seg == nil || f.seg.gone {
		s.mu.Unlock()
		return
	}
	finished := f.seg.sealed && f.seg.read == f.seg.size && s.segments[0] == f.seg
	if finished {
		s.closeReader() // an open file cannot be removed everywhere
		s.remove(f.seg)
	}
	s.mu.Unlock()
	if finished {
		s.wakeWriter()
		return
	}
	if err := s.keepCursor(f.seg.id, f.to); err != nil {
		s.opts.Log.Warn("the cursor of the spool cannot be written; a restart sends some events again, which count once", "error", err)
	}
}

const cursorName = "cursor"

// keepCursor overwrites the cursor in place, in one write.
func (s *Spool) keepCursor(id string, offset int64) error {
	if s.cursor == nil {
		f, err := os.OpenFile(s.path(cursorName), os.O_CREATE|os.O_WRONLY, 0o600)
		if err != nil {
			return err
		}
		s.cursor = f
	}
	_, err := s.cursor.WriteAt(cursorText(id, offset), 0)
	return err
}

func cursorText(id string, offset int64) []byte {
	position := fmt.Appendf(nil, "%s %016x ", id, offset)
	sum := appendChecksum(nil, position)
	sum[len(sum)-1] = '\n'
	return append(position, sum...)
}

// readCursor returns the position that the cursor names; none where it cannot be trusted.
func readCursor(path string) (id string, offset int64) {
	text, err := os.ReadFile(path)
	if err != nil {
		return "", 0
	}
	var sum string
	if n, err := fmt.Sscanf(string(text), "%16s %016x %8s\n", &id, &offset, &sum); err != nil || n != 3 {
		return "", 0
	}
	if string(cursorText(id, offset)) != string(text) {
		return "", 0
	}
	return id, offset
}
