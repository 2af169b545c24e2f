import { describe, expect, test } from "vitest";
import { call, expectOnce, inWorld, open, start, theOne, track, world } from "./fixture.js";
import { Spoor, until } from "./harness.js";

inWorld();

/** Moves the clock of pages, also of later ones. */
const CLOCK = () => {
  const real = Date.now;
  Date.now = () => real() + Number(sessionStorage.offset || 0);
};

const ids = (page: Parameters<typeof call>[0]) => call(page, "ids") as Promise<{ anonymousId: string; userId?: string; sessionId: string }>;

describe("an event", () => {
  test("has who, where, when and what led there, and no secrets of addresses", async () => {
    const page = await open(
      { queryParams: ["sku"], app: { version: "2.1" }, context: { team: "shop" } },
      { path: "/cart?utm_source=mail&utm_campaign=may&gclid=g1&token=secret&sku=7#secret" },
    );
    await call(page, "track", world.event, { price: 19.99 });
    const event = await theOne(world.event);
    expect(event.properties).toEqual({ price: 19.99 });
    expect(event.anonymousId).toBe((await ids(page)).anonymousId);
    expect(event.context).toMatchObject({
      page: { url: `${world.site.url}/cart?utm_source=mail&utm_campaign=may&sku=7`, path: "/cart", title: "Page /cart" },
      utm: { source: "mail", campaign: "may" },
      campaign: "may",
      clickIds: { gclid: "g1" },
      sessionId: (await ids(page)).sessionId,
      library: { name: "spoor-js", version: "0.1.0" },
      app: { version: "2.1" },
      team: "shop",
      locale: "en-US",
    });
    expect(event.context.timezone).toBeTruthy();
    expect(event.context.screen.width).toBeGreaterThan(0);
    expect(JSON.stringify(event)).not.toContain("secret");
  });

  test("is what it was at the call, whatever the page does to it afterwards", async () => {
    const page = await open();
    await page.evaluate((name) => {
      const properties = { list: [1], half: "\ud83d", slash: "\\ud83d" };
      (globalThis as any).spoor.track(name, properties);
      properties.list.push(2);
    }, world.event);
    expect((await theOne(world.event)).properties).toEqual({ list: [1], half: "\ufffd", slash: "\\ud83d" });
  });

  test("passes the hooks, which change or drop it; what cannot be JSON and hooks that fail are told, not thrown", async () => {
    const page = await open();
    await page.evaluate(
      ([host, name]) => {
        const scope = globalThis as any;
        scope.dead = [];
        const client = scope.spoor.init({
          host,
          beforeSend(e: any) {
            if (e.properties?.secret) {
              return false;
            }
            if (e.properties?.boom) {
              throw new Error("boom");
            }
            e.properties = { ...e.properties, hooked: true };
          },
          plugins: [
            { beforeSend: (e: any) => ({ ...e, eventId: "other", eventName: e.eventName.toLowerCase() }) },
            {
              start: () => {
                throw new Error("bad plugin");
              },
            },
          ],
          onDead: (d: any) => {
            scope.dead.push(`${d.code} ${d.message}`);
            throw new Error("bad callback");
          },
        });
        const cycle: any = {};
        cycle.cycle = cycle;
        client.track(name, { secret: 1 });
        client.track(name, { boom: 1 });
        client.track(name, { cycle });
        client.track("", {});
        client.track(undefined, {});
        client.track(name.toUpperCase(), { n: 0 });
      },
      [world.proxy.url, world.event] as const,
    );
    const event = await theOne(world.event);
    expect(event.properties).toEqual({ n: 0, hooked: true });
    expect(event.eventId).not.toBe("other");
    const dead = await page.evaluate(() => (globalThis as any).dead);
    expect(dead).toHaveLength(4);
    expect(dead[0]).toContain("boom");
    expect(dead[1]).toContain("circular");
  });

  test("goes out at once where it is the first, together with others behind it, compressed and without a preflight", async () => {
    const page = await open({ flushEvery: 60_000 });
    await call(page, "track", world.event, { n: 0 });
    const [first] = await until("the first", () => (world.proxy.posts().length ? world.proxy.posts() : undefined));
    await call(page, "flush");
    await track(page, 1, 15);
    await track(page, 15, 25); // With the 20th the batch is full.
    await expectOnce(25);
    const batches = world.proxy.posts().map((p) => p.events.length);
    expect(first?.events).toHaveLength(1);
    expect(batches.slice(0, 2)).toEqual([1, 20]);
    expect(world.proxy.seen.some((s) => s.path.startsWith("OPTIONS"))).toBe(false);
    const full = world.proxy.posts()[1];
    expect(Number(full?.headers["content-length"])).toBeLessThan(JSON.stringify(full?.events).length / 4);
  });

  test("takes less than a millisecond of the page at p99, and on average with all that follows of it", async () => {
    const page = await open();
    const devtools = await world.context.newCDPSession(page);
    await devtools.send("Performance.enable");
    const busy = async () =>
      (await devtools.send("Performance.getMetrics")).metrics.find((m) => m.name === "TaskDuration")?.value as number;
    const round = async (first: number) => {
      const before = await busy();
      const times = await page.evaluate(
        async ([name, from]) => {
          const taken: number[] = [];
          for (let n = from; n < from + 1000; n++) {
            const began = performance.now();
            (globalThis as any).spoor.track(name, { n, product: "lamp", price: 19.99, tags: ["a", "b"] });
            taken.push(performance.now() - began);
            if (n % 10 === 9) {
              await new Promise((r) => setTimeout(r)); // Saving and sending have their turns.
            }
          }
          return taken.sort((a, b) => a - b);
        },
        [world.event, first] as const,
      );
      expect(await call(page, "flush")).toBe(true);
      const p99 = times[989] as number;
      const all = (await busy()) - before; // seconds for 1,000 events, which is milliseconds for one
      console.log(`track: p50 ${times[500]?.toFixed(1)}, p99 ${p99.toFixed(1)} ms; with saving and sending ${all.toFixed(2)} ms each`);
      return p99 < 1 && all < 1;
    };
    // Clocks of walls run on while others have the processor: one round of three tells what the code takes.
    let rounds = 0;
    let fast = false;
    while (!fast && rounds < 3) {
      fast = await round(rounds++ * 1000);
    }
    expect(fast).toBe(true);
    await expectOnce(rounds * 1000);
  });

  test("beyond 10 a second and 100 at once is not taken, with a warning and a count", async () => {
    await world.context.addInitScript(() => {
      const real = Date.now;
      Date.now = () => (globalThis as any).frozen ?? real();
    });
    const page = await open({ ratePerSecond: undefined, rateBurst: undefined });
    await page.evaluate((name) => {
      const scope = globalThis as any;
      scope.frozen = Date.now(); // However slow this is, it is all at once.
      for (let n = 0; n < 150; n++) {
        scope.spoor.track(name, { n });
      }
      scope.frozen = undefined;
    }, world.event);
    await expectOnce(100);
    const reports = await until("both reports", async () => {
      const all = (await world.spoor.events("$events_dropped")).filter((e) => e.properties?.rate_limited);
      return all.length === 2 ? all : undefined;
    });
    expect(reports.map((e) => e.properties?.rate_limited)).toEqual([1, 49]);
    await page.evaluate(async () => {
      for (const end = Date.now() + 1500; Date.now() < end; await new Promise((r) => setTimeout(r))) {
        for (let n = 0; n < 20; n++) {
          (globalThis as any).spoor.track("loop"); // What a page does that renders for ever.
        }
      }
    });
    await call(page, "flush");
    const seen = world.proxy.posts();
    expect(seen.flatMap((p) => p.events).filter((e) => e.eventName === "$events_dropped")).toHaveLength(2);
    expect(seen.length).toBeLessThan(40);
  });
});

describe("a person", () => {
  test("keeps the anonymousId over pages, has traits and one history after identify, and is another one after reset", async () => {
    const user = `user-${world.event}`;
    const page = await open();
    await track(page, 0, 1);
    const before = await ids(page);
    await page.reload();
    await start(page);
    expect(await ids(page)).toEqual(before);
    await call(page, "identify", user, { plan: "pro" });
    await track(page, 1, 2);
    const events = await expectOnce(2);
    await until("traits", async () => (await world.spoor.call("GET", `/api/users/${user}`)).traits.plan === "pro");
    await until("one history", async () => (await world.spoor.events(world.event)).every((e) => e.person === user));
    expect(events.map((e) => e.userId)).toEqual([undefined, user]);
    await call(page, "reset");
    const after = await ids(page);
    expect(after.userId).toBeUndefined();
    expect(after.anonymousId).not.toBe(before.anonymousId);
    await call(page, "alias", user, "old-phone");
    await call(page, "group", "acme", { size: 3 });
    await until("the alias", async () => (await world.spoor.call("GET", `/api/users/${user}`)).anonymousIds.includes("old-phone"));
    const group = await theOne("$group");
    expect(group.properties).toEqual({ groupId: "acme", traits: { size: 3 } });
    // Who was forgotten is another person, also to the group.
    await until("the trait", async () => (await world.spoor.call("GET", `/api/users/${after.anonymousId}`)).traits.groupId === "acme");
    expect(group.person).toBe(after.anonymousId);
    const asked = `events of "${world.event}" where user.plan = "pro" from 1900-01-01 to 2100-01-01`;
    expect((await world.spoor.query(asked)).events).toHaveLength(2);
    const names = world.proxy.posts().flatMap((p) => p.events.map((e) => e.eventName ?? e.type));
    expect(names.filter((n) => n !== world.event)).toEqual(["identify", "identify", "$group", "identify"]);
    expect(await world.spoor.events("$identify")).toEqual([]);
    expect(new Set(world.proxy.seen.map((s) => s.path))).toEqual(new Set(["/api/events/batch"]));
  });

  test("who takes the place of another without reset gets another anonymousId", async () => {
    const page = await open();
    await call(page, "identify", "first");
    const first = await ids(page);
    await call(page, "identify", "second");
    expect((await ids(page)).anonymousId).not.toBe(first.anonymousId);
    await call(page, "identify", "second");
    expect((await ids(page)).userId).toBe("second");
  });

  test("has the same anonymousId on all subdomains with the option cookie", async () => {
    const at = (host: string) => world.site.url.replace("localhost", host);
    const one = await open({ cookie: true }, { site: at("www.shop.test") });
    const two = await open({ cookie: true }, { site: at("blog.shop.test") });
    const other = await open({ cookie: true }, { site: at("www.other.test") });
    expect((await ids(two)).anonymousId).toBe((await ids(one)).anonymousId);
    expect((await ids(other)).anonymousId).not.toBe((await ids(one)).anonymousId);
    await call(two, "reset");
    await call(one, "track", world.event);
    expect((await theOne(world.event)).anonymousId).toBe((await ids(two)).anonymousId);
    expect((await world.context.cookies()).filter((c) => c.name === "spoor_id").map((c) => c.domain)).toContain(".shop.test");
  });
});

describe("a session", () => {
  test("goes on over pages, and ends after 30 minutes without an event, after 24 hours and with another campaign", async () => {
    await world.context.addInitScript(CLOCK);
    const page = await open({}, { path: "/?utm_campaign=may" });
    const sessions: string[] = [];
    const step = async (minutes: number, path?: string) => {
      await page.evaluate((m) => (sessionStorage.offset = String(Number(sessionStorage.offset || 0) + m * 60_000)), minutes);
      if (path) {
        await page.goto(world.site.url + path);
        await start(page);
      }
      await call(page, "track", world.event);
      sessions.push((await ids(page)).sessionId);
    };
    await step(0);
    await step(29);
    await step(29, "/next"); // no campaign: the session goes on
    await step(1, "/?utm_campaign=may");
    await step(1, "/?utm_campaign=june");
    await step(31);
    const [a, b, c, d, e, f] = sessions;
    expect([b, c, d]).toEqual([a, a, a]);
    expect(e).not.toBe(a);
    expect(f).not.toBe(e);
    const long = (await ids(page)).sessionId;
    for (let n = 0; n < 24 * 3; n++) {
      await step(20);
    }
    await step(1);
    expect((await ids(page)).sessionId).not.toBe(long);
  });
});

describe("an experiment", () => {
  test("shows the variant that the hash says, and records the exposure once a session", async () => {
    const experiments = {
      checkout: [
        { name: "control", weight: 1 },
        { name: "treatment", weight: 1 },
      ],
    };
    const page = await open({ experiments });
    await call(page, "identify", "u5");
    expect(await call(page, "variant", "checkout")).toBe("treatment");
    expect(await call(page, "variant", "checkout")).toBe("treatment");
    expect(await call(page, "variant", "unknown")).toBe("");
    await page.reload();
    await start(page, { experiments });
    expect(await call(page, "variant", "checkout")).toBe("treatment");
    expect(await call(page, "flush")).toBe(true);
    expect((await theOne("experiment_viewed")).properties).toEqual({ experiment: "checkout", variant: "treatment" });
    await call(page, "reset");
    await call(page, "identify", "u5");
    await call(page, "variant", "checkout");
    await call(page, "flush");
    expect(await world.spoor.events("experiment_viewed")).toHaveLength(2);
  });
});

describe("a write key", () => {
  test("with origins serves the pages of its site, and no others", async () => {
    const spoor = await new Spoor().start("--admin-key", "admin-key-of-the-test-0123456789");
    try {
      spoor.key = "admin-key-of-the-test-0123456789";
      const { key } = await spoor.call("POST", "/api/keys", { kind: "write", source: "web", origins: [world.site.url] });
      const page = await open({ host: spoor.url, writeKey: key });
      await track(page, 0, 3);
      const events = await expectOnce(3, { spoor });
      expect(events[0]?.source).toBe("web");
      await page.evaluate((name) => {
        (globalThis as any).spoor.track(name, { n: 3 });
        location.href = "/elsewhere"; // A beacon carries the key too.
      }, world.event);
      await expectOnce(4, { spoor });
      const stranger = await open({ host: spoor.url, writeKey: key }, { site: world.site.url.replace("localhost", "127.0.0.1") });
      await track(stranger, 9, 10);
      const dead = await until("the refusal", () => stranger.evaluate(() => (globalThis as any).dead[0]));
      expect(dead.code).toBe("origin_not_allowed");
      await expectOnce(4, { spoor });
    } finally {
      await spoor.end();
    }
  });
});
