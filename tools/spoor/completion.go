package main

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
)

// completionCmd prints a completion script.
type completionCmd struct {
	Shell string `arg:"" enum:"bash,zsh,fish" help:"One of ${enum}."`
}

// Help implements kong.HelpProvider.
func (completionCmd) Help() string {
	return examples("The script asks the binary itself what may come next, so it stays right when the binary is replaced.",
		"source <(spoor completion bash)                              # this shell",
		"spoor completion bash > /etc/bash_completion.d/spoor         # every bash",
		`spoor completion zsh > "${fpath[1]}/_spoor"                  # every zsh`,
		"spoor completion fish > ~/.config/fish/completions/spoor.fish")
}

// Run prints the script.
func (c *completionCmd) Run(env *environment) error {
	_, err := io.WriteString(env.Stdout, completionScripts[c.Shell])
	return err
}

var completionScripts = map[string]string{
	"bash": `# bash completion for spoor
_spoor() {
    local IFS=$'\n' current="${COMP_WORDS[COMP_CWORD]}" line candidate
    [[ $current == "=" ]] && current=""
    COMPREPLY=()
    for line in $("${COMP_WORDS[0]}" ` + completeCommand + ` "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null); do
        if [[ $line == "` + completeFiles + `" ]]; then
            compopt -o filenames 2>/dev/null
            COMPREPLY+=($(compgen -f -- "$current"))
            continue
        fi
        candidate="${line%%$'\t'*}"
        [[ $candidate == "$current"* ]] && COMPREPLY+=("$candidate")
    done
}
complete -F _spoor spoor
`,
	"zsh": `#compdef spoor
# zsh completion for spoor
_spoor() {
    local line name
    local -a described
    for line in "${(@f)$("${words[1]}" ` + completeCommand + ` "${(@)words[2,CURRENT]}" 2>/dev/null)}"; do
        if [[ $line == "` + completeFiles + `" ]]; then
            _files
            continue
        fi
        [[ -z $line ]] && continue
        name="${line%%$'\t'*}"
        described+=("${name//:/\\:}:${${line#$name}#$'\t'}")
    done
    (( ${#described} )) && _describe 'spoor' described
}
if [[ "${funcstack[1]}" == "_spoor" ]]; then
    _spoor "$@"
else
    compdef _spoor spoor
fi
`,
	"fish": `# fish completion for spoor
function __spoor_complete
    set -l words (commandline -opc) (commandline -ct)
    for line in ($words[1] ` + completeCommand + ` $words[2..-1] 2>/dev/null)
        if test "$line" = "` + completeFiles + `"
            __fish_complete_path (commandline -ct)
        else
            echo $line
        end
    end
end
complete -c spoor -f -a '(__spoor_complete)'
`,
}

// completeCommand is what the scripts of completionCmd call: the words behind
// spoor up to the cursor follow, the last one unfinished. It answers with one
// candidate a line, a tab and its description, or completeFiles.
const completeCommand = "__complete"

// completeFiles tells the shell to offer files.
const completeFiles = ":files"

func answerCompletion(env *environment, parser *kong.Kong, words []string) int {
	for _, candidate := range candidates(parser.Model.Node, words) {
		if _, err := fmt.Fprintln(env.Stdout, candidate); err != nil {
			return exitFailed
		}
	}
	return exitDone
}

// candidates is what may stand in place of the last word.
func candidates(node *kong.Node, words []string) []string {
	words = slices.DeleteFunc(slices.Clone(words), func(w string) bool { return w == "=" }) // bash takes --a=b apart
	if len(words) == 0 {
		words = []string{""}
	}
	before, current := words[:len(words)-1], words[len(words)-1]

	var waiting *kong.Flag // for its value
	onlyArguments := false
	for _, word := range before {
		switch {
		case waiting != nil:
			waiting = nil
		case onlyArguments:
		case word == "--":
			onlyArguments = true
		case strings.HasPrefix(word, "-"):
			flag := flagNamed(node, word)
			if flag != nil && !flag.IsBool() && !strings.Contains(word, "=") {
				waiting = flag
			}
		default:
			if child := childNamed(node, word); child != nil {
				node = child
			}
		}
	}

	switch {
	case waiting != nil:
		return valuesOf(waiting.Value, "", current)
	case !onlyArguments && strings.HasPrefix(current, "-"):
		if name, value, ok := strings.Cut(current, "="); ok {
			if flag := flagNamed(node, name); flag != nil {
				return valuesOf(flag.Value, name+"=", value)
			}
			return nil
		}
		return flagsOf(node, current)
	}
	var list []string
	for _, child := range node.Children {
		if !child.Hidden && strings.HasPrefix(child.Name, current) {
			list = append(list, child.Name+"\t"+oneLine(child.Help))
		}
	}
	if len(node.Positional) > 0 && len(list) == 0 {
		return valuesOf(node.Positional[0], "", current)
	}
	return list
}

func childNamed(node *kong.Node, name string) *kong.Node {
	for _, child := range node.Children {
		if child.Name == name {
			return child
		}
	}
	return nil
}

// flagNamed finds the flag of a word, in the command or above it.
func flagNamed(node *kong.Node, word string) *kong.Flag {
	name, _, _ := strings.Cut(strings.TrimLeft(word, "-"), "=")
	for ; node != nil; node = node.Parent {
		for _, flag := range node.Flags {
			if flag.Name == name || flag.Short != 0 && string(flag.Short) == name {
				return flag
			}
		}
	}
	return nil
}

func flagsOf(node *kong.Node, prefix string) (list []string) {
	for ; node != nil; node = node.Parent {
		for _, flag := range node.Flags {
			if name := "--" + flag.Name; !flag.Hidden && strings.HasPrefix(name, prefix) {
				list = append(list, name+"\t"+oneLine(flag.Help))
			}
		}
	}
	return list
}

// valuesOf is what a flag or an argument may be: the values of its enumeration,
// or a file where it takes one.
func valuesOf(v *kong.Value, before, prefix string) (list []string) {
	for _, value := range v.EnumSlice() {
		if value != "" && strings.HasPrefix(value, prefix) {
			list = append(list, before+value)
		}
	}
	switch {
	case len(list) > 0 || v.Enum != "":
		return list
	case v.Tag.Has("files") || slices.Contains([]string{"path", "existingfile", "existingdir"}, v.Tag.Type):
		return []string{completeFiles}
	}
	return nil
}

func oneLine(help string) string {
	first, _, _ := strings.Cut(help, "\n")
	return first
}
