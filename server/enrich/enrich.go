// Package enrich adds to an event what follows from what it carries: browser,
// operating system and device from the user agent, the campaign and the channel
// from the address of the page and the one before, the country from the address
// of the client, and a time that does not follow a clock that is wrong.
//
// On the way of an event it comes first behind the decoder, before addresses
// are cut. A field that the client sent, in any form, is never replaced; times
// that are corrected stand beside what was sent.
package enrich

import (
	"bytes"
	"fmt"
	"net/netip"
	"os"
	"strings"

	"github.com/mileusna/useragent"
	"github.com/oschwald/maxminddb-golang/v2"

	"spoor/engine/event"
	"spoor/segment/batch"
	"spoor/server/redact"
)

// Settings say what is added.
type Settings struct {
	UserAgent bool `json:"userAgent"`
	Campaign  bool `json:"campaign"` // and the channel
	Country   bool `json:"country"`  // where there is a database
	Clock     bool `json:"clock"`
}

// None tells that nothing is to be done; database: there is one of countries.
func (s Settings) None(database bool) bool {
	return !s.UserAgent && !s.Campaign && !(s.Country && database) && !s.Clock
}

// Countries finds the country of an address.
type Countries struct{ db *maxminddb.Reader }

// maxDatabaseBytes bounds a database, which is held in memory.
const maxDatabaseBytes = 512 << 20

// OpenCountries reads a database in MaxMind's format that knows countries.
func OpenCountries(file string) (*Countries, error) {
	info, err := os.Stat(file)
	if err != nil {
		return nil, fmt.Errorf("open the database of countries: %w", err)
	}
	if info.Size() > maxDatabaseBytes {
		return nil, fmt.Errorf("the database of countries %s has %d bytes, the limit is %d", file, info.Size(), maxDatabaseBytes)
	}
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("open the database of countries: %w", err)
	}
	db, err := maxminddb.OpenBytes(b)
	if err != nil {
		return nil, fmt.Errorf("read the database of countries %s: %w", file, err)
	}
	return &Countries{db}, nil
}

// Find returns an ISO 3166 code; empty where none is known.
func (c *Countries) Find(a netip.Addr) string {
	var code string
	if !a.IsValid() || c.db.Lookup(a.Unmap().WithZone("")).DecodePath(&code, "country", "iso_code") != nil || len(code) != 2 {
		return ""
	}
	return code
}

// Worker adds fields to the events of one decoder. Not for concurrent use.
type Worker struct {
	Countries *Countries // nil: there is no database
	Clock     *Clock

	agents  map[string]*agent
	arrived map[string]*arrival
	key     []byte // of arrived
	places  *places

	clean struct{ agent, from, to int } // see IsClean
}

// places are the paths that every event is asked for and given.
type places struct {
	userAgent, pageURL, url, referrer, ip, sentAt, sessionID, posthogSession event.Place

	browser, browserVersion, os, osVersion, device                                        event.Place
	utmSource, utmMedium, campaign, utmTerm, utmContent, referrerDomain, channel, country event.Place
}

func newPlaces() *places {
	at := func(path string) event.Place { return event.Place{Path: path} }
	return &places{
		userAgent: at("context.userAgent"), pageURL: at("context.page.url"), url: at("properties.url"), referrer: at("context.page.referrer"), ip: at("context.ip"),
		sentAt: at("sentAt"), sessionID: at("context.sessionId"), posthogSession: at("properties.$session_id"),
		browser: at("context.browser"), browserVersion: at("context.browserVersion"), os: at("context.os"), osVersion: at("context.osVersion"), device: at("context.device"),
		utmSource: at("context.utmSource"), utmMedium: at("context.utmMedium"), campaign: at("context.campaign"), utmTerm: at("context.utmTerm"), utmContent: at("context.utmContent"),
		referrerDomain: at("context.referrerDomain"), channel: at("context.channel"), country: at("context.country"),
	}
}

// Begin goes before each event, also before one to which nothing is added.
func (w *Worker) Begin() { w.clean.agent, w.clean.from, w.clean.to = -1, 0, 0 }

// IsClean tells of a value of the event, as Apply left it, that no personal data is
// in it: a user agent that was looked through before, and what was read in it.
func (w *Worker) IsClean(i int) bool {
	return i == w.clean.agent || i >= w.clean.from && i < w.clean.to
}

// Apply adds what the settings say.
func (w *Worker) Apply(d *event.Draft, s Settings) {
	if w.places == nil {
		w.places = newPlaces()
	}
	if s.Clock && w.Clock != nil {
		w.Clock.correct(d, w.places)
	}
	if s.UserAgent {
		w.userAgent(d)
	}
	if s.Campaign {
		w.campaign(d)
	}
	if s.Country && w.Countries != nil {
		w.country(d)
	}
}

// add sets a field of context unless the client sent it.
func add(d *event.Draft, p *event.Place, text string) {
	if text != "" && !d.HasAt(p) {
		d.AddTextAt(p, []byte(text))
	}
}

// textAt returns the string at a place, nil where there is none.
func textAt(d *event.Draft, p *event.Place) []byte {
	if i := d.FindAt(p); i >= 0 && d.Kind(i) == batch.KindString {
		return d.Text(i)
	}
	return nil
}

func (w *Worker) country(d *event.Draft) {
	if d.HasAt(&w.places.country) {
		return
	}
	a := d.Origin().Address
	if text := textAt(d, &w.places.ip); text != nil {
		a, _ = netip.ParseAddr(string(text)) // of the end user, where a server sends for others
	}
	add(d, &w.places.country, w.Countries.Find(a))
}

// agent is what a user agent says.
type agent struct {
	browser, browserVersion, os, osVersion, device string

	clean bool // neither it nor what it says holds personal data
}

const (
	maxAgents     = 1024 // kept by a worker; then it begins anew
	maxAgentBytes = 1024 // of one that is looked at
)

func (w *Worker) userAgent(d *event.Draft) {
	at, text := -1, []byte(nil)
	if i := d.FindAt(&w.places.userAgent); i >= 0 && d.Kind(i) == batch.KindString {
		at, text = i, d.Text(i)
	} else {
		// That of a program which sends events of others says nothing of them.
		ua := d.Origin().UserAgent
		if !strings.HasPrefix(ua, "Mozilla/") && !strings.HasPrefix(ua, "Opera/") {
			return
		}
		text = []byte(ua)
	}
	if len(text) == 0 || len(text) > maxAgentBytes {
		return
	}
	a := w.agents[string(text)]
	if a == nil {
		if a = parseAgent(string(text)); w.agents == nil || len(w.agents) >= maxAgents {
			w.agents = make(map[string]*agent, 64)
		}
		w.agents[string(text)] = a
	}
	from := d.Len()
	add(d, &w.places.browser, a.browser)
	add(d, &w.places.browserVersion, a.browserVersion)
	add(d, &w.places.os, a.os)
	add(d, &w.places.osVersion, a.osVersion)
	add(d, &w.places.device, a.device)
	if a.clean {
		w.clean.agent, w.clean.from, w.clean.to = at, from, d.Len()
	}
	if a.device == "bot" && !d.Has("context.bot") {
		d.AddBool("context.bot", true)
	}
}

func parseAgent(text string) *agent {
	u := useragent.Parse(text)
	a := &agent{browser: u.Name, os: u.OS}
	// Whole versions: the parts behind are many and say little.
	a.browserVersion, _, _ = strings.Cut(u.Version, ".")
	a.osVersion, _, _ = strings.Cut(u.OSVersion, ".")
	switch {
	case u.Bot:
		a.device = "bot"
	case u.Tablet:
		a.device = "tablet"
	case u.Mobile:
		a.device = "mobile"
	case u.Desktop:
		a.device = "desktop"
	}
	for _, s := range []*string{&a.browser, &a.browserVersion, &a.os, &a.osVersion} {
		*s = strings.ToValidUTF8((*s)[:min(len(*s), maxFieldBytes)], "")
	}
	a.clean = true
	for _, s := range []string{text, a.browser, a.browserVersion, a.os, a.osVersion} {
		a.clean = a.clean && len(redact.Scan(nil, []byte(s))) == 0
	}
	return a
}

const maxFieldBytes = 256 // of a field that is added

// arrival is how a visitor came to a page.
type arrival struct {
	arguments
	domain  string // where from, another site; empty for none
	channel string
}

const (
	maxArrivals     = 1024 // kept by a worker; then it begins anew
	maxArrivalBytes = 512  // of what one follows from, for it to be kept
)

// campaign reads the arguments of the page's address and where the visitor came from.
// Pages of a site differ by their paths, which say nothing of that: what follows from
// the rest of both addresses is kept for the next event.
func (w *Worker) campaign(d *event.Draft) {
	page := textAt(d, &w.places.pageURL)
	if page == nil {
		if page = textAt(d, &w.places.url); page == nil {
			return
		}
	}
	origin, query := cutPath(page)
	referrer, _ := cutPath(textAt(d, &w.places.referrer))
	w.key = append(append(append(append(append(w.key[:0], origin...), 0), query...), 0), referrer...)
	a := w.arrived[string(w.key)]
	if a == nil {
		a = newArrival(origin, query, referrer)
		if len(w.key) <= maxArrivalBytes && !a.paid { // the sign of a click that was bought never comes again
			if w.arrived == nil || len(w.arrived) >= maxArrivals {
				w.arrived = make(map[string]*arrival, 64)
			}
			w.arrived[string(w.key)] = a
		}
	}
	add(d, &w.places.utmSource, a.source)
	add(d, &w.places.utmMedium, a.medium)
	add(d, &w.places.campaign, a.name)
	add(d, &w.places.utmTerm, a.term)
	add(d, &w.places.utmContent, a.content)
	add(d, &w.places.referrerDomain, a.domain)
	add(d, &w.places.channel, a.channel)
}

func newArrival(origin, query, referrer []byte) *arrival {
	host, from := hostOf(origin), hostOf(referrer)
	a := &arrival{arguments: readArguments(query)}
	if from != host {
		a.domain = from
	}
	a.channel = a.arguments.channel(host, from)
	return a
}

// cutPath takes an address apart: what stands before its path, and its arguments.
func cutPath(address []byte) (origin, query []byte) {
	if i := bytes.IndexByte(address, '#'); i >= 0 {
		address = address[:i]
	}
	origin = address
	if i := bytes.IndexByte(address, '?'); i >= 0 {
		origin, query = address[:i], address[i+1:]
	}
	if i := bytes.Index(origin, []byte("://")); i >= 0 {
		if j := bytes.IndexByte(origin[i+3:], '/'); j >= 0 {
			origin = origin[:i+3+j]
		}
	}
	return origin, query
}

type arguments struct {
	source, medium, name, term, content string
	paid                                bool // the click was bought, by the sign of an advertising network
}

func readArguments(query []byte) (c arguments) {
	for len(query) > 0 {
		var arg []byte
		arg, query, _ = bytes.Cut(query, []byte{'&'})
		name, value, _ := bytes.Cut(arg, []byte{'='})
		switch string(name) {
		case "utm_source":
			c.source = unescape(value)
		case "utm_medium":
			c.medium = unescape(value)
		case "utm_campaign":
			c.name = unescape(value)
		case "utm_term":
			c.term = unescape(value)
		case "utm_content":
			c.content = unescape(value)
		case "gclid", "msclkid", "gbraid", "wbraid", "ttclid":
			c.paid = c.paid || len(value) > 0
		}
	}
	return c
}
