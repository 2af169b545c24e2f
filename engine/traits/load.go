package traits

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"spoor/engine/event"
	"spoor/index"
)

// Load makes a store of the bytes of a file, all of which count. Persons are below
// the number given. The bytes are not kept.
func Load(b []byte, persons int) (*Store, error) {
	s := New()
	if err := s.read(b, persons); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrFile, err)
	}
	return s, nil
}

func (s *Store) read(b []byte, persons int) error {
	if len(b) < fileHead || string(b[:8]) != fileMagic {
		return fmt.Errorf("it does not start with %s", fileMagic)
	}
	if v := binary.LittleEndian.Uint32(b[8:]); v != fileVersion {
		return fmt.Errorf("it has version %d, this program reads version %d", v, fileVersion)
	}
	b = b[fileHead:]
	for first := true; len(b) > 0; first = false {
		if len(b) < frameHead {
			return fmt.Errorf("%d bytes remain", len(b))
		}
		n := int64(binary.LittleEndian.Uint32(b))
		if n > int64(len(b)-frameHead) || crc32.Checksum(b[frameHead:frameHead+n], castagnoli) != binary.LittleEndian.Uint32(b[4:]) {
			return fmt.Errorf("checksum of a frame of %d bytes differs", n)
		}
		r := reader{s: s, b: b[frameHead : frameHead+n], persons: uint64(persons)}
		s.last = r.uvarint()
		for len(r.b) > 0 && r.err == nil {
			r.op()
		}
		if r.err != nil {
			return r.err
		}
		if first && r.whole {
			s.base = n
		} else {
			s.behind += n
		}
		b = b[frameHead+n:]
	}
	return nil
}

// reader applies operations. After an error it reads zeros.
type reader struct {
	s       *Store
	b       []byte
	persons uint64
	whole   bool
	err     error
}

func (r *reader) fail(format string, args ...any) {
	if r.err == nil {
		r.err = fmt.Errorf(format, args...)
	}
	r.b = nil
}

func (r *reader) uvarint() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.fail("a number is cut off or too long")
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) varint() int64 {
	v, n := binary.Varint(r.b)
	if n <= 0 {
		r.fail("a number is cut off or too long")
		return 0
	}
	r.b = r.b[n:]
	return v
}

// below reads a number that must be below a limit.
func (r *reader) below(limit uint64, what string) uint64 {
	v := r.uvarint()
	if v >= limit && r.err == nil {
		r.fail("%s %d, there are %d", what, v, limit)
		return 0
	}
	return v
}

// count reads how many items follow, each of at least one byte.
func (r *reader) count() int { return int(r.below(uint64(len(r.b))+1, "a count of")) }

func (r *reader) text() []byte {
	n := r.count()
	if r.err != nil || n > len(r.b) {
		r.fail("a text is cut off")
		return nil
	}
	t := r.b[:n]
	r.b = r.b[n:]
	return t
}

func (r *reader) op() {
	s := r.s
	switch op := r.uvarint(); op {
	case opPath:
		text := r.text()
		if r.err == nil && s.byPath[string(text)] != nil {
			r.fail("the path %q comes twice", text)
		}
		if r.err == nil {
			s.column(string(text)).logged = true
		}
	case opSet:
		r.set()
	case opJoin:
		from, to := r.below(r.persons, "person"), r.below(r.persons, "person")
		if r.err == nil && from == to {
			r.fail("person %d joins itself", from)
		}
		if r.err == nil {
			s.join(uint32(from), uint32(to))
		}
	case opTables:
		r.tables()
	case opColumn:
		r.column()
	default:
		r.fail("operation %d is not known to this program", op)
	}
}

func (r *reader) set() {
	s := r.s
	person := uint32(r.below(r.persons, "person"))
	st := stamp{time: r.varint(), seq: r.uvarint()}
	leaves := make([]event.Leaf, 0, 16)
	for range r.count() {
		number, value := r.below(uint64(len(s.columns)), "path"), r.text()
		if r.err != nil {
			return
		}
		l, ok := leafOf(s.columns[number].path, value)
		if !ok {
			r.fail("a value of %d bytes is of no kind", len(value))
			return
		}
		leaves = append(leaves, l)
	}
	if r.err != nil {
		return
	}
	ref := s.newStamp(st)
	for len(leaves) > 0 {
		name, n := nameOf(leaves[0].Path), 1
		for n < len(leaves) && nameOf(leaves[n].Path) == name {
			n++
		}
		s.assign(person, name, leaves[:n], ref)
		leaves = leaves[n:]
	}
}

func (r *reader) tables() {
	s := r.s
	if s.values.Len() > 0 || len(s.stamps) > 0 {
		r.fail("tables come behind the first")
		return
	}
	r.whole = true
	for range r.count() {
		t := r.text()
		if _, ok := leafOf("", t); !ok || len(t) > index.MaxTextBytes {
			r.fail("a value of %d bytes is of no kind", len(t))
		}
		if r.err != nil {
			return
		}
		if _, added := s.values.GetOrAdd(t); !added {
			r.fail("a value comes twice")
			return
		}
	}
	for range r.count() {
		st := stamp{time: r.varint(), seq: r.uvarint()}
		if r.err != nil {
			return
		}
		s.stamps = append(s.stamps, st)
	}
}

func (r *reader) column() {
	s := r.s
	number := r.below(uint64(len(s.columns)), "path")
	person := uint64(0)
	for i := range r.count() {
		gap := r.uvarint()
		value := r.below(uint64(s.values.Len()), "value")
		ref := r.below(uint64(len(s.stamps)), "stamp")
		if person += gap; r.err == nil && (i > 0 && gap == 0 || gap >= r.persons || person >= r.persons) {
			r.fail("person %d, there are %d", person, r.persons)
		}
		if r.err != nil {
			return
		}
		c := s.columns[number]
		if c.get(uint32(person)).value != 0 {
			r.fail("person %d has two values of %s", person, c.path)
			return
		}
		s.put(c, uint32(person), cell{uint32(value) + 1, uint32(ref)})
	}
}
