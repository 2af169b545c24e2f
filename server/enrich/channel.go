package enrich

import (
	"bytes"
	"net/url"
	"strings"
	"unicode/utf8"
)

// unescape decodes the value of an argument, cut to whole characters.
func unescape(value []byte) string {
	text, err := url.QueryUnescape(string(value))
	if err != nil {
		text = string(value)
	}
	if len(text) > maxFieldBytes {
		text = text[:maxFieldBytes]
		for len(text) > 0 && !utf8.ValidString(text[max(0, len(text)-utf8.UTFMax):]) {
			text = text[:len(text)-1]
		}
	}
	return strings.ToValidUTF8(text, "")
}

// hostOf is the host of an absolute address without www., in lower case; empty for none.
func hostOf(address []byte) string {
	_, rest, ok := bytes.Cut(address, []byte("://"))
	if !ok {
		return ""
	}
	for i, c := range rest {
		if c == '/' || c == '?' || c == '#' {
			rest = rest[:i]
			break
		}
	}
	if i := bytes.LastIndexByte(rest, '@'); i >= 0 {
		rest = rest[i+1:]
	}
	if i := bytes.LastIndexByte(rest, ':'); i >= 0 && bytes.IndexByte(rest[i:], ']') < 0 {
		rest = rest[:i]
	}
	if len(rest) > maxFieldBytes {
		return ""
	}
	return strings.TrimPrefix(strings.ToLower(string(rest)), "www.")
}

var (
	paidMedia  = []string{"cpc", "ppc", "cpm", "cpv", "cpa", "paid", "paidsearch", "paidsocial", "paid-search", "paid-social", "paid_search", "paid_social", "display", "banner", "retargeting"}
	mailMedia  = []string{"email", "e-mail", "mail", "newsletter"}
	socialWord = []string{"social", "social-network", "social-media", "sm", "social network", "social media"}

	// Sites by the name before the public suffix, so that those of all countries are meant.
	searchSites = []string{"google", "bing", "duckduckgo", "yahoo", "yandex", "baidu", "ecosia", "qwant", "startpage", "naver", "seznam", "kagi"}
	socialSites = []string{"facebook", "instagram", "linkedin", "twitter", "reddit", "pinterest", "youtube", "tiktok", "mastodon", "bsky", "threads", "vk", "whatsapp", "telegram", "snapchat"}
	socialHosts = []string{"t.co", "x.com", "lnkd.in", "youtu.be", "l.facebook.com", "news.ycombinator.com"}
)

func isOneOf(list []string, word string) bool {
	for _, w := range list {
		if w == word {
			return true
		}
	}
	return false
}

func hasSite(list []string, host string) bool {
	for part := range strings.SplitSeq(host, ".") {
		if isOneOf(list, part) {
			return true
		}
	}
	return false
}

// channel is how the visitor came: what the campaign says, else where they came
// from. A page within the site has none: the visit began before.
func (c *arguments) channel(host, from string) string {
	medium := strings.ToLower(c.medium)
	switch {
	case c.paid, isOneOf(paidMedia, medium):
		return "paid"
	case isOneOf(mailMedia, medium):
		return "email"
	case isOneOf(socialWord, medium):
		return "social"
	case medium == "affiliate" || medium == "affiliates":
		return "affiliate"
	case medium == "organic":
		return "search"
	case medium != "" || c.source != "" || c.name != "":
		return "campaign"
	case from == "":
		return "direct"
	case from == host || strings.HasSuffix(from, "."+host) || strings.HasSuffix(host, "."+from):
		return ""
	case isOneOf(socialHosts, from) || hasSite(socialSites, from):
		return "social"
	case hasSite(searchSites, from):
		return "search"
	}
	return "referral"
}
