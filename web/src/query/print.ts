import { hasBy, hasEvery, hasLimit, type Aggregate, type Query, type Selection } from './model'
import { eventText, quote } from './tokens'

export function printSelection(s: Selection): string {
  if (s.raw !== undefined) return s.raw
  const where = s.where.trim() ? '[' + s.where + ']' : ''
  if (s.any || s.names.length === 0) return 'any' + where
  if (s.names.length === 1) return eventText(s.names[0]!) + where
  return '(' + s.names.map(eventText).join(' or ') + ')' + where
}

const aggregate = (a: Aggregate): string => a.name + (a.field ? '(' + a.field + ')' : '')

// measures writes a trend's series; neighbours that share their events say them once.
function measures(q: Query): string {
  const flat = q.measures.flatMap((m) => (m.per ? [m, m.per] : [m]))
  const of = flat.map((a) => printSelection(a.of))
  let i = 0
  const one = (a: Aggregate): string => {
    const last = i + 1 === flat.length || of[i] !== of[i + 1]
    return aggregate(a) + (last ? ' of ' + of[i++] : (i++, ''))
  }
  return q.measures.map((m) => one(m) + (m.per ? ' / ' + one(m.per) : '')).join(', ')
}

const timeText = (t: string): string => (/^[\d:TZ.+-]+$/.test(t) ? t : quote(t))

// print is the text of a question, one clause after the other.
export function print(q: Query): string {
  const out: string[] = []
  const clause = (word: string, value: string) => {
    if (value) out.push(word + ' ' + value)
  }
  switch (q.kind) {
    case 'funnel': out.push('funnel ' + q.steps.map((s) => printSelection(s) + (s.optional ? '?' : '')).join(' -> ')); break
    case 'trend': out.push('trend ' + measures(q)); break
    case 'retention': out.push(`retention ${printSelection(q.of)} -> ${printSelection(q.then)}`); break
    case 'sessions': case 'paths': out.push(q.kind); break
    case 'experiment': out.push('experiment ' + q.field); break
    case 'top': out.push(`top ${q.field} of ${printSelection(q.of)}`); break
    case 'events': case 'users': out.push(`${q.kind} of ${printSelection(q.of)}`); break
    default: out.push(q.kind + ' ' + printSelection(q.of))
  }
  if (q.kind === 'funnel') {
    clause('within', q.within)
    clause('order', q.order)
    clause('per', q.per)
    for (const x of q.excluding) out.push('excluding ' + printSelection(x.of) + (x.between ? ' between ' + x.between : ''))
    for (const n of q.never) out.push('never ' + printSelection(n))
    clause('holding', q.holding.join(', '))
  }
  if (q.kind === 'retention') {
    clause('for', q.periods)
    if (q.first) out.push('first')
    if (q.rolling) out.push('rolling')
  }
  if (q.kind === 'paths') {
    if (q.start) out.push('from ' + anchor(q.start))
    if (q.end) out.push('to ' + printSelection(q.end))
    clause('depth', q.depth)
    if (q.collapse) out.push('collapse')
  }
  if (q.kind === 'sessions' || q.kind === 'paths') clause('gap', q.gap)
  if (q.kind === 'sessions') clause('max', q.max)
  if (q.kind === 'attribution') {
    if (!q.touch.any || q.touch.where) out.push('touch ' + printSelection(q.touch))
    clause('model', q.model)
    clause('lookback', q.lookback)
    clause('half_life', q.model === 'time_decay' ? q.halfLife : '')
    clause('value', q.value)
  }
  if (q.kind === 'experiment') {
    clause('goal', printSelection(q.goal))
    clause('exposure', printSelection(q.exposure))
    clause('control', q.control)
    clause('within', q.within)
  }
  if (q.kind === 'users' || q.kind === 'retention') clause('', q.times)
  clause('where', q.where.trim())
  if (q.user) out.push('user ' + quote(q.user))
  if (hasBy(q.kind)) clause('by', q.by.join(', '))
  if (hasEvery(q.kind)) clause('every', q.every)
  if (q.range.last) clause('last', q.range.last)
  else if (q.range.from) out.push(`from ${timeText(q.range.from)} to ${timeText(q.range.to)}`)
  if (q.tz && q.tz !== 'UTC') out.push('tz ' + quote(q.tz))
  if (hasLimit(q.kind)) clause('limit', q.limit)
  if (q.newest) out.push('newest')
  if (q.after) out.push('after ' + quote(q.after))
  return out.map((c) => c.trim()).join(' ')
}

// anchor is where paths begin: an event whose name looks like a time stands in brackets.
function anchor(s: Selection): string {
  const text = printSelection(s)
  return /^"\d{4}-/.test(text) ? '(' + eventText(s.names[0]!) + ')' + (s.where.trim() ? '[' + s.where + ']' : '') : text
}
