// Package js holds the built file of the SDK for web pages, so that the server can
// serve it. `make sdk` builds it from src; it is kept in the repository, and building
// the server needs no Node.
package js

import _ "embed"

// Script is the whole SDK as one script. It must not be changed.
//
//go:embed dist/spoor.iife.min.js
var Script []byte
