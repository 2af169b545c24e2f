import type { Browser, BrowserContext, Page } from "playwright-core";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { FaultyProxy, Spoor, until } from "./harness.js";
import { launch, Site } from "./site.js";

let browser: Browser;
let spoor: Spoor;
let site: Site;
let proxy: FaultyProxy;
let context: BrowserContext;
let count = 0;

beforeAll(async () => {
  [browser, spoor, site] = await Promise.all([launch(), new Spoor().start(), new Site().start()]);
});

afterAll(async () => {
  await browser?.close();
  await Promise.all([spoor?.end(), site?.end()]);
});

beforeEach(async () => {
  proxy = await new FaultyProxy(spoor.url).start();
  context = await browser.newContext();
  count++;
});

afterEach(async () => {
  await context.close();
  await proxy.end();
});

const event = () => `tested_${count}`;

async function open(path = "/", options: Record<string, unknown> = {}): Promise<Page> {
  const page = await context.newPage();
  await page.goto(site.url + path);
  await start(page, options);
  return page;
}

/** Starts the client of a page. Waits are short, so that the test is. */
async function start(page: Page, options: Record<string, unknown> = {}) {
  await page.evaluate((o) => (globalThis as any).spoor.init(o), {
    host: proxy.url,
    ratePerSecond: 0,
    flushEvery: 200,
    retryBase: 20,
    retryMax: 200,
    ...options,
  });
}

const track = (page: Page, from: number, to: number) =>
  page.evaluate(
    ([name, first, end]) => {
      for (let n = first as number; n < (end as number); n++) {
        (globalThis as any).spoor.track(name, { n });
      }
    },
    [event(), from, to] as const,
  );

/** Every one of the events stands in Spoor, once. */
async function expectOnce(total: number, name = event(), seconds = 30) {
  await until(`${total} events of ${name}`, async () => (await spoor.count(name)) >= total, seconds).catch(async () => {
    const found = new Set((await spoor.events(name)).map((e) => e.properties?.n));
    const missing = Array.from({ length: total }, (_, n) => n).filter((n) => !found.has(n));
    expect(missing, "missing events").toEqual([]);
  });
  const numbers = (await spoor.events(name)).map((e) => e.properties?.n).sort((a, b) => a - b);
  expect(numbers).toEqual(Array.from({ length: total }, (_, n) => n));
}

describe("events of a page", () => {
  test("arrive once, with who, where and when", async () => {
    const page = await open("/cart?utm_source=mail&utm_campaign=may&token=secret");
    await track(page, 0, 3);
    await expectOnce(3);
    const [first] = await spoor.events(event());
    expect(first?.context.page).toMatchObject({ path: "/cart", title: "Page /cart", search: "?utm_source=mail&utm_campaign=may" });
    expect(JSON.stringify(first)).not.toContain("secret");
  });
});
