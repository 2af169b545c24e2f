import { describe, expect, test } from 'vitest'
import { parse } from '../src/query/parse'
import { print } from '../src/query/print'
import { literalOf, printRows, rowsOf, typedOf } from '../src/query/predicate'
import { documented, random, randomQuery } from './texts'

describe('query text and builder', () => {
  const texts = documented()
  test('the documentation has questions', () => expect(texts.length).toBeGreaterThan(60))
  test.each(texts)('the builder reads and writes %j', (text) => {
    const written = print(parse(text))
    expect(print(parse(written))).toBe(written)
  })

  test('random questions are written as they are read', () => {
    const r = random(1)
    for (let i = 0; i < 3000; i++) {
      const text = randomQuery(r)
      const written = print(parse(text))
      expect(print(parse(written)), text).toBe(written)
    }
  })

  test.each([
    ['funnel a -> b? -> c order strict per session', 'funnel a -> b? -> c order strict per session last 30d'],
    ['trend users, sum(price) / count of x, count of y every week', 'trend users, sum(properties.price) / count of x, count of y every week last 30d'],
    ['events of (a or "b c")[x = 1] newest', 'events of (a or "b c")[x = 1] last 30d newest'],
    ['paths from ("2026-05-01") depth 2', 'paths from ("2026-05-01") depth 2 last 30d'],
    ['funnel "of" -> "within"[context.a="b"] by x at step 2 # why', 'funnel "of" -> "within"[context.a="b"] by properties.x at step 2 last 30d'],
  ])('%s', (text, want) => {
    expect(print(parse(text))).toBe(want)
  })

  test.each(['', 'fun a', 'funnel a ->', 'trend count of', 'events of "open', 'top x', 'trend count of a every day nonsense', 'events of a where x ='])('what is wrong is not shown: %j', (text) => {
    expect(() => parse(text)).toThrow()
  })
})

describe('conditions', () => {
  test('rows are what the predicate says', () => {
    expect(rowsOf('context.country = "DE" and price > 10 and plan in ("a", 2) and x missing')).toEqual({
      join: 'and',
      tests: [
        { field: 'context.country', op: '=', values: ['"DE"'] },
        { field: 'properties.price', op: '>', values: ['10'] },
        { field: 'properties.plan', op: 'in', values: ['"a"', '2'] },
        { field: 'properties.x', op: 'missing', values: [] },
      ],
    })
  })
  test('what rows cannot say stays text', () => {
    for (const text of ['not a = 1', 'a = 1 and (b = 2 or c = 3)', 'a = 1 or b = 2 and c = 3', 'a =']) expect(rowsOf(text), text).toBeNull()
  })
  test('rows that are not complete yet are left out', () => {
    expect(printRows({ join: 'or', tests: [{ field: 'a', op: '=', values: ['1'] }, { field: '', op: '=', values: ['2'] }, { field: 'b', op: '=', values: [''] }] })).toBe('a = 1')
  })
  test('what is typed becomes the literal that is meant, and back', () => {
    for (const [typed, literal] of [['DE', '"DE"'], ['12', '12'], ['"12"', '"12"'], ['true', 'true'], ['"true"', '"true"'], ['say "hi"', '"say \\"hi\\""'], ['-1.5e3', '-1.5e3']]) {
      expect(literalOf(typed!, '=')).toBe(literal)
      expect(typedOf(literal!)).toBe(typed)
    }
    expect(literalOf('12', 'contains')).toBe('"12"')
    expect(literalOf('12', '=', 'userId')).toBe('"12"')
    expect(literalOf('12', '=', 'user.age')).toBe('12')
  })
})
