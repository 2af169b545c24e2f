// Package index holds the small structures that answer "maybe", "where" and
// "who" without reading an event: the filters and the table that dedupe asks
// first when an event arrives (Bloom, Filters, IDTable), the directory that
// gives its ids their ordinals (Directory), and the sets of persons that
// segments keep and questions combine (Persons, Bits). It knows hashes,
// ordinals and bytes, and nothing of events or segments.
//
// Nothing here decides anything alone: a filter or a table proposes, its
// caller compares the full bytes. Tables hold no pointers, so the garbage
// collector does not walk them however many ids there are.
package index

import (
	"errors"
	"fmt"
	"hash/crc32"
)

// ErrCorrupt is wrapped by every error about bytes that cannot be what this
// package wrote, and by those about a format version it does not know.
var ErrCorrupt = errors.New("damaged index")

func corrupt(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrCorrupt}, args...)...)
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)
