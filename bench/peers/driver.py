"""Runs statements for "spoor bench run" and times them.

Reads one JSON object a line: {"sql": TEXT, "rows": BOOL}, and answers one a line:
{"rows": [[...]], "seconds": S, "cpu": S, "rss": BYTES} or {"error": TEXT}. seconds is the
time of the statement with its whole result in this process; cpu and rss are what the process
has taken since its start and at most.
"""
import json
import resource
import sys
import time


def clickhouse(path, threads):
    import chdb
    from chdb import session

    s = session.Session(path)
    s.query("CREATE DATABASE IF NOT EXISTS bench ENGINE = Atomic")
    s.query("USE bench")
    s.query(f"SET max_threads = {threads}, max_insert_threads = {threads}")
    version = s.query("SELECT version()", "TabSeparated").data().strip()

    def run(sql):
        return s.query(sql, "JSONCompactEachRow").data()

    def rows(result):
        return [json.loads(line) for line in result.splitlines() if line]

    return f"ClickHouse {version} (chdb {chdb.__version__})", run, rows


def duckdb(path, threads):
    import duckdb

    c = duckdb.connect(path)
    c.execute(f"SET threads = {threads}")
    c.execute("SET TimeZone = 'UTC'")

    def run(sql):
        return c.execute(sql).fetchall()

    def rows(result):
        return [[v if v is None or isinstance(v, (int, str)) else str(v) for v in row] for row in result]

    return f"DuckDB {duckdb.__version__}", run, rows


def main():
    kind, path, threads = sys.argv[1:4]
    name, run, rows = {"clickhouse": clickhouse, "duckdb": duckdb}[kind](path, int(threads))
    print(json.dumps({"name": name}), flush=True)
    for line in sys.stdin:
        ask = json.loads(line)
        try:
            begin = time.perf_counter()
            result = run(ask["sql"])
            took = time.perf_counter() - begin
            said = {"seconds": took}
            if ask.get("rows"):
                said["rows"] = rows(result)
        except Exception as e:
            said = {"error": str(e)}
        used = resource.getrusage(resource.RUSAGE_SELF)
        said["cpu"] = used.ru_utime + used.ru_stime
        said["rss"] = used.ru_maxrss * 1024
        print(json.dumps(said), flush=True)


main()
