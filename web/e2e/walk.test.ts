import type { Browser, Page } from 'playwright-core'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { accessible, launch, open, settled, shot, violations, visit } from './browser'
import { Server } from './server'

const funnel = 'funnel view_product -> add_to_cart -> purchase_completed within 7d last 90d'
const number = (text: string | null): number => Number((text ?? '').replace(/[^\d.-]/g, ''))

// What somebody could send to take over whoever looks at it.
const hostile = [
  '<img src=x onerror="window.hacked=1">', '"><script>window.hacked=1</script>', "javascript:window.hacked=1//'", '<svg/onload=window.hacked=1>', '{@html "<img src=x onerror=window.hacked=1>"}',
  '${window.hacked=1}', '</textarea><script>window.hacked=1</script>', '<a href="javascript:window.hacked=1">x</a>', '&lt;img src=x onerror=window.hacked=1&gt;', '<iframe srcdoc="<script>parent.hacked=1</script>">', '\u202egnp.exe', '<style>*{display:none}</style>',
]

let browser: Browser
let server: Server
beforeAll(async () => {
  browser = await launch()
  server = await Server.start()
  server.load(20_000)
  const at = new Date(Date.now() - 60_000).toISOString()
  const events = hostile.map((h, i) => ({ eventName: h, userId: i === 0 ? h : 'mallory', timestamp: at, properties: { [h]: h, note: h }, context: { campaign: h, country: h, device: h } }))
  await server.send('POST', '/api/events/batch', events)
  await server.send('POST', '/api/identify', { userId: 'mallory', traits: { name: hostile[0], plan: hostile[1] } })
  await server.send('PUT', '/api/users/mallory/consent', { purposes: { analytics: true, ads: false } })
  await server.send('PUT', '/api/schemas/ordered?mode=enforce', { required: ['id'], properties: { id: { type: 'string' }, price: { type: 'number' } } })
  await server.send('PUT', '/api/schemas/ordered?compatibility=none', { required: ['id'], properties: { id: { type: 'string' }, price: { type: 'number', minimum: 0 } } })
  await server.send('POST', '/api/events/batch', [{ eventName: 'ordered', userId: 'u', properties: { id: 7, price: 1 } }, { eventName: 'ordered', userId: 'u', properties: { price: 1 } }, { eventName: 'ordered', userId: 'u', properties: { id: 'a', price: 2 } }])
  await server.send('PUT', '/api/boards/shop', { title: 'Shop', tiles: [{ title: 'Checkout', query: funnel }, { title: 'Views', query: 'trend count of page_viewed every day last 30d' }, { title: 'Where', query: 'top context.country of any last 30d limit 5', wide: true }] })
  await server.send('PUT', '/api/queries/checkout', funnel)
}, 120_000)
afterAll(async () => {
  await browser?.close()
  await server?.stop()
})

const explore = (q: string) => '#/explore?' + new URLSearchParams({ q })
const places: [name: string, hash: string][] = [
  ['home', '#/'],
  ['trend', explore('trend count, users of any by context.device every day last 30d')],
  ['funnel', explore(funnel + ' by context.device')],
  ['retention', explore('retention any -> any for 6 every week last 60d')],
  ['sessions', explore('sessions by context.device every day last 30d')],
  ['paths', explore('paths from view_product depth 3 collapse last 30d')],
  ['attribution', explore('attribution purchase_completed by context.campaign value properties.price last 30d')],
  ['experiment', explore('experiment properties.variant goal purchase_completed exposure experiment_viewed last 30d')],
  ['top', explore('top eventName of any last 30d limit 50')],
  ['lifecycle', explore('lifecycle any every week last 60d')],
  ['stickiness', explore('stickiness any every day last 14d')],
  ['events-list', explore('events of any newest limit 30 last 90d')],
  ['users-list', explore('users of purchase_completed at least 2 last 30d limit 20')],
  ['table', explore(funnel) + '&view=table'],
  ['boards', '#/boards'],
  ['board', '#/boards/shop'],
  ['persons', '#/persons?find=mall'],
  ['person', '#/persons/mallory'],
  ['catalogue', '#/events'],
  ['schema', '#/events/ordered'],
  ['letters', '#/letters'],
  ['quality', '#/quality'],
  ['console', '#/console?q=trend+count+of+any+every+day+last+30d&plan=1'],
  ['jobs', '#/jobs'],
  ['cluster', '#/cluster'],
  ['nowhere', '#/nowhere'],
]

describe('every page', () => {
  test.each([
    ['light', 1280, 'light'],
    ['dark', 1280, 'dark'],
    ['narrow', 360, 'light'],
  ] as const)('%s: no faults, nothing beyond the edge, 0 violations of axe, no event becomes markup', async (name, width, colorScheme) => {
    const v = await visit(browser, { viewport: { width, height: 900 }, colorScheme })
    const wrong: string[] = []
    for (const [place, hash] of places) {
      await open(v.page, server.url + '/' + hash)
      await shot(v.page, `${name}-${place}`)
      const beyond = await v.page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth)
      if (beyond > 0) wrong.push(`${place} is ${beyond} px wider than the screen`)
      const folded = v.page.locator('section[aria-label="Builder"] details:not([open]) > summary:visible')
      if (await folded.count()) await folded.click() // it is looked at too
      wrong.push(...(await violations(v.page)).map((x) => `${place}: ${x}`))
      if (await v.page.evaluate(() => 'hacked' in window)) wrong.push(`${place} ran a script of an event`)
      wrong.push(...v.faults.splice(0).map((x) => `${place}: ${x}`))
    }
    expect(wrong).toEqual([])
    await v.close()
  }, 180_000)

  test('names of events are shown letter by letter', async () => {
    const v = await visit(browser)
    await open(v.page, server.url + '/#/events')
    const shown = await v.page.locator('tbody tr td:first-child').allTextContents()
    for (const h of hostile) expect(shown.map((s) => s.trim())).toContain(h.trim())
    for (const h of hostile) {
      await open(v.page, server.url + '/#/events/' + encodeURIComponent(h))
      expect((await v.page.locator('h1').textContent())!.trim()).toBe(h.trim())
    }
    await open(v.page, server.url + '/#/persons/' + encodeURIComponent(hostile[0]!))
    expect(await v.page.evaluate(() => (window as unknown as { hacked?: number }).hacked)).toBeUndefined()
    expect(v.faults).toEqual([])
    await v.close()
  })
})

describe('figures are those of the API', () => {
  let page: Page
  let close: () => Promise<void>
  beforeAll(async () => {
    const v = await visit(browser)
    page = v.page
    close = v.close
  })
  afterAll(() => close())

  interface Funnel { steps: { event: string; users: number }[]; open: number }
  test('of a funnel, and the persons in it', async () => {
    const want = await server.query<Funnel>(funnel)
    await open(page, server.url + '/' + explore(funnel))
    const rows = page.locator('section[aria-label="Funnel"] ol > li')
    expect(await rows.count()).toBe(want.steps.length)
    for (const [i, s] of want.steps.entries()) expect(number(await rows.nth(i).locator('.numbers b').textContent())).toBe(s.users)

    // A click on a bar: the persons; a person: their timeline.
    await rows.nth(2).locator('button').first().click()
    const dialog = page.getByRole('dialog', { name: 'Reached purchase_completed' })
    await dialog.locator('li').first().waitFor()
    expect(number(await dialog.locator('.big').textContent())).toBe(want.steps[2]!.users)
    await dialog.getByRole('button', { name: 'Close' }).click()
    await rows.nth(0).getByRole('button', { name: /lost/ }).click()
    const lost = page.getByRole('dialog', { name: 'Lost after view_product' })
    await lost.locator('li a').first().waitFor()
    expect(number(await lost.locator('.big').textContent())).toBe(want.steps[0]!.users - want.steps[1]!.users)
    const person = (await lost.locator('li a').first().textContent())!
    await lost.locator('li a').first().click()
    await settled(page)
    expect(await page.locator('h1').textContent()).toBe(person)
    const timeline = await page.locator('section[aria-label^="Timeline"] summary b').allTextContents()
    expect(timeline).toContain('view_product')
  })

  test('of a trend, in its table', async () => {
    const q = 'trend count, users of page_viewed every day last 10d'
    interface Trend { series: { points: { value: number }[] }[] }
    const want = await server.query<Trend>(q)
    await open(page, server.url + '/' + explore(q))
    await page.getByRole('button', { name: 'Table' }).click()
    const cells = await page.locator('section[aria-label="Trend"] tbody tr').evaluateAll((rows) => rows.map((r) => [...r.querySelectorAll('td')].slice(1).map((c) => c.textContent)))
    // The first and the last day move on with the clock.
    expect(cells.slice(1, -1).map((c) => c.map(number))).toEqual(want.series[0]!.points.map((p, i) => [p.value, want.series[1]!.points[i]!.value]).slice(1, -1))
  })

  test('of the line that is nearest to a click', async () => {
    const q = 'trend count of page_viewed by context.device where context.device in ("mobile", "tablet") every day last 10d'
    await open(page, server.url + '/' + explore(q))
    const chart = page.getByRole('application')
    const box = (await chart.boundingBox())!
    await chart.click({ position: { x: box.width / 2, y: box.height - 36 } })
    const dialog = page.getByRole('dialog', { name: 'Persons in page_viewed tablet' })
    await dialog.locator('.big').waitFor()
    const asked = await dialog.getByRole('button', { name: 'Open as query' }).count()
    expect(asked).toBe(1)
    const whole = await server.query<{ count: number }>('users of page_viewed where context.device = "tablet" last 10d')
    expect(number(await dialog.locator('.big').textContent())).toBeLessThanOrEqual(whole.count)
    await page.keyboard.press('Escape')
  })

  test('of a retention', async () => {
    const q = 'retention any -> any for 4 every week from 2020-01-06 to 2199-01-01'
    interface Retention { cohorts: { size: number; retained: number[] }[] }
    const small = q.replace('from 2020-01-06 to 2199-01-01', 'last 45d')
    const want = (await server.query<Retention>(small)).cohorts.filter((c) => c.size > 0)
    await open(page, server.url + '/' + explore(small))
    const rows = page.locator('section[aria-label="Retention"] tbody tr:not(.mean)')
    expect(await rows.count()).toBe(want.length)
    for (const [i, c] of want.entries()) expect(number(await rows.nth(i).locator('td.num').textContent())).toBe(c.size)
    await rows.nth(1).locator('td.cell button').nth(1).click()
    const dialog = page.getByRole('dialog', { name: 'Came back after 1 weeks' })
    await dialog.locator('.big').waitFor()
    expect(number(await dialog.locator('.big').textContent())).toBe(want[1]!.retained[1])
    await page.keyboard.press('Escape')
  })

  test('of Home, and a value is a filter', async () => {
    interface Top { values: { value: string; count: number; users: number }[] }
    await open(page, server.url + '/#/?last=90d&tz=UTC')
    const want = await server.query<Top>('top context.device of any last 90d limit 8')
    const bars = page.locator('section[aria-label="Devices"] li')
    await bars.first().waitFor()
    expect(number(await bars.first().locator('.value').evaluate((e) => e.firstChild!.textContent))).toBe(want.values[0]!.count)
    await bars.first().locator('button').click()
    await settled(page)
    expect(decodeURIComponent(page.url().replaceAll('+', ' '))).toContain(`where=context.device = "${want.values[0]!.value}"`)
    const filtered = await server.query<Top>(`top eventName of any where context.device = "${want.values[0]!.value}" last 90d limit 8`)
    await expect.poll(async () => number(await page.locator('section[aria-label="Events"] li .value').first().evaluate((e) => e.firstChild!.textContent))).toBe(filtered.values[0]!.count)
  })

  test('of a funnel with an optional step: lost are those who did not get to the next that must be taken', async () => {
    const q = 'funnel view_product -> search? -> purchase_completed within 7d last 90d'
    const want = await server.query<Funnel>(q)
    await open(page, server.url + '/' + explore(q))
    const rows = page.locator('section[aria-label="Funnel"] ol > li')
    const lost = want.steps[0]!.users - want.steps[2]!.users
    expect(number(await rows.nth(0).getByRole('button', { name: /lost/ }).textContent())).toBe(lost)
    for (const [row, title] of [[0, 'Lost after view_product'], [1, 'Lost after search']] as const) {
      await rows.nth(row).getByRole('button', { name: /lost/ }).click()
      const dialog = page.getByRole('dialog', { name: title })
      await dialog.locator('.big').waitFor()
      const n = number(await dialog.locator('.big').textContent())
      if (row === 0) expect(n).toBe(lost)
      else expect(n).toBeLessThanOrEqual(want.steps[1]!.users)
      await page.keyboard.press('Escape')
    }
  })
})

describe('Explore', () => {
  test('builder and text each change the other, and the address holds all', async () => {
    const v = await visit(browser)
    const p = v.page
    await open(p, server.url + '/' + explore('funnel view_product -> purchase_completed within 7d last 30d'))
    await p.getByLabel('Within').selectOption('1d')
    await settled(p)
    const text = p.getByRole('textbox', { name: 'Query' })
    expect(await text.inputValue()).toBe('funnel view_product -> purchase_completed within 1d last 30d')
    await text.fill('funnel view_product -> add_to_cart -> purchase_completed within 3d last 30d')
    await text.press('Control+Enter')
    await settled(p)
    expect(await p.getByLabel('Within').inputValue()).toBe('3d')
    expect(await p.getByRole('combobox', { name: 'Step 2', exact: true }).inputValue()).toBe('add_to_cart')
    // A picker completes from the server.
    await p.getByRole('button', { name: '+ Step' }).click()
    await p.getByRole('combobox', { name: 'Step 4', exact: true }).fill('refund')
    await p.getByRole('option', { name: 'refund_requested' }).click()
    await settled(p)
    expect(await text.inputValue()).toContain('purchase_completed -> refund_requested')
    // Another question keeps the time.
    await p.getByRole('button', { name: 'Retention' }).click()
    await settled(p)
    expect(await text.inputValue()).toMatch(/^retention .* last 30d$/)
    const url = p.url()
    await p.goto('about:blank')
    await open(p, url)
    expect(await text.inputValue()).toMatch(/^retention .* last 30d$/)
    expect(v.faults).toEqual([])
    await v.close()
  })

  test('values of a condition come from the data', async () => {
    const v = await visit(browser)
    await open(v.page, server.url + '/' + explore('trend count of page_viewed every day last 30d'))
    await v.page.getByRole('button', { name: '+ condition' }).first().click()
    await v.page.getByRole('combobox', { name: /: field$/ }).first().fill('context.dev')
    await v.page.getByRole('option', { name: 'context.device' }).click()
    await v.page.getByRole('combobox', { name: /: value$/ }).first().fill('mob')
    await v.page.getByRole('option', { name: 'mobile' }).click()
    await settled(v.page)
    expect(await v.page.getByRole('textbox', { name: 'Query' }).inputValue()).toContain('page_viewed[context.device = "mobile"]')
    await v.close()
  })

  test('an answer can be taken along: query, link, curl, CSV, PNG', async () => {
    const v = await visit(browser)
    const p = v.page
    await open(p, server.url + '/' + explore(funnel))
    const choose = async (name: string) => {
      await p.getByRole('button', { name: 'Take along: Funnel' }).click()
      await p.getByRole('menuitem', { name }).click()
    }
    const copied = () => p.evaluate(() => navigator.clipboard.readText())
    await choose('Copy query')
    await expect.poll(copied).toBe(funnel)
    await choose('Copy curl')
    await expect.poll(copied).toBe(`curl ${server.url}/api/query --data-raw '${funnel}'`)
    await choose('Copy link')
    await expect.poll(copied).toContain('#/explore?q=funnel')
    const file = async (name: string) => {
      const [d] = await Promise.all([p.waitForEvent('download'), choose(name)])
      const chunks: Buffer[] = []
      for await (const c of await d.createReadStream()) chunks.push(c as Buffer)
      return Buffer.concat(chunks)
    }
    const want = await server.query<{ steps: { event: string; users: number }[] }>(funnel)
    expect((await file('Download CSV')).toString().split('\r\n')[1]).toMatch(`${want.steps[0]!.event},${want.steps[0]!.users},1,1,`)
    expect((await file('Download PNG')).subarray(1, 4).toString()).toBe('PNG')
    expect(v.faults).toEqual([])
    await v.close()
  })

  test('an error stands at its place', async () => {
    const v = await visit(browser)
    await open(v.page, server.url + '/#/console?' + new URLSearchParams({ q: 'trend count of page_viewed evry day' }))
    expect(await v.page.locator('mark').textContent()).toBe('evry day')
    await v.page.getByRole('button', { name: 'evry day' }).click()
    expect(await v.page.getByRole('textbox', { name: 'Query' }).evaluate((t: HTMLTextAreaElement) => t.selectionStart)).toBe(27)
    await accessible(v.page, 'an error')
    await v.close()
  })

  test('a question that nobody waits for is cancelled', async () => {
    const v = await visit(browser)
    const p = v.page
    await open(p, server.url + '/#/cluster')
    let held = false
    await p.route('**/api/query', (r) => {
      if (r.request().postData()?.startsWith('sessions gap 77m')) held = true
      else void r.continue()
    })
    const failed = p.waitForEvent('requestfailed', (r) => r.url().endsWith('/api/query') && r.postData()?.startsWith('sessions gap 77m') === true)
    await p.goto(server.url + '/' + explore('sessions gap 77m last 30d'))
    await expect.poll(() => held).toBe(true)
    await p.getByRole('link', { name: 'Jobs' }).click()
    expect((await failed).failure()?.errorText).toContain('ABORTED')
    await v.close()
  })
})

describe('work', () => {
  test('by keyboard alone: the palette goes everywhere', async () => {
    const v = await visit(browser)
    const p = v.page
    await open(p, server.url + '/')
    await p.keyboard.press('Control+k')
    await p.getByRole('combobox', { name: 'Go to' }).waitFor()
    await accessible(p, 'palette')
    await p.keyboard.type('qual')
    await p.keyboard.press('Enter')
    await settled(p)
    expect(await p.locator('h1').textContent()).toBe('Data quality')
    await p.keyboard.press('Control+k')
    await p.keyboard.type('mallory')
    await p.getByRole('option', { name: 'mallory' }).waitFor()
    await p.keyboard.press('Enter')
    await settled(p)
    expect(await p.locator('h1').textContent()).toBe('mallory')
    await p.goBack()
    await settled(p)
    expect(await p.locator('h1').textContent()).toBe('Data quality')
    await v.close()
  })

  test('a dead letter shows its violation in place, and is replayed when the schema was put right', async () => {
    const v = await visit(browser)
    const p = v.page
    await open(p, server.url + '/#/letters?event=ordered')
    await p.locator('summary').first().click()
    expect((await p.locator('mark').first().textContent())!.trim()).toBe('"id": 7,')
    await open(p, server.url + '/#/events/ordered')
    await p.getByRole('button', { name: 'what changed' }).click()
    await p.getByRole('group', { name: 'Changes' }).waitFor()
    expect(await p.getByRole('group', { name: 'Changes' }).textContent()).toContain('minimum')
    await server.send('PUT', '/api/schemas/ordered?compatibility=none', { properties: { price: { type: 'number' } } })
    await open(p, server.url + '/#/letters?event=ordered')
    await p.getByRole('button', { name: 'Replay these' }).click()
    await expect.poll(() => p.locator('.toast').textContent()).toContain('2 stored')
    await expect.poll(() => p.locator('section[aria-label="Letters"]').textContent()).toContain('None.')
    await v.close()
  })

  test('a question becomes a tile of a board', async () => {
    const v = await visit(browser)
    const p = v.page
    await open(p, server.url + '/' + explore('top context.os of any last 30d'))
    await p.getByRole('button', { name: 'Save…' }).click()
    await p.getByLabel('Name', { exact: true }).fill('Systems')
    await p.getByLabel('Where').selectOption({ label: 'Board: Shop' })
    await accessible(p, 'save')
    await p.getByRole('dialog').getByRole('button', { name: 'Save', exact: true }).click()
    await p.getByRole('heading', { name: 'Systems' }).waitFor()
    const board = (await server.send('GET', '/api/boards/shop')) as { tiles: { title: string; query: string }[] }
    expect(board.tiles.at(-1)).toEqual({ title: 'Systems', query: 'top context.os of any last 30d' })
    await p.getByRole('button', { name: 'Arrange Systems' }).click()
    await p.getByRole('menuitem', { name: 'Move forward' }).click()
    await expect.poll(async () => ((await server.send('GET', '/api/boards/shop')) as typeof board).tiles[2]!.title).toBe('Systems')
    await v.close()
  })

  test('who changes a board that somebody else has changed is told, and can do it to the new one', async () => {
    const tiles = [{ title: 'One', query: 'trend count of any last 7d' }, { title: 'Two', query: 'trend users of any last 7d' }]
    await server.send('PUT', '/api/boards/shared', { title: 'Shared', tiles })
    const v = await visit(browser)
    const p = v.page
    await open(p, server.url + '/#/boards/shared')
    await server.send('PUT', '/api/boards/shared', { title: 'Shared', tiles: [{ title: 'Theirs', query: 'sessions last 7d' }, ...tiles] })
    const arrange = async (what: string) => {
      await p.getByRole('button', { name: 'Arrange Two' }).click()
      await p.getByRole('menuitem', { name: what }).click()
    }
    await arrange('Remove')
    await p.getByRole('alert').getByText('Somebody else has changed this board').waitFor()
    await accessible(p, 'a board that has changed')
    const stored = async () => ((await server.send('GET', '/api/boards/shared')) as { tiles: { title: string }[] }).tiles.map((t) => t.title)
    expect(await stored()).toEqual(['Theirs', 'One', 'Two'])
    await p.getByRole('button', { name: 'Do it to the new board' }).click()
    await expect.poll(stored).toEqual(['Theirs', 'One'])
    await p.getByRole('heading', { name: 'Theirs' }).waitFor()
    expect(v.faults.filter((f) => !f.includes('412'))).toEqual([])
    await v.close()
  })

  test('a person is deleted when the id was typed', async () => {
    await server.send('POST', '/api/events', { eventName: 'x', userId: 'gone' })
    const v = await visit(browser)
    const p = v.page
    await open(p, server.url + '/#/persons/gone')
    await p.getByRole('button', { name: 'Delete the person' }).click()
    const dialog = p.getByRole('dialog')
    const sure = dialog.getByRole('button', { name: 'Delete the person' })
    expect(await sure.isDisabled()).toBe(true)
    await accessible(p, 'delete')
    await dialog.getByRole('textbox').fill('gone')
    await sure.click()
    await p.getByRole('heading', { name: 'Jobs' }).waitFor()
    expect((await server.query<{ events: unknown[] }>('events of any user "gone"')).events).toEqual([])
    await expect.poll(() => p.locator('section[aria-label="Deletions"] tbody').textContent()).toContain('person')
    await v.close()
  })

  test('events are exported', async () => {
    const v = await visit(browser)
    await open(v.page, server.url + '/#/jobs')
    const [d] = await Promise.all([v.page.waitForEvent('download'), v.page.getByRole('button', { name: 'Export', exact: true }).click()])
    expect(d.suggestedFilename()).toBe('events.ndjson')
    await v.page.getByRole('button', { name: 'Verify all bytes' }).click()
    await expect.poll(() => v.page.locator('.note').textContent(), { timeout: 20_000 }).toContain('all good')
    await expect.poll(() => v.page.getByRole('list', { name: 'Long work' }).textContent(), { timeout: 10_000 }).toMatch(/verify.*done.*100%/)
    await v.close()
  })
})

describe('the door', () => {
  const keys = { write: 'write-key-0123456789abcdef', read: 'read-key-0123456789abcdef', admin: 'admin-key-0123456789abcdef' }
  test('one signs in with a read or admin key, and a script sees no cookie', async () => {
    const guarded = await Server.start('--write-key', keys.write, '--read-key', keys.read, '--admin-key', keys.admin)
    await guarded.send('POST', '/api/events', { eventName: 'hello', userId: 'u' }, keys.write)
    const v = await visit(browser)
    const p = v.page
    await open(p, guarded.url)
    await accessible(p, 'sign in')
    await shot(p, 'light-sign-in')
    const sign = async (key: string) => {
      await p.getByLabel('Key').fill(key)
      await p.getByRole('button', { name: 'Sign in' }).click()
    }
    await sign(keys.write)
    await expect.poll(() => p.getByRole('alert').textContent()).toContain('write key')
    await sign(keys.read)
    await p.getByRole('heading', { name: 'Home' }).waitFor()
    expect(await p.evaluate(() => document.cookie)).toBe('')
    expect(JSON.stringify(await p.evaluate(() => ({ ...localStorage })))).not.toContain(keys.read)
    await open(p, guarded.url + '/' + explore('trend count of any last 1d'))
    expect(await p.getByRole('button', { name: 'Save…' }).isDisabled()).toBe(true)
    await p.getByRole('button', { name: 'Sign out' }).click()
    await p.getByRole('heading', { name: 'Sign in to Spoor' }).waitFor()
    await v.close()
    await guarded.stop()
  })

  test('an empty store teaches how to send the first event, and shows it when it comes', async () => {
    const fresh = await Server.start()
    const v = await visit(browser)
    await v.page.goto(fresh.url)
    await v.page.getByRole('heading', { name: 'Send the first event' }).waitFor()
    await accessible(v.page, 'empty')
    await shot(v.page, 'light-empty')
    const line = (await v.page.locator('pre').first().textContent())!
    const body = /-d '(.*)'$/.exec(line)![1]!
    expect(line.startsWith(`curl ${fresh.url}/api/events -d `)).toBe(true)
    await fresh.send('POST', '/api/events', body)
    await v.page.locator('section[aria-label="Live"] summary', { hasText: 'signed_up' }).waitFor({ timeout: 15_000 })
    expect(v.faults).toEqual([])
    await v.close()
    await fresh.stop()
  })

  test('the first content is there within half a second', async () => {
    const times: number[] = []
    for (let i = 0; i < 3; i++) {
      const v = await visit(browser)
      await open(v.page, server.url)
      times.push(await v.page.evaluate(() => performance.getEntriesByName('first-contentful-paint')[0]!.startTime))
      await v.close()
    }
    console.log('first contentful paint, ms:', times.map(Math.round).join(' '))
    expect(Math.min(...times)).toBeLessThan(500)
  })
})
