package spoor

import (
	"net/http"
	"net/netip"
	"net/url"
	"strings"
)

// Requests reads the context of events from HTTP requests that a program serves.
// The zero value trusts no proxy.
type Requests struct {
	// TrustedProxies are the addresses from which X-Forwarded-For is believed.
	TrustedProxies []netip.Prefix
	// NoIP leaves the address of the client out.
	NoIP bool
	// QueryParams are the parameters of the address that are kept, beside those of
	// campaigns. Others may hold secrets.
	QueryParams []string
}

// Middleware puts the context of each request into its Context, for all events
// that are enqueued with that.
func (q Requests) Middleware(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		next.ServeHTTP(w, r.WithContext(WithContext(r.Context(), q.Context(r))))
	})
}

// maxHeaderValue bounds what is taken of one header or part of the address, in bytes.
const maxHeaderValue = 1024

// campaignParams are the parameters of an address that say where a visit comes
// from, and their names in context.utm.
var campaignParams = map[string]string{
	"utm_source": "source", "utm_medium": "medium", "utm_campaign": "campaign", "utm_term": "term", "utm_content": "content", "utm_id": "id",
}

// Context returns what a request says of itself, as far as it does:
//
//	userAgent  ip  requestId  traceId  locale
//	method                          of the request
//	page       host, path, search   the address without its other parameters
//	referrer                        without its parameters
//	utm        source, medium, ...  of the address
//	campaign                        the same as utm.campaign
//	gpc        true                 the person asks not to be sold or shared
func (q Requests) Context(r *http.Request) map[string]any {
	members := map[string]any{"method": r.Method}
	add := func(name, value string) {
		if value = cut(value); value != "" {
			members[name] = value
		}
	}
	add("userAgent", r.UserAgent())
	add("requestId", r.Header.Get("X-Request-Id"))
	add("traceId", traceID(r.Header.Get("Traceparent")))
	locale, _, _ := strings.Cut(r.Header.Get("Accept-Language"), ",")
	locale, _, _ = strings.Cut(locale, ";")
	add("locale", strings.TrimSpace(locale))
	add("referrer", withoutQuery(r.Referer()))
	if !q.NoIP {
		add("ip", q.clientIP(r))
	}
	if r.Header.Get("Sec-GPC") == "1" {
		members["gpc"] = true
	}
	page := map[string]any{"host": cut(r.Host), "path": cut(r.URL.Path)}
	params := r.URL.Query()
	if search := q.search(params); search != "" {
		page["search"] = cut(search)
	}
	members["page"] = page
	utm := map[string]any{}
	for param, name := range campaignParams {
		if value := cut(params.Get(param)); value != "" {
			utm[name] = value
		}
	}
	if len(utm) > 0 {
		members["utm"] = utm
		add("campaign", params.Get("utm_campaign"))
	}
	return members
}

// search writes the parameters that are kept.
func (q Requests) search(params url.Values) string {
	kept := url.Values{}
	for _, name := range q.QueryParams {
		if values, ok := params[name]; ok {
			kept[name] = values
		}
	}
	return kept.Encode()
}

// clientIP is the address that sent the request: the peer, or, behind trusted
// proxies, the last one of X-Forwarded-For that is none of them. What stands
// before that in the header was written by the client and means nothing.
func (q Requests) clientIP(r *http.Request) string {
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return ""
	}
	ip := peer.Addr().Unmap()
	if len(q.TrustedProxies) == 0 {
		return ip.String()
	}
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for i := len(hops) - 1; i >= 0 && q.trusts(ip); i-- {
		hop, err := netip.ParseAddr(strings.TrimSpace(hops[i]))
		if err != nil {
			break
		}
		ip = hop.Unmap()
	}
	return ip.String()
}

func (q Requests) trusts(ip netip.Addr) bool {
	for _, p := range q.TrustedProxies {
		if p.Contains(ip) {
			return true
		}
	}
	return false
}

// traceID is the second part of a W3C traceparent.
func traceID(traceparent string) string {
	parts := strings.Split(traceparent, "-")
	if len(parts) < 4 || len(parts[1]) != 32 {
		return ""
	}
	return parts[1]
}

func withoutQuery(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return ""
	}
	u.RawQuery, u.Fragment, u.User = "", "", nil
	return u.String()
}

// cut bounds a text that a client of the program has sent. Half a rune at its
// end is replaced when it is written.
func cut(text string) string { return text[:min(len(text), maxHeaderValue)] }
