// The documented API, as far as the page asks it.

export interface Failure {
  code: string
  message: string
  line?: number
  column?: number
  hint?: string
}

export class ApiError extends Error {
  constructor(
    readonly status: number,
    readonly failure: Failure,
  ) {
    super(failure.message)
  }
}

// whenSignedOut is called when a session has ended.
let signedOut = () => {}
export function whenSignedOut(f: () => void) {
  signedOut = f
}

type Verb = 'GET' | 'POST' | 'PUT' | 'DELETE'

async function call(verb: Verb, path: string, body?: BodyInit, signal?: AbortSignal, index?: number, tries = 3): Promise<Response> {
  let r: Response
  try {
    // The header says that the page asks: another site's cannot set it.
    r = await fetch('./' + path, { method: verb, body, signal, headers: { 'X-Spoor-Session': '1', ...(index && { 'If-Match': `"${index}"` }) } })
  } catch (e) {
    if (signal?.aborted) throw e
    throw new ApiError(0, { code: 'unreachable', message: 'The server does not answer. Is it running?' })
  }
  if (r.ok) return r
  if (r.status === 429 && tries > 0) { // too many at once: it was not begun, and is asked again
    await new Promise((done) => setTimeout(done, 1000))
    return call(verb, path, body, signal, index, tries - 1)
  }
  let failure: Failure = { code: 'http_' + r.status, message: 'The server answered ' + r.status + '.' }
  try {
    failure = ((await r.json()) as { error: Failure }).error
  } catch {
    // not from Spoor: a proxy on the way
  }
  if (r.status === 401 && path !== 'api/session') signedOut()
  throw new ApiError(r.status, failure)
}

export async function get<T>(path: string, signal?: AbortSignal): Promise<T> {
  return (await (await call('GET', path, undefined, signal)).json()) as T
}

export async function send<T>(verb: Verb, path: string, body?: unknown, signal?: AbortSignal, index?: number): Promise<T> {
  return (await (await call(verb, path, body === undefined ? undefined : JSON.stringify(body), signal, index)).json()) as T
}

// putBoard stores a board in place of the one that was read. Where somebody else was faster, nothing is
// stored and the error's status is 412.
export const putBoard = (b: Board): Promise<Board> => send('PUT', 'api/boards/' + encode(b.name), { title: b.title, tiles: b.tiles }, undefined, b.index)

export async function text(path: string, signal?: AbortSignal): Promise<string> {
  return (await call('GET', path, undefined, signal)).text()
}

// Each query takes all processors of the server: more at a time are no faster, and what is asked
// next, by a click that leaves these behind, would have to share with all of them.
const places = 2
let taken = 0
const waiting: (() => void)[] = []

export async function query<T extends Answer>(q: string, signal?: AbortSignal, args = ''): Promise<T> {
  if (taken < places) taken++
  else await new Promise<void>((go) => waiting.push(go))
  try {
    signal?.throwIfAborted()
    return (await (await call('POST', 'api/query' + args, q, signal)).json()) as T
  } finally {
    const next = waiting.shift()
    if (next) next() // the place is its
    else taken--
  }
}

// stream reads an answer of lines; each calls line.
export async function stream(verb: Verb, path: string, body: unknown, line: (text: string) => void, signal?: AbortSignal) {
  const r = await call(verb, path, body === undefined ? undefined : JSON.stringify(body), signal)
  const reader = r.body!.pipeThrough(new TextDecoderStream()).getReader()
  let rest = ''
  for (;;) {
    const { done, value } = await reader.read()
    if (done) break
    const parts = (rest + value).split('\n')
    rest = parts.pop()!
    for (const p of parts) if (p) line(p)
  }
  if (rest) line(rest)
}

// encode is a name or an id as a segment of a path.
export const encode = (name: string): string => encodeURIComponent(name)

export interface Session {
  required: boolean
  role: '' | 'read' | 'admin'
  name: string
}

export interface Catalog {
  events: { name: string; events: number; first_seen: string; last_seen: string }[]
  fields: { field: string; kinds: string[]; share: number; examples: unknown[] }[]
}

export interface Suggestion {
  text: string
  kind: string
  from: number
  to: number
}

export interface Stats {
  elapsed_ms: number
  partitions: number
  segments: number
  blocks_read: number
  blocks_skipped: number
  rows_scanned: number
  bytes_read: number
  cached?: boolean
}

interface Common {
  query: string
  warnings?: string[]
  stats: Stats
  as_of: { index: number; received_at: string | null; data_through: string | null }
}

export interface Step {
  event: string
  users: number
  conversion: number
  step_conversion: number
  median_seconds: number | null
}

export interface FunnelAnswer extends Common {
  kind: 'funnel'
  steps: Step[]
  open: number
  time_to_convert?: { median_seconds: number; p90_seconds: number; histogram: { from: number; to: number; count: number }[] }
  by?: string[]
  groups?: { key: unknown[]; other?: boolean; steps: Step[] }[]
  points?: { t: string; steps: Step[] }[]
}

export interface Series {
  measure: string
  event: string
  key: unknown[]
  other?: boolean
  points: { t: string; value: number | null }[]
}

export interface TrendAnswer extends Common {
  kind: 'trend'
  series: Series[]
}

export interface Cohort {
  t: string
  size: number
  retained: number[]
}

export interface RetentionAnswer extends Common {
  kind: 'retention'
  every: string
  cohorts: Cohort[]
  groups?: { key: unknown[]; other?: boolean; cohorts: Cohort[] }[]
}

export interface SessionNumbers {
  sessions: number
  users: number
  mean_duration_seconds: number | null
  median_duration_seconds: number | null
  mean_events: number | null
  bounce_rate: number | null
}

export interface SessionsAnswer extends Common, SessionNumbers {
  kind: 'sessions'
  points?: (SessionNumbers & { t: string })[]
  groups?: (SessionNumbers & { key: unknown[]; other?: boolean })[]
}

export interface PathsAnswer extends Common {
  kind: 'paths'
  links: { depth: number; from: string; to: string; count: number; users: number }[]
}

export interface AttributionAnswer extends Common {
  kind: 'attribution'
  conversions: number
  value: number | null
  touchpoints: { key: unknown; other?: boolean; conversions: number; value: number | null }[]
}

export interface Variant {
  name: string
  control: boolean
  users: number
  converted: number
  rate: number
  lift: number | null
  lift_ci: [number, number] | null
  p_value: number | null
  chance_to_win: number | null
}

export interface ExperimentAnswer extends Common {
  kind: 'experiment'
  variants: Variant[]
  srm_p_value: number | null
  multiple_variants: number
}

export interface TopAnswer extends Common {
  kind: 'top'
  field: string
  values: { value: unknown; count: number; users: number }[]
}

export interface StoredEvent {
  eventId: string
  eventName: string
  timestamp: string
  receivedAt: string
  person: string
  userId?: string
  anonymousId?: string
  source?: string
  properties?: Record<string, unknown>
  context?: Record<string, unknown>
}

export interface EventsAnswer extends Common {
  kind: 'events'
  events: StoredEvent[]
  next: string | null
}

export interface UsersAnswer extends Common {
  kind: 'users'
  count: number
  users: string[]
  next: string | null
}

export interface LifecycleAnswer extends Common {
  kind: 'lifecycle'
  every: string
  points: { t: string; new: number; returning: number; resurrecting: number; dormant: number }[]
}

export interface StickinessAnswer extends Common {
  kind: 'stickiness'
  every: string
  days: { periods: number; users: number }[]
}

export type Answer =
  | FunnelAnswer
  | TrendAnswer
  | RetentionAnswer
  | SessionsAnswer
  | PathsAnswer
  | AttributionAnswer
  | ExperimentAnswer
  | TopAnswer
  | EventsAnswer
  | UsersAnswer
  | LifecycleAnswer
  | StickinessAnswer

export interface Board {
  name: string
  index: number
  title: string
  tiles: Tile[]
}

export interface Tile {
  title: string
  query: string
  wide?: boolean
  table?: boolean
}
