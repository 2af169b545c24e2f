package collect_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"spoor/engine/event"
	"spoor/engine/letters"
	"spoor/server/collect"
)

// picky refuses and keeps every event whose name is bad.
type picky struct{}

func (picky) Govern(d *event.Draft) event.Verdict {
	if string(d.Name()) != "bad" {
		return event.Verdict{}
	}
	return event.Verdict{Reject: &event.Reject{Code: "picky", Message: "it is bad"}, Keep: true, Path: "properties.n", Version: 3}
}

func withPicky() collect.Options {
	return collect.Options{Governor: func() event.Governor { return picky{} }}
}

// kept puts what was committed into a store of letters.
func (m *memory) kept(t testing.TB) *letters.Store {
	t.Helper()
	s := letters.New()
	for i, chunk := range m.chunks {
		_, err := s.Put(uint64(i+1), chunk)
		require.NoError(t, err)
	}
	return s
}

func TestARefusedEventIsALetterBeforeTheAnswer(t *testing.T) {
	m := &memory{}
	c := collect.New(m, withPicky())
	defer c.Close()
	var wg sync.WaitGroup
	for w := range 16 {
		wg.Go(func() {
			for i := range 50 {
				var lines []string
				for k := range 5 {
					name := []string{"good", "bad"}[(i+k)%2]
					lines = append(lines, fmt.Sprintf(`{"eventId":"%d-%d-%d","eventName":%q,"userId":"u"}`, w, i, k, name))
				}
				r := collect.NewRequest()
				if err := r.Many(c, []byte(strings.Join(lines, "\n")), "web"); err != nil || r.Accepted+len(r.Rejected) != 5 || !r.Rejected[0].Kept || r.Index == 0 {
					t.Errorf("%v: %d accepted, %v", err, r.Accepted, r.Rejected)
				}
				r.Release()
				r = collect.NewRequest()
				if err := r.One(c, fmt.Appendf(nil, `{"eventId":"one-%d-%d","eventName":"bad","userId":"u"}`, w, i), ""); err != nil || len(r.Rejected) != 1 || !r.Rejected[0].Kept {
					t.Errorf("%v: %v", err, r.Rejected)
				}
				r.Release()
			}
		})
	}
	wg.Wait()
	s := m.kept(t)
	n, _, _ := s.Len()
	require.Equal(t, 16*50*5/2+16*50, n)
	list, _, err := s.List(letters.Filter{Source: "web"}, "", 1, 1<<20)
	require.NoError(t, err)
	require.Equal(t, "picky", list[0].Reason)
	require.Equal(t, "it is bad", list[0].Message)
	require.Equal(t, "properties.n", list[0].Path)
	require.Equal(t, 3, list[0].Version)
	require.Contains(t, string(list[0].Event), `"timestamp":"`, "sent again it has its time")
	require.Less(t, len(m.chunks), n, "letters of many requests share an entry")
}

func TestALetterWithoutAnIDIsGivenOne(t *testing.T) {
	m := &memory{}
	c := collect.New(m, withPicky())
	defer c.Close()
	r := collect.NewRequest()
	defer r.Release()
	require.NoError(t, r.One(c, []byte(`{"eventName":"bad","userId":"u"}`), ""))
	list, _, err := m.kept(t).List(letters.Filter{}, "", 10, 1<<20)
	require.NoError(t, err)
	require.Len(t, list, 1)
	require.Len(t, list[0].ID, 36)
	require.Contains(t, string(list[0].Event), list[0].ID)
}

func TestALogThatFailsFailsTheRequestWithLetters(t *testing.T) {
	m := &memory{err: errors.New("no disk")}
	c := collect.New(m, withPicky())
	defer c.Close()
	r := collect.NewRequest()
	defer r.Release()
	require.ErrorContains(t, r.One(c, []byte(`{"eventName":"bad","userId":"u"}`), ""), "no disk")
	require.ErrorContains(t, r.Many(c, []byte(`[{"eventName":"bad","userId":"u"}]`), ""), "no disk")
}

func TestManyLargeLettersFitEntriesAndOneThatIsTooLargeIsNotKept(t *testing.T) {
	m := &memory{}
	c := collect.New(m, withPicky())
	defer c.Close()
	bad := func(size int) string {
		var props []string
		for i := range size / 50_000 {
			props = append(props, fmt.Sprintf(`"p%d":"%s"`, i, strings.Repeat("x", 50_000)))
		}
		return `{"eventName":"bad","userId":"u","properties":{` + strings.Join(props, ",") + `}}`
	}
	r := collect.NewRequest()
	defer r.Release()
	require.NoError(t, r.Many(c, []byte(strings.Repeat(bad(200_000)+"\n", 20)), ""))
	require.Len(t, r.Rejected, 20)
	for _, chunk := range m.chunks {
		require.Less(t, len(chunk), 1<<20)
	}
	n, _, _ := m.kept(t).Len()
	require.Equal(t, 20, n)

	escaped := `{"eventName":"bad","userId":"u","properties":{`
	for i := range 4 { // two bytes that are written as six
		escaped += fmt.Sprintf(`"p%d":"%s",`, i, strings.Repeat(`\b`, 60_000))
	}
	require.NoError(t, r.One(c, []byte(escaped+`"z":1}}`), ""))
	require.Len(t, r.Rejected, 1)
	require.False(t, r.Rejected[0].Kept)
}

func TestALineThatIsTooLongIsNotTakenForTheLetterBeforeIt(t *testing.T) {
	m := &memory{}
	opts := withPicky()
	opts.Limits = event.DefaultLimits()
	opts.Limits.EventBytes = 100
	c := collect.New(m, opts)
	defer c.Close()
	r := collect.NewRequest()
	defer r.Release()
	require.NoError(t, r.Many(c, []byte(`{"eventName":"bad","userId":"u"}`+"\n"+`{"eventName":"bad","userId":"`+strings.Repeat("u", 200)+`"}`), ""))
	require.Len(t, r.Rejected, 2)
	require.True(t, r.Rejected[0].Kept)
	require.False(t, r.Rejected[1].Kept)
}

func TestWhatTheLogRefusesIsKeptWhereItSaysSo(t *testing.T) {
	m := &memory{refuse: map[string]bool{"u1": true}, keep: true}
	c := collect.New(m, collect.Options{})
	defer c.Close()
	long := strings.Repeat("x", 300)
	for name, count := range map[string]int{"short": 10, "long": 5000} {
		t.Run(name, func(t *testing.T) {
			var body strings.Builder
			for i := range count {
				fmt.Fprintf(&body, "{\"eventId\":\"%s%d\",\"eventName\":\"home\",\"userId\":\"u%d\",\"properties\":{\"text\":%q}}\n", name, i, i%5, long)
			}
			m.chunks, m.noRoom = nil, nil
			r := collect.NewRequest()
			defer r.Release()
			require.NoError(t, r.Many(c, []byte(body.String()), ""))
			require.Equal(t, count-count/5, r.Accepted)
			require.Len(t, r.Rejected, count/5)
			for i, x := range r.Rejected {
				require.Equal(t, 5*i+1, x.Index)
				require.True(t, x.Kept)
			}
			var kept []byte
			for _, chunk := range m.chunks {
				require.Less(t, len(chunk), 1<<20)
				kept = append(kept, chunk...)
			}
			require.Equal(t, count/5, strings.Count(string(kept), "person_erased"))

			m.noRoom = errors.New("no room")
			require.ErrorIs(t, r.Many(c, []byte(body.String()), ""), collect.ErrPartly)
			require.NoError(t, r.Many(c, []byte(line(2)), ""), "who has nothing refused is not told of it")
		})
	}
}
