// Package event is the event model of the native API: it reads events from
// JSON into a batch, and writes them back as JSON equal to what was sent.
//
// On the way of an event it stands between the collector, which has the body
// of a request, and the log, which carries the batch. A Decoder validates and
// shreds in one pass over the bytes: each leaf of properties and context
// becomes a value of the column (path, kind). What a column cannot say, how the
// timestamp was spelled and which optional members were null or empty, goes
// into the row's shape. AppendJSON is the way back, for queries and exports.
//
// The reader accepts exactly the JSON of RFC 8259 in UTF-8, with unique member
// names at every level and without lone surrogates, within Limits, and refuses
// numbers beyond float64.
package event

import "fmt"

// Limits bound one event. Sizes are bytes after unescaping, unless said otherwise.
type Limits struct {
	EventBytes    int // the event's JSON, white space included
	Depth         int // nested objects and arrays, the event itself is the first
	Keys          int // values in columns: leaves of properties and context, other members
	KeyBytes      int // a member name, at any level
	NameBytes     int // eventName
	IDBytes       int // eventId
	PersonIDBytes int // userId, anonymousId
	StringBytes   int // a string value that becomes a column value
	NumberBytes   int // a number's text
}

// DefaultLimits are what the documentation states.
func DefaultLimits() Limits {
	return Limits{
		EventBytes:    1 << 20,
		Depth:         64,
		Keys:          1000,
		KeyBytes:      256,
		NameBytes:     256,
		IDBytes:       256,
		PersonIDBytes: 1024,
		StringBytes:   64 << 10,
		NumberBytes:   1024,
	}
}

// Hard bounds on Limits, beyond which the formats behind would not hold them.
const (
	maxDepth    = 512 // the reader recurses
	maxKeys     = 4096
	maxKeyBytes = 500 // so that a path of two parts fits batch.MaxPathBytes, every byte escaped
	maxIDBytes  = 1<<16 - 1
)

func (l Limits) bounded() Limits {
	l.Depth = min(l.Depth, maxDepth)
	l.Keys = min(l.Keys, maxKeys)
	l.KeyBytes = min(l.KeyBytes, maxKeyBytes)
	l.IDBytes = min(l.IDBytes, maxIDBytes)
	return l
}

// Reject says why an event or a body was refused.
type Reject struct {
	Code    string // one of the Code constants, for programs
	Message string // what is wrong, where, and what to do, for persons; valid UTF-8
	Offset  int    // of the byte that shows it, from the start of what was handed in
}

func (r *Reject) Error() string {
	return fmt.Sprintf("%s: %s (byte %d)", r.Code, r.Message, r.Offset)
}

// The codes are part of the API and never change.
const (
	CodeMalformed     = "malformed_json"
	CodeInvalidUTF8   = "invalid_utf8"
	CodeDuplicateKey  = "duplicate_key"
	CodeNotObject     = "not_an_object"
	CodeTooDeep       = "too_deep"
	CodeTooManyKeys   = "too_many_keys"
	CodeKeyTooLong    = "key_too_long"
	CodeStringTooLong = "string_too_long"
	CodeNumberTooLong = "number_too_long"
	CodeNumberRange   = "number_out_of_range"
	CodeEventTooLarge = "event_too_large"
	CodeMissingName   = "missing_event_name"
	CodeBadName       = "bad_event_name"
	CodeMissingPerson = "missing_person"
	CodeBadPerson     = "bad_person_id"
	CodeBadEventID    = "bad_event_id"
	CodeBadTimestamp  = "bad_timestamp"
	CodeBadProperties = "bad_properties"
	CodeNoConsent     = "no_consent"        // a Governor dropped it: the client did nothing wrong
	CodeNotAllowed    = "event_not_allowed" // by Decoder.Restrict
	CodeBatchFull     = "batch_full"        // Decoder.Full was true: seal and add the event again
)
