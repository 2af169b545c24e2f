import { readFileSync } from 'node:fs'

// documented are the questions of the documentation, one of a line or of lines that belong together.
export function documented(): string[] {
  const out: string[] = []
  for (const file of ['../engine/query/lang/grammar.md', '../docs/query-language.md']) {
    const text = readFileSync(new URL('../' + file, import.meta.url), 'utf8')
    for (const [, block] of text.matchAll(/```spoor\n([^]*?)```/g)) {
      let open = ''
      for (const line of block!.split('\n')) {
        if (line.startsWith(' ') && open) open += '\n' + line
        else {
          if (open) out.push(open)
          open = line
        }
      }
      if (open.trim()) out.push(open)
    }
  }
  return out.filter((t) => t.trim() && !t.trim().startsWith('#'))
}

// random is a generator of numbers below n that a seed decides.
export function random(seed: number): (n: number) => number {
  let x = seed * 2654435761 + 1
  return (n) => {
    x = (Math.imul(x ^ (x >>> 15), 2246822519) + 0x9e3779b9) | 0
    const y = Math.imul(x ^ (x >>> 13), 3266489917)
    return ((y ^ (y >>> 16)) >>> 0) % n
  }
}

// Names that are hard: words of the language, quotes, other scripts, markup.
const events = ['page_viewed', 'view_product', 'any event', 'within', 'of', 'Order "Completed"', 'größe', '<img src=x onerror=alert(1)>', '2026-05-01', 'a\\b', 'tab\there']
const fields = ['properties.price', 'context.device', 'user.plan', 'userId', 'properties."item count"', 'source', 'properties.a.b', 'properties.user']
const texts = ['"x"', '"a \\"b\\""', '12', '-1.5', 'true', '"DE"']

// randomQuery is a question of any kind that the builder could have made.
export function randomQuery(r: (n: number) => number): string {
  const pick = <T>(list: readonly T[]): T => list[r(list.length)]!
  const quote = (s: string) => JSON.stringify(s)
  const test = (): string => {
    const f = pick(fields)
    const value = () => (f.includes('.') ? pick(texts) : quote(pick(events)))
    return pick([
      () => `${f} = ${value()}`, () => `${f} != ${value()}`, () => `${f} exists`, () => `${f} missing`, () => `${f} in (${value()}, ${value()})`,
      () => `${f} not in (${value()})`, () => `${f} contains ${quote(pick(events))}`, () => `${f} starts with "a"`, () => `properties.price >= ${r(100)}`,
    ])()
  }
  const predicate = (): string => pick([test, test, () => `${test()} and ${test()}`, () => `${test()} or ${test()}`, () => `not (${test()} or ${test()}) and ${test()}`])()
  const name = (): string => (r(3) ? quote(pick(events)) : pick(['page_viewed', 'search', 'any']))
  const bracket = () => (r(4) ? '' : `[${predicate()}]`)
  const sel = (): string => (r(5) ? name() + bracket() : `(${name()} or ${name()})${bracket()}`)
  const maybe = (text: () => string, n = 3): string => (r(n) ? '' : ' ' + text())
  const head = pick([
    () => `funnel ${[...Array(1 + r(4))].map(sel).join(' -> ')} within ${pick(['1d', '30m', '2w'])}` + maybe(() => 'order ' + pick(['strict', 'any'])) + maybe(() => 'per ' + pick(['session gap 10m', 'properties.a.b', 'session'])) +
      maybe(() => 'never ' + sel()) + maybe(() => 'holding ' + pick(fields)) + maybe(() => 'by ' + pick(fields) + maybe(() => 'at last')),
    () => `trend ${pick(['count', 'users', 'sum(properties.price)', 'p99.9(price)', 'per_user', 'distinct(context.device)'])} of ${sel()}` + maybe(() => `, count of ${sel()} / users of ${sel()}`) + maybe(() => 'by ' + pick(fields)) + maybe(() => 'every ' + pick(['day', 'week', '6h'])),
    () => `retention ${sel()} -> ${sel()} every ${pick(['day', 'week'])} for ${1 + r(6)}` + maybe(() => 'first') + maybe(() => 'rolling') + maybe(() => 'at least 2'),
    () => 'sessions' + maybe(() => 'gap 10m') + maybe(() => 'max 4h') + maybe(() => 'by context.device') + maybe(() => 'every day'),
    () => 'paths' + maybe(() => `${pick(['from', 'to'])} (${name()})${bracket()}`) + maybe(() => 'depth 3') + maybe(() => 'collapse') + maybe(() => 'limit 7'),
    () => `attribution ${sel()} by context.campaign` + maybe(() => 'touch ' + sel()) + maybe(() => 'model ' + pick(['linear', 'time_decay half_life 2d', 'position'])) + maybe(() => 'lookback 7d') + maybe(() => 'value price'),
    () => `experiment properties.variant goal ${sel()} exposure ${sel()}` + maybe(() => 'control ' + pick(['"control"', 'true', '1'])) + maybe(() => 'within 7d'),
    () => `top ${pick(fields)} of ${sel()}` + maybe(() => 'limit 5'),
    () => `events of ${sel()}` + maybe(() => 'newest') + ' limit 3' + maybe(() => 'user "u1"'),
    () => `users of ${sel()}` + maybe(() => pick(['at least 2', 'at most 3', 'exactly 0'])),
    () => `lifecycle ${sel()}` + maybe(() => 'every week'),
    () => `stickiness ${sel()}` + maybe(() => 'every day'),
  ])()
  return head + maybe(() => 'where ' + predicate()) + ' from 2026-05-01 to 2026-05-09' + maybe(() => 'tz "Europe/Berlin"')
}
