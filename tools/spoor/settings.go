package main

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
	"github.com/knadh/koanf/parsers/json"
	"github.com/knadh/koanf/parsers/yaml"
	"github.com/knadh/koanf/providers/rawbytes"
	"github.com/knadh/koanf/v2"
)

// envPrefix begins the name of every environment variable that Spoor reads.
const envPrefix = "SPOOR"

// settings gives flags their names in the environment and their values from the
// configuration file. A flag of the command line goes before the environment,
// and that before the file.
type settings struct {
	getenv func(string) string
	keys   map[*kong.Flag]string // a flag's place in the file, such as serve.data
	config *kong.Flag
	file   *koanf.Koanf // nil: not read yet
}

// nameFlags names each flag after the commands that lead to it: server is
// SPOOR_SERVER, data of serve is SPOOR_SERVE_DATA and serve.data in the file. An
// env tag of a flag adds to that.
func (s *settings) nameFlags(k *kong.Kong) error {
	s.nameFlagsOf(k.Model.Node, nil)
	return nil
}

func (s *settings) nameFlagsOf(node *kong.Node, commands []string) {
	for _, flag := range node.Flags {
		if flag.Name == "help" {
			continue
		}
		path := append(slices.Clone(commands), flag.Name)
		if flag.Name == "config" && len(commands) == 0 {
			s.config = flag
		} else {
			s.keys[flag] = strings.Join(path, ".")
		}
		env := strings.ToUpper(envPrefix + "_" + strings.ReplaceAll(strings.Join(path, "_"), "-", "_"))
		if !slices.Contains(flag.Envs, env) {
			flag.Envs = append(flag.Envs, env)
			flag.Tag.Envs = flag.Envs
		}
	}
	for _, child := range node.Children {
		if child.Type == kong.CommandNode {
			s.nameFlagsOf(child, append(slices.Clone(commands), child.Name))
		}
	}
}

// Validate implements kong.Resolver. The file is read later, when its name is known.
func (s *settings) Validate(*kong.Application) error { return nil }

// Resolve implements kong.Resolver: the value of a flag that the command line does not set.
func (s *settings) Resolve(parse *kong.Context, _ *kong.Path, flag *kong.Flag) (any, error) {
	key, ok := s.keys[flag]
	if !ok {
		return nil, nil
	}
	for _, env := range flag.Tag.Envs {
		if s.getenv(env) != "" {
			return nil, nil // kong has taken it
		}
	}
	if s.file == nil {
		if err := s.read(parse); err != nil {
			return nil, err
		}
	}
	switch v := s.file.Get(key).(type) {
	case nil:
		return nil, nil
	case []any:
		parts := make([]string, len(v))
		for i := range v {
			parts[i] = fmt.Sprint(v[i])
		}
		return strings.Join(parts, string(flag.Tag.Sep)), nil
	default:
		return fmt.Sprint(v), nil
	}
}

// read reads the file, if one is named.
func (s *settings) read(parse *kong.Context) error {
	s.file = koanf.New(".")
	path, _ := parse.FlagValue(s.config).(string)
	if path == "" {
		return nil
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("--config: %w", err)
	}
	var parser koanf.Parser = yaml.Parser()
	if strings.HasSuffix(path, ".json") {
		parser = json.Parser()
	}
	if err := s.file.Load(rawbytes.Provider(data), parser); err != nil {
		return fmt.Errorf("--config: read %s: %w", path, err)
	}
	return s.checkKeys(path)
}

// checkKeys refuses a file with a setting that there is not: it would be a typo
// that nobody notices.
func (s *settings) checkKeys(path string) error {
	known := make([]string, 0, len(s.keys))
	for _, key := range s.keys {
		known = append(known, key)
	}
	slices.Sort(known)
	var errs []error
	for _, key := range s.file.Keys() {
		if slices.Contains(known, key) {
			continue
		}
		section := key[:strings.LastIndex(key, ".")+1]
		var near []string
		for _, k := range known {
			if rest, ok := strings.CutPrefix(k, section); ok && !strings.Contains(rest, ".") {
				near = append(near, rest)
			}
		}
		if len(near) == 0 {
			errs = append(errs, fmt.Errorf("--config: %s: there is no setting %q", path, key))
			continue
		}
		errs = append(errs, fmt.Errorf("--config: %s: there is no setting %q; there is %s", path, key, section+strings.Join(near, ", "+section)))
	}
	return errors.Join(errs...)
}
