import type { Page } from "playwright-core";
import { describe, expect, test } from "vitest";
import { call, expectOnce, inWorld, open, start, theOne, track, world } from "./fixture.js";
import { until } from "./harness.js";

inWorld();

/** What the browser keeps for the site. */
const kept = (page: Page) =>
  page.evaluate(async () => ({
    local: Object.keys(localStorage),
    databases: (await indexedDB.databases()).map((d) => d.name),
    cookie: document.cookie,
  }));

const nothing = { local: [], databases: [], cookie: "" };

describe("without consent", () => {
  test("in the mode opt-in nothing is stored or sent, before or after the page goes", async () => {
    const page = await open({ consent: { mode: "opt-in" }, cookie: true });
    await track(page, 0, 5);
    await call(page, "identify", "u1");
    await call(page, "flush");
    expect(await kept(page)).toEqual(nothing);
    await page.reload();
    expect(await kept(page)).toEqual(nothing);
    expect(world.proxy.seen).toEqual([]);
    await start(page, { consent: { mode: "opt-in" } });
    await call(page, "consent", true);
    await track(page, 0, 1);
    await expectOnce(1);
    await page.reload();
    await start(page, { consent: { mode: "opt-in" } });
    await track(page, 1, 2); // A grant is remembered.
    await expectOnce(2);
  });

  test("in the mode hold events wait in memory, and follow with their times and ids when it is granted", async () => {
    const page = await open({ consent: { mode: "hold" } });
    const { anonymousId } = (await call(page, "ids")) ?? {};
    await track(page, 0, 5);
    expect(await kept(page)).toEqual(nothing);
    expect(world.proxy.seen).toEqual([]);
    await call(page, "consent", { analytics: true, ads: false });
    await track(page, 5, 6);
    const events = await expectOnce(6);
    expect(new Set(events.map((e) => e.anonymousId)).size).toBe(1);
    expect(events.at(-1)?.context.consent).toEqual({ analytics: true, ads: false });
    expect(anonymousId).toBeUndefined();
  });

  test("held events are forgotten where it is refused", async () => {
    const page = await open({ consent: { mode: "hold" } });
    await track(page, 0, 5);
    await call(page, "consent", false);
    await track(page, 5, 10);
    await call(page, "consent", true);
    await call(page, "track", world.event, { n: 0 });
    await expectOnce(1);
  });

  test("events of a category of its own need it, too", async () => {
    const consent = { mode: "opt-in", events: { [world.event]: "ads" } };
    const page = await open({ consent });
    await call(page, "consent", { analytics: true });
    await track(page, 0, 1);
    await call(page, "consent", { ads: true });
    await call(page, "track", world.event, { n: 0, taken: true });
    expect((await theOne(world.event)).properties?.taken).toBe(true);
  });
});

describe("a withdrawal", () => {
  test("deletes queue, ids, cookie and storage, in this tab and the others, and is remembered", async () => {
    world.proxy.fate = () => ({ status: 503 });
    const page = await open({ cookie: true });
    const other = await open({ cookie: true });
    await track(page, 0, 5);
    await track(other, 5, 10);
    await until("the queue", async () => (await kept(page)).databases.includes("spoor"));
    const before = (await call(page, "ids")).anonymousId;
    await call(page, "consent", false);
    await until("nothing but the refusal", async () => {
      const { local, databases, cookie } = await kept(page);
      return local.join() === "spoor" && !databases.length && !cookie;
    });
    expect(JSON.parse(await page.evaluate(() => localStorage.spoor))).toEqual({ consent: { analytics: false } });
    await track(page, 10, 15);
    await track(other, 15, 20);
    await other.close();
    world.proxy.fate = () => "pass";
    world.proxy.seen = [];
    await page.reload();
    await start(page, { cookie: true });
    await track(page, 20, 25);
    await call(page, "flush");
    await page.evaluate(() => new Promise((r) => setTimeout(r, 300)));
    expect(world.proxy.seen).toEqual([]);
    await call(page, "consent", true);
    expect((await call(page, "ids")).anonymousId).not.toBe(before);
    await call(page, "track", world.event, { n: 0 });
    await expectOnce(1);
  });

  test("while a request is on its way leaves nothing behind when it is answered", async () => {
    let asked = false;
    let answer = () => {};
    const answered = new Promise<void>((resolve) => (answer = resolve));
    world.proxy.fate = async () => {
      asked = true;
      await answered;
      return "pass" as const;
    };
    const page = await open({ consent: { mode: "opt-in" } });
    await call(page, "consent", true);
    await track(page, 0, 2);
    await until("a request", () => asked);
    await call(page, "consent", false);
    await until("nothing", async () => JSON.stringify(await kept(page)) === JSON.stringify(nothing));
    answer();
    await expectOnce(2); // What was sent before is the server's.
    await page.evaluate(() => new Promise((r) => setTimeout(r, 300)));
    expect(await kept(page)).toEqual(nothing);
  });

  test("in the mode opt-in leaves nothing at all", async () => {
    const page = await open({ consent: { mode: "opt-in" } });
    await call(page, "consent", true);
    await track(page, 0, 2);
    await expectOnce(2);
    await call(page, "consent", false);
    await until("nothing", async () => JSON.stringify(await kept(page)) === JSON.stringify(nothing));
  });
});

describe("Global Privacy Control and Do Not Track", () => {
  for (const [signal, value] of [
    ["globalPrivacyControl", true],
    ["doNotTrack", "1"],
  ] as const) {
    test(`${signal} is a refusal that stores nothing, unless the person agrees or the page says that it does not count`, async () => {
      await world.context.addInitScript(([name, v]) => Object.defineProperty(Navigator.prototype, name, { get: () => v }), [
        signal,
        value,
      ] as const);
      const page = await open();
      await track(page, 5, 10);
      await call(page, "consent", false);
      expect(await kept(page)).toEqual(nothing);
      await call(page, "consent", true);
      await track(page, 0, 1);
      await expectOnce(1);
      await call(page, "consent", false);
      await page.reload();
      await start(page, { gpc: false, dnt: false });
      await track(page, 1, 2);
      await expectOnce(2);
    });
  }
});
