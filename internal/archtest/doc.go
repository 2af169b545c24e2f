// Package archtest holds the shape of the program: which layer may import
// which, and how large a file and a package may grow. Its tests read the source
// tree and nothing else, so they also judge files that no build includes.
package archtest
