package govern

import (
	"fmt"
	"strings"

	"github.com/go-json-experiment/json"

	"spoor/engine/letters"
	"spoor/engine/schema"
	"spoor/server/enrich"
	"spoor/server/redact"
)

// Kinds and names of the documents that this package reads beside schemas.
const (
	policyKind = "policy"
	policyName = "current"
	secretKind = "secret"
	secretName = "redact"
)

// Policy is what an operator decides for all events. It is a document of the
// store; members that are left out have the defaults.
type Policy struct {
	// UnknownEvents is the mode of event names without a schema.
	UnknownEvents schema.Mode `json:"unknownEvents"`
	Redact        Redact      `json:"redact"`
	// Enrich says what is added to events; the country wherever there is a database.
	Enrich  enrich.Settings `json:"enrich"`
	Consent ConsentPolicy   `json:"consent"`
	// Letters bounds the dead letters.
	Letters LetterPolicy `json:"letters"`
}

// LetterPolicy says how long refused events are kept: the oldest go first.
type LetterPolicy struct {
	MaxBytes int64 `json:"maxBytes"` // of all of them, in memory and on disk
	MaxDays  int   `json:"maxDays"`
}

// Redact says which personal data is looked for and what becomes of it.
type Redact struct {
	// Scope: "enforced" looks into the properties of events whose schema is enforced,
	// "all" into every value of every event, "off" nowhere.
	Scope string `json:"scope"`
	// IP is for addresses in context.ip and the like, of all events: "truncate" to
	// /24 or /48, "drop" or "keep".
	IP string `json:"ip"`
	// Actions, by class: "mask", "hash", "drop", "reject" or "off".
	Email Action `json:"email"`
	Phone Action `json:"phone"`
	Card  Action `json:"card"`
	IBAN  Action `json:"iban"`
	JWT   Action `json:"jwt"`
	Keys  Action `json:"keys"` // fields whose names announce personal data
}

// Action is what becomes of personal data that was found.
type Action string

// The actions.
const (
	actOff    Action = "off"
	actMask   Action = "mask"   // the text is replaced by its class
	actHash   Action = "hash"   // by its class and a keyed hash, the same for the same text
	actDrop   Action = "drop"   // the field goes
	actReject Action = "reject" // the event goes to the dead letters, masked
)

// Redaction scopes and what may become of addresses.
const (
	scopeEnforced = "enforced"
	scopeAll      = "all"
	scopeOff      = "off"
	ipTruncate    = "truncate"
	ipDrop        = "drop"
	ipKeep        = "keep"
)

// DefaultPolicy is in force where none was put.
func DefaultPolicy() Policy {
	return Policy{
		UnknownEvents: schema.Off,
		Enrich:        enrich.Settings{Country: true},
		Consent:       ConsentPolicy{Unknown: consentDeny, Action: consentDrop},
		Letters:       LetterPolicy{MaxBytes: 128 << 20, MaxDays: 30},
		Redact: Redact{
			Scope: scopeEnforced, IP: ipTruncate,
			Email: actMask, Phone: actMask, Card: actMask, IBAN: actMask, JWT: actMask, Keys: actMask,
		},
	}
}

// ReadPolicy reads a policy; what is left out has its default, what is not known is an error.
func ReadPolicy(text []byte) (Policy, error) {
	p := DefaultPolicy()
	if err := json.Unmarshal(text, &p, json.RejectUnknownMembers(true)); err != nil {
		return p, fmt.Errorf("the policy is not the JSON object that is expected: %.200s", strings.TrimPrefix(err.Error(), "json: "))
	}
	return p, p.check()
}

// Bounds of a LetterPolicy.
const (
	minLetterBytes = 1 << 20
	maxLetterDays  = 3650
)

func (p *Policy) check() error {
	if l := &p.Letters; l.MaxBytes < minLetterBytes || l.MaxBytes > letters.MaxBytes || l.MaxDays < 1 || l.MaxDays > maxLetterDays {
		return fmt.Errorf("letters.maxBytes is between %d and %d, letters.maxDays between 1 and %d", minLetterBytes, letters.MaxBytes, maxLetterDays)
	}
	if err := p.Consent.check(); err != nil {
		return err
	}
	type choice struct {
		name, value string
		of          []string
	}
	modes := []string{string(schema.Off), string(schema.Observe), string(schema.Enforce)}
	checks := []choice{
		{"unknownEvents", string(p.UnknownEvents), modes},
		{"consent.unknown", p.Consent.Unknown, []string{consentDeny, consentAllow}},
		{"consent.action", p.Consent.Action, []string{consentDrop, consentStrip}},
		{"redact.scope", p.Redact.Scope, []string{scopeEnforced, scopeAll, scopeOff}},
		{"redact.ip", p.Redact.IP, []string{ipTruncate, ipDrop, ipKeep}},
	}
	actions := p.Redact.actions()
	for c, a := range actions {
		checks = append(checks, choice{"redact." + redact.Class(c).String(), string(a), []string{string(actOff), string(actMask), string(actHash), string(actDrop), string(actReject)}})
	}
	for _, c := range checks {
		found := false
		for _, v := range c.of {
			found = found || v == c.value
		}
		if !found {
			return fmt.Errorf("%s is %.50q; it may be one of %q", c.name, c.value, c.of)
		}
	}
	return nil
}

func (r *Redact) actions() [redact.NumClasses]Action {
	return [...]Action{redact.Email: r.Email, redact.Phone: r.Phone, redact.Card: r.Card, redact.IBAN: r.IBAN, redact.JWT: r.JWT, redact.Name: r.Keys}
}
