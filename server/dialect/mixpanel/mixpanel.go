// Package mixpanel is Mixpanel's import API, by which what Mixpanel has exported
// comes to Spoor, and what its server SDKs send.
//
// An event becomes an event of the same name; $identify and $create_alias become identify
// calls, which are no events. What becomes of which field is the table in docs/compatibility.md.
package mixpanel

import (
	"bytes"
	"fmt"

	"github.com/google/uuid"
	"github.com/valyala/fasthttp"

	"spoor/engine/event"
	"spoor/server/dialect"
)

// Mixpanel is the dialect.
type Mixpanel struct{}

var _ dialect.Claimant = Mixpanel{}

// Name is the dialect's.
func (Mixpanel) Name() string { return "mixpanel" }

// Find returns the handler of a path.
func (Mixpanel) Find(path string, _ bool) dialect.Handler {
	switch path {
	case "/import":
		return func(x *dialect.Exchange) error { return take(x, true) }
	case "/track":
		return func(x *dialect.Exchange) error { return take(x, false) }
	case "/engage":
		return engage
	}
	return nil
}

// Claims tells its events from PostHog's, which have an api_key.
func (Mixpanel) Claims(_ string, body dialect.Object) bool {
	if body.Get("api_key") != nil || body.Get("batch") != nil {
		return false
	}
	return body.Get("$token") != nil || body.Object("properties").Get("token") != nil
}

// Refusal says what is wrong in Mixpanel's words; its clients hand the error on.
func (Mixpanel) Refusal(r dialect.Refusal) dialect.Refusal {
	if r.Status == fasthttp.StatusInsufficientStorage {
		r.Status = fasthttp.StatusServiceUnavailable
	}
	r.Body = dialect.Quote(fmt.Appendf(nil, `{"code":%d,"error":`, r.Status), []byte(r.Message))
	r.Body = append(r.Body, `,"status":"error"}`...)
	return r
}

// sorting is where properties go.
var sorting = dialect.Sorting{
	Context: map[string][2]string{
		"$current_url": {"page", "url"}, "$referrer": {"page", "referrer"}, "$referring_domain": {"page", "referringDomain"},
		"$os": {"os", "name"}, "$os_version": {"os", "version"}, "$browser": {"browser", "name"}, "$browser_version": {"browser", "version"},
		"$device": {"device", "name"}, "$device_id": {"device", "id"}, "$model": {"device", "model"}, "$manufacturer": {"device", "manufacturer"}, "$brand": {"device", "brand"},
		"$screen_width": {"screen", "width"}, "$screen_height": {"screen", "height"},
		"$app_version_string": {"app", "version"}, "$app_build_number": {"app", "build"},
		"mp_lib": {"library", "name"}, "$lib_version": {"library", "version"},
		"$city": {"location", "city"}, "$region": {"location", "region"}, "mp_country_code": {"location", "country"},
		"$carrier": {"network", "carrier"}, "$wifi": {"network", "wifi"}, "ip": {"", "ip"},
		"utm_source": {"campaign", "source"}, "utm_medium": {"campaign", "medium"}, "utm_campaign": {"campaign", "name"}, "utm_term": {"campaign", "term"}, "utm_content": {"campaign", "content"},
	},
	Dropped: map[string]bool{
		"time": true, "distinct_id": true, "token": true, "$insert_id": true, "$user_id": true, "$import": true, "mp_processing_time_ms": true, "mp_sent_by_lib_version": true,
		"$mp_api_endpoint": true, "$mp_api_timestamp_ms": true, "mp_api_endpoint": true, "mp_api_timestamp_ms": true,
	},
}

// taking is one request.
type taking struct {
	batch *dialect.Batch
	ids   [][]byte // the $insert_id of each event, as far as it is known
	event dialect.Object
	said  dialect.Object // its properties
	props dialect.Fields
	about dialect.Fields
}

// take stores events; timed tells that each must have its time.
func take(x *dialect.Exchange, timed bool) error {
	return each(x, func(t *taking, item []byte) error { return t.item(item, timed) })
}

// each reads a JSON array, or lines of one value each, with item, and stores
// what it adds.
func each(x *dialect.Exchange, item func(t *taking, item []byte) error) error {
	data, free, err := x.Form()
	if err != nil {
		return err
	}
	defer free()
	b := dialect.NewBatch(x.Host)
	defer b.Release()
	t := taking{batch: b}
	data = bytes.TrimSpace(data)
	var source string
	admitted := false
	add := func(_ int, value []byte) error {
		if !admitted {
			first, _ := dialect.Split(nil, value) // what is no object has no key
			key := first.ID("$token", "token")
			if len(key) == 0 {
				key = first.Object("properties").ID("token")
			}
			if len(key) == 0 {
				key = x.Ctx.QueryArgs().Peek("api_key")
			}
			if source, err = x.Host.Admit(x.Ctx, key); err != nil {
				return err
			}
			admitted = true
		}
		return item(&t, value)
	}
	switch {
	case len(data) == 0 || data[0] != '[' && data[0] != '{':
		return dialect.BadRequest(event.CodeMalformed, "the body must be a JSON array of events, or lines of one event each")
	case data[0] == '[':
		err = dialect.Each(data, add)
	default:
		for line := range bytes.Lines(data) {
			if line = bytes.TrimSpace(line); len(line) > 0 && err == nil {
				err = add(0, line)
			}
		}
	}
	if err == nil && !admitted { // an empty array
		source, err = x.Host.Admit(x.Ctx, nil)
	}
	if err != nil {
		return err
	}
	if err := x.Host.Store(x.Ctx, b, source); err != nil {
		return err
	}
	args := x.Ctx.QueryArgs()
	switch {
	case string(args.Peek("strict")) == "1":
		return x.Answer(dialect.JSONType, t.answer())
	case string(args.Peek("verbose")) == "1":
		return x.Answer(dialect.JSONType, []byte(`{"error":null,"status":1}`))
	}
	return x.Answer("text/plain; charset=utf-8", []byte("1")) // clients compare the text
}

// maxFailed bounds the refused events that an answer lists.
const maxFailed = 100

// answer is that of strict=1, but always of the code 200: what was refused is listed,
// and is refused again if it is sent again.
func (t *taking) answer() []byte {
	b := t.batch
	out := fmt.Appendf(nil, `{"code":200,"num_records_imported":%d,"status":"OK","failed_records":[`, b.Seen-len(b.Refused))
	for i := range b.Refused[:min(len(b.Refused), maxFailed)] {
		r := &b.Refused[i]
		if i > 0 {
			out = append(out, ',')
		}
		out = fmt.Appendf(out, `{"index":%d,"insert_id":`, r.Index)
		out = append(dialect.Quote(out, t.ids[r.Index]), `,"field":"event","code":`...)
		out = append(dialect.Quote(out, []byte(r.Code)), `,"message":`...)
		out = append(dialect.Quote(out, []byte(r.Message)), '}')
	}
	return append(out, "]}"...)
}

// item adds one event.
func (t *taking) item(item []byte, timed bool) error {
	index, e, err := t.begin(item)
	if e == nil {
		return err
	}
	if t.said, err = dialect.Split(t.said[:0], e.Get("properties")); err != nil {
		t.said = nil
		t.batch.Refuse(index, nil, event.CodeBadProperties, "properties must be an object")
		return nil
	}
	insert := t.said.ID("$insert_id")
	t.ids[index] = insert
	head := dialect.Head{Name: e.ID("event"), UserID: t.said.ID("$user_id"), AnonymousID: t.said.ID("$device_id")}
	var ok bool
	if head.Time, ok = dialect.Time(t.said.Get("time")); !ok || timed && len(head.Time) == 0 {
		t.batch.Refuse(index, insert, event.CodeBadTimestamp, "the property time: "+dialect.TimeHelp)
		return nil
	}
	distinct := t.said.ID("distinct_id")
	if len(head.UserID) == 0 && len(distinct) > 0 {
		if device, ok := bytes.CutPrefix(distinct, []byte("$device:")); ok {
			head.AnonymousID = device
		} else if !bytes.Equal(distinct, head.AnonymousID) {
			head.UserID = distinct
		}
	}
	switch string(head.Name) {
	case "$identify":
		return t.link(index, t.said.ID("$identified_id"), t.said.ID("$anon_id"), insert)
	case "$create_alias":
		return t.link(index, distinct, t.said.ID("alias"), insert)
	}
	if len(insert) > 0 {
		head.ID = eventID(head.Name, head.Time, distinct, insert)
	}
	t.props.Reset()
	t.about.Reset()
	sorting.Sort(t.said, &t.props, &t.about)
	return t.batch.Event(index, &head, &t.props, &t.about)
}

// begin takes a message apart; nil where it is refused already.
func (t *taking) begin(item []byte) (index int, o dialect.Object, err error) {
	if index, o, err = t.batch.Open(t.event, item, "a message"); err != nil {
		return 0, nil, err
	}
	t.ids = append(t.ids, nil)
	if o != nil && len(o) == 0 {
		t.batch.Refuse(index, nil, event.CodeNotObject, "a message is a JSON object with members")
		return index, nil, nil
	}
	if o != nil {
		t.event = o
	}
	return index, o, nil
}

// engage sets traits of persons.
func engage(x *dialect.Exchange) error {
	return each(x, func(t *taking, item []byte) error {
		index, o, err := t.begin(item)
		if o == nil {
			return err
		}
		var head dialect.Head
		var ok bool
		if head.Time, ok = dialect.Time(o.Get("$time")); !ok {
			t.batch.Refuse(index, nil, event.CodeBadTimestamp, "$time: "+dialect.TimeHelp)
			return nil
		}
		id := o.ID("$distinct_id")
		if device, ok := bytes.CutPrefix(id, []byte("$device:")); ok {
			head.AnonymousID = device
		} else {
			head.UserID = id
		}
		if err := t.batch.Identify(index, &head, o.Get("$set"), false); err != nil || len(id) == 0 {
			return err
		}
		return t.batch.Identify(index, &head, o.Get("$set_once"), true)
	})
}

// link adds a call that links a person's earlier id to a user.
func (t *taking) link(index int, user, anonymous, insert []byte) error {
	if len(user) == 0 || len(anonymous) == 0 {
		t.batch.Refuse(index, insert, event.CodeMissingPerson, "$identify needs $identified_id and $anon_id, $create_alias needs distinct_id and alias")
		return nil
	}
	return t.batch.Identify(index, &dialect.Head{UserID: user, AnonymousID: bytes.TrimPrefix(anonymous, []byte("$device:"))}, nil, false)
}

// space is the namespace of the ids below; it never changes.
var space = uuid.MustParse("8e5b2f0e-6d5c-4c53-9b0e-5a9b7c1d2f40")

// eventID is one UUID for what Mixpanel takes for one event: all that have the
// name, the time, the distinct_id and the $insert_id in common.
func eventID(name, at, distinct, insert []byte) []byte {
	var all []byte
	for _, part := range [][]byte{name, at, distinct, insert} {
		all = append(dialect.Quote(all, part), ',')
	}
	return []byte(uuid.NewSHA1(space, all).String())
}
