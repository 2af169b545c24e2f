import { emptyQuery, kinds, type Aggregate, type Kind, type Measure, type Query } from './model'
import { readLiteral, readPredicate } from './predicate'
import { Reader } from './reader'
import { NotShown, tokens } from './tokens'

// parse reads a question for the builder. It throws NotShown where the text is wrong
// or has what the builder does not show; the server says what is wrong with it.
export function parse(text: string): Query {
  const r = new Reader(text, tokens(text))
  const kind = r.next().value as Kind
  if (!kinds.includes(kind)) throw new NotShown('a question begins with ' + kinds.join(', '), 0)
  const q = emptyQuery(kind)
  head(r, q)
  while (r.peek().kind !== 'end') clause(r, q)
  return q
}

function head(r: Reader, q: Query) {
  switch (q.kind) {
    case 'funnel':
      do q.steps.push({ ...r.selection(), optional: r.take('?') })
      while (r.take('->'))
      break
    case 'trend':
      measures(r, q)
      break
    case 'retention':
      q.of = r.selection()
      r.must('->')
      q.then = r.selection()
      break
    case 'attribution': case 'lifecycle': case 'stickiness':
      q.of = r.selection()
      break
    case 'experiment':
      q.field = r.field()
      break
    case 'top':
      q.field = r.field()
      r.must('of')
      q.of = r.selection()
      break
    case 'events': case 'users':
      if (r.take('of')) q.of = r.selection()
  }
}

function measures(r: Reader, q: Query) {
  const open: Aggregate[] = [] // those that take the events of the next one that names some
  const aggregate = (): Aggregate => {
    const t = r.next()
    let name = t.value
    if (t.kind !== 'word') r.fail(t)
    if (/^p\d+$/.test(name) && r.word('.')) {
      r.next()
      name += '.' + r.number()
    }
    const a: Aggregate = { name, field: '', of: { any: true, names: [], where: '' } }
    if (r.take('(')) {
      a.field = r.field()
      r.must(')')
    }
    open.push(a)
    if (r.take('of')) {
      const of = r.selection()
      for (const o of open) o.of = structuredClone(of)
      open.length = 0
    }
    return a
  }
  do {
    const m: Measure = aggregate()
    if (r.take('/')) m.per = aggregate()
    q.measures.push(m)
  } while (r.take(','))
  if (open.length > 0) r.fail(r.peek())
}

const isTime = (kind: string, value: string): boolean => (kind === 'number' || kind === 'text') && /^\d{4}-\d\d-\d\d/.test(value)

function clause(r: Reader, q: Query) {
  const t = r.next()
  if (t.kind !== 'word') r.fail(t)
  const list = (read: () => string): string[] => {
    const out = [read()]
    while (r.take(',')) out.push(read())
    return out
  }
  switch (t.value) {
    case 'where': {
      const from = r.peek().from
      readPredicate(r)
      q.where = r.slice(from)
      return
    }
    case 'user': q.user = r.text(); return
    case 'by':
      q.by = list(() => {
        let field = r.field()
        if (q.kind === 'funnel' && r.word('at')) {
          r.next()
          field += r.take('last') ? ' at last' : (r.must('step'), ' at step ' + r.number())
        }
        return field
      })
      return
    case 'every': q.every = r.next().value; return
    case 'from': {
      const p = r.peek()
      if (q.kind === 'paths' && !isTime(p.kind, p.value)) {
        q.start = r.selection()
        return
      }
      q.range = { last: '', from: r.next().value, to: '' }
      r.must('to')
      q.range.to = r.next().value
      return
    }
    case 'to': q.end = r.selection(); return
    case 'last': q.range = { last: r.number(), from: '', to: '' }; return
    case 'tz': q.tz = r.text(); return
    case 'limit': q.limit = r.number(); return
    case 'newest': q.newest = true; return
    case 'after': q.after = r.text(); return
    case 'within': q.within = r.number(); return
    case 'order': q.order = r.next().value; if (q.order === 'ordered') q.order = ''; return
    case 'per':
      if (r.word('user') && r.peek(1).value !== '.') {
        r.next()
      } else if (r.word('session') && r.peek(1).value !== '.') {
        r.next()
        q.per = 'session' + (r.take('gap') ? ' gap ' + r.number() : '')
      } else q.per = r.field()
      return
    case 'excluding': {
      const of = r.selection()
      let between = ''
      if (r.take('between')) {
        between = r.number()
        r.must('and')
        between += ' and ' + r.number()
      }
      q.excluding.push({ of, between })
      return
    }
    case 'never': q.never.push(r.selection()); return
    case 'holding': q.holding = list(() => r.field()); return
    case 'for': q.periods = r.number(); return
    case 'first': q.first = true; return
    case 'recurring': q.first = false; return
    case 'rolling': q.rolling = true; return
    case 'at': {
      const bound = r.next().value
      q.times = `at ${bound} ${r.number()}`
      if (q.times === 'at least 1') q.times = ''
      return
    }
    case 'exactly': q.times = 'exactly ' + r.number(); return
    case 'gap': q.gap = r.number(); return
    case 'max': q.max = r.number(); return
    case 'depth': q.depth = r.number(); return
    case 'collapse': q.collapse = true; return
    case 'touch': q.touch = r.selection(); return
    case 'model': q.model = r.next().value; return
    case 'lookback': q.lookback = r.number(); return
    case 'half_life': q.halfLife = r.number(); return
    case 'value': q.value = r.field(); return
    case 'goal': q.goal = r.selection(); return
    case 'exposure': q.exposure = r.selection(); return
    case 'control': q.control = readLiteral(r); return
  }
  r.fail(t)
}
