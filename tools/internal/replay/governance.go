package replay

import (
	"context"
	"fmt"
	"slices"

	"spoor/engine/erasure"
	"spoor/server/access"
	"spoor/server/rawtier"
	"spoor/server/rawtier/governance"
	"spoor/tools/internal/client"
)

// governancePath takes what governed the store.
const governancePath = "/api/admin/replay/governance"

// before brings back what must be there before the events: whom the store refuses, always; and if it
// is to be rebuilt, its schemas, policy, saved queries, boards and dead letters.
func (r *Replay) before(ctx context.Context, g *rawtier.Governance, done map[string]bool) error {
	if err := r.part(ctx, &g.Refused, governance.OfRefused, "", done, nil); err != nil || !r.config.Rebuild {
		return err
	}
	if err := r.part(ctx, &g.Documents, governance.OfDocuments, "", done, func(l *governance.Line) bool { return l.Document.Kind != access.DocumentKind }); err != nil {
		return err
	}
	return r.part(ctx, &g.Letters, governance.OfLetters, "", done, nil)
}

// behind brings back what would stand in the way of the replay: the retention, by which events and their ids
// may be too old, and then the keys, by which this command may not be let in any more.
func (r *Replay) behind(ctx context.Context, g *rawtier.Governance, done map[string]bool) error {
	if !r.config.Rebuild {
		return nil
	}
	nothing := erasure.Cutoffs{Default: erasure.NoCutoff}
	if k := &g.Retention; k.Rules.Default != 0 || len(k.Rules.Events) > 0 || k.Rules.Dedupe != 0 || !k.Cutoffs.Equal(nothing) {
		line, err := governance.Append(nil, &governance.Line{Retention: k})
		if err != nil {
			return err
		}
		if err := r.governing(ctx, func(add func([]byte) error) error { return add(line) }); err != nil {
			return fmt.Errorf("bring back the retention: %w", err)
		}
	}
	return r.part(ctx, &g.Documents, governance.OfDocuments, "?keys", done, func(l *governance.Line) bool { return l.Document.Kind == access.DocumentKind })
}

// part sends the lines of a file that are wanted; nil: all. What is done is remembered by its key and the mark.
func (r *Replay) part(ctx context.Context, p *rawtier.Part, of, mark string, done map[string]bool, wanted func(*governance.Line) bool) error {
	if p.Rows == 0 || done[p.Key+mark] {
		return nil
	}
	err := r.governing(ctx, func(add func([]byte) error) error {
		return rawtier.OpenPart(ctx, r.store, p, of, func(b []byte) error {
			l, err := governance.Read(b)
			if err != nil {
				return err
			}
			if of == governance.OfDocuments && (l.Document == nil || !slices.Contains(governance.Kinds, l.Document.Kind)) {
				return fmt.Errorf("%w: a document of a kind that is not brought back", governance.ErrLine)
			}
			if wanted != nil && !wanted(l) {
				return nil
			}
			return add(b)
		})
	})
	if err != nil {
		return fmt.Errorf("bring back what governs the store: %w", err)
	}
	return remember(r.config.Resume, p.Key+mark)
}

// governing sends lines in their order.
func (r *Replay) governing(ctx context.Context, read func(add func([]byte) error) error) error {
	return r.sending(ctx, 1, governancePath, read, func(in *client.Ingested, _ int) {
		r.sum.Rules += in.Accepted
	})
}
