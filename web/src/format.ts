// Numbers and times as the reader writes them.

const locale = navigator.language
const whole = new Intl.NumberFormat(locale, { maximumFractionDigits: 0 })
const some = new Intl.NumberFormat(locale, { maximumFractionDigits: 2 })
const short = new Intl.NumberFormat(locale, { notation: 'compact', maximumFractionDigits: 1 })
const share = new Intl.NumberFormat(locale, { style: 'percent', maximumFractionDigits: 1 })
const signed = new Intl.NumberFormat(locale, { style: 'percent', maximumFractionDigits: 1, signDisplay: 'exceptZero' })

export const number = (n: number | null | undefined): string => (n == null ? '–' : Number.isInteger(n) ? whole.format(n) : some.format(n))
export const compact = (n: number): string => (Math.abs(n) < 10_000 ? number(n) : short.format(n))
export const percent = (n: number | null | undefined): string => (n == null || !Number.isFinite(n) ? '–' : n > 0 && n < 0.0005 ? '< ' + share.format(0.001) : share.format(n))
export const change = (n: number): string => (Number.isFinite(n) ? signed.format(n) : '–')

export function bytes(n: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB']
  let i = 0
  while (n >= 1024 && i < units.length - 1) {
    n /= 1024
    i++
  }
  return some.format(n) + ' ' + units[i]
}

// duration writes seconds with the two units that matter: 4 m 5 s, 3 d 2 h.
export function duration(seconds: number | null | undefined): string {
  if (seconds == null) return '–'
  if (seconds < 1) return whole.format(seconds * 1000) + ' ms'
  if (seconds < 10) return some.format(seconds) + ' s'
  let left = Math.round(seconds)
  const out: string[] = []
  for (const [unit, size] of [['d', 86400], ['h', 3600], ['m', 60], ['s', 1]] as const) {
    const n = Math.floor(left / size)
    left -= n * size
    if (n > 0 && out.length < 2) out.push(n + ' ' + unit)
    else if (out.length > 0) break
  }
  return out.join(' ')
}

// secondsOf reads a duration of the language, 7d; any other word is longer than all of them.
export function secondsOf(text: string): number {
  const m = /^(\d+)([smhdw])$/.exec(text)
  return m ? Number(m[1]) * { s: 1, m: 60, h: 3600, d: 86400, w: 604800 }[m[2] as 's']! : Infinity
}

// moment writes a time in the zone of a question, or of the reader.
export function moment(text: string | null | undefined, tz?: string): string {
  if (!text) return '–'
  const at = new Date(text)
  return Number.isNaN(at.getTime()) ? text : at.toLocaleString(locale, { dateStyle: 'medium', timeStyle: 'medium', timeZone: tz })
}

const clock = new Intl.DateTimeFormat(locale, { hour: '2-digit', minute: '2-digit', second: '2-digit' })
export const clockTime = (text: string): string => clock.format(new Date(text))

// period names the period that begins at a time, by its length.
export function period(text: string, every: string, tz = 'UTC'): string {
  const at = new Date(text)
  const date = { timeZone: tz, month: 'short', day: 'numeric' } as const
  if (every === 'month') return at.toLocaleDateString(locale, { timeZone: tz, month: 'short', year: 'numeric' })
  if (every === 'minute' || every === 'hour' || /^\d+(ms|s|m|h)$/.test(every)) return at.toLocaleString(locale, { ...date, hour: '2-digit', minute: '2-digit' })
  return at.toLocaleDateString(locale, at.getFullYear() === new Date().getFullYear() ? date : { ...date, year: 'numeric' })
}

const relative = new Intl.RelativeTimeFormat(locale, { numeric: 'auto', style: 'short' })
export function ago(text: string | null | undefined, now: number): string {
  if (!text) return '–'
  const s = (new Date(text).getTime() - now) / 1000
  const a = Math.abs(s)
  if (a < 60) return relative.format(Math.round(s), 'second')
  if (a < 3600) return relative.format(Math.round(s / 60), 'minute')
  if (a < 86400) return relative.format(Math.round(s / 3600), 'hour')
  return relative.format(Math.round(s / 86400), 'day')
}

// keyText names a group of a breakdown.
export function keyText(key: unknown[], other?: boolean): string {
  if (other) return 'others'
  return key.map((k) => (k === null ? '(none)' : String(k))).join(' · ')
}
