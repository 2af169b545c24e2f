package posthog

import (
	"math"
	"strconv"
	"time"

	"spoor/engine/event"
	"spoor/server/dialect"
)

const success = `{"status":"Ok"`

// capturing is one request.
type capturing struct {
	x      *dialect.Exchange
	batch  *dialect.Batch
	sentAt []byte // JSON of a time
	event  dialect.Object
	said   dialect.Object // its properties
	props  dialect.Fields
	about  dialect.Fields
}

// capture stores one event, an array of them, or {"batch":[...]}.
func capture(x *dialect.Exchange) error {
	data, free, err := x.Form()
	if err != nil {
		return err
	}
	defer free()
	b := dialect.NewBatch(x.Host)
	defer b.Release()
	c := capturing{x: x, batch: b}
	source, many, err := c.read(data)
	if err != nil {
		return err
	}
	if err := x.Host.Store(x.Ctx, b, source); err != nil {
		return err
	}
	if !many && len(b.Refused) > 0 {
		r := &b.Refused[0]
		return dialect.BadRequest(r.Code, r.Message)
	}
	return x.Answer(dialect.JSONType, append(b.AppendRefused([]byte(success)), '}'))
}

// read adds the events of a body, after the key was checked that the body or its
// first event names.
func (c *capturing) read(data []byte) (source string, many bool, err error) {
	items, sent, single := data, []byte(nil), false
	var body dialect.Object
	if len(data) > 0 && data[0] != '[' {
		if body, err = dialect.Split(nil, data); err != nil {
			return "", false, err
		}
		items = body.Get("batch")
		single = items == nil
		sent = body.Get("sent_at")
	}
	c.sentAt, _ = dialect.Time(sent)
	key := keyOf(body)
	if len(key) == 0 {
		key = c.x.Ctx.QueryArgs().Peek("token")
	}
	if len(key) == 0 {
		key = c.x.Ctx.QueryArgs().Peek("api_key")
	}
	admitted := false
	admit := func(e dialect.Object) (err error) {
		if len(key) == 0 {
			key = keyOf(e)
		}
		source, err = c.x.Host.Admit(c.x.Ctx, key)
		admitted = true
		return err
	}
	if single {
		if err = admit(body); err == nil {
			err = c.item(data)
		}
		return source, false, err
	}
	err = dialect.Each(items, func(_ int, item []byte) error {
		if !admitted {
			first, _ := dialect.Split(nil, item) // one that is no object has no key
			if err := admit(first); err != nil {
				return err
			}
		}
		return c.item(item)
	})
	if err == nil && !admitted { // an empty batch
		err = admit(nil)
	}
	return source, true, err
}

// keyOf is the project's token, where a body or an event has one.
func keyOf(o dialect.Object) []byte {
	if key := o.ID("api_key", "token", "$token"); len(key) > 0 {
		return key
	}
	return o.Object("properties").ID("token", "api_key")
}

// item adds one event.
func (c *capturing) item(item []byte) error {
	index, e, err := c.batch.Open(c.event, item, "an event")
	if e == nil {
		return err
	}
	c.event, c.said = e, c.said[:0]
	if p := e.Get("properties"); len(p) > 0 && p[0] == '{' {
		if c.said, err = dialect.Split(c.said, p); err != nil {
			c.batch.Refuse(index, e.ID("uuid"), event.CodeTooManyKeys, err.Error())
			return nil
		}
	} else if p != nil && string(p) != "[]" {
		c.batch.Refuse(index, e.ID("uuid"), event.CodeBadProperties, "properties must be an object")
		return nil
	}
	head := dialect.Head{ID: e.ID("uuid"), Name: e.ID("event"), SentAt: c.sentAt}
	if len(head.ID) == 0 {
		head.ID = c.said.ID("$insert_id")
	}
	distinct := e.ID("distinct_id", "$distinct_id")
	if len(distinct) == 0 {
		distinct = c.said.ID("distinct_id", "$distinct_id")
	}
	var ok bool
	if head.Time, ok = c.time(); !ok {
		c.batch.Refuse(index, head.ID, event.CodeBadTimestamp, dialect.TimeHelp)
		return nil
	}
	if string(distinct) == "" {
		c.batch.Refuse(index, head.ID, event.CodeMissingPerson, "distinct_id is missing or empty")
		return nil
	}
	if c.anonymous(distinct) {
		head.AnonymousID = distinct
	} else {
		head.UserID = distinct
	}
	return c.add(index, &head)
}

// add adds what an event of a person says.
func (c *capturing) add(index int, head *dialect.Head) error {
	plain := false
	switch string(head.Name) {
	case "$identify":
		if len(head.UserID) == 0 { // the id of an $identify is the user's, whatever it looks like
			head.UserID = head.AnonymousID
		}
		head.AnonymousID = c.said.ID("$anon_distinct_id")
	case "$create_alias", "$merge_dangerously":
		alias := c.said.ID("alias")
		if len(alias) == 0 {
			c.batch.Refuse(index, head.ID, event.CodeMissingPerson, "the property alias is missing or empty")
			return nil
		}
		if len(head.UserID) == 0 { // somebody not known yet gets the name of a user
			head.UserID = alias
		} else {
			head.AnonymousID = alias
		}
	case "$set":
	case "":
		if !c.sets() { // as on /engage
			c.batch.Refuse(index, head.ID, event.CodeMissingName, "event is missing or empty")
			return nil
		}
	default:
		plain = true
	}
	if !plain && len(head.UserID) > 0 && len(head.AnonymousID) > 0 && string(head.UserID) != string(head.AnonymousID) {
		if err := c.batch.Identify(index, head, nil, false); err != nil {
			return err
		}
	}
	who := *head
	if len(who.UserID) > 0 {
		who.AnonymousID = nil
	}
	if err := c.batch.Identify(index, &who, c.member("$set"), false); err != nil {
		return err
	}
	if err := c.batch.Identify(index, &who, c.member("$set_once"), true); err != nil {
		return err
	}
	if !plain {
		return nil
	}
	c.props.Reset()
	c.about.Reset()
	sorting.Sort(c.said, &c.props, &c.about)
	return c.batch.Event(index, head, &c.props, &c.about)
}

// member is a member of the properties, or else of the event.
func (c *capturing) member(name string) []byte {
	if v := c.said.Get(name); v != nil {
		return v
	}
	return c.event.Get(name)
}

func (c *capturing) sets() bool { return c.member("$set") != nil || c.member("$set_once") != nil }

// anonymous tells whether a distinct_id is somebody who is not known yet.
// PostHog has one kind of id, Spoor two: the browser's and mobile SDKs say which
// it is, older ones send the id of the device, and servers make up a UUID for
// an event without a person.
func (c *capturing) anonymous(distinct []byte) bool {
	switch string(c.said.Get("$is_identified")) {
	case "true":
		return false
	case "false":
		return true
	}
	if device := c.said.ID("$device_id"); len(device) > 0 {
		return string(device) == string(distinct)
	}
	return string(c.said.Get("$process_person_profile")) == "false" && looksLikeUUID(distinct)
}

func looksLikeUUID(id []byte) bool {
	if len(id) != 36 {
		return false
	}
	for i, c := range id {
		dash := i == 8 || i == 13 || i == 18 || i == 23
		if dash != (c == '-') || !dash && (c < '0' || c > '9') && (c|0x20 < 'a' || c|0x20 > 'f') {
			return false
		}
	}
	return true
}

// time is when an event was: its timestamp, or $time, or offset milliseconds ago.
func (c *capturing) time() (stamp []byte, ok bool) {
	for _, value := range [][]byte{c.event.Get("timestamp"), c.member("$time")} {
		if len(dialect.Text(value)) > 0 {
			return dialect.Time(value)
		}
	}
	if text := dialect.Text(c.event.Get("offset")); len(text) > 0 {
		ms, err := strconv.ParseFloat(string(text), 64)
		if err != nil || math.IsNaN(ms) || math.Abs(ms) > maxOffset {
			return nil, false
		}
		return dialect.FormatTime(c.x.Host.Now().Add(-time.Duration(ms * float64(time.Millisecond)))), true
	}
	return nil, true
}

// maxOffset is a year in milliseconds.
const maxOffset = 366 * 24 * 3600 * 1000
