package dialect

import (
	"bytes"
	"errors"
)

// Claimant is a dialect some of whose paths others have at the root, too. Which
// of them a request is for, its body shows.
type Claimant interface {
	Dialect
	// Claims tells whether a body is of this dialect: the object that it is, or the
	// first of its array.
	Claims(path string, body Object) bool
}

// shared is a path of several dialects, for one request.
type shared struct {
	Dialect // by whose rules it is answered: at first those of its first owner
	path    string
	run     Handler // of Dialect
	others  []Claimant
}

// serve hands the request to the dialect that its body is of.
func (s *shared) serve(x *Exchange) error {
	data, free, err := x.Form()
	if err != nil {
		return err
	}
	defer free()
	x.form = data
	body := firstObject(data)
	for _, d := range s.others {
		if d.Claims(s.path, body) {
			s.Dialect, s.run = d, d.Find(s.path, true)
			break
		}
	}
	return s.run(x)
}

// firstObject is the object that data is, or the first of an array; nil where it
// is neither.
func firstObject(data []byte) Object {
	body, err := Split(nil, data)
	if err == nil {
		return body
	}
	var first []byte
	_ = Each(data, func(_ int, item []byte) error { // what is no array has no first
		first = item
		return errEnough
	})
	body, err = Split(nil, first)
	if err != nil {
		return nil
	}
	return body
}

var errEnough = errors.New("the first is enough")

// Body reads the body of the request, as Host does, or returns what was read of
// it before, where paths are shared.
func (x *Exchange) Body() (data []byte, free func(), err error) {
	if x.form != nil {
		return x.form, func() {}, nil
	}
	return x.Host.Body(x.Ctx)
}

// jsonOf tells whether data begins like a JSON object or array.
func jsonOf(data []byte) bool {
	first := bytes.TrimLeft(data, " \t\r\n\xef\xbb\xbf")
	return len(first) > 0 && (first[0] == '{' || first[0] == '[')
}
