package lang

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// fenced are the blocks of a language in a Markdown text.
func fenced(text, language string) []string {
	var blocks []string
	for _, part := range strings.Split(text, "```"+language+"\n")[1:] {
		block, _, _ := strings.Cut(part, "```")
		blocks = append(blocks, block)
	}
	return blocks
}

func TestEveryExampleOfTheGrammarParses(t *testing.T) {
	sections := strings.Split(Grammar(), "\n## ")[1:]
	require.Greater(t, len(sections), 10)
	for _, section := range sections {
		title, _, _ := strings.Cut(section, "\n")
		examples := fenced(section, "spoor")
		require.NotEmpty(t, examples, "section %s has no example", title)
		for _, text := range strings.Split(strings.TrimSpace(examples[0]), "\n") {
			requireRoundTrip(t, text)
		}
	}
}

func TestTheGrammarDefinesEveryProductionThatItUses(t *testing.T) {
	ebnf := strings.Join(fenced(Grammar(), "ebnf"), "\n")
	lexical := map[string]bool{
		"letter": true, "digit": true, "string": true, "number": true, "date": true,
		"hours_minutes": true, "seconds": true, "offset": true,
	}
	defined := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^([a-z_]+)\s*=`).FindAllStringSubmatch(ebnf, -1) {
		require.False(t, defined[m[1]], "%s is defined twice", m[1])
		defined[m[1]] = true
	}
	bare := regexp.MustCompile(`'[^']*'`).ReplaceAllString(ebnf, "")
	for _, name := range regexp.MustCompile(`[a-z_]+`).FindAllString(bare, -1) {
		require.True(t, defined[name] || lexical[name], "%s is used and not defined", name)
	}
}

func TestTheGrammarHasEveryWordOfTheParser(t *testing.T) {
	ebnf := strings.Join(fenced(Grammar(), "ebnf"), "\n")
	var words []string
	words = append(words, kindNames[1:]...)
	for i := range clauseTable {
		words = append(words, clauseTable[i].word)
	}
	words = append(words, orderNames[:]...)
	words = append(words, modelNames[:]...)
	words = append(words, aggNames[:]...)
	words = append(words, scopeNames[:]...)
	words = append(words, compareNames[:]...)
	words = append(words, unitNames[UnitMinute:UnitDuration]...)
	for _, name := range matchNames {
		words = append(words, strings.Fields(name)...)
	}
	for _, u := range durationUnits {
		words = append(words, u.name)
	}
	for _, word := range words {
		require.Contains(t, ebnf, "'"+word+"'")
	}
}

// requireRoundTrip parses a text, and its canonical text again.
func requireRoundTrip(t *testing.T, text string) *Query {
	t.Helper()
	q, err := Parse(text)
	require.NoError(t, err, text)
	again, err := parse(q.String())
	require.NoError(t, err, "%s\nas %s", text, q)
	requireSameQuery(t, q, again)
	require.Equal(t, q.String(), again.String())
	formatted, err := Format(text)
	require.NoError(t, err)
	fromFormatted, err := parse(formatted)
	require.NoError(t, err, formatted)
	requireSameQuery(t, q, fromFormatted)
	if len(formatted) <= MaxTextBytes {
		twice, err := Format(formatted)
		require.NoError(t, err)
		require.Equal(t, formatted, twice)
	}
	return q
}

// The contract that the language was made for is kept beside the project.
func TestEveryExampleOfTheContractParses(t *testing.T) {
	text, err := os.ReadFile("../../../../shared/SEMANTICS.md")
	if err != nil {
		t.Skip("the contract is not here: ", err)
	}
	_, form, _ := strings.Cut(string(text), "## Form\n")
	form, _, _ = strings.Cut(form, "\n- ")
	kind := regexp.MustCompile(`(?m)(^    |   )(` + strings.Join(kindNames[1:], "|") + `) `)
	starts := kind.FindAllStringIndex(form, -1)
	require.Greater(t, len(starts), 12)
	for i, at := range starts {
		end := len(form)
		if i+1 < len(starts) {
			end = starts[i+1][0]
		}
		requireRoundTrip(t, form[at[0]:end])
	}
}
