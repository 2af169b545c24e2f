package codegen

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"unicode"
	"unicode/utf8"
)

// words of a name become one identifier: order_completed and "Order Completed"
// are OrderCompleted. Letters and digits of every script stay.
func pascal(name string) string {
	var out strings.Builder
	upper := true
	for _, r := range name {
		if !unicode.IsLetter(r) && !unicode.IsDigit(r) {
			upper = true
			continue
		}
		if upper {
			r = unicode.ToUpper(r)
		}
		out.WriteRune(r)
		upper = false
	}
	return out.String()
}

// exported is pascal with an upper-case letter in front, of anything.
func exported(name string) string {
	text := pascal(name)
	if first, _ := utf8.DecodeRuneInString(text); unicode.IsUpper(first) {
		return text
	}
	return "X" + text
}

// short tells names apart that look alike in an identifier. It depends on the name
// alone, so that a further name does not change those that are there.
func short(name string, bytes int) string {
	sum := sha256.Sum256([]byte(name))
	return hex.EncodeToString(sum[:bytes])
}

// scope is the identifiers that are taken in one place.
type scope map[string]bool

// take returns an identifier for a name, want where that is free.
func (s scope) take(want, name string) string {
	id := want
	for n := 2; s[id]; n++ {
		id = want + "_" + short(name, n)
	}
	s[id] = true
	return id
}

// distinct gives each of names an identifier. Where several want the same, each
// of them is told apart: none loses its identifier because another one came first.
func distinct(s scope, names []string, want func(string) string) map[string]string {
	wanted := map[string]int{}
	for _, name := range names {
		wanted[want(name)]++
	}
	ids := make(map[string]string, len(names))
	for _, name := range names {
		id := want(name)
		if wanted[id] > 1 {
			id += "_" + short(name, 2)
		}
		ids[name] = s.take(id, name)
	}
	return ids
}
