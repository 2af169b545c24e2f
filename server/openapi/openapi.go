// Package openapi holds the description of the HTTP API that the server gives
// out and its tests hold it to: every route is in it, and every answer of every
// test is as it says.
package openapi

import _ "embed"

// YAML is the description, OpenAPI 3.1.
//
//go:embed openapi.yaml
var YAML []byte
