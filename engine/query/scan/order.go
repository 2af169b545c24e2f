package scan

import (
	"cmp"
	"math"
	"strings"
)

// CompareKeys orders keys of groups: missing first, then booleans, numbers, texts, other JSON.
func CompareKeys(a, b []any) int {
	for i := range a {
		if c := CompareValues(a[i], b[i]); c != 0 {
			return c
		}
	}
	return 0
}

// CompareValues orders two values likewise.
func CompareValues(a, b any) int {
	if c := cmp.Compare(typeRank(a), typeRank(b)); c != 0 {
		return c
	}
	switch a := a.(type) {
	case bool:
		if a == b.(bool) {
			return 0
		}
		if a {
			return 1
		}
		return -1
	case float64:
		if n, ok := b.(float64); ok {
			return cmp.Compare(a, n)
		}
		return -compareMixed(b.(int64), a)
	case int64:
		if n, ok := b.(int64); ok {
			return cmp.Compare(a, n)
		}
		return compareMixed(a, b.(float64))
	case string:
		return strings.Compare(a, b.(string))
	case Decimal:
		return strings.Compare(string(a), string(b.(Decimal)))
	case RawJSON:
		return strings.Compare(string(a), string(b.(RawJSON)))
	}
	return 0
}

// compareMixed compares an integer that no float64 holds with a float64.
func compareMixed(i int64, f float64) int {
	switch {
	case f >= 1<<63:
		return -1
	case f < -1<<63:
		return 1
	}
	return cmp.Or(cmp.Compare(i, int64(f)), cmp.Compare(math.Trunc(f), f))
}

func typeRank(v any) int {
	switch v.(type) {
	case nil:
		return 0
	case bool:
		return 1
	case float64, int64:
		return 2
	case Decimal:
		return 3
	case string:
		return 4
	}
	return 5
}
