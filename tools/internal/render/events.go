package render

import (
	"encoding/json"
	"strings"
)

type eventLine struct {
	EventID     value           `json:"eventId"`
	Person      value           `json:"person"`
	UserID      value           `json:"userId"`
	AnonymousID value           `json:"anonymousId"`
	EventName   string          `json:"eventName"`
	Timestamp   value           `json:"timestamp"`
	ReceivedAt  value           `json:"receivedAt"`
	Properties  json.RawMessage `json:"properties"`
	Context     json.RawMessage `json:"context"`
}

// maxPropertyCells bounds the properties of one line.
const maxPropertyCells = 90

// eventsSheets shows an event a line.
func eventsSheets(answer []byte) ([]sheet, error) {
	var e struct {
		Events []eventLine `json:"events"`
	}
	if err := json.Unmarshal(answer, &e); err != nil {
		return nil, err
	}
	picture := sheet{columns: onlyIn(Table, left("time", "person", "event", "properties"))}
	facts := sheet{columns: onlyIn(CSV, left("timestamp", "receivedAt", "person", "userId", "anonymousId", "eventName", "eventId", "properties", "context"))}
	for i := range e.Events {
		l := &e.Events[i]
		at := l.Timestamp.cell()
		if at.raw == "" {
			at = l.ReceivedAt.cell()
		}
		person := l.Person.cell()
		for _, id := range []value{l.UserID, l.AnonymousID} {
			if person.raw == "" {
				person = id.cell()
			}
		}
		picture.rows = append(picture.rows, []cell{timeCell(at.raw), person, same(l.EventName), shown(members(l.Properties))})
		facts.rows = append(facts.rows, []cell{
			l.Timestamp.cell(), l.ReceivedAt.cell(), l.Person.cell(), l.UserID.cell(), l.AnonymousID.cell(),
			same(l.EventName), l.EventID.cell(),
			{raw: string(l.Properties)},
			{raw: string(l.Context)},
		})
	}
	return []sheet{picture, facts}, nil
}

// members shows an object's members as name=value, cut where a line would be too long.
func members(object json.RawMessage) string {
	list, err := ordered(object)
	if err != nil {
		return printable(string(object))
	}
	var b strings.Builder
	for _, m := range list {
		if b.Len() > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(printable(m.name) + "=" + m.value.cell().show)
	}
	text := []rune(b.String())
	if len(text) > maxPropertyCells {
		return string(text[:maxPropertyCells-1]) + "…"
	}
	return string(text)
}
