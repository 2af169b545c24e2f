package lang

import (
	"strconv"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

type tokenKind uint8

const (
	tokenEnd      tokenKind = iota
	tokenWord               // a bare name or keyword
	tokenString             // in double quotes; token.value is without quotes and escapes
	tokenNumber             // -12.5e3
	tokenDuration           // digits with letters behind them: 30d, also 1month
	tokenTime               // 2026-05-01, 2026-05-01T10:00:00Z
	tokenSymbol             // -> = != < <= > >= ( ) [ ] , . ? /
	tokenBad                // what no token can be; token.bad says why
	tokenCursor             // the end of a text to complete; token.value is what was typed of the word
)

type token struct {
	kind  tokenKind
	at    Pos
	end   int    // offset behind it
	value string // as written, but for strings
	bad   *Error // without a message for a character that is unknown, which is token.value
	named bool   // a bare word that the parser took for a name
	open  bool   // tokenCursor, tokenBad: inside a string that the text's end leaves open
}

// comment is a `#` comment without line end.
type comment struct {
	at       Pos
	text     string
	trailing bool // something stands before it on its line
}

// lexer cuts a text into tokens. The last one is tokenEnd or tokenBad.
type lexer struct {
	text      string
	i         int // offset of the next byte
	line      int
	lineStart int // offset of the line
	wide      int // continuation bytes in the line before i: they are no characters
	tokens    []token
	comments  []comment
}

func lex(text string) *lexer {
	l := &lexer{text: text, line: 1}
	for {
		t := l.token()
		l.tokens = append(l.tokens, t)
		if t.kind == tokenEnd || t.kind == tokenBad {
			return l
		}
	}
}

func (l *lexer) pos() Pos {
	return Pos{Offset: l.i, Line: l.line, Column: l.i - l.lineStart - l.wide + 1}
}

// skip passes n bytes, none of them a line end, and counts characters.
func (l *lexer) skip(n int) {
	for _, c := range []byte(l.text[l.i : l.i+n]) {
		if c&0xc0 == 0x80 {
			l.wide++
		}
	}
	l.i += n
}

// blank passes white space and comments.
func (l *lexer) blank() {
	for l.i < len(l.text) {
		switch c := l.text[l.i]; c {
		case '\n':
			l.i++
			l.line, l.lineStart, l.wide = l.line+1, l.i, 0
		case ' ', '\t', '\r':
			l.i++
		case '#':
			n := strings.IndexByte(l.text[l.i:], '\n')
			if n < 0 {
				n = len(l.text) - l.i
			}
			l.comments = append(l.comments, comment{
				at:       l.pos(),
				text:     strings.TrimRight(l.text[l.i:l.i+n], " \t\r"),
				trailing: strings.TrimLeft(l.text[l.lineStart:l.i], " \t") != "",
			})
			l.skip(n)
		default:
			return
		}
	}
}

func (l *lexer) token() token {
	l.blank()
	t := token{kind: tokenEnd, at: l.pos(), end: l.i}
	if l.i == len(l.text) {
		return t
	}
	rest := l.text[l.i:]
	switch c := rest[0]; {
	case isWordStart(c):
		t.kind = tokenWord
		l.skip(wordLen(rest))
	case isDigit(c) || c == '-' && len(rest) > 1 && isDigit(rest[1]):
		var n int
		t.kind, n = number(rest)
		l.skip(n)
	case c == '"':
		return l.quoted()
	default:
		n := symbolLen(rest)
		if n == 0 {
			t = l.bad(t.at, "", charHint(rest))
			t.value = foundChar(rest)
			return t
		}
		t.kind = tokenSymbol
		l.skip(n)
	}
	t.end = l.i
	t.value = l.text[t.at.Offset:t.end]
	return t
}

func (l *lexer) bad(at Pos, message, hint string) token {
	return token{kind: tokenBad, at: at, end: len(l.text), bad: ErrorAt(at, CodeSyntax, message, hint)}
}

func isDigit(c byte) bool { return c-'0' <= 9 }

func isWordStart(c byte) bool { return c|0x20 >= 'a' && c|0x20 <= 'z' || c == '_' || c == '$' }

// wordLen is the length of the word that s begins with.
func wordLen(s string) int {
	n := 0
	for n < len(s) && (isWordStart(s[n]) || isDigit(s[n])) {
		n++
	}
	return n
}

// isWord tells whether s can stand bare.
func isWord(s string) bool { return s != "" && isWordStart(s[0]) && wordLen(s) == len(s) }

func digits(s string) int {
	n := 0
	for n < len(s) && isDigit(s[n]) {
		n++
	}
	return n
}

// number is the kind and length of what begins with a digit or a minus and a digit.
func number(s string) (tokenKind, int) {
	if n := timeLen(s); n > 0 {
		return tokenTime, n
	}
	n := 0
	if s[0] == '-' {
		n++
	}
	n += digits(s[n:])
	if n+1 < len(s) && s[n] == '.' && isDigit(s[n+1]) {
		n += 1 + digits(s[n+1:])
	}
	if n < len(s) && s[n]|0x20 == 'e' {
		exp := n + 1
		if exp < len(s) && (s[exp] == '+' || s[exp] == '-') {
			exp++
		}
		if d := digits(s[exp:]); d > 0 {
			n = exp + d
		}
	}
	if w := wordLen(s[n:]); w > 0 {
		return tokenDuration, n + w
	}
	return tokenNumber, n
}

// timeLen is the length of the date or date and time that s begins with, 0 for none.
func timeLen(s string) int {
	const date = len("2006-01-02")
	if len(s) < date || digits(s) != 4 || s[4] != '-' || digits(s[5:]) != 2 || s[7] != '-' || digits(s[8:]) != 2 {
		return 0
	}
	n := date
	if n == len(s) || s[n]|0x20 != 't' {
		return n + wordLen(s[n:])
	}
	n++
	for n < len(s) && (isDigit(s[n]) || s[n] == ':' || s[n] == '.') {
		n++
	}
	if n < len(s) && (s[n] == '+' || s[n] == '-' && !strings.HasPrefix(s[n:], "->")) {
		n++
		for n < len(s) && (isDigit(s[n]) || s[n] == ':') {
			n++
		}
	}
	return n + wordLen(s[n:])
}

func symbolLen(s string) int {
	if len(s) > 1 {
		switch s[:2] {
		case "->", "!=", "<=", ">=":
			return 2
		}
	}
	if strings.IndexByte("=<>()[],.?/", s[0]) >= 0 {
		return 1
	}
	return 0
}

// foundChar describes the character that s begins with.
func foundChar(s string) string {
	r, n := utf8.DecodeRuneInString(s)
	switch {
	case r == utf8.RuneError && n == 1:
		return "a byte that is no UTF-8"
	case !strconv.IsPrint(r):
		return "the character " + strconv.QuoteRuneToASCII(r)
	}
	return "`" + s[:n] + "`"
}

// charHint says what a character that the language does not know was meant to be.
func charHint(s string) string {
	for _, h := range [...]struct{ prefix, hint string }{
		{"'", "strings stand in double quotes"},
		{"`", "strings stand in double quotes"},
		{"\u201c", "strings stand in straight double quotes"},
		{"\u201d", "strings stand in straight double quotes"},
		{"→", "write ->"},
		{"≥", "write >="},
		{"≤", "write <="},
		{"≠", "write !="},
		{"&", "write and"},
		{"|", "write or"},
		{"!", "write not, or != for a comparison"},
		{"-", "the arrow between steps is ->"},
		{";", "a query has no mark at its end; send one query at a time"},
		{"*", "write any for every event"},
		{"\u00a0", "this is a no-break space; write a plain space"},
		{"\ufeff", "this is a byte order mark; leave it out"},
	} {
		if strings.HasPrefix(s, h.prefix) {
			return h.hint
		}
	}
	if r, _ := utf8.DecodeRuneInString(s); unicode.IsLetter(r) {
		return "a name with other characters than letters, digits, _ and $ stands in double quotes"
	}
	return ""
}

// quoted reads a string: JSON's escapes, on one line.
func (l *lexer) quoted() token {
	t := token{kind: tokenString, at: l.pos()}
	var value strings.Builder
	l.skip(1)
	for l.i < len(l.text) {
		rest := l.text[l.i:]
		switch c := rest[0]; {
		case c == '"':
			l.skip(1)
			t.end, t.value = l.i, value.String()
			return t
		case c == '\\':
			at := l.pos()
			r, n := unescape(rest)
			if n == 0 {
				return l.bad(at, "expected an escape (\\\" \\\\ \\/ \\n \\t \\r \\b \\f \\uXXXX) in the string", `a backslash itself is written \\`)
			}
			value.WriteRune(r)
			l.skip(n)
		case c == '\n':
			return l.bad(t.at, "expected `\"` at the end of the string, found the end of the line", `a line end in a string is written \n`)
		case c < 0x20:
			return l.bad(l.pos(), "expected no control character in a string, found "+foundChar(rest), `write it as \u00XX`)
		default:
			r, n := utf8.DecodeRuneInString(rest)
			if r == utf8.RuneError && n == 1 {
				return l.bad(l.pos(), "expected UTF-8 in the string, found a byte that is none", "")
			}
			value.WriteString(rest[:n])
			l.skip(n)
		}
	}
	end := l.bad(t.at, "expected `\"` at the end of the string, found the end of the query", "")
	end.open, end.value = true, value.String()
	return end
}

// unescape reads the escape that s begins with; n is 0 if it is none.
func unescape(s string) (r rune, n int) {
	if len(s) < 2 {
		return 0, 0
	}
	switch s[1] {
	case '"', '\\', '/':
		return rune(s[1]), 2
	case 'n':
		return '\n', 2
	case 't':
		return '\t', 2
	case 'r':
		return '\r', 2
	case 'b':
		return '\b', 2
	case 'f':
		return '\f', 2
	case 'u':
		r := hex4(s[2:])
		if r < 0 {
			return 0, 0
		}
		if !utf16.IsSurrogate(r) {
			return r, 6
		}
		if strings.HasPrefix(s[6:], `\u`) {
			if r = utf16.DecodeRune(r, hex4(s[8:])); r != utf8.RuneError {
				return r, 12
			}
		}
	}
	return 0, 0
}

// hex4 is the value of the four hexadecimal digits that s begins with, or -1.
func hex4(s string) rune {
	if len(s) < 4 {
		return -1
	}
	v, err := strconv.ParseUint(s[:4], 16, 16)
	if err != nil {
		return -1
	}
	return rune(v)
}
