package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
)

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
