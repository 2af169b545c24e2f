package govern

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"hash"
	"strconv"
	"sync"

	"github.com/go-json-experiment/json/jsontext"

	"spoor/engine/event"
	"spoor/engine/schema"
	"spoor/segment/batch"
	"spoor/server/redact"
)

// hasher makes keyed hashes.
type hasher struct{ pool sync.Pool }

const hashBytes = 16 // of a hash, of which two texts share one by chance never

func newHasher(key []byte) *hasher {
	h := &hasher{}
	h.pool.New = func() any { return hmac.New(sha256.New, key) }
	return h
}

func (h *hasher) append(dst, text []byte) []byte {
	mac := h.pool.Get().(hash.Hash)
	mac.Reset()
	mac.Write(text)
	var sum [sha256.Size]byte
	dst = hex.AppendEncode(dst, mac.Sum(sum[:0])[:hashBytes])
	h.pool.Put(mac)
	return dst
}

func (w *worker) drop(d *event.Draft, i int) {
	w.changed = append(w.changed, d.Path(i))
	d.Remove(i)
}

// personal treats a value that the schema calls personal.
func (w *worker) personal(d *event.Draft, i int, pii schema.PII) {
	switch pii {
	case schema.Remove:
		w.drop(d, i)
	case schema.Hash:
		w.whole(d, i, "personal", actHash)
	default: // a value that must not be there is masked in the letter
		w.whole(d, i, "personal", actMask)
	}
}

// whole replaces a value. An explicit null says nothing of anybody.
func (w *worker) whole(d *event.Draft, i int, class string, a Action) {
	if d.Kind(i) == batch.KindNull {
		return
	}
	if class == "personal" && d.Kind(i) == batch.KindString && isReplacement(d.Text(i)) {
		return // a letter that is replayed, an export that is imported
	}
	w.changed = append(w.changed, d.Path(i))
	w.text = w.replacement(w.text[:0], class, a, scalarText(d, i))
	d.SetText(i, w.text)
}

// replacement appends what stands in place of personal data: [email], or [email:hash].
func (w *worker) replacement(dst []byte, class string, a Action, text []byte) []byte {
	dst = append(append(dst, '['), class...)
	if a == actHash && w.snap.hash != nil {
		dst = w.snap.hash.append(append(dst, ':'), text)
	}
	return append(dst, ']')
}

// isReplacement tells whether a text is one that personal makes.
func isReplacement(text []byte) bool {
	const masked = "[personal]"
	return string(text) == masked || len(text) == len(masked)+1+2*hashBytes && bytes.HasPrefix(text, []byte("[personal:")) && text[len(text)-1] == ']'
}

func scalarText(d *event.Draft, i int) []byte {
	switch l := d.Leaf(i); l.Kind {
	case batch.KindNumber:
		return strconv.AppendFloat(nil, l.Num, 'f', -1, 64)
	case batch.KindInt:
		return strconv.AppendInt(nil, l.Int, 10)
	case batch.KindBool:
		return strconv.AppendBool(nil, l.Bool)
	default:
		return l.Text
	}
}

// minCard is the least number that may be that of a card.
const minCard = 1e12

// search looks for personal data in a value.
func (w *worker) search(d *event.Draft, i int, r *rule) {
	kind := d.Kind(i)
	if r.named && kind != batch.KindNull && kind != batch.KindBool {
		if a := w.snap.policy.Redact.Keys; a != actOff {
			w.named(d, i, a)
			return
		}
	}
	switch kind {
	case batch.KindString:
		w.inText(d, i)
	case batch.KindJSON:
		w.inJSON(d, i)
	case batch.KindNumber:
		if d.Number(i) >= minCard {
			w.inNumber(d, i)
		}
	case batch.KindInt, batch.KindNumText:
		w.inNumber(d, i)
	}
}

func (w *worker) named(d *event.Draft, i int, a Action) {
	switch a {
	case actDrop:
		w.drop(d, i)
	default:
		if a == actReject {
			w.refuse = d.Path(i)
		}
		w.whole(d, i, "personal", a)
	}
}

func (w *worker) inText(d *event.Draft, i int) {
	text := d.Text(i)
	w.matches = redact.Scan(w.matches[:0], text)
	if len(w.matches) == 0 {
		return
	}
	out, drop, changed := w.replace(w.text[:0], text, d.Path(i))
	w.text = out
	switch {
	case drop:
		w.drop(d, i)
	case changed:
		w.changed = append(w.changed, d.Path(i))
		d.SetText(i, out)
	}
}

// replace appends text with its matches replaced. drop: the whole value goes.
func (w *worker) replace(dst, text []byte, path string) (out []byte, drop, changed bool) {
	actions := w.snap.policy.Redact.actions()
	end := 0
	for _, m := range w.matches {
		a := actions[m.Class]
		switch a {
		case actOff:
			continue
		case actDrop:
			drop = true
		case actReject:
			w.refuse = path
		}
		dst = append(dst, text[end:m.From]...)
		dst = w.replacement(dst, m.Class.String(), a, text[m.From:m.To])
		end, changed = m.To, true
	}
	return append(dst, text[end:]...), drop, changed
}

func (w *worker) inNumber(d *event.Draft, i int) {
	text := scalarText(d, i)
	a := w.snap.policy.Redact.Card
	if a == actOff || !redact.NumberIsCard(text) {
		return
	}
	if a == actDrop {
		w.drop(d, i)
		return
	}
	if a == actReject {
		w.refuse = d.Path(i)
	}
	w.whole(d, i, redact.Card.String(), a)
}

// inJSON looks into an array or an object that is one value: its texts and the
// names of its members.
func (w *worker) inJSON(d *event.Draft, i int) {
	path := d.Path(i)
	var out bytes.Buffer
	dec := jsontext.NewDecoder(bytes.NewReader(d.Text(i)))
	enc := jsontext.NewEncoder(&out)
	drop, changed := false, false
	named := 0 // depth at which the value of a sensitive name is replaced
	for {
		tok, err := dec.ReadToken()
		if err != nil {
			break
		}
		kind, length := dec.StackIndex(dec.StackDepth())
		isName := kind == '{' && length%2 == 1 && tok.Kind() == '"'
		scalar := tok.Kind() == '"' || tok.Kind() == '0'
		switch {
		case isName:
			named = 0
			if redact.NameIsSensitive(tok.String()) && w.snap.policy.Redact.Keys != actOff {
				named = dec.StackDepth()
			}
		case named > 0 && scalar && dec.StackDepth() == named:
			a := w.snap.policy.Redact.Keys
			drop, changed = drop || a == actDrop, true
			if a == actReject {
				w.refuse = path
			}
			tok = jsontext.String(string(w.replacement(nil, "personal", a, []byte(tok.String()))))
		case tok.Kind() == '"' || scalar && redact.NumberIsCard([]byte(tok.String())):
			text := []byte(tok.String())
			w.matches = redact.Scan(w.matches[:0], text)
			out, gone, other := w.replace(nil, text, path)
			drop, changed = drop || gone, changed || other
			if other {
				tok = jsontext.String(string(out))
			}
		}
		if err := enc.WriteToken(tok); err != nil {
			break
		}
	}
	switch {
	case drop:
		w.drop(d, i)
	case changed:
		w.changed = append(w.changed, path)
		d.SetJSON(i, bytes.TrimRight(out.Bytes(), "\n"))
	}
}
