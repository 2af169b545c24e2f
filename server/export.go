package server

import (
	"errors"
	"io"
	"slices"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/valyala/fasthttp"

	"spoor/server/call"
	"spoor/server/export"
	"spoor/server/rawtier"
	"spoor/server/rawtier/exports"
)

// exportCall asks for events.
//
// An export is ordered by time, then eventId, and every line has both, so every
// line is a place to go on from: whoever was cut off sends the same call again
// with the last complete line as cursor, the JSON object of NDJSON as it is, or
// "TIMESTAMP,EVENTID" from the cells of CSV (receivedAt where there is no
// timestamp). A stream that was not cut off ends as HTTP says; one that fails
// on the way is cut off.
type exportCall struct {
	From    string         `json:"from"`
	To      string         `json:"to"`
	Where   string         `json:"where"`
	Events  []string       `json:"events"`
	Format  string         `json:"format"` // ndjson, csv or parquet
	Columns []string       `json:"columns"`
	Limit   int            `json:"limit"`
	Cursor  jsontext.Value `json:"cursor"`
}

const (
	maxExports     = 8 // that run at once
	maxExportNames = 1000
)

// postExport streams events.
func (s *Server) postExport(ctx *fasthttp.RequestCtx, _ string) error {
	spec, lines, err := s.readExport(ctx)
	if err != nil {
		return err
	}
	select {
	case s.exports <- struct{}{}:
	default:
		return fail(fasthttp.StatusTooManyRequests, "too_many_exports", "%d exports run already; ask again", maxExports).again()
	}
	// Until the stream ends: a slow reader is bounded by WriteTimeout for each piece.
	work, stop := s.whilePresent(ctx, maxExportTime)
	conn := ctx.Conn()
	x := export.NewStream(lines, func() error { return conn.SetWriteDeadline(time.Now().Add(s.opts.WriteTimeout)) })
	s.streams.Go(func() {
		defer func() { <-s.exports }()
		defer stop()
		if lines == nil {
			x.Fill(func(w io.Writer) error { return s.back.ExportParquet(work, spec, w) })
			return
		}
		x.Run(func(yield func(event []byte) error) error { return s.back.Export(work, spec, yield) })
	})
	if err := x.Started(); err != nil {
		return err
	}
	contentType := parquetType
	if lines != nil {
		contentType = lines.ContentType()
	}
	ctx.Response.Header.SetContentType(contentType)
	ctx.Response.Header.Set("X-Content-Type-Options", "nosniff")
	ctx.Response.SetBodyStream(x, -1)
	return nil
}

// RawTier is the raw tier as the server shows it.
type RawTier interface{ Status() rawtier.Status }

// exporting answers calls about exports into the raw tier.
func (s *Server) exporting(run func(x *exports.Exports, c *call.Call) (any, error)) func(*fasthttp.RequestCtx, string) error {
	return s.governs(func(c *call.Call) (any, error) {
		if s.opts.Exports == nil {
			return nil, fail(fasthttp.StatusConflict, "no_raw_tier", "the server has no raw tier; start it with --raw PLACE")
		}
		return run(s.opts.Exports, c)
	})
}

// parquetType is the registered one.
const parquetType = "application/vnd.apache.parquet"

// maxExportTime ends exports that nobody would wait for.
const maxExportTime = 24 * time.Hour

// readExport reads the call, its cursor and its format; lines is nil for Parquet.
func (s *Server) readExport(ctx *fasthttp.RequestCtx) (spec export.Spec, lines export.Format, err error) {
	b, err := s.readBody(ctx, 2*maxSmallBody+s.opts.Limits.EventBytes) // a cursor may be an event
	if err != nil {
		return spec, nil, err
	}
	defer b.release()
	var call exportCall
	data := b.data
	if len(data) == 0 {
		data = []byte("{}")
	}
	if err := readJSON(data, &call, json.RejectUnknownMembers(true)); err != nil {
		return spec, nil, err
	}
	switch {
	case call.Limit < 0:
		return spec, nil, fail(fasthttp.StatusBadRequest, "bad_limit", "limit must not be negative; leave it out for all events")
	case len(call.Events) > maxExportNames:
		return spec, nil, fail(fasthttp.StatusBadRequest, "too_many_names", "events lists more than %d names", maxExportNames)
	case len(call.Where) > maxQueryBytes:
		return spec, nil, fail(fasthttp.StatusBadRequest, "too_large", "where has more than %d bytes", maxQueryBytes)
	case slices.Contains(call.Events, ""):
		return spec, nil, fail(fasthttp.StatusBadRequest, "bad_event_name", "events lists an empty name")
	}
	spec = export.Spec{From: call.From, To: call.To, Where: call.Where, Events: call.Events, Limit: call.Limit}
	switch call.Format {
	case "", "ndjson":
		if call.Columns != nil {
			return spec, nil, fail(fasthttp.StatusBadRequest, "bad_columns", "columns are for the formats csv and parquet; NDJSON gives whole events")
		}
		lines = export.NDJSON{}
	case "csv":
		if lines, err = export.NewCSV(call.Columns); err != nil {
			return spec, nil, exportFailure(err)
		}
	case "parquet":
		if len(call.Columns) > maxExportNames {
			return spec, nil, fail(fasthttp.StatusBadRequest, "bad_columns", "columns lists more than %d", maxExportNames)
		}
		spec.Columns = call.Columns
	default:
		return spec, nil, fail(fasthttp.StatusBadRequest, "bad_format", "the format %q is not known; use ndjson, csv or parquet", quoted(call.Format))
	}
	if spec.After, err = export.ReadCursor(call.Cursor); err != nil {
		return spec, nil, exportFailure(err)
	}
	return spec, lines, nil
}

func exportFailure(err error) error {
	var f *export.Fault
	if errors.As(err, &f) {
		return fail(fasthttp.StatusBadRequest, f.Code, "%s", f.Message)
	}
	return err
}
