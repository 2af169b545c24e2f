package peers

import (
	"fmt"

	"spoor/bench/questions"
)

// duckdb is one table in the order (eventName, person, timestamp), whose zone maps then skip what a question does not need.
var duckdb = dialect{
	load: []string{
		`CREATE TABLE raw AS SELECT * FROM read_json('{file}', format = 'newline_delimited', columns = {eventId: 'UUID', userId: 'VARCHAR', anonymousId: 'VARCHAR', eventName: 'VARCHAR', timestamp: 'TIMESTAMP',
 properties: 'STRUCT(category VARCHAR, currency VARCHAR, surface VARCHAR, variant VARCHAR, "position" INTEGER, productId VARCHAR, price DOUBLE, quantity INTEGER)',
 context: 'STRUCT(device VARCHAR, os VARCHAR, browser VARCHAR, country VARCHAR, locale VARCHAR, appVersion VARCHAR, campaign VARCHAR)'})`,
		`CHECKPOINT`,
	},
	prepare: []string{
		`CREATE TABLE links AS SELECT anonymousId, max(userId) AS u FROM raw WHERE userId IS NOT NULL GROUP BY anonymousId`,
		`CREATE TABLE persons AS SELECT name, (row_number() OVER ())::UINTEGER AS person FROM (SELECT DISTINCT coalesce(userId, u, anonymousId) AS name FROM raw LEFT JOIN links USING (anonymousId))`,
		`CREATE TABLE events AS SELECT epoch_ms(timestamp) AS ms, person, raw.* FROM raw LEFT JOIN links USING (anonymousId) JOIN persons ON name = coalesce(userId, u, anonymousId)
 QUALIFY row_number() OVER (PARTITION BY eventId) = 1 ORDER BY eventName, person, timestamp`,
		`DROP TABLE raw`,
		`CHECKPOINT`,
	},
	bytes:    `SELECT (total_blocks - free_blocks) * block_size FROM pragma_database_size()`,
	question: duckdbQuestion,
}

func duckdbQuestion(q questions.Question, person string) string {
	switch q.Name {
	case funnelName:
		return duckdbFunnel(stepsOf(q.Text), week.Milliseconds(), "")
	case filteredName:
		return duckdbFunnel(stepsOf(q.Text), week.Milliseconds(), "AND properties.category = 'shoes' AND context.country = 'DE'")
	case longName:
		return duckdbFunnel(stepsOf(q.Text), thirtyDays.Milliseconds(), "")
	case byDeviceName:
		n := len(stepsOf(q.Text))
		return fmt.Sprintf(`SELECT d, %s FROM (SELECT %s, %s AS l, %s AS d FROM (%s) GROUP BY person) WHERE l > 0 GROUP BY d`,
			each(n, ", ", "count(*) FILTER (l >= %d)"), each(n, ", ", "arg_min(s%[1]d, ms) FILTER (s%[1]d IS NOT NULL) AS x%[1]d"),
			deepest(n, "x%[1]d IS NOT NULL", "%[1]d", "0"), deepest(n, "x%[1]d IS NOT NULL", "(x%[1]d).d", "NULL"),
			duckdbChains(stepsOf(q.Text), week.Milliseconds(), "", "{'ms': ms, 'd': context.device}", ".ms"))
	case retentionName:
		return `WITH a AS (SELECT DISTINCT person, ms // 86400000 AS d FROM events WHERE eventName = 'view_product'), b AS (SELECT DISTINCT person, ms // 86400000 AS d FROM events)
SELECT strftime(make_timestamp(a.d * 86400000000), '%Y-%m-%d'), b.d - a.d, count(*) FROM a JOIN b ON a.person = b.person AND b.d BETWEEN a.d AND a.d + 29 GROUP BY a.d, b.d`
	case sessionsName:
		return fmt.Sprintf(`SELECT count(*) FILTER (starts), count(DISTINCT person), count(*) FILTER (starts AND coalesce(next, true)) FROM (
 SELECT person, starts, lead(starts) OVER (PARTITION BY person ORDER BY ms) AS next FROM (
  SELECT person, ms, coalesce(ms - lag(ms) OVER (PARTITION BY person ORDER BY ms) > %d, true) AS starts FROM events))`, gap.Milliseconds())
	case personsName:
		return `SELECT strftime(make_timestamp(d * 86400000000), '%Y-%m-%d'), n FROM (SELECT ms // 86400000 AS d, count(DISTINCT person) AS n FROM events GROUP BY d)`
	case countsName:
		return `SELECT eventName, strftime(make_timestamp(d * 86400000000), '%Y-%m-%d'), n FROM (SELECT eventName, ms // 86400000 AS d, count(*) AS n FROM events GROUP BY eventName, d)`
	case topName:
		return `SELECT properties.category AS v, count(*) AS c, count(DISTINCT person) FROM events
 WHERE eventName = 'view_product' AND timestamp >= '2026-05-11' AND timestamp < '2026-05-21' GROUP BY v ORDER BY c DESC LIMIT 20`
	case historyName:
		return `SELECT eventId::VARCHAR FROM events WHERE person = (SELECT person FROM persons WHERE name = '` + person + `') ORDER BY ms LIMIT 10000`
	case lastTouchName:
		return fmt.Sprintf(`SELECT k, count(*) FROM (SELECT CASE WHEN t.ms >= c.ms - %d THEN t.k END AS k FROM (SELECT person, ms FROM events WHERE eventName = 'purchase_completed') c ASOF LEFT JOIN
 (SELECT person, ms, context.campaign AS k FROM events WHERE eventName = 'page_viewed' AND context.campaign != '') t ON c.person = t.person AND c.ms >= t.ms) GROUP BY k`, week.Milliseconds())
	}
	return ""
}

func duckdbFunnel(steps []string, window int64, where string) string {
	n := len(steps)
	return fmt.Sprintf(`SELECT %s FROM (SELECT max(%s) AS l FROM (%s) GROUP BY person)`, each(n, ", ", "count(*) FILTER (l >= %d)"),
		deepest(n, "s%[1]d IS NOT NULL", "%[1]d", "0"), duckdbChains(steps, window, where, "ms", ""))
}

// duckdbChains carries the latest start that has reached each step: first is what a start is, part how its time is read.
func duckdbChains(steps []string, window int64, where, first, part string) string {
	rows := fmt.Sprintf(`SELECT person, ms, list_position([%s], eventName) AS step, CASE WHEN eventName = '%s' THEN %s END AS s1 FROM events WHERE eventName IN (%[1]s) %[4]s`,
		quoted(steps), steps[0], first, where)
	for i := 2; i <= len(steps); i++ {
		rows = fmt.Sprintf(`SELECT * EXCLUDE (m), CASE WHEN step = %d AND ms - m%s <= %d THEN m END AS s%[1]d FROM
 (SELECT *, max(s%[4]d) OVER (PARTITION BY person ORDER BY ms, step ROWS UNBOUNDED PRECEDING) AS m FROM (%[5]s))`, i, part, window, i-1, rows)
	}
	return rows
}
