// Package peers measures Spoor beside what people would otherwise use, in one run
// on one machine: the same file of events goes into each, each answers the same
// eleven questions, and the answers must be equal to the last integer before a
// figure counts.
//
// ClickHouse and DuckDB run in a process of Python each (driver.py), since that is
// how their makers ship them to embed; VictoriaLogs is a server that takes events
// and keeps them, and is asked nothing. All are optional. Their statements
// (clickhouse.go, duckdb.go) are the fastest of those that were tried.
//
// What favours them: they run in the process that asks, while Spoor answers over
// HTTP; persons are numbers before they are asked, computed once behind the load
// and counted apart; nothing of theirs is synced, replicated or asked while it loads.
package peers
