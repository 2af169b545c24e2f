// A question as the builder shows it. What the builder has no control for stays text.

export const kinds = ['trend', 'funnel', 'retention', 'sessions', 'paths', 'attribution', 'experiment', 'top', 'lifecycle', 'stickiness', 'events', 'users'] as const
export type Kind = (typeof kinds)[number]

// Selection is which events count.
export interface Selection {
  any: boolean
  names: string[]
  where: string // predicate text; '' for none
  raw?: string // a form that the others do not show
}

export interface Step extends Selection {
  optional: boolean
}

export interface Aggregate {
  name: string // count, users, per_user, sum, avg, min, max, median, distinct, p95
  field: string // of those that read one
  of: Selection
}

// Measure is one series of a trend: an aggregate, or the ratio of two.
export interface Measure extends Aggregate {
  per?: Aggregate
}

export interface Range {
  last: string // a duration; '' where from and to count
  from: string
  to: string
}

export interface Excluding {
  of: Selection
  between: string // '1 and 2', '' for all
}

export interface Query {
  kind: Kind
  steps: Step[] // funnel
  measures: Measure[] // trend
  of: Selection // retention's first event, attribution, top, events, users, lifecycle, stickiness
  then: Selection // retention's second event
  field: string // top, experiment
  where: string
  user: string
  by: string[] // funnel: with 'at step 2'
  every: string
  range: Range
  tz: string
  limit: string
  newest: boolean
  after: string
  within: string
  order: string
  per: string // 'session', 'session gap 10m', a field; '' for persons
  excluding: Excluding[]
  never: Selection[]
  holding: string[]
  periods: string // retention: for
  first: boolean
  rolling: boolean
  times: string // 'at least 3'
  gap: string
  max: string
  start?: Selection // paths from
  end?: Selection // paths to
  depth: string
  collapse: boolean
  touch: Selection
  model: string
  lookback: string
  halfLife: string
  value: string
  goal: Selection
  exposure: Selection
  control: string // a literal
}

export const anyEvent = (): Selection => ({ any: true, names: [], where: '' })
export const oneEvent = (name: string): Selection => ({ any: name === '', names: name === '' ? [] : [name], where: '' })

export function emptyQuery(kind: Kind): Query {
  return {
    kind, steps: [], measures: [], of: anyEvent(), then: anyEvent(), field: '', where: '', user: '', by: [], every: '',
    range: { last: '30d', from: '', to: '' }, tz: '', limit: '', newest: false, after: '', within: '', order: '', per: '', excluding: [], never: [],
    holding: [], periods: '', first: false, rolling: false, times: '', gap: '', max: '', depth: '', collapse: false, touch: anyEvent(), model: '', lookback: '',
    halfLife: '', value: '', goal: anyEvent(), exposure: anyEvent(), control: '',
  }
}

// What clauses of the builder a kind has.
export const hasBy = (k: Kind): boolean => ['funnel', 'trend', 'retention', 'sessions', 'attribution'].includes(k)
export const hasEvery = (k: Kind): boolean => ['funnel', 'trend', 'retention', 'sessions', 'lifecycle', 'stickiness'].includes(k)
export const hasLimit = (k: Kind): boolean => !['experiment', 'lifecycle', 'stickiness'].includes(k)
export const aggregatesWithField = ['sum', 'avg', 'min', 'max', 'median', 'distinct', 'p90', 'p95', 'p99']
export const needsField = (aggregate: string): boolean => !['count', 'users', 'per_user'].includes(aggregate)
