package sqlgen

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Source is a raw tier as an engine reaches it.
type Source struct {
	// Base is what stands before a key: /var/raw/ or s3://bucket/prefix/; for ClickHouse a
	// store is the URL of the bucket, https://s3.example.com/bucket/prefix/.
	Base string
	// Files are keys of events, those of the manifests; Persons is that of who is who, "" for none.
	Files   []string
	Persons string
}

// maxGlob is how many names ClickHouse takes in one pattern.
const maxGlob = 1000

// fixed are the columns that every file has.
var fixed = []string{"eventId", "eventName", "userId", "anonymousId", "sourceName", "timestamp", "receivedAt"}

// kindOf is the type of a column in a dialect.
func (w *writer) kindOf(column string) string {
	nullable := func(t string) string { return w.d.pick(t, "Nullable("+t+")") }
	switch {
	case column == "timestamp" || column == "receivedAt":
		return w.d.pick("TIMESTAMPTZ", "DateTime64(6, 'UTC')")
	case column == "eventId" || column == "eventName":
		return w.d.pick("VARCHAR", "String")
	case strings.HasSuffix(column, ":num"):
		return nullable(w.d.pick("DOUBLE", "Float64"))
	case strings.HasSuffix(column, ":bool"):
		return nullable(w.d.pick("BOOLEAN", "Bool"))
	}
	return nullable(w.d.pick("VARCHAR", "String"))
}

// reading is an expression that reads Parquet files.
func (w *writer) reading(keys, columns []string) string {
	if w.d == DuckDB {
		quoted := make([]string, len(keys))
		for i, k := range keys {
			quoted[i] = w.d.text(w.src.Base + k)
		}
		return "read_parquet([" + strings.Join(quoted, ", ") + "], union_by_name = true, hive_partitioning = false)"
	}
	var fields []string
	for _, c := range columns {
		fields = append(fields, w.d.name(c)+" "+w.kindOf(c))
	}
	function := "file"
	if strings.Contains(w.src.Base, "://") {
		function = "s3"
		escaped := make([]string, len(keys))
		for i, k := range keys {
			escaped[i] = strings.ReplaceAll(k, "%", "%25") // in a URL it stands for itself like this
		}
		keys = escaped
	}
	read := func(keys []string) string {
		glob := strings.Join(keys, ",")
		if len(keys) > 1 {
			glob = "{" + glob + "}"
		}
		return fmt.Sprintf("%s(%s, 'Parquet', %s)", function, w.d.text(w.src.Base+glob), w.d.text(strings.Join(fields, ", ")))
	}
	if len(keys) <= maxGlob {
		return read(keys)
	}
	var parts []string
	for chunk := range slices.Chunk(keys, maxGlob) {
		parts = append(parts, "SELECT * FROM "+read(chunk))
	}
	return "(" + strings.Join(parts, " UNION ALL ") + ")"
}

// base is the common table of events with their persons, and of the columns that are asked for.
// A file without a column has no values in it.
func (w *writer) base() string {
	columns := append(slices.Clone(fixed), slices.Sorted(maps.Keys(w.columns))...)
	var b strings.Builder
	b.WriteString("WITH stored AS (\n")
	var typed []string
	for _, c := range columns {
		typed = append(typed, "CAST(NULL AS "+w.kindOf(c)+") AS "+w.d.name(c))
	}
	switch {
	case w.d == DuckDB && len(w.src.Files) > 0:
		fmt.Fprintf(&b, "  SELECT %s WHERE false\n  UNION ALL BY NAME\n  SELECT * FROM %s\n", strings.Join(typed, ", "), w.reading(w.src.Files, nil))
	case len(w.src.Files) > 0:
		fmt.Fprintf(&b, "  SELECT * FROM %s\n", w.reading(w.src.Files, columns))
	default:
		fmt.Fprintf(&b, "  SELECT %s WHERE false\n", strings.ReplaceAll(strings.Join(typed, ", "), "CAST(NULL AS String)", "''"))
	}
	b.WriteString("), linked AS (\n")
	if w.src.Persons != "" {
		fmt.Fprintf(&b, "  SELECT anonymousId AS anon, any_value(userId) AS known FROM %s\n  WHERE anonymousId IS NOT NULL AND userId IS NOT NULL GROUP BY anonymousId\n",
			w.reading([]string{w.src.Persons}, []string{"userId", "anonymousId"}))
	} else {
		b.WriteString("  SELECT '' AS anon, '' AS known WHERE false\n")
	}
	var own []string
	for _, c := range columns {
		own = append(own, "stored."+w.d.name(c)+" AS "+w.d.name(c))
	}
	fmt.Fprintf(&b, "), events AS (\n  SELECT %s,\n    %s AS t, %s AS received,\n    coalesce('u:' || stored.userId, 'u:' || linked.known, 'a:' || stored.anonymousId) AS person\n  FROM stored LEFT JOIN linked ON stored.userId IS NULL AND stored.anonymousId = linked.anon\n)",
		strings.Join(own, ", "), w.d.micros("stored.timestamp"), w.d.micros("stored.receivedAt"))
	return b.String()
}
