// Sends events with one published client, as an application would:
//
//   node run.mjs CLIENT URL EVENT COUNT
//
// Whatever the client does, it ends with the line "done" once the client says
// that it has nothing more to send, or, where it does not say so, when the
// window of observation is over. Clients of browsers run in jsdom.
const [client, url, event, count] = process.argv.slice(2)
const n = Number(count)
const endpoint = new URL(url)
const prefix = endpoint.pathname.replace(/\/$/, '')
const origin = endpoint.origin
const user = `user-${event}`
const anonymous = `anon-${event}`
const traits = { plan: 'pro', seats: 3 }
const windowMillis = Number(process.env.WINDOW_MILLIS || 8000)

// Clients that give up reject promises that nobody holds.
process.on('unhandledRejection', (e) => console.error('unhandled:', String(e).slice(0, 200)))

async function browser() {
  const { JSDOM } = await import('jsdom')
  const dom = new JSDOM('<!doctype html><html><head><title>Home</title></head><body></body></html>', {
    url: 'http://shop.example/home?utm_source=news', referrer: 'http://ref.example/', pretendToBeVisual: true,
  })
  const w = dom.window
  const set = (name, value) => Object.defineProperty(globalThis, name, { value, configurable: true, writable: true })
  for (const name of ['window', 'self', 'top', 'parent']) set(name, w)
  for (const name of ['document', 'location', 'navigator', 'localStorage', 'sessionStorage', 'history', 'screen', 'XMLHttpRequest',
    'Event', 'CustomEvent', 'HTMLElement', 'HTMLScriptElement', 'Element', 'Node', 'MutationObserver']) set(name, w[name])
  for (const name of ['addEventListener', 'removeEventListener', 'dispatchEvent', 'getComputedStyle']) set(name, w[name].bind(w))
  Object.assign(w, { fetch: globalThis.fetch, Headers, Request, Response, TextEncoder })
}

const observe = () => new Promise((resolve) => setTimeout(resolve, windowMillis))

// Snowplow's trackers keep what was not delivered until there is something to
// send again.
const flushes = (flush) => setInterval(flush, 1000)

const clients = {
  async 'analytics-node'() {
    const { Analytics } = await import('@segment/analytics-node')
    const a = new Analytics({ writeKey: 'WK', host: origin, path: prefix + '/v1/batch', flushAt: 5, flushInterval: 200 })
    a.on('error', (e) => console.error('gave up:', JSON.stringify(e).slice(0, 200)))
    a.track({ anonymousId: anonymous, event, properties: { n: 0 } })
    a.identify({ userId: user, anonymousId: anonymous, traits })
    for (let i = 1; i < n; i++) a.track({ userId: user, event, properties: { n: i } })
    a.group({ userId: user, groupId: 'acme', traits: { size: 7 } })
    a.alias({ userId: user, previousId: `old-${event}` })
    await a.closeAndFlush({ timeout: 60000 })
  },
  async 'rudder-sdk-node'() {
    const { default: Rudder } = await import('@rudderstack/rudder-sdk-node')
    const a = new Rudder('WK', { dataPlaneUrl: origin + prefix, flushAt: 100, flushInterval: 60000 })
    a.track({ anonymousId: anonymous, event, properties: { n: 0 } })
    a.identify({ userId: user, anonymousId: anonymous, traits })
    for (let i = 1; i < n; i++) a.track({ userId: user, event, properties: { n: i } })
    a.alias({ userId: user, previousId: `old-${event}` })
    await a.flush().catch((e) => console.error('gave up:', String(e).slice(0, 200)))
  },
  async 'posthog-node'() {
    const { PostHog } = await import('posthog-node')
    const p = new PostHog('phc_test', { host: origin + prefix, flushAt: 100, flushInterval: 60000, fetchRetryDelay: 300 })
    p.on('error', (e) => console.error('gave up:', String(e).slice(0, 200)))
    p.identify({ distinctId: user, properties: traits })
    p.alias({ distinctId: user, alias: `old-${event}` })
    for (let i = 0; i < n; i++) p.capture({ distinctId: user, event, properties: { n: i } })
    await p.shutdown(60000)
  },
  async 'snowplow-node'() {
    const { newTracker, buildSelfDescribingEvent } = await import('@snowplow/node-tracker')
    const t = newTracker({ namespace: 'ns', appId: 'app', encodeBase64: true }, { endpoint: origin + prefix, bufferSize: 1, eventMethod: 'post' })
    t.setUserId(user)
    for (let i = 0; i < n; i++) t.track(buildSelfDescribingEvent({ event: { schema: `iglu:com.acme/${event}/jsonschema/1-0-0`, data: { n: i } } }))
    t.flush()
    flushes(() => t.flush())
    await observe()
  },
  async 'amplitude-node'() {
    const amplitude = await import('@amplitude/analytics-node')
    await amplitude.init('KEY-KEY-KEY', { serverUrl: origin + prefix + '/2/httpapi', flushIntervalMillis: 200, logLevel: 0 }).promise
    const results = [amplitude.track(event, { n: 0 }, { device_id: anonymous })]
    const identify = new amplitude.Identify()
    for (const [name, value] of Object.entries(traits)) identify.set(name, value)
    results.push(amplitude.identify(identify, { user_id: user, device_id: anonymous }))
    for (let i = 1; i < n; i++) results.push(amplitude.track(event, { n: i }, { user_id: user }))
    // It sends by itself; a flush that fails would give up.
    await Promise.all(results.map((r) => r.promise))
  },
  async 'mixpanel-node'() {
    const { default: Mixpanel } = await import('mixpanel')
    const m = Mixpanel.init('TOKEN', { host: endpoint.host, protocol: 'http', path: prefix, key: 'KEY' })
    const events = Array.from({ length: n }, (_, i) => ({
      event, properties: { time: new Date(), distinct_id: user, $device_id: anonymous, $insert_id: `${event}-${i}`, n: i },
    }))
    await new Promise((resolve) => m.import_batch(events, (errors) => {
      if (errors) console.error('gave up:', String(errors).slice(0, 200))
      resolve()
    }))
  },
  async 'analytics-next'() {
    await browser()
    const { AnalyticsBrowser } = await import('@segment/analytics-next')
    // Where to send the settings say, which come from the server.
    const a = AnalyticsBrowser.load({ writeKey: 'WK', cdnURL: origin + prefix })
    a.setAnonymousId(anonymous)
    await a.page('Home')
    await a.track(event, { n: 0 })
    await a.identify(user, traits)
    for (let i = 1; i < n; i++) await a.track(event, { n: i })
    await a.alias(user, `old-${event}`)
    await observe()
  },
  async 'posthog-js'() {
    await browser()
    const module = await import('posthog-js')
    const p = module.posthog ?? module.default.default ?? module.default.posthog
    p.init('phc_test', { api_host: origin + prefix, autocapture: false, disable_session_recording: true, disable_surveys: true, capture_pageview: true })
    p.capture(event, { n: 0 })
    p.identify(user, traits, { first_seen: 'here' })
    for (let i = 1; i < n; i++) p.capture(event, { n: i })
    p.alias(`old-${event}`)
    await observe()
  },
  async 'snowplow-js'() {
    await browser()
    const sp = await import('@snowplow/browser-tracker')
    sp.newTracker('sp', origin + prefix, { appId: 'app', eventMethod: 'post', stateStorageStrategy: 'localStorage' })
    const send = (i) => sp.trackSelfDescribingEvent({ event: { schema: `iglu:com.acme/${event}/jsonschema/1-0-0`, data: { n: i } } })
    sp.trackPageView()
    send(0)
    sp.setUserId(user)
    for (let i = 1; i < n; i++) send(i)
    flushes(() => sp.flushBuffer())
    await observe()
  },
}

await clients[client]()
console.log('done')
process.exit(0)
