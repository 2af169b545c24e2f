package rawtier

import (
	"context"
	"fmt"

	"spoor/server/rawtier/blob"
)

// own makes sure that the raw tier is of this store.
func (t *Tier) own(ctx context.Context) error {
	id, err := t.opts.Store(ctx)
	if err != nil {
		return err
	}
	var o owner
	version, found, err := readJSON(ctx, t.store, ownerKey, &o)
	switch {
	case err != nil:
		return err
	case found && o.Store == id && !t.opts.Adopt:
		return nil
	case found && o.Store != id && !t.opts.Adopt:
		return fmt.Errorf("%s belongs to another store; replay it into this one (spoor replay), then start once with --raw-adopt, or name another place", t.store)
	case found:
		if err := t.adopt(ctx); err != nil {
			return fmt.Errorf("adopt %s: %w", t.store, err)
		}
	}
	_, err = replaceJSON(ctx, t.store, ownerKey, owner{manifestVersion, id}, version)
	return err
}

// adopt makes the raw tier of another store that of this one, which must have all of its
// events. The log of this store counts anew: what manifests say of the other's is taken back.
// It may be cut off and repeated, for the owner is written behind it.
func (t *Tier) adopt(ctx context.Context) error {
	view, err := t.events.View()
	if err != nil {
		return err
	}
	defer view.Release()
	days := map[string]*daily{}
	err = t.store.List(ctx, manifestDir+"date=", func(o blob.Object) error {
		d := &daily{}
		var err error
		if d.version, _, err = readJSON(ctx, t.store, o.Key, &d.Day); err != nil {
			return err
		}
		day, err := d.day()
		if err != nil {
			return err
		}
		rows, err := rowsOf(view, day)
		if err == nil && rows < d.Rows {
			err = fmt.Errorf("%s: %d of %d events: %w", d.Date, rows, d.Rows, ErrOlder)
		}
		days[o.Key] = d
		return err
	})
	if err != nil {
		return err
	}
	if err := t.governsAlready(ctx); err != nil {
		return err
	}
	for key, d := range days {
		d.Through, d.Erasures = 0, 0
		if _, err := replaceJSON(ctx, t.store, key, &d.Day, d.version); err != nil {
			return err
		}
	}
	var e Erased
	version, found, err := readJSON(ctx, t.store, erasedKey, &e)
	if err != nil {
		return err
	}
	if e.Erasures = 0; found {
		if _, err := replaceJSON(ctx, t.store, erasedKey, e, version); err != nil {
			return err
		}
	}
	var g Governance
	if version, found, err = readJSON(ctx, t.store, governanceKey, &g); err != nil {
		return err
	}
	if g.Through, g.Erasures = 0, 0; found {
		if _, err := replaceJSON(ctx, t.store, governanceKey, g, version); err != nil {
			return err
		}
	}
	var p Persons
	if version, found, err = readJSON(ctx, t.store, personsKey, &p); err != nil || !found {
		return err
	}
	p.Through, p.Erasures = 0, 0
	_, err = replaceJSON(ctx, t.store, personsKey, p, version)
	return err
}
