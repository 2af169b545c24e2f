import { firstField } from './names'
import { anyEvent, emptyQuery, oneEvent, type Kind, type Query } from './query/model'
import { shared } from './state.svelte'

export const readerZone = Intl.DateTimeFormat().resolvedOptions().timeZone || 'UTC'

export const kindNames: Record<Kind, string> = {
  trend: 'Trend', funnel: 'Funnel', retention: 'Retention', sessions: 'Sessions', paths: 'Paths', attribution: 'Attribution', experiment: 'Experiment',
  top: 'Top values', lifecycle: 'Lifecycle', stickiness: 'Stickiness', events: 'Events', users: 'Persons',
}

// starter is a question of a kind that the data can answer, to be changed from there. What
// was asked before lends its time, its filter and its events.
export function starter(kind: Kind, before?: Query): Query {
  const q = emptyQuery(kind)
  q.tz = before?.tz ?? readerZone
  if (before) {
    q.range = { ...before.range }
    q.where = before.where
  }
  const names = (shared.catalog?.events ?? []).map((e) => e.name)
  const asked = before ? [...before.steps, ...before.measures.map((m) => m.of), before.of, before.then, before.goal].flatMap((s) => s.names) : []
  const event = (i: number) => oneEvent([...new Set([...asked, ...names])][i] ?? '')
  const find = (...parts: string[]) => oneEvent(names.find((n) => parts.some((p) => n.includes(p))) ?? '')
  switch (kind) {
    case 'trend':
      q.measures = [{ name: 'count', field: '', of: asked.length ? event(0) : anyEvent() }, { name: 'users', field: '', of: asked.length ? event(0) : anyEvent() }]
      q.every = 'day'
      break
    case 'funnel':
      q.steps = (asked.length > 1 ? asked.slice(0, 4).map(oneEvent) : [event(0), event(1)]).map((s) => ({ ...s, optional: false }))
      q.within = '7d'
      break
    case 'retention':
      if (asked.length) q.of = event(0)
      q.every = 'week'
      q.periods = '8'
      break
    case 'sessions':
      q.every = 'day'
      break
    case 'paths':
      q.depth = '4'
      q.collapse = true
      break
    case 'attribution':
      q.of = asked.length ? event(0) : find('purchase', 'order', 'sign', 'conver')
      q.by = [firstField('context.campaign', 'context.utmSource', 'context.channel', 'properties.utm_source', 'properties.campaign') ?? 'source']
      break
    case 'experiment':
      q.field = firstField('properties.variant', 'properties.$feature_flag_response', 'context.variant') ?? 'properties.variant'
      q.exposure = find('experiment', 'exposure', 'feature_flag')
      q.goal = asked.length ? event(0) : find('purchase', 'order', 'sign', 'conver')
      break
    case 'top':
      q.of = asked.length ? event(0) : anyEvent()
      q.field = 'eventName'
      q.limit = '25'
      break
    case 'events':
      q.newest = true
      q.limit = '50'
      if (asked.length) q.of = event(0)
      break
    case 'lifecycle':
      q.every = 'week'
      break
    case 'stickiness':
      q.every = 'day'
  }
  return q
}
