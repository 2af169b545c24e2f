import { chromium } from 'playwright-core'
const url = process.argv[2], mode = process.argv[3], n = +process.argv[4]
const b = await chromium.launch({ executablePath: '/usr/bin/chromium', args: ['--no-sandbox'] })
const page = await (await b.newContext({ viewport: { width: 1280, height: 900 } })).newPage()
const calm = () => page.waitForFunction(() => { const ok = document.querySelector('h1') && !document.querySelector('[aria-busy="true"]'); window.c = ok ? (window.c ?? 0) + 1 : 0; return window.c > 10 }, undefined, { timeout: 60000 })
const times = []
for (let i = 0; i < n; i++) {
  const q = `funnel page_viewed -> product_viewed -> product_added -> order_completed within ${100 + i * 3 + (mode === 'home' ? 1 : mode === 'busy' ? 2 : 0)}h from 2026-05-01 to 2026-05-31`
  const href = '#/explore?' + new URLSearchParams({ q })
  if (mode === 'explore') { if (i === 0) { await page.goto(url + '/#/explore'); await calm() } }
  else { await page.goto('about:blank'); await page.goto(url + '/#/?from=2026-05-01&to=2026-05-31&tz=UTC'); if (mode === 'home') await calm(); else await new Promise(d => setTimeout(d, 150 + 120 * (i % 5))) }
  const t = await page.evaluate(async ([href, q]) => {
    const a = document.createElement('a'); a.href = href; a.textContent = 'go'; document.body.append(a)
    const began = performance.now(); a.click(); a.remove()
    for (;;) {
      await new Promise(requestAnimationFrame)
      const bars = document.querySelectorAll('.track .bar')
      if (location.hash === href && bars.length >= 4 && !document.querySelector('[aria-busy="true"]')) break
      if (performance.now() - began > 20000) return -1
    }
    await new Promise(requestAnimationFrame)
    return performance.now() - began
  }, [href, q])
  times.push(Math.round(t))
}
const s = [...times].sort((a, b) => a - b)
console.log(mode, times.join(' '), 'median', s[s.length >> 1], 'max', s.at(-1), 'over 300:', s.filter(x => x > 300).length)
await b.close()
