package main

import (
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"spoor/engine/query/lang"
)

func TestEveryQueryThatIsShownIsOneOfTheLanguage(t *testing.T) {
	shown := append([]string{demoFunnel}, demoQueries...)
	for _, quoted := range regexp.MustCompile(`spoor query .*'(.+)'`).FindAllStringSubmatch(queryCmd{}.Help(), -1) {
		shown = append(shown, quoted[1])
	}
	for _, line := range strings.Split(promptHelp, "\n") {
		if text, ok := strings.CutPrefix(line, "  "); ok && !strings.HasPrefix(text, `\`) {
			shown = append(shown, text)
		}
	}
	require.Greater(t, len(shown), 12)
	for _, text := range shown {
		_, err := lang.Format(text)
		require.NoError(t, err, text)
	}
}
