// Package amplitude is Amplitude's HTTP API v2, as its SDKs use it with a server
// URL of one's own, and as one sends an export of Amplitude to Spoor.
//
// An event becomes an event of the same name, with user_id and device_id as its
// two ids. $identify, and user_properties of every other event, set traits of the person.
// What becomes of which field is the table in docs/compatibility.md.
package amplitude

import (
	"fmt"

	"github.com/valyala/fasthttp"

	"spoor/engine/event"
	"spoor/server/dialect"
)

// Amplitude is the dialect.
type Amplitude struct{}

var _ dialect.Claimant = Amplitude{}

// Name is the dialect's.
func (Amplitude) Name() string { return "amplitude" }

// Find returns the handler of a path.
func (Amplitude) Find(path string, _ bool) dialect.Handler {
	switch path {
	case "/2/httpapi", "/batch":
		return take
	}
	return nil
}

// Claims tells its batches from PostHog's, which have a member batch.
func (Amplitude) Claims(_ string, body dialect.Object) bool {
	return body.Get("events") != nil && body.Get("batch") == nil
}

// Refusal puts the status into the body too: Amplitude's clients look nowhere else.
func (Amplitude) Refusal(r dialect.Refusal) dialect.Refusal {
	switch r.Status {
	case fasthttp.StatusInsufficientStorage, fasthttp.StatusRequestTimeout:
		r.Status = fasthttp.StatusServiceUnavailable
	}
	r.Body = dialect.Quote(fmt.Appendf(nil, `{"code":%d,"error":`, r.Status), []byte(r.Message))
	r.Body = append(r.Body, '}')
	return r
}

// sorting is where members of an event go that mean nothing else.
var sorting = dialect.Sorting{
	Context: map[string][2]string{
		"session_id": {"", "sessionId"}, "ip": {"", "ip"}, "language": {"", "locale"}, "user_agent": {"", "userAgent"},
		"platform": {"", "platform"}, "library": {"library", "name"},
		"app_version": {"app", "version"}, "version_name": {"app", "version"},
		"os_name": {"os", "name"}, "os_version": {"os", "version"},
		"device_brand": {"device", "brand"}, "device_manufacturer": {"device", "manufacturer"}, "device_model": {"device", "model"}, "device_type": {"device", "type"},
		"carrier": {"network", "carrier"},
		"country": {"location", "country"}, "region": {"location", "region"}, "city": {"location", "city"}, "dma": {"location", "dma"},
		"location_lat": {"location", "latitude"}, "location_lng": {"location", "longitude"},
		"groups": {"", "groups"}, "plan": {"", "plan"},
	},
	Dropped: map[string]bool{
		"event_type": true, "user_id": true, "device_id": true, "time": true, "insert_id": true, "event_id": true,
		"event_properties": true, "user_properties": true, "$skip_user_properties_sync": true, "ingestion_metadata": true,
	},
}

// remoteAddress is what the SDKs send as ip for the server to fill in.
const remoteAddress = `"$remote"`

// taking is one request.
type taking struct {
	batch  *dialect.Batch
	sentAt []byte
	event  dialect.Object
	named  dialect.Object // its event_properties
	others dialect.Object // its other members
	props  dialect.Fields
	about  dialect.Fields
}

func take(x *dialect.Exchange) error {
	data, free, err := x.Body()
	if err != nil {
		return err
	}
	defer free()
	body, err := dialect.Split(nil, data)
	if err != nil {
		return err
	}
	source, err := x.Host.Admit(x.Ctx, body.ID("api_key"))
	if err != nil {
		return err
	}
	events := body.Get("events")
	if events == nil {
		return dialect.BadRequest(event.CodeMalformed, `the body must be an object with the events as its member "events"`)
	}
	b := dialect.NewBatch(x.Host)
	defer b.Release()
	t := taking{batch: b}
	t.sentAt, _ = dialect.Time(body.Get("client_upload_time"))
	if err := dialect.Each(events, func(_ int, item []byte) error { return t.item(item) }); err != nil {
		return err
	}
	if err := x.Host.Store(x.Ctx, b, source); err != nil {
		return err
	}
	answer := fmt.Appendf(nil, `{"code":200,"events_ingested":%d,"payload_size_bytes":%d,"server_upload_time":%d`, b.Seen-len(b.Refused), len(data), x.Host.Now().UnixMilli())
	return x.Answer(dialect.JSONType, append(b.AppendRefused(answer), '}'))
}

// item adds one event.
func (t *taking) item(item []byte) error {
	index, e, err := t.batch.Open(t.event, item, "an event")
	if e == nil {
		return err
	}
	t.event = e
	head := dialect.Head{ID: e.ID("insert_id"), Name: e.ID("event_type"), UserID: e.ID("user_id"), AnonymousID: e.ID("device_id"), SentAt: t.sentAt}
	var ok bool
	if head.Time, ok = dialect.Time(e.Get("time")); !ok {
		t.batch.Refuse(index, head.ID, event.CodeBadTimestamp, dialect.TimeHelp)
		return nil
	}
	if err := t.traits(index, &head, e); err != nil || string(head.Name) == "$identify" {
		return err
	}
	t.props.Reset()
	t.about.Reset()
	t.props.Base(e.Get("event_properties"))
	if t.named, err = dialect.Split(t.named[:0], e.Get("event_properties")); err != nil {
		t.named = t.named[:0] // no object: the native API says so
	}
	others := t.others[:0]
	for i := range e { // a member such as price, unless a property has its name
		value := string(e[i].Value)
		if !t.named.Has(e[i].Name) && value != "null" && value != remoteAddress {
			others = append(others, e[i])
		}
	}
	t.others = others
	sorting.Sort(others, &t.props, &t.about)
	return t.batch.Event(index, &head, &t.props, &t.about)
}

// traits adds what an event says of its person: user_properties as they are, or as
// operations, of which $set and $setOnce are known.
func (t *taking) traits(index int, head *dialect.Head, e dialect.Object) error {
	who := *head
	if string(head.Name) != "$identify" {
		if len(who.UserID) > 0 {
			who.AnonymousID = nil // the event links the two
		} else if len(who.AnonymousID) == 0 {
			return nil // the event is refused for it
		}
	}
	all := e.Object("user_properties")
	set, once := all.Get("$set"), all.Get("$setOnce")
	operations := false
	for i := range all {
		operations = operations || len(all[i].Name) > 0 && all[i].Name[0] == '$'
	}
	if !operations {
		set = e.Get("user_properties")
	}
	if err := t.batch.Identify(index, &who, set, false); err != nil || len(once) == 0 {
		return err
	}
	return t.batch.Identify(index, &who, once, true)
}
