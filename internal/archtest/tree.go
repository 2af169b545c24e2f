package archtest

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
)

// sourceFile is one Go file of the tree.
type sourceFile struct {
	path      string // from the root of the module, with slashes
	lines     int
	test      bool
	generated bool
	imports   []string
}

// dir is the folder of the file's package.
func (f *sourceFile) dir() string { return path.Dir(f.path) }

// readTree reads every Go file below the root, except what the Go tool passes
// over itself: testdata, names that begin with a dot or an underscore, and
// folders that are a module of their own.
func readTree(root fs.FS) ([]sourceFile, error) {
	var files []sourceFile
	err := fs.WalkDir(root, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		base := entry.Name()
		if name != "." && (base[0] == '.' || base[0] == '_' || base == "testdata" || base == "node_modules") {
			if entry.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		if entry.IsDir() {
			if _, err := fs.Stat(root, path.Join(name, "go.mod")); err == nil && name != "." {
				return fs.SkipDir
			}
			return nil
		}
		if path.Ext(name) != ".go" {
			return nil
		}
		text, err := fs.ReadFile(root, name)
		if err != nil {
			return err
		}
		file, err := readFile(name, text)
		files = append(files, file)
		return err
	})
	return files, err
}

func readFile(name string, text []byte) (sourceFile, error) {
	parsed, err := parser.ParseFile(token.NewFileSet(), name, text, parser.ImportsOnly|parser.ParseComments)
	if err != nil {
		return sourceFile{}, err
	}
	file := sourceFile{
		path:      name,
		lines:     bytes.Count(text, []byte{'\n'}),
		test:      strings.HasSuffix(name, "_test.go"),
		generated: ast.IsGenerated(parsed),
	}
	for _, spec := range parsed.Imports {
		imported, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			return sourceFile{}, fmt.Errorf("%s: import %s: %w", name, spec.Path.Value, err)
		}
		file.imports = append(file.imports, imported)
	}
	return file, nil
}

// layer is the top folder of a package within the module, "" outside of it.
func layer(module, imported string) string {
	rest, ok := strings.CutPrefix(imported, module+"/")
	if !ok {
		return ""
	}
	top, _, _ := strings.Cut(rest, "/")
	return top
}

// below is what each layer may import beside itself and the layers that all
// may. A layer that is not named here is not one.
var below = map[string][]string{
	"tools":    {"server", "cluster", "engine", "segment", "index", "bench", "sdk"},
	"server":   {"cluster", "engine", "segment", "index"},
	"cluster":  {"engine", "segment", "index"},
	"engine":   {"segment", "index"},
	"segment":  {"index"},
	"index":    {},
	"bench":    {}, // it measures by public surfaces alone
	"internal": {},
	"sdk":      {}, // the file of the web SDK alone; sdk/go is a module of its own
}

// forAll are the layers that every layer may import, forTests those that tests
// may in addition: the workload is what tests and benchmarks run on.
var (
	forAll   = []string{"internal"}
	forTests = []string{"bench"}
)

// layerOffences lists the imports that point up or aside.
func layerOffences(module string, files []sourceFile) (offences []string) {
	for _, f := range files {
		from, _, nested := strings.Cut(f.path, "/")
		allowed, known := below[from]
		if !nested || !known {
			offences = append(offences, fmt.Sprintf("%s: no layer of the program; its place is one of %s", f.path, strings.Join(layers(), ", ")))
			continue
		}
		for _, imported := range f.imports {
			to := layer(module, imported)
			if imported == module {
				to = "the root"
			}
			if to == "" || to == from || slices.Contains(forAll, to) || slices.Contains(allowed, to) {
				continue
			}
			if f.test && slices.Contains(forTests, to) {
				continue
			}
			offences = append(offences, fmt.Sprintf("%s: %s must not import %s (%s)", f.path, from, imported, to))
		}
	}
	return offences
}

func layers() (names []string) {
	for name := range below {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// Bounds of what one reads at once. Tests and generated files are exempt.
const (
	maxFileLines    = 500
	maxPackageFiles = 15
)

// sizeOffences lists the files and packages that ask for another room.
func sizeOffences(files []sourceFile) (offences []string) {
	perPackage := map[string]int{}
	for _, f := range files {
		if f.test || f.generated || testOnly(f.dir()) {
			continue
		}
		perPackage[f.dir()]++
		if f.lines > maxFileLines {
			offences = append(offences, fmt.Sprintf("%s: %d lines, at most %d: split it by concept", f.path, f.lines, maxFileLines))
		}
	}
	for dir, n := range perPackage {
		if n > maxPackageFiles {
			offences = append(offences, fmt.Sprintf("%s: %d files, at most %d: a concept of its own wants a package", dir, n, maxPackageFiles))
		}
	}
	slices.Sort(offences)
	return offences
}

// testCode are packages that tests alone import: what they hold is test code.
var testCode = []string{"engine/query/oracle", "server/rawtier/blob/blobtest"}

func testOnly(dir string) bool {
	return slices.ContainsFunc(testCode, func(t string) bool { return dir == t || strings.HasPrefix(dir, t+"/") })
}

// testCodeOffences lists the files of the program that import test code.
func testCodeOffences(module string, files []sourceFile) (offences []string) {
	for _, f := range files {
		if f.test || testOnly(f.dir()) {
			continue
		}
		for _, path := range f.imports {
			if dir, ok := strings.CutPrefix(path, module+"/"); ok && testOnly(dir) {
				offences = append(offences, fmt.Sprintf("%s: %s is for tests alone", f.path, path))
			}
		}
	}
	slices.Sort(offences)
	return offences
}
