package dialect_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"

	"spoor/server"
)

// TestRecordedRequestsBecomeEventsAndTraits runs the scripts of testdata, whose
// requests were recorded from the published clients or, of mobile SDKs, written
// as their sources do. A script begins on an empty server; its commands:
//
//	post PATH [form=gzip|base64|form|form-json|form-gzip] [header=(Name: value)] [show=(Name)]
//	get PATH [header=...] [show=...]      the input, if any, becomes the parameter data
//	options PATH [header=...]             shows the headers about origins
//	events                                shows the events that came since
//	person ID                             shows a person
func TestRecordedRequestsBecomeEventsAndTraits(t *testing.T) {
	datadriven.Walk(t, "testdata/requests", func(t *testing.T, path string) {
		n := start(t, server.Options{}, map[string]string{"snowplow": "/sp/in"})
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			switch d.Cmd {
			case "post", "get", "options":
				return n.request(t, d)
			case "events":
				return n.fresh(t)
			case "person":
				return string(n.do("GET", "/api/users/"+url.PathEscape(d.CmdArgs[0].Key), nil).body) + "\n"
			}
			t.Fatalf("%q is no command", d.Cmd)
			return ""
		})
	})
}

func (n *node) request(t *testing.T, d *datadriven.TestData) string {
	var headers, show []string
	path, form := d.CmdArgs[0].String(), ""
	for _, arg := range d.CmdArgs[1:] {
		switch arg.Key {
		case "form":
			form = arg.Vals[0]
		case "header":
			name, value, _ := strings.Cut(strings.Join(arg.Vals, ", "), ":")
			headers = append(headers, strings.TrimSpace(name), strings.TrimSpace(value))
		case "show":
			show = append(show, arg.Vals...)
		}
	}
	body := packed(t, form, []byte(d.Input))
	if d.Cmd == "get" {
		if len(body) > 0 {
			separator := "?"
			if strings.Contains(path, "?") {
				separator = "&"
			}
			path += separator + "data=" + url.QueryEscape(string(body))
		}
		body = nil
	}
	r := n.do(strings.ToUpper(d.Cmd), path, body, headers...)
	if d.Cmd == "options" {
		show = append(show, "Access-Control-Allow-Origin", "Access-Control-Allow-Credentials", "Access-Control-Allow-Methods", "Access-Control-Allow-Headers", "Access-Control-Max-Age")
	}
	out := fmt.Sprintf("%d", r.status)
	if bytes.HasPrefix(r.body, []byte("GIF")) {
		out += fmt.Sprintf(" GIF of %d bytes", len(r.body))
	} else if len(r.body) > 0 {
		out += " " + string(r.body)
	}
	out += "\n"
	for _, name := range append(show, "X-Spoor-Rejected", "Retry-After") {
		if value := r.header.Get(name); value != "" {
			out += name + ": " + value + "\n"
		}
	}
	return masked(strings.ReplaceAll(out, n.addr, "HOST"))
}

// fresh shows the events that were not shown yet, without what the clock and
// chance put there.
func (n *node) fresh(t *testing.T) string {
	var out strings.Builder
	for line := range bytes.Lines(n.export()) {
		var e struct {
			EventID string `json:"eventId"`
		}
		if err := json.Unmarshal(line, &e); err != nil {
			t.Fatal(err)
		}
		if !n.seen[e.EventID] {
			n.seen[e.EventID] = true
			out.WriteString(strings.ReplaceAll(string(line), `,"receivedAt":"2026-11-28T13:00:00.000Z"`, ""))
		}
	}
	if out.Len() == 0 {
		return "none\n"
	}
	return masked(out.String())
}

// madeIDs are the ids that the server made: eventIds at the time of the clock,
// the cookie and the id of a request.
var madeIDs = regexp.MustCompile(`"eventId":"01a2223d-b880-7[0-9a-f-]+"|sp=[0-9a-f-]{36}|"requestId":"[0-9a-f-]{36}"`)

func masked(text string) string {
	return madeIDs.ReplaceAllStringFunc(text, func(id string) string {
		name, _, _ := strings.Cut(strings.Trim(id, `"`), `"`)
		if strings.HasPrefix(id, "sp=") {
			return "sp=MADE"
		}
		return `"` + name + `":"MADE"`
	})
}
