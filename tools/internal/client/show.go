package client

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
)

// WriteJSON writes an answer of the server for programs and persons: indented, with an end of line.
func WriteJSON(out io.Writer, answer json.RawMessage) error {
	var b bytes.Buffer
	if err := json.Indent(&b, answer, "", "  "); err != nil {
		return fmt.Errorf("the answer is no JSON: %w", err)
	}
	b.WriteByte('\n')
	_, err := out.Write(b.Bytes())
	return err
}
