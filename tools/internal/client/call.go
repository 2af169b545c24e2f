package client

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
)

// Call sends one request to the API and returns the JSON of its answer. A
// refusal is an *Error. It is sent again like every other request, so it must be
// one that may be.
func (c *Client) Call(ctx context.Context, method, path string, args url.Values, body []byte) (json.RawMessage, error) {
	m := message{method: method, path: path, contentType: "application/json", body: body, asking: true}
	if len(args) > 0 {
		m.path += "?" + args.Encode()
	}
	answer, err := c.send(ctx, m)
	if err != nil {
		return nil, err
	}
	if answer.status != http.StatusOK {
		return nil, errorOf(answer)
	}
	return answer.body, nil
}
