package segment

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"time"
	"unicode/utf8"

	"spoor/engine/event"
	"spoor/server/dialect"
)

// Names of the events that calls without a name of their own become; the same
// ones as those of Spoor's SDKs.
const (
	pageEvent   = "page_viewed"
	screenEvent = "screen_viewed"
	groupEvent  = "$group"
)

// shared is what a request says for all its messages.
type shared struct {
	batch   *dialect.Batch
	context dialect.Object
	sentAt  []byte // JSON of a time
	local   bool   // sentAt came without a zone, as all times of its device
	zone    time.Duration
	anon    []byte // of the header AnonymousId
	members dialect.Object
	props   dialect.Fields
	about   dialect.Fields
}

// batch stores the messages of a body {"batch":[...]}.
func batch(x *dialect.Exchange) error { return take(x, "") }

// single stores one message, whose type the path says.
func single(x *dialect.Exchange, kind string) error { return take(x, kind) }

func take(x *dialect.Exchange, kind string) error {
	data, free, err := x.Host.Body(x.Ctx)
	if err != nil {
		return err
	}
	defer free()
	body, err := dialect.Split(nil, data)
	if err != nil {
		return err
	}
	source, err := x.Host.Admit(x.Ctx, body.ID("writeKey"))
	if err != nil {
		return err
	}
	b := dialect.NewBatch(x.Host)
	defer b.Release()
	s := shared{batch: b, anon: anonymousHeader(x), sentAt: sentAt(x, body)}
	if sent, ok := dialect.Local(body.Get("sentAt")); ok { // as analytics_flutter does
		s.local, s.zone = true, dialect.ZoneOf(sent, x.Host.Now())
		s.sentAt = dialect.FormatTime(sent.Add(-s.zone))
	}
	messages := body.Get("batch")
	if messages != nil {
		if about := body.Get("context"); about != nil && dialect.Check(about) == nil {
			s.context = body.Object("context")
		}
		err = dialect.Each(messages, func(_ int, item []byte) error { return s.message(item, "") })
	} else if kind != "" {
		err = s.message(bytes.TrimSpace(data), kind)
	} else {
		err = dialect.BadRequest(event.CodeMalformed, `the body must be an object with the messages as its member "batch"`)
	}
	if err != nil {
		return err
	}
	if err := x.Host.Store(x.Ctx, b, source); err != nil {
		return err
	}
	if messages == nil && len(b.Refused) > 0 {
		r := &b.Refused[0]
		return dialect.BadRequest(r.Code, r.Message)
	}
	return x.Answer(dialect.JSONType, append(b.AppendRefused([]byte(success)), '}'))
}

// anonymousHeader is the id that RudderStack's JS SDK repeats in a header.
func anonymousHeader(x *dialect.Exchange) []byte {
	header := x.Ctx.Request.Header.Peek("AnonymousId")
	if len(header) == 0 {
		return nil
	}
	id, err := base64.StdEncoding.DecodeString(string(header))
	if err != nil || !utf8.Valid(id) {
		return nil
	}
	return id
}

func sentAt(x *dialect.Exchange, body dialect.Object) []byte {
	value := body.Get("sentAt")
	if value == nil {
		value = dialect.Quote(nil, x.Ctx.Request.Header.Peek("SentAt"))
	}
	t, _ := dialect.Time(value)
	return t
}

// message adds one message. kind is the type that the path says; empty for the
// message's own.
func (s *shared) message(item []byte, kind string) error {
	index, m, err := s.batch.Open(s.members, item, "a message")
	if m == nil {
		return err
	}
	s.members = m
	if kind == "" {
		kind = string(m.ID("type"))
	}
	head := dialect.Head{ID: m.ID("messageId"), UserID: m.ID("userId"), AnonymousID: m.ID("anonymousId"), SentAt: s.sentAt}
	if len(head.UserID) == 0 && len(head.AnonymousID) == 0 {
		head.AnonymousID = s.anon
	}
	stamp, original := m.Get("timestamp"), m.Get("originalTimestamp")
	if len(dialect.Text(stamp)) == 0 {
		stamp, original = original, nil
	}
	var ok bool
	if head.Time, ok = dialect.Time(stamp); !ok {
		s.batch.Refuse(index, head.ID, event.CodeBadTimestamp, dialect.TimeHelp)
		return nil
	}
	if at, ok := dialect.Local(stamp); ok && s.local {
		head.Time = dialect.FormatTime(at.Add(-s.zone))
	}
	if at, ok := dialect.Time(m.Get("sentAt")); ok && len(at) > 0 {
		head.SentAt = at
	}
	return s.add(index, kind, m, &head, original)
}

func (s *shared) add(index int, kind string, m dialect.Object, head *dialect.Head, original []byte) error {
	switch kind {
	case "identify":
		return s.batch.Identify(index, head, traits(m), false)
	case "alias":
		return s.alias(index, m, head)
	case "merge":
		return s.merge(index, m, head)
	}
	s.props.Reset()
	properties := m.Get("properties")
	switch kind {
	case "track":
		head.Name = m.ID("event")
		s.props.Base(properties)
	case "page", "screen":
		if head.Name = []byte(pageEvent); kind == "screen" {
			head.Name = []byte(screenEvent)
		}
		s.props.Base(properties)
		named := m.Object("properties")
		for _, name := range []string{"name", "category"} {
			if !named.Has([]byte(name)) {
				s.props.SetText(name, m.ID(name))
			}
		}
	case "group":
		group := m.ID("groupId")
		if len(group) == 0 {
			s.batch.Refuse(index, head.ID, "missing_group", "groupId is missing or empty")
			return nil
		}
		head.Name = []byte(groupEvent)
		s.props.SetText("groupId", group)
		s.props.Set("traits", m.Get("traits"))
		if err := s.member(index, head, group); err != nil {
			return err
		}
	default:
		s.batch.Refuse(index, head.ID, "unknown_type", fmt.Sprintf("%.100q is no type of message", kind))
		return nil
	}
	s.contextOf(m, original)
	return s.batch.Event(index, head, &s.props, &s.about)
}

// member makes the group of a person its trait groupId.
func (s *shared) member(index int, head *dialect.Head, group []byte) error {
	if len(head.UserID) == 0 && len(head.AnonymousID) == 0 {
		return nil // the event is refused for it
	}
	var f dialect.Fields
	f.SetText("groupId", group)
	return s.batch.Identify(index, head, f.AppendJSON(nil), false)
}

// traits of an identify call: its own, else those in its context, where
// RudderStack's JS SDK has them.
func traits(m dialect.Object) []byte {
	if own := m.Get("traits"); len(own) > 2 {
		return own
	}
	return m.Object("context").Get("traits")
}

func (s *shared) alias(index int, m dialect.Object, head *dialect.Head) error {
	previous := m.ID("previousId", "anonymousId")
	if len(head.UserID) == 0 || len(previous) == 0 {
		s.batch.Refuse(index, head.ID, event.CodeMissingPerson, "alias needs userId and previousId")
		return nil
	}
	head.AnonymousID = previous
	return s.batch.Identify(index, head, nil, false)
}

// merge is RudderStack's: two identifiers that are one person. Spoor knows those
// two of its kinds that it can link.
func (s *shared) merge(index int, m dialect.Object, head *dialect.Head) error {
	head.UserID, head.AnonymousID = nil, nil
	if list := m.Get("mergeProperties"); list != nil {
		_ = dialect.Each(list, func(_ int, item []byte) error { // what is no list names nobody
			pair, err := dialect.Split(nil, item)
			if err != nil {
				return err
			}
			switch string(pair.ID("type")) {
			case "userId", "user_id":
				head.UserID = pair.ID("value")
			case "anonymousId", "anonymous_id":
				head.AnonymousID = pair.ID("value")
			}
			return nil
		})
	}
	if len(head.UserID) == 0 || len(head.AnonymousID) == 0 {
		s.batch.Refuse(index, head.ID, "unsupported_merge", "mergeProperties must name a userId and an anonymousId; other identifiers are not linked")
		return nil
	}
	return s.batch.Identify(index, head, nil, false)
}

// contextOf puts together what a message and the batch around it say of the
// circumstances; the message's own members win.
func (s *shared) contextOf(m dialect.Object, original []byte) {
	s.about.Reset()
	own := m.Get("context")
	channel := m.ID("channel")
	s.about.Base(own)
	if len(s.context) == 0 && len(original) == 0 && len(channel) == 0 {
		return
	}
	members := m.Object("context")
	for i := range s.context {
		if !members.Has(s.context[i].Name) {
			s.about.Copy(&s.context[i])
		}
	}
	set := func(name string, value []byte) {
		if len(value) > len(`""`) && !members.Has([]byte(name)) && !s.about.Has(name) {
			s.about.Set(name, value)
		}
	}
	set("channel", dialect.Quote(nil, channel))
	set("originalTimestamp", original)
}
