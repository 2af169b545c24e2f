import { existsSync, mkdirSync, readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { fileURLToPath } from 'node:url'
import { chromium, type Browser, type BrowserContextOptions, type Page } from 'playwright-core'
import { expect } from 'vitest'

const paths = [process.env.CHROMIUM, '/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome', '/snap/bin/chromium']
const shots = fileURLToPath(new URL('../shots/', import.meta.url))
const axeSource = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8')

export function launch(): Promise<Browser> {
  const executablePath = paths.find((p) => p && existsSync(p))
  if (!executablePath) throw new Error('no Chromium is installed: apt-get install chromium, or name one in CHROMIUM')
  return chromium.launch({ executablePath, args: ['--no-sandbox'] })
}

// Visit is a page whose faults are kept: errors of scripts, of the policy, of the console.
export interface Visit {
  page: Page
  faults: string[]
  close(): Promise<void>
}

export async function visit(browser: Browser, options: BrowserContextOptions = {}): Promise<Visit> {
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, locale: 'en-GB', timezoneId: 'Europe/Berlin', reducedMotion: 'reduce', ...options })
  await context.grantPermissions(['clipboard-read', 'clipboard-write'])
  const page = await context.newPage()
  const faults: string[] = []
  page.on('pageerror', (e) => faults.push(e.message))
  page.on('console', (m) => {
    if (m.type() === 'error' || m.type() === 'warning') faults.push(m.text())
  })
  page.on('dialog', (d) => {
    faults.push('a dialog of the browser: ' + d.message())
    void d.dismiss()
  })
  return { page, faults, close: () => context.close() }
}

// settled waits until nothing is asked and nothing is busy.
export async function settled(page: Page) {
  await page.waitForFunction(
    () => {
      // For ten frames: what is there may be about to ask.
      const w = window as unknown as { calm?: number }
      const calm = document.querySelector('h1') !== null && document.querySelector('[aria-busy="true"]') === null
      w.calm = calm ? (w.calm ?? 0) + 1 : 0
      return w.calm > 10
    },
    undefined,
    { timeout: 20_000 },
  )
  await page.evaluate(() => delete (window as unknown as { calm?: number }).calm)
  await page.evaluate(() => document.fonts.ready.then(() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))))
}

export async function open(page: Page, url: string) {
  await page.goto(url)
  await settled(page)
}

// accessible holds the page to WCAG 2.2 AA as far as axe can tell.
export async function accessible(page: Page, what: string) {
  expect(await violations(page), what).toEqual([])
}

export async function violations(page: Page): Promise<string[]> {
  await page.evaluate(axeSource)
  return page.evaluate(async () => {
    const axe = (window as unknown as { axe: { run(context: Document, options: unknown): Promise<{ violations: { id: string; help: string; nodes: { html: string; failureSummary?: string }[] }[] }> } }).axe
    const r = await axe.run(document, { runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'] })
    return r.violations.map((v) => `${v.id}: ${v.help}\n${v.nodes.slice(0, 3).map((n) => n.html.slice(0, 300) + '\n' + (n.failureSummary ?? '')).join('\n')}`)
  })
}

export async function shot(page: Page, name: string) {
  mkdirSync(shots, { recursive: true })
  await page.screenshot({ path: `${shots}${name}.png`, fullPage: true })
}
