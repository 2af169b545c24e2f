import type { Answer } from './api'
import { keyText } from './format'

// Column is one column of an answer as a table; kind says how its cells are written.
export interface Column {
  name: string
  kind: 'text' | 'number' | 'share' | 'duration' | 'time' | 'json'
}

export type Cell = string | number | null

export interface Sheet {
  columns: Column[]
  rows: Cell[][]
}

const col = (name: string, kind: Column['kind'] = 'text'): Column => ({ name, kind })
const cellText = (v: unknown): string => (v === null || v === undefined ? '(none)' : typeof v === 'object' ? JSON.stringify(v) : String(v))

const funnelColumns = [col('users', 'number'), col('of all', 'share'), col('of step', 'share'), col('median time', 'duration')]

// sheetOf is the table of an answer: what the chart shows, to the last digit.
export function sheetOf(a: Answer): Sheet {
  switch (a.kind) {
    case 'trend': {
      const first = a.series[0]
      const times = first?.points.map((p) => p.t) ?? []
      if (times.length <= 1) return { columns: [col('series'), col('value', 'number')], rows: a.series.map((s) => [seriesName(s, a.series), s.points[0]?.value ?? null]) }
      return {
        columns: [col('time', 'time'), ...a.series.map((s) => col(seriesName(s, a.series), 'number'))],
        rows: times.map((t, i) => [t, ...a.series.map((s) => s.points[i]?.value ?? null)]),
      }
    }
    case 'funnel': {
      const step = (s: (typeof a.steps)[number]): Cell[] => [s.event, s.users, s.conversion, s.step_conversion, s.median_seconds]
      if (a.groups)
        return { columns: [col('group'), col('step'), ...funnelColumns], rows: a.groups.flatMap((g) => g.steps.map((s) => [keyText(g.key, g.other), ...step(s)])) }
      if (a.points) return { columns: [col('time', 'time'), ...a.steps.map((s) => col(s.event, 'number'))], rows: a.points.map((p) => [p.t, ...p.steps.map((s) => s.users)]) }
      return { columns: [col('step'), ...funnelColumns], rows: a.steps.map(step) }
    }
    case 'retention': {
      const n = Math.max(0, ...a.cohorts.map((c) => c.retained.length))
      const head = [col(a.every, 'time'), col('size', 'number'), ...Array.from({ length: n }, (_, k) => col(String(k), 'number'))]
      if (!a.groups) return { columns: head, rows: a.cohorts.map((c) => [c.t, c.size, ...c.retained]) }
      return { columns: [col('group'), ...head], rows: a.groups.flatMap((g) => g.cohorts.map((c) => [keyText(g.key, g.other), c.t, c.size, ...c.retained])) }
    }
    case 'sessions': {
      const numbers = [
        col('sessions', 'number'), col('users', 'number'), col('mean duration', 'duration'), col('median duration', 'duration'), col('mean events', 'number'), col('bounce rate', 'share'),
      ]
      const row = (s: typeof a | NonNullable<typeof a.points>[number] | NonNullable<typeof a.groups>[number]): Cell[] => [
        s.sessions, s.users, s.mean_duration_seconds, s.median_duration_seconds, s.mean_events, s.bounce_rate,
      ]
      if (a.groups) return { columns: [col('group'), ...numbers], rows: a.groups.map((g) => [keyText(g.key, g.other), ...row(g)]) }
      if (a.points) return { columns: [col('time', 'time'), ...numbers], rows: a.points.map((p) => [p.t, ...row(p)]) }
      return { columns: numbers, rows: [row(a)] }
    }
    case 'paths':
      return { columns: [col('depth', 'number'), col('from'), col('to'), col('count', 'number'), col('users', 'number')], rows: a.links.map((l) => [l.depth, l.from, l.to, l.count, l.users]) }
    case 'attribution':
      return { columns: [col('channel'), col('conversions', 'number'), col('value', 'number')], rows: a.touchpoints.map((t) => [channel(t.key, t.other), t.conversions, t.value]) }
    case 'experiment':
      return {
        columns: [col('variant'), col('users', 'number'), col('converted', 'number'), col('rate', 'share'), col('lift', 'share'), col('lift from', 'share'), col('lift to', 'share'), col('p', 'number'), col('chance to win', 'share')],
        rows: a.variants.map((v) => [v.name, v.users, v.converted, v.rate, v.lift, v.lift_ci?.[0] ?? null, v.lift_ci?.[1] ?? null, v.p_value, v.chance_to_win]),
      }
    case 'top':
      return { columns: [col(a.field), col('events', 'number'), col('users', 'number')], rows: a.values.map((v) => [cellText(v.value), v.count, v.users]) }
    case 'events':
      return {
        columns: [col('time', 'time'), col('event'), col('person'), col('source'), col('properties', 'json'), col('context', 'json'), col('eventId')],
        rows: a.events.map((e) => [e.timestamp, e.eventName, e.person, e.source ?? null, JSON.stringify(e.properties ?? {}), JSON.stringify(e.context ?? {}), e.eventId]),
      }
    case 'users':
      return { columns: [col('person')], rows: a.users.map((u) => [u]) }
    case 'lifecycle':
      return {
        columns: [col(a.every, 'time'), col('new', 'number'), col('returning', 'number'), col('resurrecting', 'number'), col('dormant', 'number')],
        rows: a.points.map((p) => [p.t, p.new, p.returning, p.resurrecting, p.dormant]),
      }
    case 'stickiness':
      return { columns: [col(a.every + 's', 'number'), col('users', 'number')], rows: a.days.map((d) => [d.periods, d.users]) }
  }
}

export const channel = (key: unknown, other?: boolean): string => (other ? 'others' : Array.isArray(key) ? keyText(key) : cellText(key))

// Measures that people know by another name than the language has.
const measureNames: Record<string, string> = { count: 'events', users: 'persons', per_user: 'events per person' }

// seriesName names a series by what tells it from the others.
export function seriesName(s: { measure: string; event: string; key: unknown[]; other?: boolean }, all: { measure: string; event: string }[]): string {
  const parts: string[] = []
  const alone = new Set(all.map((x) => x.measure + '\0' + x.event)).size === 1
  if (!alone || s.key.length === 0) parts.push((measureNames[s.measure] ?? s.measure.replaceAll('properties.', '')) + (s.event === 'any' ? '' : ' of ' + s.event))
  if (s.key.length > 0) parts.push(keyText(s.key, s.other))
  return parts.join(' · ')
}

// csv writes a table as RFC 4180. A text that a spreadsheet would take for a formula gets a quote before it.
export function csv(s: Sheet): string {
  const cell = (v: Cell): string => {
    if (v === null) return ''
    let t = String(v)
    if (typeof v === 'string' && /^[=+\-@\t\r]/.test(t)) t = "'" + t
    return /[",\r\n]/.test(t) ? '"' + t.replaceAll('"', '""') + '"' : t
  }
  return [s.columns.map((c) => cell(c.name)), ...s.rows.map((r) => r.map(cell))].map((r) => r.join(',') + '\r\n').join('')
}
