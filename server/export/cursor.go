package export

import (
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"spoor/engine/event"
)

// ReadCursor reads the place where an export goes on: the last line of NDJSON
// as it was received, or "TIMESTAMP,EVENTID". nil where there is none. The
// decoder of events reads the timestamp, so every spelling that was accepted
// once means the same time here.
func ReadCursor(raw jsontext.Value) (*Position, error) {
	switch raw.Kind() {
	case 0, 'n':
		return nil, nil
	case '"':
		var text string
		if err := json.Unmarshal(raw, &text); err != nil {
			return nil, badCursor(err.Error())
		}
		if text == "" {
			return nil, nil
		}
		when, id, ok := strings.Cut(text, ",")
		if !ok || id == "" {
			return nil, badCursor("it has no comma between timestamp and eventId")
		}
		line, _ := jsontext.AppendQuote([]byte(`{"eventName":"cursor","userId":"cursor","eventId":`), id)
		line = append(line, `,"timestamp":`...)
		if strings.Trim(when, "-0123456789") == "" {
			line = append(line, when...)
		} else {
			line, _ = jsontext.AppendQuote(line, when)
		}
		return position(append(line, '}'), 0)
	case '{':
		var line struct {
			EventID    string `json:"eventId"`
			ReceivedAt string `json:"receivedAt"`
		}
		if err := json.Unmarshal(raw, &line); err != nil {
			return nil, badCursor(err.Error())
		}
		if line.EventID == "" {
			return nil, badCursor("it has no eventId")
		}
		var received int64
		if line.ReceivedAt != "" {
			t, err := time.Parse(time.RFC3339Nano, line.ReceivedAt)
			if err != nil {
				return nil, badCursor("its receivedAt is no RFC 3339 time")
			}
			received = t.UnixMicro()
		}
		return position(raw, received)
	}
	return nil, badCursor("it is neither an object nor a string")
}

// position finds the place of an event; received is its time where it has none of its own.
func position(line []byte, received int64) (*Position, error) {
	d := event.NewDecoder(event.DefaultLimits())
	row, rej := d.Add(line, "", func() [16]byte { return [16]byte{} })
	if rej != nil {
		return nil, badCursor(rej.Message)
	}
	b := d.Seal(received)
	return &Position{Time: b.Times[row], EventID: string(b.IDText(nil, row))}, nil
}

func badCursor(why string) error {
	return fault("bad_cursor", `the cursor cannot be used: %.200s; send the last complete line of NDJSON as it is, or "TIMESTAMP,EVENTID"`, why)
}
