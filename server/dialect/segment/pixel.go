package segment

import (
	"strings"
	"unicode/utf8"

	"spoor/engine/event"
	"spoor/server/dialect"
)

// pixel stores what the query of an image's address says, as RudderStack reads
// it: a parameter is a member of the message, dots in its name reach into
// properties and context.
func pixel(x *dialect.Exchange, kind string) error {
	source, err := x.Host.Admit(x.Ctx, x.Ctx.QueryArgs().Peek("writeKey"))
	if err != nil {
		return err
	}
	b := dialect.NewBatch(x.Host)
	defer b.Release()
	index, err := b.Begin()
	if err != nil {
		return err
	}
	var properties, about dialect.Fields
	head := dialect.Head{}
	for key, value := range x.Ctx.QueryArgs().All() {
		name := string(key)
		if !utf8.Valid(value) || !utf8.Valid(key) {
			return dialect.BadRequest(event.CodeInvalidUTF8, "a parameter is not UTF-8")
		}
		switch name {
		case "messageId":
			head.ID = value
		case "userId":
			head.UserID = value
		case "anonymousId":
			head.AnonymousID = value
		case "event":
			head.Name = value
		case "timestamp", "originalTimestamp":
			var ok bool
			if head.Time, ok = dialect.Time(dialect.Quote(nil, value)); !ok {
				return dialect.BadRequest(event.CodeBadTimestamp, dialect.TimeHelp)
			}
		case "name", "category":
			if kind == "page" {
				setPath(&properties, name, value)
			}
		default:
			if path, ok := strings.CutPrefix(name, "properties."); ok {
				setPath(&properties, path, value)
			} else if path, ok := strings.CutPrefix(name, "context."); ok {
				setPath(&about, path, value)
			}
		}
	}
	if kind == "page" {
		head.Name = []byte(pageEvent)
	}
	if err := b.Event(index, &head, &properties, &about); err != nil {
		return err
	}
	if err := x.Host.Store(x.Ctx, b, source); err != nil {
		return err
	}
	return x.Pixel()
}

// setPath sets a text below objects; the first of a name wins.
func setPath(f *dialect.Fields, path string, value []byte) {
	parts := strings.Split(path, ".")
	if len(parts) > maxPathParts {
		return
	}
	for _, part := range parts[:len(parts)-1] {
		if f.HasValue(part) {
			return
		}
		f = f.In(part)
	}
	if name := parts[len(parts)-1]; !f.Has(name) {
		f.SetText(name, value)
	}
}

// maxPathParts bounds how deep the name of a parameter reaches.
const maxPathParts = 8
