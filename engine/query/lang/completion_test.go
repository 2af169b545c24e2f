package lang

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

// catalog is a Catalog of what is written here, and notes what it was asked.
type catalog struct{ asked string }

func begin(prefix string, words ...string) []string {
	var found []string
	for _, w := range words {
		if strings.HasPrefix(w, prefix) {
			found = append(found, w)
		}
	}
	return found
}

func (c *catalog) EventNames(prefix string, _ int) []string {
	return begin(prefix, "home", "hover", "purchase", "Order Completed", "last")
}

func (c *catalog) Fields(event, prefix string, _ int) []string {
	c.asked = event
	return begin(prefix, "properties.price", "properties.item count", "properties.page.path", "context.device", "user.plan")
}

func (c *catalog) Values(event, field, prefix string, _ int) []string {
	c.asked = event + " " + field
	return begin(prefix, "DE", "DK", `say "hi"`)
}

func (c *catalog) Cohorts(prefix string, _ int) []string {
	return begin(prefix, "buyers", "big spenders")
}

// complete completes at the bar in text, and applies each suggestion.
func complete(t *testing.T, text string) (applied []string, asked string) {
	t.Helper()
	pos := strings.IndexByte(text, '|')
	require.GreaterOrEqual(t, pos, 0)
	text = text[:pos] + text[pos+1:]
	var c catalog
	for _, s := range Complete(text, pos, &c) {
		applied = append(applied, text[:s.From]+s.Text+text[s.To:])
	}
	return applied, c.asked
}

func TestCompletionOffersWhatCouldStandAtTheCursor(t *testing.T) {
	for _, c := range []struct {
		text string
		want []string
	}{
		{"fun|", []string{"funnel"}},
		{"s|", []string{"sessions", "stickiness"}},
		{"funnel ho|", []string{"funnel home", "funnel hover"}},
		{"funnel home -> Or|", []string{`funnel home -> "Order Completed"`}},
		{`funnel home -> "Or|" within 7d`, []string{`funnel home -> "Order Completed" within 7d`}},
		{`funnel home -> "ho|`, []string{`funnel home -> "home"`, `funnel home -> "hover"`}},
		{"funnel home -> la|", []string{`funnel home -> "last"`}},
		{"funnel home -> an|", []string{"funnel home -> any"}},
		{"funnel home -> hover wi|", []string{"funnel home -> hover within"}},
		{"funnel home -> hover or|der strict", []string{"funnel home -> hover order strict"}},
		{"funnel home -> hover order s|", []string{"funnel home -> hover order strict"}},
		{"funnel home -> hover within 7d wi|", nil},
		{"funnel home[properties.p|", []string{"funnel home[properties.price", "funnel home[properties.page.path"}},
		{"funnel home[pri|", []string{"funnel home[properties.price"}},
		{"top it| of home", []string{`top properties."item count" of home`}},
		{"events where properties.page.|", []string{"events where properties.page.path"}},
		{"events where context.dev|ice = 1", []string{"events where context.device = 1"}},
		{"events where us|", []string{"events where userId", "events where user.", "events where user"}},
		{"events where user.|", []string{"events where user.plan"}},
		{`events where country = "D|`, []string{`events where country = "DE"`, `events where country = "DK"`}},
		{`events where country in ("x", "D|")`, []string{`events where country in ("x", "DE")`, `events where country in ("x", "DK")`}},
		{"events where country = |", []string{`events where country = "DE"`, `events where country = "DK"`, `events where country = "say \"hi\""`}},
		{"events where a = 1 a|", []string{"events where a = 1 and", "events where a = 1 after"}},
		{"sessions every w|", []string{"sessions every week"}},
		{`users of any where user in cohort |`, []string{`users of any where user in cohort "buyers"`, `users of any where user in cohort "big spenders"`}},
		{`users of any where user in cohort "bu|"`, []string{`users of any where user in cohort "buyers"`}},
		{`sessions tz "Europe/Berl|`, []string{`sessions tz "Europe/Berlin"`}},
		{"trend me|", []string{"trend median"}},
		{"trend sum(pr|", []string{"trend sum(properties.price", "trend sum(properties."}},
		{"paths from ho|", []string{"paths from home", "paths from hover"}},
		{"attribution home by x model l|", []string{"attribution home by x model last_touch", "attribution home by x model linear"}},
		{"events where # pr|", nil},
		{"events where x = = pr|", nil},
		{"events whe|\nlimit 5", []string{"events where\nlimit 5"}},
	} {
		got, _ := complete(t, c.text)
		var want []any
		for _, w := range c.want {
			want = append(want, w)
		}
		require.ElementsMatch(t, want, got, c.text)
	}
}

func TestBehindAStepCompletionOffersTheArrowAndTheClausesOfAFunnel(t *testing.T) {
	got, _ := complete(t, "funnel home -> hover within 7d |")
	require.Contains(t, got, "funnel home -> hover within 7d order")
	require.NotContains(t, got, "funnel home -> hover within 7d within")
	require.NotContains(t, got, "funnel home -> hover within 7d depth")
	got, _ = complete(t, "funnel home |")
	require.Contains(t, got, "funnel home ->")
	require.Contains(t, got, "funnel home within")
}

func TestCompletionAsksForTheFieldsOfTheEventThatIsMeant(t *testing.T) {
	for text, want := range map[string]string{
		"funnel home[pri|":                              "home",
		"funnel home[x = 1] -> (a or b)[pri|":           "",
		"funnel home -> hover where pri|":               "",
		"trend count of home where pri|":                "home",
		`events of home where context.c = "D|`:          "home context.c",
		`funnel "Order Completed"[context.c = "D|`:      "Order Completed context.c",
		"users of (home or hover) where country = \"D|": " properties.country",
	} {
		_, asked := complete(t, text)
		require.Equal(t, want, asked, text)
	}
}

func TestCompletionOfAnyBeginningOfAQueryHasNoErrorBeforeTheCursor(t *testing.T) {
	for _, block := range fenced(Grammar(), "spoor") {
		for _, text := range strings.Split(strings.TrimSpace(block), "\n") {
			text, _, _ = strings.Cut(text, "   #")
			for pos := range len(text) + 1 {
				if pos < len(text) && !utf8.RuneStart(text[pos]) {
					continue
				}
				for _, s := range Complete(text, pos, &catalog{}) {
					require.LessOrEqual(t, s.From, pos)
					require.GreaterOrEqual(t, s.To, pos)
				}
			}
			// A query is never finished: some clause could follow, or the word go on.
			require.NotEmpty(t, Complete(text+" ", len(text)+1, &catalog{}), text)
		}
	}
}
