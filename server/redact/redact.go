// Package redact finds personal data in texts: e-mail addresses, phone numbers
// with a country code, payment cards by their check digit, IBANs by their
// checksum, JSON web tokens, and names of fields that announce such data.
//
// On the way of an event it stands before the log: what it finds is replaced
// while the event is in memory, so that neither the log nor a file holds it.
// It finds what is written in ASCII digits and usual forms; it does not read
// names of people, addresses of houses or pictures of digits.
package redact

import (
	"bytes"
	"strings"
)

// Class is a kind of personal data.
type Class uint8

// The classes.
const (
	Email Class = iota
	Phone
	Card
	IBAN
	JWT
	Name // the name of the field says so
	NumClasses
)

var classNames = [NumClasses]string{"email", "phone", "card", "iban", "jwt", "keys"}

func (c Class) String() string { return classNames[c] }

// Match is where personal data stands in a text, in bytes.
type Match struct {
	From, To int
	Class    Class
}

// Four counters are packed into one word; a text is counted in pieces that cannot overflow them.
const (
	digitUnit = 1
	atUnit    = 1 << 16
	plusUnit  = 1 << 32
	dotUnit   = 1 << 48
	unitMask  = 1<<16 - 1
	pieceMax  = 1<<16 - 1
)

var units = func() (t [256]uint64) {
	for c := '0'; c <= '9'; c++ {
		t[c] = digitUnit
	}
	t['@'], t['%'], t['+'], t['.'] = atUnit, atUnit, plusUnit, dotUnit
	return t
}()

const (
	minTextBytes = 6  // a@b.de
	minDigits    = 8  // of a phone number and an IBAN
	minJWTBytes  = 24 // of both parts and the dots
)

// Scan appends what it finds to dst, in order and without overlaps. Most texts
// are settled by one look at each byte.
func Scan(dst []Match, text []byte) []Match {
	if len(text) < minTextBytes {
		return dst
	}
	var digits, dots uint64
	var at, plus bool
	for rest := text; len(rest) > 0; {
		piece := rest[:min(len(rest), pieceMax)]
		rest = rest[len(piece):]
		var sum uint64
		for _, c := range piece {
			sum += units[c]
		}
		digits += sum & unitMask
		at = at || sum>>16&unitMask > 0
		plus = plus || sum>>32&unitMask > 0
		dots += sum >> 48
	}
	jwt := dots >= 2 && len(text) >= minJWTBytes && bytes.Contains(text, jwtStart)
	if !at && digits < minDigits && !jwt {
		return dst
	}
	return scan(dst, text, at, digits >= minDigits, plus, jwt)
}

func scan(dst []Match, text []byte, at, digits, plus, jwt bool) []Match {
	end := 0 // of the last match
	for i := 0; i < len(text); i++ {
		c := text[i]
		m := Match{}
		switch {
		case at && (c == '@' || c == '%'):
			m = email(text, i, end)
		case plus && digits && c == '+':
			m = phone(text, i)
		case digits && c-'0' <= 9 && !inWord(text, i):
			m = card(text, i)
		case jwt && c == 'e' && !inWord(text, i):
			if m = token(text, i); m.To == 0 && digits {
				m = iban(text, i)
			}
		case digits && isLetter(c) && !inWord(text, i):
			m = iban(text, i)
		}
		if m.To == 0 && isAlnum(c) { // nothing but an address begins within a word, and that shows by its sign
			for i+1 < len(text) && isAlnum(text[i+1]) {
				i++
			}
		}
		if m.To > 0 {
			dst = append(dst, m)
			end = m.To
			i = m.To - 1
		}
	}
	return dst
}

func isLetter(c byte) bool { return c|0x20-'a' < 26 }

func isAlnum(c byte) bool { return isLetter(c) || c-'0' <= 9 }

// inWord tells whether the byte before i belongs to the same word or number.
func inWord(text []byte, i int) bool {
	if i == 0 {
		return false
	}
	c := text[i-1]
	if isAlnum(c) || c == '_' {
		return true
	}
	return (c == '.' || c == ',') && i > 1 && text[i-2]-'0' <= 9 // a fraction
}

// endsWord tells whether a word ends before i.
func endsWord(text []byte, i int) bool {
	return i >= len(text) || !isAlnum(text[i]) && text[i] != '_'
}

const (
	maxLocal  = 64 // bytes of a mailbox and of a domain, see RFC 5321
	maxDomain = 255
)

func isLocal(c byte) bool {
	return isAlnum(c) || c >= 0x80 || strings.IndexByte("!#$%&'*+/=?^_`{|}~.-", c) >= 0
}

// email looks for an address around the sign at i, which may be percent-encoded
// as in the arguments of a URL.
func email(text []byte, i, end int) Match {
	after := i + 1
	if text[i] == '%' {
		if i+2 >= len(text) || text[i+1] != '4' || text[i+2] != '0' {
			return Match{}
		}
		after = i + 3
	}
	from := i
	for from > end && i-from < maxLocal && isLocal(text[from-1]) && text[from-1] != '=' && text[from-1] != '&' && text[from-1] != '/' && text[from-1] != '?' {
		from--
	}
	if from == i {
		return Match{}
	}
	to, label, dots := after, after, 0
	for to < len(text) && to-after < maxDomain {
		c := text[to]
		if c == '.' {
			if to == label || to+1 >= len(text) || !isAlnum(text[to+1]) && text[to+1] < 0x80 {
				break
			}
			dots++
			label = to + 1
		} else if !isAlnum(c) && c != '-' && c < 0x80 {
			break
		}
		to++
	}
	if dots == 0 || to-label < 2 || text[label]-'0' <= 9 {
		return Match{}
	}
	return Match{from, to, Email}
}

const maxPhoneDigits = 15 // E.164

// phone looks for a number in the international form that begins with the plus at i.
func phone(text []byte, i int) Match {
	if i+1 >= len(text) || text[i+1]-'1' > 8 || inWord(text, i) {
		return Match{}
	}
	digits, to, gap := 0, i, 0
	for p := i + 1; p < len(text) && gap <= 2; p++ {
		switch c := text[p]; {
		case c-'0' <= 9:
			digits++
			to, gap = p+1, 0
		case c == ' ' || c == '-' || c == '.' || c == '(' || c == ')' || c == '/':
			gap++
		default:
			gap = 3
		}
	}
	if digits < minDigits || digits > maxPhoneDigits || !endsWord(text, to) {
		return Match{}
	}
	return Match{i, to, Phone}
}

const (
	minCardDigits = 13
	maxCardDigits = 19
)

// card looks for a card number that begins at i: digits alone, or groups of
// which the first has four, with one sign between them.
func card(text []byte, i int) Match {
	var num [maxCardDigits]byte
	n, to, sep := 0, i, byte(0)
	for p := i; p < len(text); p++ {
		c := text[p]
		if c-'0' <= 9 {
			if n == maxCardDigits {
				return Match{}
			}
			num[n] = c - '0'
			n++
			to = p + 1
			continue
		}
		if (c != ' ' && c != '-' && c != '.') || sep != 0 && c != sep || sep == 0 && n != 4 || p+1 >= len(text) || text[p+1]-'0' > 9 {
			break
		}
		sep = c
	}
	if n < minCardDigits || !endsWord(text, to) || !issued(num[:n]) || !luhn(num[:n]) {
		return Match{}
	}
	return Match{i, to, Card}
}

// issued tells whether a network issues cards of this beginning and length.
func issued(d []byte) bool {
	n := len(d)
	two := int(d[0])*10 + int(d[1])
	four := two*100 + int(d[2])*10 + int(d[3])
	switch {
	case d[0] == 4:
		return n == 13 || n == 16 || n == 19
	case two >= 51 && two <= 55, four >= 2221 && four <= 2720:
		return n == 16
	case two == 34 || two == 37:
		return n == 15
	case two == 30 || two == 36 || two == 38 || two == 39:
		return n >= 14
	case four == 6011, two == 65, four/10 >= 644 && four/10 <= 649, two == 62, two == 35, two == 60, two == 81:
		return n >= 16
	case two == 50 || two >= 56 && two <= 58 || two == 63 || two == 67 || two == 68:
		return n == 16 || n >= 18 // Maestro; shorter ones are rare, and times look like them
	}
	return false
}

func luhn(d []byte) bool {
	sum := 0
	for i := range d {
		v := int(d[len(d)-1-i])
		if i%2 == 1 {
			if v *= 2; v > 9 {
				v -= 9
			}
		}
		sum += v
	}
	return sum%10 == 0
}

// ibanLengths are those of the registry, by country.
var ibanLengths = map[[2]byte]int{}

func init() {
	const table = "AD24AE23AL28AT20AZ28BA20BE16BG22BH22BI27BR29BY28CH21CR22CY28CZ24DE22DJ27DK18DO28EE20EG29ES24FI18FK18FO18FR27GB22GE22GI23GL18GR27GT28HR21HU28IE22IL23IQ23IS26IT27JO30KW30KZ20LB28LC32LI21LT20LU20LV21LY25MC27MD24ME22MK19MN20MR27MT31MU30NI28NL18NO15OM23PK24PL28PS29PT25QA29RO24RS22RU33SA24SC31SD18SE24SI19SK24SM27SO23ST25SV28TL23TN24TR26UA29VA22VG24XK20YE30"
	for i := 0; i < len(table); i += 4 {
		ibanLengths[[2]byte{table[i], table[i+1]}] = int(table[i+2]-'0')*10 + int(table[i+3]-'0')
	}
}

// iban looks for an account number that begins at i, with single spaces or without.
func iban(text []byte, i int) Match {
	if i+4 > len(text) || !isLetter(text[i+1]) || text[i+2]-'0' > 9 || text[i+3]-'0' > 9 {
		return Match{}
	}
	want := ibanLengths[[2]byte{text[i] &^ 0x20, text[i+1] &^ 0x20}]
	if want == 0 {
		return Match{}
	}
	var chars [34]byte
	n, p := 0, i
	for p < len(text) && n < want {
		switch c := text[p]; {
		case c-'0' <= 9:
			chars[n] = c - '0'
			n++
		case isLetter(c):
			chars[n] = c&^0x20 - 'A' + 10
			n++
		case c != ' ' || text[p-1] == ' ':
			return Match{}
		}
		p++
	}
	if n < want || !endsWord(text, p) {
		return Match{}
	}
	// ISO 7064: the first four go to the end, letters are numbers of two digits.
	rest := 0
	for k := range want {
		v := int(chars[(k+4)%want])
		if v > 9 {
			rest = (rest*100 + v) % 97
		} else {
			rest = (rest*10 + v) % 97
		}
	}
	if rest != 1 {
		return Match{}
	}
	return Match{i, p, IBAN}
}

var jwtStart = []byte("eyJ") // {" in base64

// token looks for header.payload.signature, the first two of which are JSON objects.
func token(text []byte, i int) Match {
	p := i
	for part := range 3 {
		if part < 2 && !bytes.HasPrefix(text[p:], jwtStart) {
			return Match{}
		}
		for p < len(text) && (isAlnum(text[p]) || text[p] == '-' || text[p] == '_') {
			p++
		}
		if part < 2 {
			if p >= len(text) || text[p] != '.' {
				return Match{}
			}
			p++
		}
	}
	if p-i < minJWTBytes {
		return Match{}
	}
	return Match{i, p, JWT}
}

// NumberIsCard tells whether a number that was sent as one, in its decimal
// digits, is that of a card.
func NumberIsCard(digits []byte) bool {
	m := Match{}
	if len(digits) >= minCardDigits && len(digits) <= maxCardDigits {
		m = card(digits, 0)
	}
	return m.To == len(digits) && m.To > 0
}

// sensitive are names of fields in lower case, without the signs between words.
var sensitive = map[string]bool{}

func init() {
	for name := range strings.FieldsSeq(`email emails emailaddress mail mailaddress useremail customeremail phone phonenumber phoneno telephone tel mobile
		mobilenumber mobilephone cellphone msisdn fax password passwd pwd passphrase secret token accesstoken refreshtoken authtoken apikey authorization jwt
		creditcard creditcardnumber cardnumber ccnumber pan cvv cvc cvv2 iban bic accountnumber bankaccount sortcode routingnumber
		ssn socialsecuritynumber socialsecurity taxid nationalid passport passportnumber driverslicense
		firstname lastname fullname givenname familyname surname middlename maidenname
		birthdate birthday dateofbirth dob street streetaddress addressline1 addressline2 homeaddress postaladdress`) {
		sensitive[name] = true
	}
}

// NameIsSensitive tells whether a field of this name holds personal data.
func NameIsSensitive(name string) bool {
	var buf [32]byte
	word := buf[:0]
	for i := range len(name) {
		switch c := name[i]; {
		case isLetter(c):
			word = append(word, c|0x20)
		case c-'0' <= 9:
			word = append(word, c)
		case c == '_' || c == '-' || c == ' ' || c == '.' || c == '$':
		default:
			return false
		}
	}
	return sensitive[string(word)]
}
