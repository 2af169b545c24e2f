import type { Browser, BrowserContext, Page } from "playwright-core";
import { afterAll, afterEach, beforeAll, beforeEach, expect } from "vitest";
import { FaultyProxy, Spoor, type StoredEvent, until } from "./harness.js";
import { launch, Site } from "./site.js";

/** A Chromium, a server, a site, and for each test a proxy between, a profile and an event name of its own. */
export const world = {} as { browser: Browser; spoor: Spoor; site: Site; proxy: FaultyProxy; context: BrowserContext; event: string };

let count = 0;

/** Declares that the tests of a file live in the world. */
export function inWorld() {
  beforeAll(async () => {
    [world.browser, world.spoor, world.site] = await Promise.all([launch(), new Spoor().start(), new Site().start()]);
  });
  afterAll(async () => {
    await world.browser?.close();
    await Promise.all([world.spoor?.end(), world.site?.end()]);
  });
  beforeEach(async () => {
    world.proxy = await new FaultyProxy(world.spoor.url).start();
    world.context = await world.browser.newContext();
    world.event = `tested_${++count}`;
  });
  afterEach(async () => {
    await world.context.close();
    await world.proxy.end();
  });
}

export interface Opening {
  path?: string;
  context?: BrowserContext;
  site?: string;
}

/** Opens a page and starts its client. */
export async function open(
  options: Record<string, unknown> = {},
  { path = "/", context = world.context, site = world.site.url }: Opening = {},
): Promise<Page> {
  const page = await context.newPage();
  await page.goto(site + path);
  await start(page, options);
  return page;
}

/** Starts the client of a page. Waits are short, so that tests are. dead collects what onDead is told. */
export async function start(page: Page, options: Record<string, unknown> = {}) {
  await page.evaluate(
    (o) => {
      const scope = globalThis as any;
      scope.dead = [];
      scope.spoor.init({ onDead: (d: unknown) => scope.dead.push(d), ...o });
    },
    { host: world.proxy.url, ratePerSecond: 0, flushEvery: 200, retryBase: 20, retryMax: 200, ...options },
  );
}

/** Calls the client of a page. */
export const call = (page: Page, method: string, ...args: unknown[]) =>
  page.evaluate(([m, a]) => (globalThis as any).spoor[m](...a), [method, args] as const);

/** Tracks events of the test with the numbers from first to before end. */
export const track = (page: Page, first: number, end: number, name = world.event) =>
  page.evaluate(
    ([event, from, to]) => {
      for (let n = from; n < to; n++) {
        (globalThis as any).spoor.track(event, { n });
      }
    },
    [name, first, end] as const,
  );

const numbers = (total: number) => Array.from({ length: total }, (_, n) => n);

/** Each of the numbered events stands in Spoor, once. */
export async function expectOnce(total: number, { name = world.event, spoor = world.spoor, seconds = 30 } = {}): Promise<StoredEvent[]> {
  let events: StoredEvent[] = [];
  const found = () => events.map((e) => e.properties?.n).sort((a, b) => a - b);
  await until("all events", async () => (events = await spoor.events(name)).length >= total, seconds).catch(() => {
    const missing = numbers(total).filter((n) => !found().includes(n));
    expect(missing, `missing events of ${total}`).toEqual([]);
  });
  expect(found()).toEqual(numbers(total));
  return events;
}

/** The one event of a name. */
export async function theOne(name: string): Promise<StoredEvent> {
  const events = await until(`an event ${name}`, async () => {
    const all = await world.spoor.events(name);
    return all.length ? all : undefined;
  });
  expect(events).toHaveLength(1);
  return events[0] as StoredEvent;
}
