package raw

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"path/filepath"
	"strings"
	"time"

	"spoor/engine/query/lang"
	"spoor/server/rawtier"
	"spoor/tools/internal/sqlgen"
)

// SQL is the flags of a query that is printed as SQL.
type SQL struct {
	SQL   string `help:"Print the question as SQL over a raw tier instead of asking it: for ${enum}. Needs --raw and no server." enum:",duckdb,clickhouse" default:"" name:"sql"`
	Raw   string `help:"The raw tier: a directory, or s3://BUCKET/PREFIX." placeholder:"PLACE"`
	Place `embed:"" prefix:"raw-"`
}

// Print writes the SQL of a question.
func (s *SQL) Print(ctx context.Context, out io.Writer, text string) error {
	if s.Raw == "" {
		return errors.New("--sql needs --raw PLACE, whose files the SQL names")
	}
	q, err := lang.Parse(text)
	if err != nil {
		return err
	}
	store, err := s.existing(s.Raw)
	if err != nil {
		return err
	}
	days, err := rawtier.Days(ctx, store)
	if err != nil {
		return err
	}
	persons, err := rawtier.ReadPersons(ctx, store)
	if err != nil {
		return err
	}
	now := time.Now()
	src := sqlgen.Source{Files: sqlgen.ReachOf(q, now).Files(days)}
	if persons != nil {
		src.Persons = persons.Key
	}
	d := sqlgen.Dialect(s.SQL)
	if src.Base, err = s.base(d); err != nil {
		return err
	}
	sql, err := sqlgen.Generate(q, d, src, now)
	if err != nil {
		return err
	}
	_, err = io.WriteString(out, sql)
	return err
}

// base is what stands before a key, as an engine writes it.
func (s *SQL) base(d sqlgen.Dialect) (string, error) {
	rest, isStore := strings.CutPrefix(s.Raw, "s3://")
	switch {
	case !isStore:
		dir, err := filepath.Abs(s.Raw)
		return dir + "/", err
	case d == sqlgen.DuckDB:
		return strings.TrimSuffix(s.Raw, "/") + "/", nil
	case s.Endpoint == "":
		bucket, prefix, _ := strings.Cut(strings.TrimSuffix(rest, "/"), "/")
		return strings.TrimSuffix("https://"+bucket+".s3.amazonaws.com/"+prefix, "/") + "/", nil
	}
	base, err := url.JoinPath(s.Endpoint, rest)
	if err != nil {
		return "", fmt.Errorf("--raw-endpoint: %w", err)
	}
	return strings.TrimSuffix(base, "/") + "/", nil
}
