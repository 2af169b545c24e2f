import { fieldText, isWord, NotShown, quote, type Token } from './tokens'
import type { Selection } from './model'
import { readPredicate } from './predicate'

// Reader goes through the tokens of a text.
export class Reader {
  private i = 0
  constructor(
    readonly source: string,
    private readonly list: Token[],
  ) {}

  peek(n = 0): Token {
    return this.list[Math.min(this.i + n, this.list.length - 1)]!
  }

  next(): Token {
    const t = this.peek()
    if (t.kind !== 'end') this.i++
    return t
  }

  word(value: string): boolean {
    const t = this.peek()
    return t.value === value && t.kind !== 'text'
  }

  take(value: string): boolean {
    if (!this.word(value)) return false
    this.next()
    return true
  }

  must(value: string) {
    if (!this.take(value)) this.fail(this.peek())
  }

  fail(t: Token): never {
    throw new NotShown(t.kind === 'end' ? 'the query is not complete' : `"${t.value}" is not expected here`, t.from)
  }

  end() {
    if (this.peek().kind !== 'end') this.fail(this.peek())
  }

  text(): string {
    const t = this.next()
    return t.kind === 'text' ? t.value : this.fail(t)
  }

  number(): string {
    const t = this.next()
    return t.kind === 'number' ? t.value : this.fail(t)
  }

  name(): string {
    const t = this.next()
    return t.kind === 'word' || t.kind === 'text' ? t.value : this.fail(t)
  }

  // field reads a field; a bare name is a property.
  field(): string {
    const first = this.peek()
    const path = [this.name()]
    while (this.word('.')) {
      this.next()
      path.push(this.name())
    }
    const scoped = first.kind === 'word' && path.length > 1 && ['properties', 'context', 'user'].includes(path[0]!)
    const own = first.kind === 'word' && path.length === 1 && ['userId', 'anonymousId', 'eventName', 'source', 'timestamp', 'receivedAt'].includes(path[0]!)
    return scoped || own ? fieldText(path) : fieldText(['properties', ...path])
  }

  slice(from: number): string {
    return this.source.slice(from, this.list[this.i - 1]?.to ?? from)
  }

  private bracket(): string {
    if (!this.take('[')) return ''
    const from = this.peek().from
    readPredicate(this)
    const text = this.slice(from)
    this.must(']')
    return text
  }

  private alternative(): Selection {
    const t = this.next()
    if (t.kind !== 'word' && t.kind !== 'text') this.fail(t)
    const any = t.kind === 'word' && t.value === 'any'
    return { any, names: any ? [] : [t.value], where: this.bracket() }
  }

  selection(): Selection {
    const from = this.peek().from
    if (!this.take('(')) return this.alternative()
    const list = [this.alternative()]
    while (this.take('or')) list.push(this.alternative())
    this.must(')')
    const where = this.bracket()
    if (list.every((s) => !s.any && s.where === '')) return { any: false, names: list.flatMap((s) => s.names), where }
    if (list.length === 1) return { ...list[0]!, where: [list[0]!.where, where].filter(Boolean).map((w) => '(' + w + ')').join(' and ') }
    return { any: false, names: [], where: '', raw: this.slice(from) }
  }
}

export { isWord, quote }
