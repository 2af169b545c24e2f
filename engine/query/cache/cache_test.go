package cache

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTheCacheStaysWithinItsBytesAndForgetsWhatWasAskedForLongestAgo(t *testing.T) {
	c := New[int](10_000)
	for i := range 100 {
		c.Put(fmt.Sprint(i), i, 500)
		require.LessOrEqual(t, c.Bytes(), int64(10_000))
		_, ok := c.Get("0")
		require.True(t, ok, "it is asked for all the time")
	}
	_, ok := c.Get("1")
	require.False(t, ok)
	v, ok := c.Get("99")
	require.True(t, ok)
	require.Equal(t, 99, v)
}

func TestAValueLargerThanAnEighthIsNotKept(t *testing.T) {
	c := New[int](10_000)
	c.Put("large", 1, 2000)
	require.Zero(t, c.Bytes())
	New[int](0).Put("any", 1, 1)
}
