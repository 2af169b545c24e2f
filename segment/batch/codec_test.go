package batch

import (
	"encoding/binary"
	"encoding/hex"
	"flag"
	"fmt"
	"hash/crc32"
	"math/rand"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "write the golden files anew")

func build(rows []modelRow) *Batch {
	b := NewBuilder()
	for i := range rows {
		rows[i].addTo(b)
	}
	return b.Batch(1.7e15)
}

func TestDecodeReturnsWhatWasEncoded(t *testing.T) {
	r := rand.New(rand.NewSource(4))
	for range 40 {
		rows := randomRows(r, r.Intn(400))
		data := build(rows).AppendEncoded([]byte("before"))[len("before"):]
		got, err := Decode(data)
		require.NoError(t, err)
		require.Empty(t, broken(got))
		require.Equal(t, int64(1.7e15), got.ReceivedAt)
		require.Equal(t, texts(rows), rowsOf(got))
		require.Equal(t, data, got.AppendEncoded(nil), "the form is canonical")

		clear(data)
		require.Equal(t, texts(rows), rowsOf(got), "nothing is shared with the encoded bytes")
	}
}

func TestAnEmptyBatchAndOneOfMaxRowsRoundTrip(t *testing.T) {
	for _, n := range []int{0, 1, 7, 8, 9, 63, 64, 65, MaxRows} {
		rows := make([]modelRow, n)
		for i := range rows {
			rows[i] = modelRow{id: fmt.Sprint("i", i), name: "n", time: int64(i)}
			if i%3 == 0 {
				rows[i].values = map[string]modelValue{"p": {kind: KindBool, bool: i%2 == 0}, "q": {kind: KindString, text: "v"}}
			}
		}
		got, err := Decode(build(rows).AppendEncoded(nil))
		require.NoError(t, err)
		require.Equal(t, texts(rows), rowsOf(got))
	}
}

func TestEveryFlippedBitIsNoticed(t *testing.T) {
	data := build(randomRows(rand.New(rand.NewSource(5)), 20)).AppendEncoded(nil)
	for i := range data {
		for bit := range 8 {
			data[i] ^= 1 << bit
			_, err := Decode(data)
			require.Error(t, err, "byte %d bit %d", i, bit)
			data[i] ^= 1 << bit
		}
	}
	for n := range data {
		_, err := Decode(data[:n])
		require.ErrorIs(t, err, ErrCorrupt)
	}
}

func TestAnUnknownVersionIsNamed(t *testing.T) {
	data := build(randomRows(rand.New(rand.NewSource(6)), 1)).AppendEncoded(nil)
	data[4] = 9
	stamp(data)
	_, err := Decode(data)
	require.ErrorContains(t, err, "version 9")
	require.NotErrorIs(t, err, ErrCorrupt)
}

// stamp makes the checksum right.
func stamp(data []byte) {
	binary.LittleEndian.PutUint32(data, crc32.Checksum(data[4:], castagnoli))
}

// Bytes that were changed with a right checksum give an error or a batch that
// holds every invariant, never a panic.
func TestADamagedBatchWithARightChecksumIsRefusedOrWhole(t *testing.T) {
	r := rand.New(rand.NewSource(7))
	accepted, refused := 0, 0
	for range 15 {
		good := build(randomRows(r, 1+r.Intn(40))).AppendEncoded(nil)
		for range 300 {
			data := append([]byte(nil), good...)
			for range 1 + r.Intn(3) {
				data[4+r.Intn(len(data)-4)] = byte(r.Intn(256)) >> r.Intn(8)
			}
			if r.Intn(4) == 0 {
				data = data[:headerBytes+r.Intn(len(data)-headerBytes)]
			}
			stamp(data)
			if checkAny(t, data) {
				accepted++
			} else {
				refused++
			}
		}
	}
	require.NotZero(t, accepted)
	require.NotZero(t, refused)
}

func checkAny(t *testing.T, data []byte) (accepted bool) {
	b, err := Decode(data)
	if err != nil {
		return false
	}
	require.Empty(t, broken(b))
	again, err := Decode(b.AppendEncoded(nil))
	require.NoError(t, err)
	require.Equal(t, rowsOf(b), rowsOf(again))
	return true
}

func FuzzDecode(f *testing.F) {
	r := rand.New(rand.NewSource(8))
	for range 8 {
		f.Add(build(randomRows(r, r.Intn(20))).AppendEncoded(nil))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) < headerBytes {
			return
		}
		data = append([]byte(nil), data...)
		data[4] = formatVersion
		stamp(data)
		checkAny(t, data)
	})
}

// A few bytes must not ask for much memory: the header's counts are held
// against the length.
func TestClaimsOfManyValuesAreRefusedBeforeAllocation(t *testing.T) {
	data := build(nil).AppendEncoded(nil)
	for _, at := range []int{8, 12, 16, 20, 24, 28, 32} {
		bad := append([]byte(nil), data...)
		binary.LittleEndian.PutUint32(bad[at:], 1<<16-1)
		stamp(bad)
		allocated := testing.AllocsPerRun(1, func() {
			_, err := Decode(bad)
			require.ErrorIs(t, err, ErrCorrupt)
		})
		require.Less(t, allocated, 40.0)
	}
}

// The golden file pins the format: a change of these bytes is a new version.
func TestGoldenBatch(t *testing.T) {
	rows := []modelRow{
		{
			id: "0190a5c8-1f2e-7abc-8def-0123456789ab", name: "purchase", user: "u1", anon: "a1", shape: "T3Z", source: "web",
			time: 1_777_777_777_123_000,
			values: map[string]modelValue{
				"properties.price": {kind: KindNumber, num: 12.5}, "properties.tags": {kind: KindJSON, text: `["a"]`},
				"context.device": {kind: KindString, text: "mobile"},
			},
		},
		{
			id: "order-17", name: "purchase", user: "u2", shape: "T3Z", source: "web", time: 1_777_777_778_000_000,
			values: map[string]modelValue{
				"properties.price": {kind: KindString, text: "free"}, "properties.first": {kind: KindBool, bool: true},
				"context.device": {kind: KindString, text: "mobile"},
			},
		},
		{
			id: "0190a5c8-1f2e-7abc-8def-0123456789ac", name: "home", anon: "a1", shape: "-", time: 1_700_000_000_000_000,
			values: map[string]modelValue{
				"context.device": {kind: KindString, text: "desktop"}, "properties.ref": {kind: KindNull},
				"properties.big": {kind: KindInt, int: 9007199254740993}, "properties.exact": {kind: KindNumText, text: "0.10000000000000000001"},
			},
		},
	}
	path := filepath.Join("testdata", "batch-v1.hex")
	data := build(rows).AppendEncoded(nil)
	if *update {
		require.NoError(t, os.WriteFile(path, []byte(hex.Dump(data)), 0o644))
	}
	want, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, string(want), hex.Dump(data))

	got, err := Decode(undump(t, string(want)))
	require.NoError(t, err)
	require.Equal(t, texts(rows), rowsOf(got))
}

// undump reads the bytes of a hex dump.
func undump(t *testing.T, dump string) []byte {
	var out []byte
	for line := range strings.Lines(dump) {
		if len(line) > 60 {
			b, err := hex.DecodeString(strings.ReplaceAll(line[10:58], " ", ""))
			require.NoError(t, err)
			out = append(out, b...)
		}
	}
	return out
}
