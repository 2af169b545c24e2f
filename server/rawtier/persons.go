package rawtier

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"slices"
	"time"

	"spoor/engine"
	"spoor/engine/event"
	"spoor/internal/vfs"
	"spoor/server/rawtier/parquetfile"
)

const (
	// personsEvery is how often it is looked whether who is who has changed, where no day
	// was written. The file is written as a whole.
	personsEvery = time.Hour
	// maxPersonIDs bounds the anonymousIds of one person in the file.
	maxPersonIDs = 1 << 20
)

// writePersons writes who is who, if that changed and it is time.
func (t *Tier) writePersons(ctx context.Context, erasing bool) error {
	now := t.opts.Now()
	if at, err := time.Parse(time.RFC3339, t.persons.At); err == nil && !erasing && !t.wrote && now.Sub(at) < personsEvery && !now.Before(at) {
		return nil
	}
	view, err := t.events.View()
	if err != nil {
		return err
	}
	defer view.Release()
	t.wrote = false
	if view.AppliedIndex == t.persons.Through && view.Erasures() == t.persons.Erasures {
		return nil
	}
	p, file, name, err := t.personsFile(view)
	if err != nil {
		return err
	}
	defer func() {
		_ = file.Close()
		_ = t.shop.fs.Remove(name)
	}()
	p.Version, p.Through, p.Erasures, p.At = manifestVersion, view.AppliedIndex, view.Erasures(), stamp(now)
	old := t.persons.Key
	if p.Key != old {
		if err := upload(ctx, t.store, p.Key, file, p.Bytes, p.SHA256, nil); err != nil {
			return fmt.Errorf("write who is who to the raw tier: %w", err)
		}
	}
	if t.personsV, err = replaceJSON(ctx, t.store, personsKey, p, t.personsV); err != nil {
		t.days = nil
		return fmt.Errorf("write who is who to the raw tier: %w", err)
	}
	t.persons = *p
	if old != "" && old != p.Key {
		return t.store.Remove(ctx, old)
	}
	return nil
}

// personsFile writes who is who to a file on this machine.
func (t *Tier) personsFile(view *engine.View) (p *Persons, file vfs.File, name string, err error) {
	file, name, err = t.shop.create()
	if err != nil {
		return nil, nil, "", err
	}
	defer func() {
		if err != nil {
			_ = file.Close()
			_ = t.shop.fs.Remove(name)
		}
	}()
	h := newHash()
	buf := bufio.NewWriterSize(file, outputBytes)
	w := parquetfile.NewPersonWriter(io.MultiWriter(buf, h))
	who := view.Identity
	for n := range uint32(who.Persons()) {
		if who.Person(n) != n {
			continue // it is part of another
		}
		user, anons := who.IDs(n, maxPersonIDs)
		traits := who.Traits(n)
		if user == nil && len(traits) == 0 {
			continue // its events say all there is to know
		}
		if err := w.Add(user, anons, event.AppendObject(nil, slices.Clone(traits))); err != nil {
			return nil, nil, "", err
		}
	}
	if err = w.Close(); err == nil {
		err = buf.Flush()
	}
	if err != nil {
		return nil, nil, "", fmt.Errorf("write who is who: %w", err)
	}
	sum := string(hexSum(h))
	return &Persons{Key: personsDir + "persons-" + sum[:shaInName] + ".parquet", Rows: int64(w.Rows()), Bytes: file.Size(), SHA256: sum}, file, name, nil
}
