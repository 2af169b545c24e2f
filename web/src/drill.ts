import type { Series } from './api'
import type { Query, Selection } from './query/model'
import { emptyQuery } from './query/model'
import { parse } from './query/parse'
import { print } from './query/print'
import { literal } from './query/tokens'

// Drill is a number that somebody clicked: the persons in it. A query of users says who
// they are; persons of a funnel's step or a cohort are asked for by their place in the answer.
export interface Drill {
  title: string
  query: string // users ..., or a funnel or retention with args
  args?: string
}

// resolved reads the query of an answer, which names its whole time.
export function resolved(text: string): Query | undefined {
  try {
    return parse(text)
  } catch {
    return undefined
  }
}

const both = (a: string, b: string): string => (a && b ? `(${a}) and (${b})` : a || b)

// usersOf asks who did the events of a selection within a time.
export function usersOf(of: Selection, from: string, to: string, base: Query, where = ''): string {
  const q = emptyQuery('users')
  q.of = of
  q.where = both(base.where, where)
  q.user = base.user
  q.range = { last: '', from, to }
  q.tz = base.tz
  q.limit = '50'
  return print(q)
}

// keyWhere is the condition of a group of a breakdown.
export function keyWhere(by: string[], key: unknown[]): string {
  return key.map((v, i) => (v === null ? `${by[i]} missing` : `${by[i]} = ${literal(v)}`)).join(' and ')
}

// pointDrill are the persons of one point of a trend. at counts the points.
export function pointDrill(text: string, all: Series[], s: Series, at: number): Drill | undefined {
  const q = resolved(text)
  if (!q || s.other) return undefined
  const m = q.measures[new Set(all.slice(0, all.indexOf(s) + 1).map((x) => x.measure + '\0' + x.event)).size - 1]
  if (!m) return undefined
  const from = at === 0 ? q.range.from : s.points[at]!.t
  const to = s.points[at + 1]?.t ?? q.range.to
  return { title: `Persons in ${s.event} ${s.key.join(' · ')}`, query: usersOf(m.of, from, to, q, keyWhere(q.by, s.key)) }
}

// previous is the same question about the time before, of the same length.
export function previous(text: string): string | undefined {
  const q = resolved(text)
  if (!q?.range.from) return undefined
  const from = new Date(q.range.from).getTime()
  const to = new Date(q.range.to).getTime()
  if (!(to > from)) return undefined
  q.range = { last: '', from: new Date(2 * from - to).toISOString(), to: q.range.from }
  return print(q)
}
