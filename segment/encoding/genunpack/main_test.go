package main

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTheGeneratedFileIsWhatTheGeneratorWrites(t *testing.T) {
	want, err := source()
	require.NoError(t, err)
	have, err := os.ReadFile("../unpack.go")
	require.NoError(t, err)
	require.Equal(t, string(want), string(have), "run go generate ./segment/encoding")
}
