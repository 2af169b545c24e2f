package identity

// References of a row to its ids, as segments store them: small numbers that
// are alike for most rows of a person.
//
// A userId: 0 none, 1 the person's user, else 2 + user ordinal.
// An anonymousId: 0 none, 1+2k the k-th of the person's chain, 2+2a anon ordinal a.
const maxChainRef = 32

// UserRef makes the reference of a row of person to a user. The caller holds the lock.
func (x *Map) UserRef(person, user uint32) uint32 {
	if x.personUser[person] == user+1 {
		return 1
	}
	return user + 2
}

// AnonRef makes the reference of a row of person to an anonymousId. The caller holds the lock.
func (x *Map) AnonRef(person, anon uint32) uint32 {
	e := x.personHead[person]
	for k := uint32(0); k < maxChainRef && e != 0; k++ {
		if x.chain[e-1].anon == anon {
			return 1 + 2*k
		}
		e = x.chain[e-1].next
	}
	return 2 + 2*anon
}

// User resolves the reference of a row of person, as it was written. The caller holds the lock.
func (x *Map) User(person, ref uint32) (user uint32, ok bool) {
	switch ref {
	case 0:
		return 0, false
	case 1:
		return x.personUser[person] - 1, x.personUser[person] != 0
	}
	return ref - 2, true
}

// Anon resolves the reference of a row of person, as it was written. The caller holds the lock.
func (x *Map) Anon(person, ref uint32) (anon uint32, ok bool) {
	if ref == 0 {
		return 0, false
	}
	if ref&1 == 0 {
		return ref/2 - 1, true
	}
	e := x.personHead[person]
	for k := ref / 2; k > 0 && e != 0; k-- {
		e = x.chain[e-1].next
	}
	if e == 0 {
		return 0, false
	}
	return x.chain[e-1].anon, true
}

// UserText is the userId that a row of person refers to; nil for none. The caller holds the lock.
func (x *Map) UserText(person, ref uint32) []byte {
	u, ok := x.User(person, ref)
	if !ok || x.nameless.Contains(person) {
		return nil
	}
	return present(x.users.Text(u))
}

// AnonText is the anonymousId that a row of person refers to; nil for none. The caller holds the lock.
func (x *Map) AnonText(person, ref uint32) []byte {
	a, ok := x.Anon(person, ref)
	if !ok || x.nameless.Contains(person) {
		return nil
	}
	return present(x.anons.Text(a))
}

// present is nil for an id that was forgotten: none is empty while it is known.
func present(text []byte) []byte {
	if len(text) == 0 {
		return nil
	}
	return text
}

// Nameless tells whether the ids of a person were erased. The caller holds the lock.
func (x *Map) Nameless(person uint32) bool { return x.nameless.Contains(person) }

// ValidUser tells whether a person exists and can have the reference; one whose ids
// were erased keeps the references of its rows until they are rewritten. The caller holds the lock.
func (x *Map) ValidUser(person, ref uint32) bool {
	switch {
	case int(person) >= len(x.canon):
		return false
	case ref == 0:
		return true
	case ref == 1:
		return x.personUser[person] != 0 || x.nameless.Contains(person)
	}
	return int(ref-2) < x.users.Len()
}

// ValidAnon is ValidUser of a reference to an anonymousId. The caller holds the lock.
func (x *Map) ValidAnon(person, ref uint32) bool {
	if int(person) >= len(x.canon) {
		return false
	}
	a, ok := x.Anon(person, ref)
	if ref == 0 || !ok {
		return ref == 0 || x.nameless.Contains(person)
	}
	return int(a) < x.anons.Len()
}
