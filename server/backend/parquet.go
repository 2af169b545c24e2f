package backend

import (
	"context"
	"errors"
	"io"
	"slices"

	"spoor/engine"
	"spoor/engine/event"
	"spoor/engine/query/lang"
	"spoor/segment/batch"
	"spoor/server/export"
	"spoor/server/rawtier/parquetfile"
)

// ExportParquet writes events in the order of time and eventId as one Parquet file.
func (b *Backend) ExportParquet(ctx context.Context, spec export.Spec, w io.Writer) error {
	q, err := exportQuery(spec)
	if err != nil {
		return err
	}
	view, err := b.db.View()
	if err != nil {
		return err
	}
	defer view.Release()
	paths, err := pathsOf(view, q, spec)
	if err != nil {
		return err
	}
	out := parquetfile.NewWriter(w, parquetfile.NewSchema(paths))
	left := spec.Limit
	err = b.query.Rows(ctx, view, q, func(row *event.Row) error {
		if err := out.Add(row); err != nil {
			return err
		}
		if left--; left == 0 {
			return errEnough
		}
		return nil
	})
	if err != nil && !errors.Is(err, errEnough) {
		return b.readFailure(err)
	}
	return out.Close()
}

// pathsOf counts the values of the fields that an export may have columns for: those of
// its columns, and of what is below them, or all.
func pathsOf(view *engine.View, q *lang.Query, spec export.Spec) (parquetfile.Paths, error) {
	from, to := q.Range.From.Resolve(q.Location()), q.Range.To.Resolve(q.Location())
	out := parquetfile.Paths{}
	for _, r := range view.Segments {
		sections := r.Sections()
		for i := range sections {
			s := &sections[i]
			if view.Gone(s) || s.MaxTime() < from || s.MinTime() >= to || len(spec.Events) > 0 && !slices.Contains(spec.Events, s.Event()) {
				continue
			}
			columns, err := s.AllColumns()
			if err != nil {
				return nil, err
			}
			for _, c := range columns {
				if len(spec.Columns) == 0 || slices.ContainsFunc(spec.Columns, func(path string) bool { return below(c.Path(), path) }) {
					out[parquetfile.Path{Path: c.Path(), Kind: c.Kind()}] += c.Present()
				}
			}
		}
	}
	return out, nil
}

// below tells whether a path is another one, or below it.
func below(path, other string) bool {
	a, b := batch.SplitPath(path), batch.SplitPath(other)
	return len(a) >= len(b) && slices.Equal(a[:len(b)], b)
}
