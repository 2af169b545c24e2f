package access

import (
	"crypto/rand"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestASessionStandsForItsKeyUntilItEnds(t *testing.T) {
	var s Sessions
	now := time.Date(2026, 5, 2, 12, 0, 0, 0, time.UTC)
	require.Nil(t, s.Key([]byte("nothing"), now))
	first, err := s.Open([]byte("key one"), now, rand.Reader)
	require.NoError(t, err)
	second, err := s.Open([]byte("key two"), now.Add(time.Hour), rand.Reader)
	require.NoError(t, err)
	require.NotEqual(t, first, second)
	require.Equal(t, "key one", string(s.Key([]byte(first), now)))
	require.Equal(t, "key two", string(s.Key([]byte(second), now)))
	end := now.Add(SessionLife)
	require.NotNil(t, s.Key([]byte(first), end.Add(-time.Nanosecond)))
	require.Nil(t, s.Key([]byte(first), end))
	require.Nil(t, s.Key([]byte(first), now), "what has ended stays so, also if the clock goes back")
	s.Close([]byte(second))
	require.Nil(t, s.Key([]byte(second), now))
}

func TestBeyondTheBoundTheSessionThatEndsFirstMakesRoom(t *testing.T) {
	var s Sessions
	now := time.Date(2026, 5, 2, 12, 0, 0, 0, time.UTC)
	tokens := make([]string, MaxSessions+1)
	for i := range tokens {
		var err error
		tokens[i], err = s.Open([]byte("key"), now.Add(time.Duration(i)), rand.Reader)
		require.NoError(t, err)
	}
	require.Len(t, s.open, MaxSessions)
	require.Nil(t, s.Key([]byte(tokens[0]), now))
	require.NotNil(t, s.Key([]byte(tokens[1]), now))
	_, err := s.Open([]byte("key"), now.Add(SessionLife+time.Hour), rand.Reader)
	require.NoError(t, err)
	require.Len(t, s.open, 1, "what is over goes first")
}
