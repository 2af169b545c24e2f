package backend

import (
	"context"
	"slices"
	"strings"

	"spoor/engine"
	"spoor/engine/event"
	"spoor/engine/traits"
	"spoor/segment/batch"
)

// SetConsent replaces what a person agreed to.
func (b *Backend) SetConsent(ctx context.Context, id string, anonymous bool, received int64, purposes map[string]bool) (index uint64, err error) {
	call := traits.Call{UserID: []byte(id), Time: received}
	if who := b.db.Identity(); anonymous || isAnonymous(who, id) {
		call.UserID, call.AnonymousID = nil, []byte(id)
	}
	for name, granted := range purposes {
		call.Traits = append(call.Traits, event.Leaf{Path: batch.JoinPath(traits.Consent, name), Kind: batch.KindBool, Bool: granted})
	}
	slices.SortFunc(call.Traits, func(a, b event.Leaf) int { return strings.Compare(a.Path, b.Path) })
	if len(call.Traits) == 0 { // nothing is known any more
		call.Traits = []event.Leaf{{Path: traits.Consent, Kind: batch.KindJSON, Text: []byte("{}")}}
	}
	_, index, err = b.propose(ctx, engine.IdentifyEntry(call))
	return index, err
}

// isAnonymous tells whether an id is known as an anonymousId and not as that of a user.
func isAnonymous(who *engine.Identity, id string) bool {
	person, ok := who.Find(id)
	if !ok {
		return false
	}
	user, anons := who.IDs(person, 1<<20)
	return string(user) != id && slices.ContainsFunc(anons, func(a []byte) bool { return string(a) == id })
}

// Consent is what the person of an event said of a purpose.
func (b *Backend) Consent(userID, anonymousID []byte, purpose string) (granted, known bool) {
	return b.db.Consent(userID, anonymousID, batch.JoinPath(traits.Consent, purpose))
}

// ConsentsOf is all that the person of an id said.
func (b *Backend) ConsentsOf(id string) (purposes map[string]bool, found bool) {
	who := b.db.Identity()
	person, ok := who.Find(id)
	if !ok {
		return nil, false
	}
	purposes = map[string]bool{}
	for _, l := range who.Traits(person) {
		if name, ok := strings.CutPrefix(l.Path, traits.Consent+"."); ok && l.Kind == batch.KindBool {
			purposes[strings.NewReplacer(`\.`, ".", `\\`, `\`).Replace(name)] = l.Bool
		}
	}
	return purposes, true
}

// withoutConsent takes out of a call what only SetConsent may set.
func withoutConsent(call *traits.Call) (kept traits.Call, leftOut []string) {
	kept = *call
	kept.Traits = slices.DeleteFunc(slices.Clone(call.Traits), func(l event.Leaf) bool {
		return l.Path == traits.Consent || strings.HasPrefix(l.Path, traits.Consent+".")
	})
	if len(kept.Traits) < len(call.Traits) {
		leftOut = []string{traits.Consent}
	}
	return kept, leftOut
}
