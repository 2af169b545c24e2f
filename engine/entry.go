package engine

import (
	"encoding/binary"
	"errors"
	"fmt"

	"spoor/segment/batch"
)

// A log entry is one byte that names its type, then the type's own bytes. The
// numbers are part of the log's format and never change.
//
//	entryEvents    | 1 | encoded batch |
//	entryIdentify  | 2 | text userId | text anonymousId |
//	entryPut       | 4 | text kind | text name | bytes value |      stores a document
//	entryDelete    | 5 | text kind | text name |                    removes a document
//
// A text is a uvarint length and its bytes.
const (
	entryEvents   byte = 1
	entryIdentify byte = 2
	entryPut      byte = 4
	entryDelete   byte = 5
)

// ErrEntry is wrapped when a log entry cannot be read. It means damage or a
// newer program, for what is proposed was checked before.
var ErrEntry = errors.New("unreadable log entry")

// EventsEntry is the log entry that stores a batch, appended to dst.
func EventsEntry(dst []byte, b *batch.Batch) []byte {
	return b.AppendEncoded(append(dst, entryEvents))
}

// IdentifyEntry links an anonymousId to a user.
func IdentifyEntry(userID, anonymousID string) []byte {
	return appendText(appendText([]byte{entryIdentify}, userID), anonymousID)
}

// PutEntry stores a document: a saved query, a setting. It replaces one of the same kind and name.
func PutEntry(kind, name string, value []byte) []byte {
	return append(appendText(appendText([]byte{entryPut}, kind), name), value...)
}

// DeleteEntry removes a document.
func DeleteEntry(kind, name string) []byte {
	return appendText(appendText([]byte{entryDelete}, kind), name)
}

func appendText(dst []byte, s string) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(s))), s...)
}

func readText(b []byte) (text string, rest []byte, err error) {
	n, used := binary.Uvarint(b)
	if used <= 0 || n > uint64(len(b)-used) {
		return "", nil, fmt.Errorf("%w: text of %d bytes in %d", ErrEntry, n, len(b))
	}
	return string(b[used : used+int(n)]), b[used+int(n):], nil
}

// EventsResult is what Apply answers for a batch.
type EventsResult struct {
	Accepted   int
	Duplicates int
	// Duplicate tells for each row whether an event with its id was stored before; nil when none was.
	Duplicate []bool
}
