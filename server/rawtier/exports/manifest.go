package exports

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"spoor/server/rawtier"
	"spoor/server/rawtier/blob"
)

// Month is the manifest of the files of a month. It is replaced as a whole, and only by a writer that has seen the one before.
type Month struct {
	Version int    `json:"version"`
	Name    string `json:"name"`  // of the export
	Month   string `json:"month"` // 2026-05
	Parts   []Part `json:"parts"` // by period
}

// Part is the file of a period.
type Part struct {
	Period string `json:"period"`
	From   string `json:"from"`
	To     string `json:"to"`
	Key    string `json:"key"`
	Rows   int64  `json:"rows"`
	Bytes  int64  `json:"bytes"`
	SHA256 string `json:"sha256"`
	// Erasures is the log index of the last erasure that the file was looked through for.
	Erasures uint64 `json:"erasures"`
	Written  string `json:"written"`
}

// month is a manifest as it is in the store.
type month struct {
	Month
	version string
}

func (m *month) find(period string) *Part {
	i, ok := slices.BinarySearchFunc(m.Parts, period, func(p Part, period string) int { return strings.Compare(p.Period, period) })
	if !ok {
		return nil
	}
	return &m.Parts[i]
}

// with is a copy of the manifest that names a part.
func (m *month) with(p Part) Month {
	next := m.Month
	next.Parts = slices.Clone(m.Parts)
	i, there := slices.BinarySearchFunc(next.Parts, p.Period, func(q Part, period string) int { return strings.Compare(q.Period, period) })
	if there {
		next.Parts[i] = p
	} else {
		next.Parts = slices.Insert(next.Parts, i, p)
	}
	return next
}

func monthOf(period string) string { return period[:len("2026-05")] }

func manifestKey(name, m string) string { return manifestsDir + name + "/" + m + ".json" }

// readMonths reads the manifests of an export.
func readMonths(ctx context.Context, store blob.Store, name string) (map[string]*month, error) {
	out := map[string]*month{}
	err := store.List(ctx, manifestsDir+name+"/", func(o blob.Object) error {
		m := &month{}
		var found bool
		var err error
		if m.version, found, err = rawtier.ReadState(ctx, store, o.Key, &m.Month); err != nil || !found {
			return err
		}
		if m.Name != name || manifestKey(name, m.Month.Month) != o.Key || slices.ContainsFunc(m.Parts, func(p Part) bool { return !strings.HasPrefix(p.Period, m.Month.Month+"-") }) {
			return fmt.Errorf("read %s: it is the manifest of another month or export", o.Key)
		}
		out[m.Month.Month] = m
		return nil
	})
	return out, err
}
