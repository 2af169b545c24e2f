import { expect, test } from 'vitest'
import type { Answer } from '../src/api'
import { previous } from '../src/drill'
import { duration, keyText, number, percent, secondsOf } from '../src/format'
import { marked } from '../src/mark'
import { quantile, read } from '../src/metrics'
import { csv, seriesName, sheetOf } from '../src/table'

const common = { query: '', stats: { elapsed_ms: 1, partitions: 0, segments: 0, blocks_read: 0, blocks_skipped: 0, rows_scanned: 0, bytes_read: 0 }, as_of: { index: 1, received_at: null, data_through: null } }

test('a trend becomes a table with a column for each series', () => {
  const a = {
    ...common, kind: 'trend',
    series: [
      { measure: 'count', event: 'a', key: ['x'], points: [{ t: 't1', value: 1 }, { t: 't2', value: null }] },
      { measure: 'count', event: 'a', key: [null], points: [{ t: 't1', value: 3 }, { t: 't2', value: 4 }] },
    ],
  } as Answer
  const s = sheetOf(a)
  expect(s.columns.map((c) => c.name)).toEqual(['time', 'x', '(none)'])
  expect(s.rows).toEqual([['t1', 1, 3], ['t2', null, 4]])
  expect(csv(s)).toBe('time,x,(none)\r\nt1,1,3\r\nt2,,4\r\n')
})

test('series are named by what tells them apart', () => {
  const all = [{ measure: 'count', event: 'a' }, { measure: 'sum(properties.price)', event: 'a' }]
  expect(seriesName({ ...all[1]!, key: ['DE'] }, all)).toBe('sum(price) of a · DE')
  expect(seriesName({ ...all[0]!, key: [] }, [all[0]!])).toBe('events of a')
  expect(keyText(['x', null, true])).toBe('x · (none) · true')
})

test('a spreadsheet takes no text of the CSV for a formula', () => {
  expect(csv({ columns: [{ name: 'v', kind: 'text' }], rows: [['=1+1'], ['+a'], ['-b'], ['@c'], ['a,"b"\nc'], [-5]] })).toBe('v\r\n\'=1+1\r\n\'+a\r\n\'-b\r\n\'@c\r\n"a,""b""\nc"\r\n-5\r\n')
})

test('numbers and durations are those of the reader', () => {
  expect(number(1234567)).toBe('1,234,567')
  expect(number(null)).toBe('–')
  expect(percent(0.4567)).toBe('45.7%')
  expect([0.25, 5.5, 65, 3600, 90061].map(duration)).toEqual(['250 ms', '5.5 s', '1 m 5 s', '1 h', '1 d 1 h'])
})

test('ages are ordered by their length, and what is older than all stands last', () => {
  expect(['1d', '1h', '1m', '30d', '7d', 'older'].sort((a, b) => secondsOf(a) - secondsOf(b))).toEqual(['1m', '1h', '1d', '7d', '30d', 'older'])
})

test('the time before has the same length and ends where the time begins', () => {
  expect(previous('trend count of any from 2026-05-08T00:00:00Z to 2026-05-15T00:00:00Z tz "UTC"')).toBe('trend count of any from 2026-05-01T00:00:00.000Z to 2026-05-08T00:00:00Z')
  expect(previous('trend count of any last 7d')).toBeUndefined()
})

test('the place of a violation is marked, or what is nearest to it', () => {
  const event = { eventName: 'buy', properties: { id: 5, list: [1, { a: 'x' }] } }
  const bad = (path: string) => marked(event, path).filter((l) => l.bad).map((l) => l.text.trim())
  expect(bad('properties.id')).toEqual(['"id": 5,'])
  expect(bad('properties.missing')).toEqual(['"properties": {'])
  expect(bad('properties.list.1.a')).toEqual(['"a": "x"'])
  expect(bad('')).toEqual([])
  expect(JSON.parse(marked(event, 'properties.id').map((l) => l.text).join('\n'))).toEqual(event)
})

test('quantiles are bounds of the histogram', () => {
  const m = read('# HELP\nx_bucket{route="a",le="0.1"} 5\nx_bucket{route="a",le="1"} 9\nx_bucket{route="a",le="+Inf"} 10\nx_bucket{route="b",le="+Inf"} 0\nup 1\n')
  expect(m.find((s) => s.name === 'up')?.value).toBe(1)
  expect(quantile(m, 'x', { route: 'a' }, 0.5)).toBe(0.1)
  expect(quantile(m, 'x', { route: 'a' }, 0.9)).toBe(1)
  expect(quantile(m, 'x', { route: 'a' }, 0.99)).toBeNull()
  expect(quantile(m, 'x', { route: 'b' }, 0.5)).toBeNull()
})
