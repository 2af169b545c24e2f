package dialect

import (
	"bytes"
	"encoding/base64"

	"github.com/valyala/fasthttp"

	"spoor/engine/event"
	"spoor/server/inflate"
)

// Form finds the JSON that a request carries in one of the forms that clients of
// PostHog and Mixpanel have used: JSON, gzip of it, base64 of either, or a form
// with one of them as its field data, which GET has in the query. What the
// headers and the parameter compression say does not matter: it shows.
func (x *Exchange) Form() (data []byte, free func(), err error) {
	if x.form != nil {
		return x.form, func() {}, nil
	}
	data, free, err = x.Host.Body(x.Ctx)
	if err != nil {
		return nil, nil, err
	}
	if len(data) == 0 {
		data = bytes.Clone(x.Ctx.QueryArgs().Peek("data"))
	} else if isForm(data) {
		var args fasthttp.Args
		args.ParseBytes(data)
		data = bytes.Clone(args.Peek("data")) // args' memory is as much as the body's at most
	}
	if !jsonOf(data) {
		data, err = fromBase64(data)
	}
	if err == nil && inflate.Sniff(data) != inflate.Identity {
		var also func()
		outer := free
		if data, also, err = x.Host.Inflate(data); err == nil {
			free = func() { also(); outer() }
		}
	}
	if err != nil {
		free()
		return nil, nil, err
	}
	return bytes.TrimPrefix(data, []byte("\xef\xbb\xbf")), free, nil
}

// isForm tells whether a body is a form: no JSON and no base64 begins like one.
func isForm(data []byte) bool {
	head := data[:min(len(data), maxFieldsBefore)]
	return bytes.HasPrefix(head, []byte("data=")) || head[0] != '{' && head[0] != '[' && bytes.Contains(head, []byte("&data="))
}

// maxFieldsBefore is how many bytes of other fields may stand before data.
const maxFieldsBefore = 512

func fromBase64(data []byte) ([]byte, error) {
	data = bytes.ReplaceAll(bytes.TrimSpace(data), []byte(" "), []byte("+")) // an unescaped plus in a form
	data = bytes.TrimRight(data, "=")
	for _, coding := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
		out := make([]byte, coding.DecodedLen(len(data)))
		if n, err := coding.Decode(out, data); err == nil && n > 0 {
			return out[:n], nil
		}
	}
	return nil, BadRequest(event.CodeMalformed, "the body is neither JSON, nor gzip or base64 of it, nor a form with it as its field data")
}
