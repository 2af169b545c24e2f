package posthog

import "spoor/server/dialect"

// sorting is where properties go.
var sorting = dialect.Sorting{Context: contextOf, Dropped: dropped, NullDropped: clickIDs}

// contextOf is where a property goes in the context: the same names as those of
// every other dialect. All others stay properties.
var contextOf = map[string][2]string{
	"$current_url":         {"page", "url"},
	"$pathname":            {"page", "path"},
	"$host":                {"page", "host"},
	"$title":               {"page", "title"},
	"$referrer":            {"page", "referrer"},
	"$referring_domain":    {"page", "referringDomain"},
	"$session_id":          {"", "sessionId"},
	"$window_id":           {"", "windowId"},
	"$pageview_id":         {"page", "viewId"},
	"$lib":                 {"library", "name"},
	"$lib_version":         {"library", "version"},
	"$os":                  {"os", "name"},
	"$os_name":             {"os", "name"},
	"$os_version":          {"os", "version"},
	"$browser":             {"browser", "name"},
	"$browser_version":     {"browser", "version"},
	"$browser_language":    {"", "locale"},
	"$locale":              {"", "locale"},
	"$timezone":            {"", "timezone"},
	"$timezone_offset":     {"", "timezoneOffset"},
	"$raw_user_agent":      {"", "userAgent"},
	"$user_agent":          {"", "userAgent"},
	"$useragent":           {"", "userAgent"},
	"$ip":                  {"", "ip"},
	"$device_type":         {"device", "type"},
	"$device_id":           {"device", "id"},
	"$device":              {"device", "name"},
	"$device_name":         {"device", "name"},
	"$device_model":        {"device", "model"},
	"$device_manufacturer": {"device", "manufacturer"},
	"$screen_width":        {"screen", "width"},
	"$screen_height":       {"screen", "height"},
	"$viewport_width":      {"viewport", "width"},
	"$viewport_height":     {"viewport", "height"},
	"$app_name":            {"app", "name"},
	"$app_version":         {"app", "version"},
	"$app_build":           {"app", "build"},
	"$app_namespace":       {"app", "namespace"},
	"$network_carrier":     {"network", "carrier"},
	"$network_wifi":        {"network", "wifi"},
	"utm_source":           {"campaign", "source"},
	"utm_medium":           {"campaign", "medium"},
	"utm_campaign":         {"campaign", "name"},
	"utm_term":             {"campaign", "term"},
	"utm_content":          {"campaign", "content"},
}

// dropped are properties that say how an event travelled, or that went elsewhere.
var dropped = map[string]bool{
	"token": true, "api_key": true, "distinct_id": true, "$distinct_id": true, "$insert_id": true, "$time": true,
	"$set": true, "$set_once": true, "$unset": true, "$is_identified": true, "$process_person_profile": true,
	"$user_id": true, "$lib_rate_limit_remaining_tokens": true, "$sent_at": true, "$geoip_disable": true, "$config_defaults": true, "$sdk_debug_retry_queue_size": true,
}

// clickIDs are what posthog-js sends with every event, nearly all of them null;
// null ones are dropped.
var clickIDs = map[string]bool{
	"li_fat_id": true, "gad_source": true, "mc_cid": true, "gclid": true, "gclsrc": true, "dclid": true, "gbraid": true, "wbraid": true, "fbclid": true,
	"msclkid": true, "twclid": true, "igshid": true, "ttclid": true, "rdt_cid": true, "epik": true, "qclid": true, "sccid": true, "oppref": true,
	"bfcid": true, "irclid": true, "_kx": true,
}
