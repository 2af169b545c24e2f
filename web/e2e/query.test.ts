import { afterAll, beforeAll, expect, test } from 'vitest'
import { parse } from '../src/query/parse'
import { print } from '../src/query/print'
import { documented, random, randomQuery } from '../test/texts'
import { Server } from './server'

let server: Server
beforeAll(async () => {
  server = await Server.start()
  await server.send('PUT', '/api/queries/buyers', 'users of purchase')
  await server.send('PUT', '/api/queries/staff', 'users of purchase')
})
afterAll(() => server.stop())

// meaning is a question as the server understands it, with every default and its whole time.
async function meaning(text: string): Promise<string> {
  const { query } = await server.query<{ query: string }>(text, '?explain=1')
  return query.replace(/from \d{4}-\d\d-\d\dT[\d:.]+Z to \d{4}-\d\d-\d\dT[\d:.]+Z/, 'in its time')
}

test('what the builder writes means what it has read: the documentation', async () => {
  for (const text of documented().filter((t) => !t.includes(' after "'))) expect(await meaning(print(parse(text))), text).toBe(await meaning(text))
})

test('what the builder writes means what it has read: random questions', async () => {
  const n = Number(process.env.SPOOR_WEB_QUERIES ?? 400)
  const r = random(Number(process.env.SPOOR_WEB_SEED ?? 1))
  for (let i = 0; i < n; i++) {
    const text = randomQuery(r)
    const want = await meaning(text)
    expect(await meaning(print(parse(text))), text).toBe(want)
    // The full text of an answer is read too: charts find their time and events in it.
    const { query } = await server.query<{ query: string }>(text, '?explain=1')
    expect(await meaning(print(parse(query))), query).toBe(want)
  }
})
