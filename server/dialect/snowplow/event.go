package snowplow

import (
	"bytes"
	"encoding/base64"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/valyala/fasthttp"

	"spoor/engine/event"
	"spoor/server/dialect"
)

// params are the parameters of one event that mean something here, as texts.
type params map[string][]byte

// known are the names of those parameters.
var known = func() map[string]string {
	names := map[string]string{}
	for _, name := range strings.Fields("e eid aid p tna tv sid vid url page refr lang tz ua cs ip res vp uid duid nuid tnuid ttm dtm stm ue_pr ue_px co cx " +
		"pp_mix pp_max pp_miy pp_may se_ca se_ac se_la se_pr se_va " +
		"tr_id tr_af tr_tt tr_tx tr_sh tr_cu tr_ci tr_st tr_co ti_id ti_sk ti_nm ti_ca ti_pr ti_qu ti_cu") {
		names[name] = name
	}
	return names
}()

// read takes the parameters from a JSON object, whose values are strings or numbers.
func (c *collecting) read(item []byte) *event.Reject {
	p := c.params
	clear(p)
	if rej := dialect.Check(item); rej != nil {
		return rej
	}
	o, err := dialect.Split(c.members[:0], item)
	c.members = o
	if err != nil {
		return &event.Reject{Code: event.CodeNotObject, Message: "an event of a payload is a JSON object"}
	}
	for i := range o {
		if text := dialect.Text(o[i].Value); len(text) > 0 {
			if name, ok := known[string(o[i].Name)]; ok {
				p[name] = text
			}
		}
	}
	return nil
}

// query takes them from a query.
func (p params) query(args *fasthttp.Args) *event.Reject {
	clear(p)
	for key, value := range args.All() {
		name, ok := known[string(key)]
		if !ok || len(value) == 0 {
			continue
		}
		if !utf8.Valid(value) {
			return &event.Reject{Code: event.CodeInvalidUTF8, Message: "the parameter " + name + " is not UTF-8"}
		}
		p[name] = value
	}
	return nil
}

// contextParams are the parameters that go into the context as they are.
var contextParams = []struct {
	param, in, name string
}{
	{"p", "", "platform"},
	{"aid", "app", "id"},
	{"tna", "tracker", "namespace"},
	{"tv", "library", "name"},
	{"sid", "", "sessionId"},
	{"url", "page", "url"},
	{"page", "page", "title"},
	{"refr", "page", "referrer"},
	{"lang", "", "locale"},
	{"tz", "", "timezone"},
	{"ua", "", "userAgent"},
	{"cs", "", "charset"},
}

// add adds the event of c.params.
func (c *collecting) add(index int) error {
	p := c.params
	c.props.Reset()
	c.about.Reset()
	head := dialect.Head{ID: p["eid"], UserID: p["uid"], AnonymousID: c.device()}
	at := p["ttm"]
	if len(at) == 0 {
		at = p["dtm"]
	}
	var ok, sentOK bool
	head.Time, ok = dialect.Time(dialect.Quote(nil, at))
	head.SentAt, sentOK = dialect.Time(dialect.Quote(nil, p["stm"]))
	if !ok || !sentOK {
		c.batch.Refuse(index, head.ID, event.CodeBadTimestamp, "ttm, dtm or stm: "+dialect.TimeHelp)
		return nil
	}
	if rej := c.kind(&head); rej != nil {
		c.batch.Refuse(index, head.ID, rej.Code, rej.Message)
		return nil
	}
	if rej := c.contextOf(); rej != nil {
		c.batch.Refuse(index, head.ID, rej.Code, rej.Message)
		return nil
	}
	return c.batch.Event(index, &head, &c.props, &c.about)
}

// device is who the event belongs to without a user: the id of the browser, of
// the cookie or of the session. An event that has none, as with trackers that
// keep nothing, is somebody of its own.
func (c *collecting) device() []byte {
	p := c.params
	if c.quiet {
		for _, name := range []string{"sid", "eid"} {
			if len(p[name]) > 0 && len(p["uid"]) == 0 {
				return p[name]
			}
		}
		return nil
	}
	for _, id := range [][]byte{p["duid"], p["tnuid"], p["nuid"]} {
		if len(id) > 0 {
			return id
		}
	}
	if len(p["uid"]) > 0 {
		return nil // a server's tracker has one cookie, or none, for all its users
	}
	return []byte(c.network)
}

// kind reads what happened.
func (c *collecting) kind(head *dialect.Head) *event.Reject {
	p := c.params
	text := func(name, param string) { c.props.SetText(name, p[param]) }
	number := func(name, param string) {
		if v, err := strconv.ParseFloat(string(p[param]), 64); err == nil && v-v == 0 {
			c.props.Set(name, strconv.AppendFloat(nil, v, 'g', -1, 64))
		} else {
			text(name, param)
		}
	}
	switch string(p["e"]) {
	case "pv":
		head.Name = []byte("page_viewed")
	case "pp":
		head.Name = []byte("page_ping")
		for _, n := range [][2]string{{"minX", "pp_mix"}, {"maxX", "pp_max"}, {"minY", "pp_miy"}, {"maxY", "pp_may"}} {
			number(n[0], n[1])
		}
	case "se":
		head.Name = p["se_ac"]
		text("category", "se_ca")
		text("action", "se_ac")
		text("label", "se_la")
		text("property", "se_pr")
		number("value", "se_va")
	case "tr":
		head.Name = []byte("transaction")
		text("orderId", "tr_id")
		text("affiliation", "tr_af")
		number("total", "tr_tt")
		number("tax", "tr_tx")
		number("shipping", "tr_sh")
		text("currency", "tr_cu")
		text("city", "tr_ci")
		text("state", "tr_st")
		text("country", "tr_co")
	case "ti":
		head.Name = []byte("transaction_item")
		text("orderId", "ti_id")
		text("sku", "ti_sk")
		text("name", "ti_nm")
		text("category", "ti_ca")
		number("price", "ti_pr")
		number("quantity", "ti_qu")
		text("currency", "ti_cu")
	case "ue":
		return c.selfDescribing(head)
	default:
		return &event.Reject{Code: "unknown_type", Message: "the parameter e must be pv, pp, se, ue, tr or ti"}
	}
	return nil
}

// selfDescribing reads an event that names its schema.
func (c *collecting) selfDescribing(head *dialect.Head) *event.Reject {
	data, rej := c.encoded("ue_pr", "ue_px")
	if rej != nil {
		return rej
	}
	if data == nil {
		return &event.Reject{Code: event.CodeMissingName, Message: "a self-describing event has neither ue_pr nor ue_px"}
	}
	inner := c.dataOf(data)
	schema := inner.ID("schema")
	if head.Name = schemaName(schema); len(head.Name) == 0 {
		return &event.Reject{Code: event.CodeMissingName, Message: "a self-describing event must name its schema, as iglu:vendor/name/jsonschema/1-0-0"}
	}
	c.props.Base(inner.Get("data"))
	c.about.SetText("schema", schema)
	return nil
}

// dataOf takes apart the object that is the data of an object; nothing where it has none.
func (c *collecting) dataOf(value []byte) dialect.Object {
	outer, err := dialect.Split(c.members[:0], value)
	if err != nil {
		return nil
	}
	c.members = outer
	inner, err := dialect.Split(c.inner[:0], outer.Get("data"))
	if err != nil {
		return nil
	}
	c.inner = inner
	return inner
}

// encoded is the JSON of a parameter that may be in base64 under another name.
func (c *collecting) encoded(plain, packed string) ([]byte, *event.Reject) {
	data := c.params[plain]
	if text := bytes.TrimRight(c.params[packed], "="); len(data) == 0 && len(text) > 0 {
		text = urlLetters(text)
		out := make([]byte, base64.RawURLEncoding.DecodedLen(len(text)))
		n, err := base64.RawURLEncoding.Decode(out, text)
		if err != nil {
			return nil, &event.Reject{Code: event.CodeMalformed, Message: packed + " is no base64"}
		}
		data = out[:n]
	}
	if len(data) == 0 {
		return nil, nil
	}
	if rej := dialect.Check(data); rej != nil {
		rej.Message = plain + " or " + packed + ": " + rej.Message
		return nil, rej
	}
	return data, nil
}

// urlLetters makes the letters of the base64 of URLs of those of the plain one;
// a plus that a form has unescaped is a space.
func urlLetters(text []byte) []byte {
	return bytes.Map(func(r rune) rune {
		switch r {
		case '+', ' ':
			return '-'
		case '/':
			return '_'
		}
		return r
	}, text)
}

// schemaName is the name in iglu:vendor/name/format/version.
func schemaName(schema []byte) []byte {
	parts := strings.Split(strings.TrimPrefix(string(schema), "iglu:"), "/")
	if len(parts) != 4 {
		return nil
	}
	return []byte(parts[1])
}

// contextOf reads the circumstances.
func (c *collecting) contextOf() *event.Reject {
	p := c.params
	for i := range contextParams {
		f := &contextParams[i]
		in := &c.about
		if len(p[f.param]) == 0 {
			continue
		}
		if f.in != "" {
			in = in.In(f.in)
		}
		in.SetText(f.name, p[f.param])
	}
	if !c.quiet {
		c.about.SetText("ip", p["ip"])
	}
	if n, err := strconv.Atoi(string(p["vid"])); err == nil {
		c.about.Set("sessionIndex", strconv.AppendInt(nil, int64(n), 10))
	}
	c.size("screen", p["res"])
	c.size("viewport", p["vp"])
	return c.entities()
}

// size reads a width and a height: 1920x1080.
func (c *collecting) size(name string, text []byte) {
	w, h, ok := strings.Cut(string(text), "x")
	width, werr := strconv.ParseUint(w, 10, 31)
	height, herr := strconv.ParseUint(h, 10, 31)
	if ok && werr == nil && herr == nil {
		in := c.about.In(name)
		in.Set("width", strconv.AppendUint(nil, width, 10))
		in.Set("height", strconv.AppendUint(nil, height, 10))
	}
}

// entities puts the entities of an event below context.entities, by the names of
// their schemas: the object of one, an array where several have one name.
func (c *collecting) entities() *event.Reject {
	data, rej := c.encoded("co", "cx")
	if rej != nil || data == nil {
		return rej
	}
	outer, _ := dialect.Split(nil, data) // what is no object has no data
	list := outer.Get("data")
	if list == nil {
		return nil
	}
	var names []string
	byName := map[string][][]byte{}
	err := dialect.Each(list, func(_ int, item []byte) error {
		entity, err := dialect.Split(nil, item)
		name := string(schemaName(entity.ID("schema")))
		if err != nil || name == "" || len(entity.Get("data")) == 0 {
			return errEntity
		}
		if byName[name] == nil {
			names = append(names, name)
		}
		byName[name] = append(byName[name], entity.Get("data"))
		return nil
	})
	if err != nil {
		return &event.Reject{Code: event.CodeMalformed, Message: "co or cx: " + err.Error()}
	}
	for _, name := range names {
		value := byName[name][0]
		if len(byName[name]) > 1 {
			value = append(append([]byte{'['}, bytes.Join(byName[name], []byte{','})...), ']')
		}
		c.about.In("entities").Set(name, value)
	}
	return nil
}

var errEntity = dialect.BadRequest(event.CodeMalformed, "an entity is an object with a schema, as iglu:vendor/name/jsonschema/1-0-0, and data")
