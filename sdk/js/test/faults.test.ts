import { describe, expect, test } from "vitest";
import { call, expectOnce, inWorld, open, start, track, world } from "./fixture.js";
import { type Fate, pause, Spoor, until } from "./harness.js";

inWorld();

describe("a page delivers every event once", () => {
  test("1,000 events with reloads, two tabs, a closed tab, a crash, 429s, lost answers, a server that is killed and a network that goes away", async () => {
    const spoor = await new Spoor().start();
    try {
      world.proxy.target = spoor.url;
      let requests = 0;
      world.proxy.fate = () => {
        requests++;
        if (requests % 7 === 3) {
          return { status: 429, retryAfter: "1" };
        }
        return requests % 5 === 0 ? "lose" : "pass";
      };
      const one = await open();
      const two = await open();
      await track(one, 0, 100);
      const user = `user-${world.event}`;
      await call(one, "identify", user, { plan: "free", age: 40 });
      await track(two, 100, 200);
      for (let n = 200; n < 400; n += 50) {
        // Tracked in the last moment of a page.
        await one.evaluate(
          ([name, from]) => {
            for (let i = 0; i < 50; i++) {
              (globalThis as any).spoor.track(name, { n: (from as number) + i });
            }
            location.reload();
          },
          [world.event, n] as const,
        );
        await one.waitForLoadState();
        await one.waitForFunction(() => performance.now() > 0 && (globalThis as any).spoor?.init && !(globalThis as any).spoor.track);
        await start(one);
      }
      await spoor.kill();
      await track(one, 400, 500);
      await call(one, "identify", user, { plan: "pro" }); // The latest call wins, whatever is sent again.
      await call(one, "alias", user, "old-phone");
      await call(one, "group", "acme");
      await track(two, 500, 600);
      await two.close({ runBeforeUnload: false }); // The tab is closed while the server is down.
      await one.reload();
      await start(one);
      await spoor.start();
      await track(one, 600, 700);

      await world.context.setOffline(true);
      await track(one, 700, 800);
      await one.evaluate(() => new Promise((r) => setTimeout(r, 300)));
      await world.context.setOffline(false);

      const three = await open();
      await track(three, 800, 900);
      await three.evaluate(() => new Promise((r) => setTimeout(r, 500))); // What is written, a crash does not take.
      const crashed = three.waitForEvent("crash");
      three.goto("chrome://crash").catch(() => {});
      await crashed;
      await track(one, 900, 1000);
      world.proxy.fate = () => "pass";
      const events = await expectOnce(1000, { spoor, seconds: 45 });
      expect(new Set(events.map((e) => e.anonymousId)).size).toBe(1);
      expect(await spoor.call("GET", `/api/users/${user}`)).toEqual({
        person: user,
        userId: user,
        anonymousIds: expect.arrayContaining([events[0]?.anonymousId, "old-phone"]),
        traits: { plan: "pro", age: 40, groupId: "acme" },
      });
      const whole = "from 1900-01-01 to 2100-01-01 limit 10000";
      const asked = `events of "${world.event}" where user.plan = "pro" and user.groupId = "acme" ${whole}`;
      expect((await spoor.query(asked)).events).toHaveLength(1000); // Also those from before the calls.
      expect((await spoor.query(`events of any where user.plan = "pro" ${whole}`)).events.map((e: any) => e.eventName).sort()).toEqual([
        "$group",
        ...Array(1000).fill(world.event),
      ]);
      expect(new Set(world.proxy.posts().map((p) => p.sentAt)).size).toBeGreaterThan(20);
    } finally {
      await spoor.end();
    }
  }, 120_000);

  test("while no server answers, and later sends what several pages have left behind", async () => {
    world.proxy.fate = () => "cut";
    for (let n = 0; n < 3; n++) {
      const page = await open({}, { path: `/left-${n}` });
      await track(page, n * 10, n * 10 + 10);
      await page.close();
    }
    world.proxy.fate = () => "pass";
    const page = await open();
    const events = await expectOnce(30);
    expect(events.map((e) => e.context.page.path)).toContain("/left-0");
    await page.close();
  });

  test("from two tabs that send the same queue one after the other, never side by side", async () => {
    let within = 0;
    let most = 0;
    world.proxy.fate = async () => {
      most = Math.max(most, ++within);
      await pause(20);
      within--;
      return "pass" as const;
    };
    const tabs = await Promise.all([open(), open(), open()]);
    await Promise.all(tabs.map((tab, n) => track(tab, n * 100, n * 100 + 100)));
    await expectOnce(300);
    expect(most).toBe(1);
    const ids = world.proxy.posts().flatMap((p) => p.events.map((e) => e.eventId));
    expect(new Set(ids).size).toBe(ids.length);
  });

  test("with the same eventId and timestamp on each try, and a sentAt of each", async () => {
    const fates: Fate[] = ["lose", { status: 503 }, "cut", { status: 200, body: "<html>a proxy's page" }];
    world.proxy.fate = () => fates.shift() ?? "pass";
    const page = await open();
    await track(page, 0, 1);
    await expectOnce(1);
    await until("the last try", () => world.proxy.posts().length >= 5);
    const tries = world.proxy.posts();
    expect(new Set(tries.map((t) => `${t.events[0].eventId} ${t.events[0].timestamp}`)).size).toBe(1);
    // Chromium itself repeats a request whose connection had been in use before and is cut.
    expect(new Set(tries.map((t) => t.sentAt)).size).toBeGreaterThanOrEqual(4);
    expect(tries[0]?.events[0].eventId).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
    await page.close();
  });

  test("and waits as long as Retry-After says, also behind a reload and in another tab", async () => {
    let n = 0;
    world.proxy.fate = () => (n++ ? "pass" : { status: 503, retryAfter: "2" });
    const page = await open();
    await track(page, 0, 1);
    await until("the refusal", () => world.proxy.posts().length === 1);
    await page.reload();
    await start(page);
    const other = await open();
    await track(other, 1, 2);
    await expectOnce(2);
    const [first, second] = world.proxy.posts();
    expect((second?.at as number) - (first?.at as number)).toBeGreaterThanOrEqual(1990);
  });

  test("without storage, also the last ones of a page that goes, by beacon", async () => {
    await world.context.addInitScript(() => {
      const refuse = {
        get: () => {
          throw new DOMException("denied", "SecurityError");
        },
      };
      Object.defineProperty(globalThis, "localStorage", refuse);
      Object.defineProperty(globalThis, "indexedDB", refuse);
    });
    const page = await open();
    await track(page, 0, 10);
    await expectOnce(10);
    await page.evaluate((name) => {
      (globalThis as any).spoor.track(name, { n: 10 });
      location.href = "/elsewhere";
    }, world.event);
    await expectOnce(11);
  });

  test("with localStorage alone, and with IndexedDB that does not answer", async () => {
    world.proxy.fate = () => ({ status: 503 });
    for (const [n, harm] of ["missing", "mute"].entries()) {
      const context = await world.browser.newContext();
      await context.addInitScript((how) => {
        const mute = { open: () => ({}), deleteDatabase: () => ({}) };
        Object.defineProperty(globalThis, "indexedDB", { get: () => (how === "mute" ? mute : undefined) });
      }, harm);
      const page = await open({}, { context });
      await track(page, n * 5, n * 5 + 5);
      await until("the queue in localStorage", () =>
        page.evaluate(() => Object.keys(localStorage).filter((key) => key.startsWith("spoor.queue.")).length === 5),
      );
      world.proxy.fate = () => "pass";
      await page.reload();
      await start(page);
      await expectOnce(n * 5 + 5);
      await context.close();
      world.proxy.fate = () => ({ status: 503 });
    }
  });

  test("but what the server refuses for good it tells, and does not send again", async () => {
    let n = 0;
    world.proxy.fate = () => (n++ ? "pass" : { status: 400, body: '{"error":{"code":"malformed","message":"no"}}' });
    const page = await open();
    await track(page, 0, 1, "refused");
    await until("the dead one", () => page.evaluate(() => (globalThis as any).dead.length));
    await call(page, "track", world.event, { n: 0 }, { timestamp: 0 }); // 1970
    await call(page, "track", world.event, { n: 0 }, { timestamp: -8e13 }); // far before 1900
    await expectOnce(1);
    const dead = await until("two dead ones", async () => {
      const all = await page.evaluate(() => (globalThis as any).dead);
      return all.length === 2 ? all : undefined;
    });
    expect(dead.map((d: any) => d.code)).toEqual(["malformed", "bad_timestamp"]);
    expect(dead[0].event).toMatchObject({ eventName: "refused", properties: { n: 0 } });
    expect(world.proxy.posts().flatMap((p) => p.events.filter((e) => e.eventName === "refused"))).toHaveLength(1);
  });

  test("in smaller requests where they are too large", async () => {
    world.proxy.fate = (seen) => (seen.events.length > 3 ? { status: 413 } : "pass");
    const page = await open();
    await track(page, 0, 20);
    await expectOnce(20);
  });

  test("dropping the oldest beyond its bounds, which it reports later", async () => {
    world.proxy.fate = () => ({ status: 503 });
    const page = await open({ queueEvents: 50, retryMax: 20 });
    await track(page, 0, 80);
    await page.evaluate(() => new Promise((r) => setTimeout(r, 200)));
    world.proxy.fate = () => "pass";
    const report = await until("the report", async () =>
      (await world.spoor.events("$events_dropped")).find((e) => e.properties?.queue_full),
    );
    const kept = (await world.spoor.events(world.event)).map((e) => e.properties?.n);
    expect(kept.length + report.properties?.queue_full).toBe(80);
    expect(kept).toContain(79);
    expect(kept).not.toContain(0);
  });
});
