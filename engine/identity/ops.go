package identity

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
)

// The identity file is a head and a list of frames, one per checkpoint that had news:
//
//	"SPOORIDN" | version u32 | frames
//	frame: length u32 | CRC32C of the operations u32 | operations
//
// Operations are kept as the ids that caused them, because replaying them in order
// gives the same state. One is
//
//	| uvarint 1+len(userId), or 0 | userId | uvarint 1+len(anonymousId), or 0 | anonymousId |
//
// or, behind the two zeros that no such operation has, one byte that names it:
//
//	| 0 | 0 | 1 | mode u8 | uvarint 1+person, 0 for nobody | uvarint n | n hashes of refused ids, 16 bytes each |
//	| 0 | 0 | 2 | uvarint n | n hashes of ids that are allowed again |
//	| 0 | 0 | 3 | ids that are refused under the secret of another store, see AppendRefusals |
//	| 0 | 0 | 4 | those of them that are allowed again, likewise |
//
// When ids were erased the file is written anew (Rewrite) with a text in the place
// of each that no client can send: 0xff, the kind of the id and its ordinal.
const (
	opErase        = 1
	opAllow        = 2
	opRefuse       = 3
	opAllowForeign = 4

	frameHead = 8

	fileMagic   = "SPOORIDN"
	fileVersion = 1
)

// Head begins an identity file.
func Head() []byte { return binary.LittleEndian.AppendUint32([]byte(fileMagic), fileVersion) }

// frames are what follows the head of a file.
func frames(b []byte) ([]byte, error) {
	head := Head()
	if len(b) < len(head) || string(b[:len(fileMagic)]) != fileMagic {
		return nil, fmt.Errorf("%w: it does not start with %s", ErrFile, fileMagic)
	}
	if v := binary.LittleEndian.Uint32(b[len(fileMagic):]); v != fileVersion {
		return nil, fmt.Errorf("%w: it has version %d, this program reads version %d", ErrFile, v, fileVersion)
	}
	return b[len(head):], nil
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// ErrFile is wrapped when operations cannot be read.
var ErrFile = errors.New("identity cannot be read")

// appendOp notes ids that changed the map.
func (x *Map) appendOp(userID, anonID []byte) { x.pending = appendIDs(x.pending, userID, anonID) }

func appendIDs(dst, userID, anonID []byte) []byte {
	for _, id := range [2][]byte{userID, anonID} {
		if id == nil {
			dst = append(dst, 0)
			continue
		}
		dst = binary.AppendUvarint(dst, uint64(len(id))+1)
		dst = append(dst, id...)
	}
	return dst
}

func (x *Map) appendErase(mode Mode, person uint32, known bool, hashes []refused) {
	n := uint64(0)
	if known {
		n = uint64(person) + 1
	}
	x.pending = binary.AppendUvarint(append(x.pending, 0, 0, opErase, byte(mode)), n)
	x.pending = appendHashes(x.pending, hashes)
}

func (x *Map) appendAllow(hashes []refused) {
	x.pending = appendHashes(append(x.pending, 0, 0, opAllow), hashes)
}

func appendHashes(dst []byte, hashes []refused) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(hashes)))
	for i := range hashes {
		dst = append(dst, hashes[i][:]...)
	}
	return dst
}

// Take returns the operations since the last Take. The caller holds the lock.
func (x *Map) Take() []byte {
	ops := x.pending
	x.pending = nil
	return ops
}

// Back takes back operations that could not be written. The caller holds the lock.
func (x *Map) Back(ops []byte) { x.pending = append(ops, x.pending...) }

// Frame is a frame of the identity file.
func Frame(ops []byte) []byte {
	b := binary.LittleEndian.AppendUint32(make([]byte, 0, frameHead+len(ops)), uint32(len(ops)))
	b = binary.LittleEndian.AppendUint32(b, crc32.Checksum(ops, castagnoli))
	return append(b, ops...)
}

// Load replays an identity file.
func (x *Map) Load(b []byte) error {
	return eachFrame(b, func(ops []byte) error { return x.replay(ops, nil) })
}

func eachFrame(b []byte, f func(ops []byte) error) error {
	b, err := frames(b)
	if err != nil {
		return err
	}
	for len(b) > 0 {
		if len(b) < frameHead {
			return fmt.Errorf("%w: %d bytes remain", ErrFile, len(b))
		}
		n := int(binary.LittleEndian.Uint32(b))
		if n > len(b)-frameHead || crc32.Checksum(b[frameHead:frameHead+n], castagnoli) != binary.LittleEndian.Uint32(b[4:]) {
			return fmt.Errorf("%w: checksum of a frame of %d bytes", ErrFile, n)
		}
		if err := f(b[frameHead : frameHead+n]); err != nil {
			return err
		}
		b = b[frameHead+n:]
	}
	return nil
}

// resolved is told of an operation that was replayed: its bytes and, unless it has
// no ids, what they are.
type resolved func(op, userID, anonID []byte, user, anon uint32)

// replay applies operations that were kept by an earlier run; seen may be nil.
func (x *Map) replay(ops []byte, seen resolved) error {
	for len(ops) > 0 {
		before := ops
		var ids [2][]byte
		for i := range ids {
			n, used := binary.Uvarint(ops)
			if used <= 0 || n == 1 || n > uint64(len(ops)-used)+1 { // no id is empty
				return fmt.Errorf("%w: %d bytes remain, %d claimed", ErrFile, len(ops), n)
			}
			ops = ops[used:]
			if n > 0 {
				ids[i] = ops[: n-1 : n-1]
				ops = ops[n-1:]
			}
		}
		var user, anon uint32
		if ids[0] == nil && ids[1] == nil {
			var err error
			if ops, err = x.special(ops); err != nil {
				return err
			}
		} else {
			_, user, anon = x.Observe(ids[0], ids[1])
		}
		if seen != nil {
			seen(before[:len(before)-len(ops)], ids[0], ids[1], user, anon)
		}
	}
	x.pending = x.pending[:0]
	return nil
}

// special applies the operation behind two zeros and returns the rest.
func (x *Map) special(ops []byte) ([]byte, error) {
	if len(ops) == 0 {
		return nil, fmt.Errorf("%w: an operation without ids", ErrFile)
	}
	kind := ops[0]
	ops = ops[1:]
	switch kind {
	case opErase:
		if len(ops) == 0 || ops[0] < byte(Person) || ops[0] > byte(Ids) {
			return nil, fmt.Errorf("%w: an erasure of an unknown mode", ErrFile)
		}
		mode := Mode(ops[0])
		person, used := binary.Uvarint(ops[1:])
		if used <= 0 || person > uint64(len(x.canon)) || person > 0 && x.canon[person-1] != uint32(person-1) {
			return nil, fmt.Errorf("%w: an erasure of person %d of %d", ErrFile, person, len(x.canon))
		}
		hashes, rest, err := readHashes(ops[1+used:])
		if err != nil {
			return nil, err
		}
		x.erase(mode, uint32(person-1), person > 0, hashes)
		return rest, nil
	case opAllow:
		hashes, rest, err := readHashes(ops)
		if err != nil {
			return nil, err
		}
		x.allow(hashes)
		return rest, nil
	case opRefuse, opAllowForeign:
		r, rest, err := ReadRefusals(ops)
		if err != nil {
			return nil, err
		}
		if kind == opRefuse {
			x.refuse(r)
		} else {
			x.unrefuse(r)
		}
		return rest, nil
	}
	return nil, fmt.Errorf("%w: operation %d is not known to this program", ErrFile, kind)
}

func readHashes(b []byte) (hashes []refused, rest []byte, err error) {
	n, used := binary.Uvarint(b)
	if used <= 0 || n > uint64(len(b)-used)/hashBytes {
		return nil, nil, fmt.Errorf("%w: %d hashes in %d bytes", ErrFile, n, len(b))
	}
	b = b[used:]
	hashes = make([]refused, n)
	for i := range hashes {
		copy(hashes[i][:], b[hashBytes*i:])
	}
	return hashes, b[hashBytes*n:], nil
}

// Rewrite returns an identity file that gives the same state as b without the
// ids that were erased by its end.
func Rewrite(b []byte) ([]byte, error) {
	final := New(nil)
	if err := final.Load(b); err != nil {
		return nil, err
	}
	x := New(nil)
	out, ops := Head(), []byte(nil)
	write := func(op, userID, anonID []byte, user, anon uint32) {
		erasedUser := userID != nil && len(final.users.Text(user)) == 0
		erasedAnon := anonID != nil && len(final.anons.Text(anon)) == 0
		if !erasedUser && !erasedAnon {
			ops = append(ops, op...)
			return
		}
		if erasedUser {
			userID = placeholder('u', user)
		}
		if erasedAnon {
			anonID = placeholder('a', anon)
		}
		ops = appendIDs(ops, userID, anonID)
	}
	err := eachFrame(b, func(frame []byte) error {
		ops = ops[:0]
		err := x.replay(frame, write)
		out = append(out, Frame(ops)...)
		return err
	})
	return out, err
}

func placeholder(kind byte, ordinal uint32) []byte {
	return binary.BigEndian.AppendUint32([]byte{0xff, kind}, ordinal)
}
