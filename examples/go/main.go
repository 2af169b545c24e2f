// Command shop is a small web shop that tells a Spoor server what its visitors
// do: page views, an experiment, logins and purchases.
//
//	make run                  # in the repository: a server on 127.0.0.1:7480
//	go run . -spool ./spool   # here; then open http://127.0.0.1:8080
//	spoor query 'funnel page_viewed -> purchase_completed within 1h last 1d'
package main

import (
	"context"
	"crypto/rand"
	"errors"
	"flag"
	"fmt"
	"log"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	spoor "spoor/sdk/go"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:8080", "address of the shop")
	endpoint := flag.String("spoor", "http://127.0.0.1:7480", "URL of the Spoor server")
	dir := flag.String("spool", "", "directory that keeps events over crashes")
	flag.Parse()
	if err := run(*listen, *endpoint, *dir); err != nil {
		log.Fatal(err)
	}
}

func run(listen, endpoint, dir string) error {
	events, err := spoor.New(spoor.Options{
		Endpoint:    endpoint,
		WriteKey:    os.Getenv("SPOOR_WRITE_KEY"),
		SpoolDir:    dir,
		Context:     map[string]any{"app": map[string]any{"name": "shop", "version": "1.0"}},
		Experiments: map[string][]spoor.Weighted{"button": {{Name: "control", Weight: 1}, {Name: "green", Weight: 1}}},
		OnDead:      func(d spoor.Dead) { log.Printf("event %s was refused: %s %s", d.EventID, d.Code, d.Message) },
	})
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	server := &http.Server{Addr: listen, Handler: handler(events), ReadHeaderTimeout: 5 * time.Second}
	failed := make(chan error, 1)
	go func() { failed <- server.ListenAndServe() }()
	log.Printf("the shop is open at http://%s", listen)
	select {
	case err = <-failed:
	case <-ctx.Done():
	}
	// First no more requests, then what they have enqueued.
	closing, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	return errors.Join(err, server.Shutdown(closing), events.Close(closing))
}

// shop serves the pages.
type shop struct{ events *spoor.Client }

func handler(events *spoor.Client) http.Handler {
	s := shop{events}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", s.home)
	mux.HandleFunc("POST /login", s.login)
	mux.HandleFunc("POST /buy", s.buy)
	return spoor.Requests{}.Middleware(mux)
}

// visitor is the person behind a request: a cookie says which browser it is and
// another one, where a real shop has its session, who has logged in.
func visitor(w http.ResponseWriter, r *http.Request) spoor.Person {
	var who spoor.Person
	if c, err := r.Cookie("user"); err == nil {
		who.UserID = c.Value
	}
	if c, err := r.Cookie("browser"); err == nil {
		who.AnonymousID = c.Value
	} else {
		who.AnonymousID = rand.Text()
		http.SetCookie(w, &http.Cookie{Name: "browser", Value: who.AnonymousID, Path: "/", HttpOnly: true, SameSite: http.SameSiteLaxMode, MaxAge: 86400 * 365})
	}
	return who
}

// track reports an event that could not be queued; a shop sells on without.
func track(err error) {
	if err != nil {
		log.Printf("not tracked: %v", err)
	}
}

func (s shop) home(w http.ResponseWriter, r *http.Request) {
	who := visitor(w, r)
	track(s.events.Page(r.Context(), who, map[string]any{"title": "Home"}))
	colour := "grey"
	if s.events.Variant(r.Context(), who, "button") == "green" {
		colour = "green"
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	fmt.Fprintf(w, `<!doctype html><title>Shop</title><h1>Shop</h1>
<form method="post" action="/login"><input name="user" placeholder="your name" required><button>Log in</button></form>
<form method="post" action="/buy"><button style="background:%s">Buy a lamp, 19.99</button></form>`, colour)
}

func (s shop) login(w http.ResponseWriter, r *http.Request) {
	who := visitor(w, r)
	if who.UserID = r.FormValue("user"); who.UserID == "" {
		http.Error(w, "a name is needed", http.StatusBadRequest)
		return
	}
	http.SetCookie(w, &http.Cookie{Name: "user", Value: who.UserID, Path: "/", HttpOnly: true, SameSite: http.SameSiteLaxMode})
	track(s.events.Identify(r.Context(), who, map[string]any{"plan": "free"}))
	http.Redirect(w, r, "/", http.StatusSeeOther)
}

func (s shop) buy(w http.ResponseWriter, r *http.Request) {
	track(s.events.Track(r.Context(), visitor(w, r), "purchase_completed", map[string]any{"product": "lamp", "price": 19.99}))
	http.Redirect(w, r, "/", http.StatusSeeOther)
}
