import { afterEach, expect, test, vi } from 'vitest'
import { query } from '../src/api'

afterEach(() => vi.unstubAllGlobals())

// server answers when it is told to, by the text of a query.
function server() {
  const asked = new Map<string, () => void>()
  vi.stubGlobal('fetch', (_: string, o: RequestInit) =>
    new Promise((done, fail) => {
      asked.set(o.body as string, () => done(new Response(JSON.stringify({ query: o.body }))))
      o.signal?.addEventListener('abort', () => fail(o.signal!.reason))
    }),
  )
  return asked
}

const soon = () => new Promise((done) => setTimeout(done))

test('two queries run at a time, the others follow in their order', async () => {
  const asked = server()
  const all = ['a', 'b', 'c', 'd'].map((q) => query(q))
  await soon()
  expect([...asked.keys()]).toEqual(['a', 'b'])
  asked.get('b')!()
  await all[1]
  await soon()
  expect([...asked.keys()]).toEqual(['a', 'b', 'c'])
  asked.get('a')!()
  await soon()
  for (const q of ['c', 'd']) asked.get(q)!()
  expect(await Promise.all(all)).toEqual(['a', 'b', 'c', 'd'].map((q) => ({ query: q })))
})

test('a query that is left behind gives its place to the next one, and one that waits is not asked', async () => {
  const asked = server()
  const left = new AbortController()
  const behind = ['a', 'b', 'c', 'd'].map((q) => query(q, left.signal).catch((e: Error) => e.name))
  const next = query('e')
  await soon()
  left.abort()
  expect(await Promise.all(behind)).toEqual(Array(4).fill('AbortError'))
  await soon()
  expect([...asked.keys()]).toEqual(['a', 'b', 'e'])
  asked.get('e')!()
  expect(await next).toEqual({ query: 'e' })
})

test('an answer that is an error gives its place back', async () => {
  vi.stubGlobal('fetch', () => Promise.resolve(new Response('{"error":{"code":"x","message":"no"}}', { status: 400 })))
  for (let i = 0; i < 5; i++) await expect(query('a')).rejects.toThrow('no')
})
