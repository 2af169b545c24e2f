package main

import (
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"slices"
	"testing"

	spoor "spoor/sdk/go"
)

func TestAVisitIsTrackedFromTheFirstPageToThePurchase(t *testing.T) {
	var names []string
	ids := map[any]bool{}
	collector := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var sent struct{ Batch []map[string]any }
		z, err := gzip.NewReader(r.Body)
		if err == nil {
			err = json.NewDecoder(z).Decode(&sent)
		}
		if err != nil {
			t.Error(err)
		}
		for _, e := range sent.Batch {
			name, isEvent := e["eventName"].(string)
			if !isEvent {
				name = e["type"].(string)
			}
			names = append(names, name)
			ids[e["anonymousId"]] = true
		}
		fmt.Fprintf(w, `{"accepted":%d,"duplicates":0,"rejected":[]}`, len(sent.Batch))
	}))
	defer collector.Close()
	events, err := spoor.New(spoor.Options{Endpoint: collector.URL, Experiments: map[string][]spoor.Weighted{"button": {{Name: "green", Weight: 1}}}})
	if err != nil {
		t.Fatal(err)
	}
	site := httptest.NewServer(handler(events))
	defer site.Close()
	jar, _ := cookiejar.New(nil)
	browser := http.Client{Jar: jar}
	for _, visit := range []func() (*http.Response, error){
		func() (*http.Response, error) { return browser.Get(site.URL) },
		func() (*http.Response, error) {
			return browser.PostForm(site.URL+"/login", url.Values{"user": {"ada"}})
		},
		func() (*http.Response, error) { return browser.PostForm(site.URL+"/buy", nil) },
	} {
		resp, err := visit()
		if err != nil || resp.StatusCode != 200 {
			t.Fatal(resp, err)
		}
		resp.Body.Close()
	}
	if err := events.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	want := []string{"page_viewed", "experiment_viewed", "identify", "page_viewed", "experiment_viewed", "purchase_completed", "page_viewed"}
	if !slices.Equal(names, want) || len(ids) != 1 {
		t.Fatalf("tracked %v of %d browsers, want %v of one", names, len(ids), want)
	}
}
