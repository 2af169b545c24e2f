import { isWord, quote, tokens, type Token } from './tokens'
import { Reader } from './reader'

// A condition as a row of the builder: values are literals of the language.
export interface Test {
  field: string // 'user' for cohorts
  op: string
  values: string[]
}

export interface Rows {
  join: 'and' | 'or'
  tests: Test[]
}

export const operators = ['=', '!=', '<', '<=', '>', '>=', 'in', 'not in', 'contains', 'starts with', 'ends with', 'matches', 'exists', 'missing']
export const withoutValue = (op: string): boolean => op === 'exists' || op === 'missing'
export const withList = (op: string): boolean => op === 'in' || op === 'not in'

// node is what a part of a predicate is: rows, or something that rows do not show.
type Node = Rows | null

// readPredicate moves behind a predicate and returns its rows, null if it has another form.
export function readPredicate(r: Reader): Node {
  const terms = [readAnd(r)]
  while (r.take('or')) terms.push(readAnd(r))
  return joined('or', terms)
}

function readAnd(r: Reader): Node {
  const terms = [readOperand(r)]
  while (r.take('and')) terms.push(readOperand(r))
  return joined('and', terms)
}

function joined(join: 'and' | 'or', terms: Node[]): Node {
  if (terms.length === 1) return terms[0]!
  if (terms.some((t) => t === null || t.tests.length !== 1)) return null
  return { join, tests: terms.map((t) => t!.tests[0]!) }
}

function readOperand(r: Reader): Node {
  if (r.word('not')) {
    r.next()
    readOperand(r)
    return null
  }
  if (r.take('(')) {
    const inner = readPredicate(r)
    r.must(')')
    return inner && inner.tests.length === 1 ? inner : null
  }
  return { join: 'and', tests: [readTest(r)] }
}

function readTest(r: Reader): Test {
  if (r.word('user') && (r.peek(1).value === 'in' || (r.peek(1).value === 'not' && r.peek(2).value === 'in'))) {
    r.next()
    const no = r.take('not')
    r.next()
    r.must('cohort')
    return { field: 'user', op: no ? 'not in cohort' : 'in cohort', values: [quote(r.text())] }
  }
  const field = r.field()
  const t = r.next()
  switch (t.value) {
    case '=': case '!=': case '<': case '<=': case '>': case '>=':
      return { field, op: t.value, values: [readLiteral(r)] }
    case 'contains': case 'matches':
      return { field, op: t.value, values: [quote(r.text())] }
    case 'starts': case 'ends':
      r.must('with')
      return { field, op: t.value + ' with', values: [quote(r.text())] }
    case 'exists': case 'missing':
      return { field, op: t.value, values: [] }
    case 'in':
      return { field, op: 'in', values: readList(r) }
    case 'not':
      r.must('in')
      return { field, op: 'not in', values: readList(r) }
  }
  return r.fail(t)
}

function readList(r: Reader): string[] {
  r.must('(')
  const out = [readLiteral(r)]
  while (r.take(',')) out.push(readLiteral(r))
  r.must(')')
  return out
}

export function readLiteral(r: Reader): string {
  const t: Token = r.next()
  if (t.kind === 'text') return quote(t.value)
  if (t.kind === 'number' || (t.kind === 'word' && ['true', 'false', 'null'].includes(t.value))) return t.value
  return r.fail(t)
}

// rowsOf reads a predicate's text; null if rows cannot show it.
export function rowsOf(text: string): Rows | null {
  if (text.trim() === '') return { join: 'and', tests: [] }
  try {
    const r = new Reader(text, tokens(text))
    const rows = readPredicate(r)
    r.end()
    return rows
  } catch {
    return null
  }
}

export function printRows(rows: Rows): string {
  return rows.tests.filter(complete).map(printTest).join(' ' + rows.join + ' ')
}

const complete = (t: Test): boolean => t.field !== '' && (withoutValue(t.op) || t.values.some((v) => v !== ''))

function printTest(t: Test): string {
  if (withoutValue(t.op)) return t.field + ' ' + t.op
  const values = t.values.filter((v) => v !== '')
  return t.field + ' ' + t.op + ' ' + (withList(t.op) ? '(' + values.join(', ') + ')' : values[0])
}

// literalOf is what somebody typed as a value: a number, true, false and null stay what they
// are, but for fields of the event itself, which are always texts.
export function literalOf(typed: string, op: string, field = ''): string {
  const t = typed.trim()
  if (t === '') return ''
  if ((op.length <= 2 || withList(op)) && (field === '' || field.includes('.'))) {
    if (/^".*"$/s.test(t)) {
      try {
        return quote(JSON.parse(t) as string)
      } catch {
        return quote(t)
      }
    }
    if (/^-?\d+(\.\d+)?([eE][-+]?\d+)?$/.test(t) || /^(true|false|null)$/.test(t)) return t
  }
  return quote(t)
}

// typedOf is a literal as somebody would type it.
export function typedOf(literal: string): string {
  if (!literal.startsWith('"')) return literal
  const text = JSON.parse(literal) as string
  return /^-?\d/.test(text) || /^(true|false|null)$/.test(text) || text.trim() !== text || text.startsWith('"') ? literal : text
}

export { isWord }
