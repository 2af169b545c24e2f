package access

import (
	"bytes"
	"fmt"
	"net/url"
	"strings"
)

// matches tells whether text is what a pattern says, in which * stands for any
// text; all else stands for itself. It takes time in the product of both lengths
// at most, and has no state that grows.
func matches(pattern string, text []byte) bool {
	p, t := 0, 0
	star, mark := -1, 0 // of the last *, and where its text ends so far
	for t < len(text) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, mark = p, t
			p++
		case p < len(pattern) && pattern[p] == text[t]:
			p, t = p+1, t+1
		case star >= 0:
			mark++
			p, t = star+1, mark
		default:
			return false
		}
	}
	for p < len(pattern) && pattern[p] == '*' {
		p++
	}
	return p == len(pattern)
}

// anySubdomain stands in an origin for one or more labels of a host name.
const anySubdomain = "*."

// checkOrigin refuses what no browser sends as an Origin: a scheme, a host in
// lower case, and a port that is not the scheme's own. The host may begin with *.
func checkOrigin(pattern string) error {
	u, err := url.Parse(strings.Replace(pattern, anySubdomain, "", 1))
	if err != nil || u.Host == "" || u.Scheme == "" || u.Scheme+"://"+u.Host != strings.Replace(pattern, anySubdomain, "", 1) ||
		strings.ToLower(pattern) != pattern || len(pattern) > MaxPatternBytes || strings.Contains(u.Host, "*") ||
		strings.Contains(pattern, "*") && !strings.Contains(pattern, "://"+anySubdomain) {
		return fmt.Errorf("%.100q is no origin; write https://shop.example, https://shop.example:8443 or https://*.shop.example", pattern)
	}
	return nil
}

// matchesOrigin compares an origin as a browser sends it.
func matchesOrigin(pattern string, origin []byte) bool {
	scheme, host, ok := strings.Cut(pattern, "://")
	if !ok {
		return false
	}
	if len(origin) < len(scheme)+3 || string(origin[:len(scheme)]) != scheme || string(origin[len(scheme):len(scheme)+3]) != "://" {
		return false
	}
	sent := origin[len(scheme)+3:]
	if rest, ok := strings.CutPrefix(host, anySubdomain); ok {
		return len(sent) > len(rest)+1 && bytes.HasSuffix(sent, []byte(rest)) && sent[len(sent)-len(rest)-1] == '.' && !bytes.ContainsAny(sent, "/@")
	}
	return string(sent) == host
}

// OriginOf is the origin of a page: an Origin header as it came, or where there
// is none what a Referer begins with. nil where neither says.
func OriginOf(origin, referer []byte) []byte {
	if len(origin) > 0 {
		return origin
	}
	i := bytes.Index(referer, []byte("://"))
	if i < 0 {
		return nil
	}
	if end := bytes.IndexAny(referer[i+3:], "/?#"); end >= 0 {
		return referer[:i+3+end]
	}
	return referer
}
