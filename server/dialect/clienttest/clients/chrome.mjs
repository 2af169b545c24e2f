// Sends events with one published client in a real browser, as a page would:
//
//   node chrome.mjs CLIENT URL EVENT COUNT
//
// The page comes from an origin of its own, so requests to URL are those of
// another site. It ends with the line "done" when the window of observation is
// over. CHROMIUM names the browser.
import { createServer } from 'node:http'
import { readFile } from 'node:fs/promises'
import { chromium } from 'playwright-core'

const [client, url, event, count] = process.argv.slice(2)
const endpoint = new URL(url)
const windowMillis = Number(process.env.WINDOW_MILLIS || 8000)
const args = {
  event, n: Number(count), origin: endpoint.origin, prefix: endpoint.pathname.replace(/\/$/, ''),
  user: `user-${event}`, anonymous: `anon-${event}`, traits: { plan: 'pro', seats: 3 },
}

// What a page loads of each client, and what it does then.
const clients = {
  'analytics-next': ['@segment/analytics-next/dist/umd/index.js', async ({ event, n, origin, prefix, user, anonymous, traits }) => {
    // Where to send the settings say, which come from the server.
    const a = window.AnalyticsNext.AnalyticsBrowser.load({ writeKey: 'WK', cdnURL: origin + prefix })
    a.setAnonymousId(anonymous)
    await a.page('Home')
    await a.track(event, { n: 0 })
    await a.identify(user, traits)
    for (let i = 1; i < n; i++) await a.track(event, { n: i })
    await a.alias(user, `old-${event}`)
  }],
  'posthog-js': ['posthog-js/dist/array.full.no-external.js', ({ event, n, origin, prefix, user, traits }) => {
    const p = window.posthog
    p.init('phc_test', { api_host: origin + prefix, autocapture: false, disable_session_recording: true, disable_surveys: true, capture_pageview: true, opt_out_useragent_filter: true })
    p.capture(event, { n: 0 })
    p.identify(user, traits, { first_seen: 'here' })
    for (let i = 1; i < n; i++) p.capture(event, { n: i })
    p.alias(`old-${event}`)
  }],
  'rudder-js': ['@rudderstack/analytics-js/dist/npm/modern/bundled/umd/index.js', ({ event, n, origin, prefix, user, anonymous, traits }) => {
    const a = new window.rudderanalytics.RudderAnalytics()
    a.load('WK', origin + prefix, { configUrl: origin + prefix })
    a.setAnonymousId(anonymous)
    a.page('Home')
    a.track(event, { n: 0 })
    a.identify(user, traits)
    for (let i = 1; i < n; i++) a.track(event, { n: i })
    a.alias(user, `old-${event}`)
  }],
}

const [script, run] = clients[client]
const server = createServer(async (req, res) => {
  if (req.url === '/client.js') {
    res.setHeader('Content-Type', 'text/javascript')
    res.end(await readFile(new URL(`node_modules/${script}`, import.meta.url)))
    return
  }
  res.setHeader('Content-Type', 'text/html')
  res.end('<!doctype html><html><head><title>Home</title><script src="/client.js"></script></head><body></body></html>')
})
await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve))

const browser = await chromium.launch({ executablePath: process.env.CHROMIUM || 'chromium', args: ['--no-sandbox', '--disable-dev-shm-usage'] })
const page = await browser.newPage()
page.on('console', (m) => console.error(m.type(), m.text().slice(0, 300)))
page.on('pageerror', (e) => console.error('error', String(e).slice(0, 300)))
await page.goto(`http://127.0.0.1:${server.address().port}/home?utm_source=news`)
await page.evaluate(run, args)
await page.waitForTimeout(windowMillis)
await browser.close()
console.log('done')
process.exit(0)
