package server

import (
	"errors"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/valyala/fasthttp"

	"spoor/server/access"
)

// keyStore shows the documents of keys to package access.
type keyStore struct{ docs Documents }

func (s keyStore) Changed() uint64 { return s.docs.DocumentsIndex() }

func (s keyStore) Keys() []access.Stored {
	docs := s.docs.Documents(access.DocumentKind)
	out := make([]access.Stored, len(docs))
	for i, d := range docs {
		out[i] = access.Stored{Name: d.Name, Value: d.Value, Index: d.Index}
	}
	return out
}

// keyAnswer is a key as the API shows it.
type keyAnswer struct {
	Key         string   `json:"key,omitzero"` // its text, once
	ID          string   `json:"id"`
	Name        string   `json:"name"`
	Kind        string   `json:"kind"`
	Source      string   `json:"source,omitzero"`
	Made        string   `json:"made,omitzero"`
	Origins     []string `json:"origins,omitempty"`
	Events      []string `json:"events,omitempty"`
	Rate        float64  `json:"rate,omitzero"`
	AddressRate float64  `json:"address_rate,omitzero"`
	Static      bool     `json:"static,omitzero"` // of the command line: it cannot be revoked here
}

func showKey(k *access.Key) keyAnswer {
	a := keyAnswer{
		ID: k.ID, Name: k.Name, Kind: k.Role.String(), Source: k.Source, Origins: k.Origins, Events: k.Events,
		Rate: k.Rate, AddressRate: k.AddressRate, Static: k.Static,
	}
	if !k.Made.IsZero() {
		a.Made = k.Made.UTC().Format(time.RFC3339)
	}
	return a
}

// listKeys lists the keys that are in force.
func (s *Server) listKeys(ctx *fasthttp.RequestCtx, _ string) error {
	keys, broken := s.opts.Keys.List()
	list := make([]keyAnswer, len(keys))
	for i, k := range keys {
		list[i] = showKey(k)
	}
	warnings := make([]string, len(broken))
	for i, err := range broken {
		warnings[i] = err.Error()
	}
	return answerValue(ctx, struct {
		Keys     []keyAnswer `json:"keys"`
		Warnings []string    `json:"warnings,omitempty"`
	}{list, warnings})
}

// keyCall asks for a key: a new one, or one more of a name that there is.
type keyCall struct {
	Name        string   `json:"name"`
	Kind        string   `json:"kind"`
	Source      string   `json:"source"`
	Origins     []string `json:"origins"`
	Events      []string `json:"events"`
	Rate        float64  `json:"rate"`
	AddressRate float64  `json:"address_rate"`
	Rotate      string   `json:"rotate"` // the name of a key; nothing else may stand with it
}

// postKey makes a key and shows it, this once.
func (s *Server) postKey(ctx *fasthttp.RequestCtx, _ string) error {
	b, err := s.readBody(ctx, maxSmallBody)
	if err != nil {
		return err
	}
	defer b.release()
	var call keyCall
	if err := readJSON(b.data, &call, json.RejectUnknownMembers(true)); err != nil {
		return err
	}
	// Keys are made one by one here. Two nodes may make the third of a name at once:
	// the order of the log decides, and the later one takes its own back.
	s.keysMu.Lock()
	defer s.keysMu.Unlock()
	like, most, err := s.wantedKey(&call)
	if err != nil {
		return err
	}
	like.Made = s.opts.Now()
	key, text, name, value, err := access.New(like, s.opts.Random)
	if err != nil {
		return fail(fasthttp.StatusBadRequest, "bad_key", "%v", err)
	}
	wait, cancel := s.commitContext()
	defer cancel()
	index, err := s.back.PutDocument(wait, access.DocumentKind, name, value)
	if errors.Is(err, ErrUnknown) {
		return fail(fasthttp.StatusServiceUnavailable, "unknown", "it is not known whether the key %q was made; nobody has seen it, list the keys and revoke it", quoted(key.Name)).again()
	}
	if err != nil {
		return err
	}
	live := s.opts.Keys.Live(key.Name)
	rank := 0
	for rank < len(live) && live[rank].ID != key.ID {
		rank++
	}
	switch {
	case rank == len(live):
		return fail(fasthttp.StatusConflict, "too_many_documents", "the store has no room for one more key")
	case rank >= most:
		if _, _, err := s.back.DeleteDocument(wait, access.DocumentKind, name); err != nil {
			return err
		}
		return tooManyLive(key.Name)
	}
	s.log.Info("key made", "id", key.ID, "name", key.Name, "kind", key.Role.String(), "source", key.Source, "by", callerOf(ctx).tenant())
	setIndex(ctx, index)
	ctx.Response.Header.Set(fasthttp.HeaderCacheControl, "no-store")
	answer := showKey(key)
	answer.Key = text
	return answerValue(ctx, answer)
}

func tooManyLive(name string) error {
	return fail(fasthttp.StatusConflict, "too_many_keys", "%d keys of the name %q are in force; revoke the older one first", access.MaxLive, quoted(name))
}

// wantedKey reads what key is asked for, and how many of its name there may be with it.
func (s *Server) wantedKey(call *keyCall) (like access.Key, most int, err error) {
	if keys, _ := s.opts.Keys.List(); len(keys) >= access.MaxKeys {
		return like, 0, fail(fasthttp.StatusConflict, "too_many_keys", "there are %d keys; revoke those that nobody uses", len(keys))
	}
	if call.Rotate != "" {
		live := s.opts.Keys.Live(call.Rotate)
		switch {
		case len(live) == 0:
			return like, 0, fail(fasthttp.StatusNotFound, "not_found", "no key has the name %q", quoted(call.Rotate))
		case len(live) >= access.MaxLive:
			return like, 0, tooManyLive(call.Rotate)
		}
		return *live[len(live)-1], access.MaxLive, nil
	}
	role, err := access.ParseRole(call.Kind)
	if err != nil {
		return like, 0, fail(fasthttp.StatusBadRequest, "bad_key", "%v", err)
	}
	like = access.Key{
		Name: call.Name, Role: role, Source: call.Source, Origins: call.Origins, Events: call.Events,
		Rate: call.Rate, AddressRate: call.AddressRate,
	}
	if like.Name == "" {
		if like.Name = role.String(); like.Source != "" {
			like.Name = like.Source + "-" + like.Name
		}
	}
	if err := like.Check(); err != nil {
		return like, 0, fail(fasthttp.StatusBadRequest, "bad_key", "%v", err)
	}
	if len(s.opts.Keys.Live(like.Name)) > 0 {
		return like, 0, fail(fasthttp.StatusConflict, "key_exists", "a key has the name %q; rotate it, revoke it, or give another name", quoted(like.Name))
	}
	return like, 1, nil
}

// deleteKey revokes a key: when it answers, this node knows it no more.
func (s *Server) deleteKey(ctx *fasthttp.RequestCtx, id string) error {
	s.keysMu.Lock()
	defer s.keysMu.Unlock()
	key := s.opts.Keys.ByID(id)
	switch {
	case key == nil:
		return fail(fasthttp.StatusNotFound, "not_found", "no key has the id %q; GET /api/keys lists them, and those of the command line end with it", quoted(id))
	case s.opts.Keys.IsLastAdmin(key):
		return fail(fasthttp.StatusConflict, "last_admin_key", "this is the last admin key; make another one first, else nobody could")
	}
	wait, cancel := s.commitContext()
	defer cancel()
	_, index, err := s.back.DeleteDocument(wait, access.DocumentKind, key.DocumentName())
	if err != nil {
		return err
	}
	s.log.Info("key revoked", "id", key.ID, "name", key.Name, "kind", key.Role.String(), "by", callerOf(ctx).tenant())
	setIndex(ctx, index)
	return answerValue(ctx, map[string]bool{"revoked": true})
}

// sessionCookie is where a browser keeps the token of a session.
const sessionCookie = "spoor_session"

// sessionHeader stands in requests of the page. A page of another site cannot set it without
// asking first, and is not allowed to: without it a cookie counts for nothing.
const sessionHeader = "X-Spoor-Session"

// sessionKey is the key that a request's session stands for, nil for none.
func (s *Server) sessionKey(ctx *fasthttp.RequestCtx) []byte {
	if len(ctx.Request.Header.Peek(sessionHeader)) == 0 {
		return nil
	}
	return s.sessions.Key(ctx.Request.Header.Cookie(sessionCookie), s.opts.Now())
}

// sessionAnswer says who is signed in.
type sessionAnswer struct {
	Required bool   `json:"required"` // a key is asked for
	Role     string `json:"role"`     // read or admin; empty: nobody is signed in
	Name     string `json:"name"`     // of the key
}

// getSession says whether one has to sign in, and who did.
func (s *Server) getSession(ctx *fasthttp.RequestCtx, _ string) error {
	a := sessionAnswer{Required: !s.opts.Keys.IsOpen()}
	if !a.Required {
		a.Role = access.Admin.String()
	} else if key, _ := s.opts.Keys.Identify(s.sessionKey(ctx)); key != nil {
		a.Role, a.Name = key.Role.String(), key.Name
	}
	ctx.Response.Header.Set(fasthttp.HeaderCacheControl, "no-store")
	return answerValue(ctx, a)
}

// postSession signs in with a key: the answer sets a cookie.
func (s *Server) postSession(ctx *fasthttp.RequestCtx, _ string) error {
	if err := s.checkReady(); err != nil {
		return err
	}
	b, err := s.readBody(ctx, maxSmallBody)
	if err != nil {
		return err
	}
	defer b.release()
	var call struct {
		Key string `json:"key"`
	}
	if err := readJSON(b.data, &call, json.RejectUnknownMembers(true)); err != nil {
		return err
	}
	if len(ctx.Request.Header.Peek(sessionHeader)) == 0 {
		return fail(fasthttp.StatusForbidden, "bad_origin", "the header %s is missing; the page of this server sends it", sessionHeader)
	}
	key, _ := s.opts.Keys.Identify([]byte(call.Key))
	switch {
	case key == nil:
		return fail(fasthttp.StatusUnauthorized, "unauthorized", "the key is not known")
	case key.Role == access.Write:
		return fail(fasthttp.StatusForbidden, "forbidden", "this is a write key; sign in with one of the kind read or admin")
	}
	token, err := s.sessions.Open([]byte(call.Key), s.opts.Now(), s.opts.Random)
	if err != nil {
		return err
	}
	s.setSession(ctx, token, int(access.SessionLife/time.Second))
	return answerValue(ctx, sessionAnswer{Required: !s.opts.Keys.IsOpen(), Role: key.Role.String(), Name: key.Name})
}

// deleteSession signs out.
func (s *Server) deleteSession(ctx *fasthttp.RequestCtx, _ string) error {
	if s.sessionKey(ctx) != nil {
		s.sessions.Close(ctx.Request.Header.Cookie(sessionCookie))
	}
	s.setSession(ctx, "", -1)
	answer(ctx, []byte(`{"closed":true}`))
	return nil
}

// setSession sets the cookie for a time in seconds; -1 removes it. Scripts do not see it, and no
// other site makes a browser send it.
func (s *Server) setSession(ctx *fasthttp.RequestCtx, token string, seconds int) {
	c := fasthttp.AcquireCookie()
	defer fasthttp.ReleaseCookie(c)
	c.SetKey(sessionCookie)
	c.SetValue(token)
	c.SetPath("/")
	c.SetHTTPOnly(true)
	c.SetSameSite(fasthttp.CookieSameSiteStrictMode)
	c.SetMaxAge(seconds)
	if seconds < 0 {
		c.SetExpire(fasthttp.CookieExpireDelete)
	}
	// Whoever forges this header only keeps a cookie from being sent without TLS.
	c.SetSecure(string(ctx.Request.Header.Peek(fasthttp.HeaderXForwardedProto)) == "https")
	ctx.Response.Header.SetCookie(c)
	ctx.Response.Header.Set(fasthttp.HeaderCacheControl, "no-store")
}
