package rawtier

import (
	"context"

	"spoor/server/rawtier/blob"
)

// there lists the files of a day in the store, named or not, with their sizes.
func (t *Tier) there(ctx context.Context, day int32) (map[string]int64, error) {
	out := map[string]int64{}
	err := t.store.List(ctx, dayDir(day), func(o blob.Object) error {
		out[o.Key] = o.Bytes
		return nil
	})
	return out, err
}

// sweep removes files that no manifest names: those that were replaced at once,
// others when they are so old that nobody is about to name them.
func (t *Tier) sweep(ctx context.Context) error {
	named, gone := map[string]bool{t.persons.Key: true}, map[string]bool{}
	for _, d := range t.days {
		for i := range d.Gone {
			gone[d.Gone[i].Key] = true
		}
		for i := range d.Files {
			named[d.Files[i].Key] = true
		}
	}
	var extra []string
	for _, dir := range []string{eventsDir, personsDir, governanceDir} {
		err := t.store.List(ctx, dir, func(o blob.Object) error {
			if !named[o.Key] && !t.governed.names(o.Key) && (gone[o.Key] || t.opts.Now().Sub(o.Changed) >= orphanAge) {
				extra = append(extra, o.Key)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	for _, key := range extra {
		if err := t.store.Remove(ctx, key); err != nil {
			return err
		}
	}
	return nil
}
