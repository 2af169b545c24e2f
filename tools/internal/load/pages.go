package load

import "fmt"

// pageView is what follows the user of an event as the SDK for web pages sends it: some 700 bytes with the ids, with
// a user agent, the address of the page with a campaign in it, and where the visitor came from.
// n chooses among 6,720 combinations of browser, release, system and way to the page, and 10,000 pages.
func pageView(n uint64) string {
	pick := func(of ...string) string {
		s := of[n%uint64(len(of))]
		n /= uint64(len(of))
		return s
	}
	system := pick("Windows NT 10.0; Win64; x64", "Macintosh; Intel Mac OS X 10_15_7", "X11; Linux x86_64", "Linux; Android 14; Pixel 8")
	release := 120 + n%20
	n /= 20
	agent := fmt.Sprintf(pick(
		"Mozilla/5.0 (%s) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/%d.0.0.0 Safari/537.36",
		"Mozilla/5.0 (%s; rv:%d.0) Gecko/20100101 Firefox/128.0"), system, release)
	source := pick("google", "newsletter", "facebook", "bing", "partner", "instagram", "")
	campaign := pick("spring", "summer", "brand-de", "retarget", "launch", "welcome")
	address := fmt.Sprintf("https://shop.example.com/products/%d", n*2654435761%10_000)
	referrer := "https://www.example.org/list"
	if source != "" {
		address += "?utm_source=" + source + "&utm_medium=cpc&utm_campaign=" + campaign + "&utm_content=banner-3"
		referrer = "https://www." + source + ".com/"
	}
	return `","timestamp":"2026-05-01T10:20:30.456Z","properties":{"price":12.5,"quantity":2,"category":"shoes","position":4},` +
		`"context":{"userAgent":"` + agent + `","locale":"de-DE","timezone":"Europe/Berlin","screen":{"width":1920,"height":1080},` +
		`"library":{"name":"spoor-js","version":"1.0.0"},"page":{"url":"` + address + `","path":"/products","title":"A pair of shoes","referrer":"` + referrer + `"}}}`
}
