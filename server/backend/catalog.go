package backend

import (
	"encoding/json"
	"time"

	"spoor/engine/query"
	"spoor/engine/query/catalog"
	"spoor/engine/query/lang"
	"spoor/server"
)

// maxCatalogEvents bounds the names that a catalog lists.
const maxCatalogEvents = 1000

// withCatalog calls f with what is in the data now.
func (b *Backend) withCatalog(f func(*catalog.Catalog)) error {
	view, err := b.db.View()
	if err != nil {
		return err
	}
	defer view.Release()
	f(catalog.Of(view, b.cohorts()))
	return nil
}

// cohorts are the names of the saved users queries.
func (b *Backend) cohorts() (names []string) {
	for _, d := range b.db.Documents(query.QueryDocument) {
		var s query.Saved
		if json.Unmarshal(d.Value, &s) == nil && s.Kind == lang.KindUsers.String() {
			names = append(names, d.Name)
		}
	}
	return names
}

// Complete says how a query could go on at pos.
func (b *Backend) Complete(text string, pos int) (suggestions []lang.Suggestion, err error) {
	err = b.withCatalog(func(c *catalog.Catalog) { suggestions = lang.Complete(text, pos, c) })
	return suggestions, err
}

// Catalog is the events that there are, and the fields of one of them, of all if event is "".
func (b *Backend) Catalog(event string) (out server.Catalog, err error) {
	err = b.withCatalog(func(c *catalog.Catalog) {
		for _, e := range c.Events(maxCatalogEvents) {
			out.Events = append(out.Events, server.CatalogEvent{Name: e.Name, Events: e.Events, FirstSeen: moment(e.First), LastSeen: moment(e.Last)})
		}
		for _, f := range c.Describe(event) {
			out.Fields = append(out.Fields, server.CatalogField{Field: lang.FieldName(f.Path), Kinds: f.Kinds, Share: f.Share, Examples: f.Examples})
		}
	})
	return out, err
}

func moment(micros int64) string { return time.UnixMicro(micros).UTC().Format(time.RFC3339Nano) }

// Running are the queries that are being answered.
func (b *Backend) Running() []query.Running { return b.query.Running() }
