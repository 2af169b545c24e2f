package main

import (
	"io"
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
