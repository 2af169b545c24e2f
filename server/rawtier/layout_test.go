package rawtier

import (
	"fmt"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestANameInAPathIsReadBackAndIsNeverAnother(t *testing.T) {
	require.Equal(t, "order-completed_2", escape("order-completed_2"))
	require.Equal(t, "%5Frest", escape(rest))
	require.Equal(t, "%2E%2E%2Fa%3Db", escape("../a=b"))
	seen := map[string]string{}
	rapid.Check(t, func(t *rapid.T) {
		name := string(rapid.SliceOfN(rapid.Byte(), 1, 256).Draw(t, "name"))
		text := escape(name)
		require.LessOrEqual(t, len(text), maxEscaped)
		require.NotContains(t, text, "/")
		require.False(t, strings.HasPrefix(text, "_") || strings.HasPrefix(text, "."))
		other, ok := seen[text]
		require.True(t, !ok || other == name)
		seen[text] = name
		whole, tail, cut := strings.Cut(text, "~")
		got, err := url.PathUnescape(whole)
		require.NoError(t, err)
		if cut {
			require.Len(t, tail, hashDigits)
			require.True(t, strings.HasPrefix(name, got))
		} else {
			require.Equal(t, name, got)
		}
	})
}

func TestSmallGroupsShareAFileAndFilesAreBounded(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		counts, total := map[group]int{}, 0
		busy := map[[2]string]int{}
		const least = 50
		for i := range rapid.IntRange(0, 60).Draw(t, "groups") {
			g := group{fmt.Sprintf("e%d", i%7), fmt.Sprintf("s%d", i%2), int8(i % 24)}
			n := rapid.IntRange(1, 400).Draw(t, "n")
			counts[g] += n
			total += n
			busy[[2]string{g.event, g.source}] += n
		}
		layout := layOut(counts, least)
		require.Len(t, layout, len(counts))
		sizes, many := map[place]int{}, 0
		for g, p := range layout {
			sizes[p] += counts[g]
			require.True(t, p.rest || p.event == g.event && p.source == g.source && (p.hour == allHours || p.hour == int(g.hour)))
		}
		for _, n := range busy {
			if n >= 24*least {
				many++
			}
		}
		require.LessOrEqual(t, len(sizes), total/least+1+many)
		written := map[group]int{}
		for _, p := range passes(layout) {
			for g, at := range layout {
				if at.rest == p.rest && (p.rest || p.events[0] == g.event && p.sources[g.source]) {
					written[g]++
				}
			}
		}
		for g := range layout {
			require.Equal(t, 1, written[g], "%v", g)
		}
	})
}
