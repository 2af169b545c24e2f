// The words of the query language, with their places in the text. The grammar is
// engine/query/lang/grammar.md; the server has the last word on what is right.

export interface Token {
  kind: 'word' | 'text' | 'number' | 'sign' | 'end'
  value: string // of a text: without quotes and escapes
  from: number
  to: number
}

export class NotShown extends Error {
  constructor(
    message: string,
    readonly at: number,
  ) {
    super(message)
  }
}

const pattern = /\s+|#[^\n]*|([A-Za-z_$][A-Za-z0-9_$]*)|("(?:[^"\\\n]|\\.)*")|(-?\d[\w:.]*(?:[-+]\d[\w:.]*)*)|(->|!=|<=|>=|[-()[\],.?/=<>])/gy

export function tokens(text: string): Token[] {
  const out: Token[] = []
  pattern.lastIndex = 0
  while (pattern.lastIndex < text.length) {
    const at = pattern.lastIndex
    const m = pattern.exec(text)
    if (!m) throw new NotShown('this character belongs to nothing', at)
    const [all, word, quoted, num, sign] = m
    const kind = word ? 'word' : quoted ? 'text' : num ? 'number' : sign ? 'sign' : undefined
    if (kind) out.push({ kind, value: quoted ? unquote(quoted, at) : all, from: at, to: at + all.length })
  }
  out.push({ kind: 'end', value: '', from: text.length, to: text.length })
  return out
}

function unquote(text: string, at: number): string {
  try {
    return JSON.parse(text) as string
  } catch {
    throw new NotShown('this text cannot be read', at)
  }
}

export const quote = (text: string): string => JSON.stringify(text)

export const isWord = (text: string): boolean => /^[A-Za-z_$][A-Za-z0-9_$]*$/.test(text)

// Words that begin a clause: an event of such a name stands in quotes, so that readers do not stumble.
const clauseWords = new Set(
  'any or of within order per excluding never holding for first recurring rolling to depth collapse gap max touch model lookback half_life value goal exposure control at exactly where user by every from last tz limit newest after'.split(' '),
)

// eventText is an event's name as the language writes it.
export const eventText = (name: string): string => (isWord(name) && !clauseWords.has(name) ? name : quote(name))

// fieldText is a path of a field as the language writes it.
export const fieldText = (path: string[]): string => path.map((k, i) => (i === 0 || isWord(k) ? k : quote(k))).join('.')

// literal is a value of an answer as the language writes it.
export const literal = (v: unknown): string => (typeof v === 'string' ? quote(v) : String(v))
