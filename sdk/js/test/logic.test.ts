import { readFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { readAnswer } from "../src/core/answer.js";
import type { Plugin } from "../src/core/api.js";
import { type Draft, limiter, toJSON, writeEvent } from "../src/core/event.js";
import { idMaker } from "../src/core/id.js";
import { backoff, createQueue, type QueueWorld, type Shared } from "../src/core/queue.js";
import { type Item, memoryStore, oldest } from "../src/core/store.js";
import { assign, bucket } from "../src/core/variant.js";
import { packageDir } from "./harness.js";

const random = (bytes: Uint8Array<ArrayBuffer>) => crypto.getRandomValues(bytes);

describe("ids", () => {
  test("are UUIDv7s of the time of the call", () => {
    expect(idMaker(random)(0x0123456789ab)).toMatch(/^01234567-89ab-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
  });

  test("sort by their calls, also 100,000 of one millisecond and when the clock goes back", () => {
    const make = idMaker(random);
    const ids: string[] = [];
    for (let n = 0; n < 100_000; n++) {
      ids.push(make(1_700_000_000_000 - (n % 3)));
    }
    expect(ids).toEqual([...ids].sort());
    expect(new Set(ids).size).toBe(ids.length);
  });
});

describe("variants", () => {
  const vectors = JSON.parse(readFileSync(join(packageDir, "../variant-vectors.json"), "utf8"));

  test("have the hashes that all of Spoor's SDKs have", () => {
    expect(vectors.buckets.length).toBeGreaterThan(10);
    for (const { experiment, unit, hash } of vectors.buckets) {
      expect(bucket(experiment, unit) * 2 ** 32, `${experiment} ${unit}`).toBe(hash);
    }
  });

  test("are those that all of Spoor's SDKs assign", () => {
    for (const { experiment, variants, units } of vectors.assignments) {
      for (const [unit, variant] of Object.entries(units)) {
        expect(assign(experiment, unit, variants), `${experiment} ${unit}`).toBe(variant);
      }
    }
    expect(assign("none", "u1", [])).toBe("");
    expect(assign("off", "u1", [{ name: "a", weight: 0 }])).toBe("");
  });
});

describe("an answer", () => {
  const read = (status: number, body: unknown, retryAfter: string | null = null, events = 2) =>
    readAnswer({ status, retryAfter, body: typeof body === "string" ? body : JSON.stringify(body) }, events, Date.UTC(2026, 0, 1));

  test("of 200 counts only if it accounts for each event", () => {
    const bad = { index: 1, code: "bad_timestamp", message: "no" };
    expect(read(200, { accepted: 2, duplicates: 0, rejected: [] }).verdict).toBe("stored");
    expect(read(200, { accepted: 0, duplicates: 1, rejected: [bad] })).toMatchObject({ verdict: "stored", rejected: [bad] });
    for (const other of [
      "",
      "<html>hello",
      "null",
      "[]",
      {},
      { accepted: 1, duplicates: 0, rejected: [] },
      { accepted: 0, duplicates: 0, rejected: [bad, bad] },
      { accepted: 1, duplicates: 0, rejected: [{ ...bad, index: 2 }] },
    ]) {
      expect(read(200, other).verdict, JSON.stringify(other)).toBe("again");
    }
  });

  test("of another status says whether to send again", () => {
    const verdicts = Object.fromEntries(
      [0, 204, 302, 400, 401, 403, 404, 408, 413, 422, 425, 429, 500, 502, 503, 507].map((s) => [s, read(s, "").verdict]),
    );
    expect(verdicts).toEqual({
      ...{ 0: "again", 204: "again", 302: "again", 400: "refused", 401: "refused", 403: "refused", 404: "refused", 408: "again" },
      ...{ 413: "divide", 422: "refused", 425: "again", 429: "again", 500: "again", 502: "again", 503: "again", 507: "again" },
    });
    expect(read(401, { error: { code: "unauthorized", message: "a key is needed" } })).toMatchObject({
      code: "unauthorized",
      message: "a key is needed",
    });
  });

  test("says how long to wait, in seconds or as a date, at most an hour", () => {
    const waits = ["2", "0", "-1", "86400", "nonsense", "Thu, 01 Jan 2026 00:00:05 GMT", "Wed, 31 Dec 2025 00:00:00 GMT", null].map(
      (t) => read(503, "", t).wait,
    );
    expect(waits).toEqual([2000, 0, 0, 3_600_000, 0, 5000, 0, 0]);
  });
});

describe("waits between tries", () => {
  test("are random below a bound that doubles up to its own bound; what the server asks for comes on top", () => {
    const o = { retryBase: 500, retryMax: 60_000 };
    expect([0, 1, 2, 7, 100].map((n) => backoff(o, n, 0, 0.5))).toEqual([250, 500, 1000, 30_000, 30_000]);
    expect(backoff(o, 3, 0, 0)).toBe(0);
    expect(backoff(o, 30, 2000, 0.5)).toBe(2250);
  });
});

describe("the limit of a client", () => {
  test("is a bucket of tokens that fills with time", () => {
    let now = 0;
    const take = limiter(10, 100, () => now);
    const taken = (n: number) => Array.from({ length: n }, take).filter(Boolean).length;
    expect(taken(150)).toBe(100);
    now += 1000;
    expect(taken(50)).toBe(10);
    now -= 5000; // the clock went back
    expect(taken(1)).toBe(0);
    now += 60_000;
    expect(taken(150)).toBe(100);
    expect(
      Array.from(
        { length: 1000 },
        limiter(0, 0, () => now),
      ).every(Boolean),
    ).toBe(true);
  });
});

describe("JSON", () => {
  test("has no half surrogate pairs, and leaves alone what looks like one", () => {
    const texts = ["\ud83d", "a\udc00b", "👩‍🚀", "\\ud83d", "\\\\ud83d\ud83d", "\\\ud83d", "\u0001\ud83d"];
    expect(JSON.parse(toJSON(texts))).toEqual(["\ufffd", "a\ufffdb", "👩‍🚀", "\\ud83d", "\\\\ud83d\ufffd", "\\\ufffd", "\u0001\ufffd"]);
  });
});

describe("an identify call", () => {
  const dead: string[] = [];
  const write = (draft: Partial<Draft>, beforeSend?: Plugin["beforeSend"]) => {
    const json = writeEvent({ name: "$identify", context: { locale: "de" }, ...draft }, "id-1", 0, {
      host: "",
      onDead: (d) => dead.push(`${d.eventId} ${d.message}`),
      beforeSend,
    });
    return json && JSON.parse(json);
  };
  const item = { eventId: "id-1", type: "identify", timestamp: "1970-01-01T00:00:00.000Z" };

  test("goes over the wire as an item of the batch without a name, properties and context", () => {
    const both = { userId: "u1", anonymousId: "a1" };
    expect(write({ ...both, traits: { plan: "pro" } })).toEqual({ ...item, ...both, traits: { plan: "pro" } });
    expect(write({ ...both })).toEqual({ ...item, ...both });
    expect(write({ ...both, options: { eventId: "own", userId: "u2" } })).toEqual({ ...item, ...both, userId: "u2", eventId: "own" });
  });

  test("that says nothing, of one id without traits, is not sent", () => {
    expect(write({ userId: "u1" })).toBeUndefined();
    expect(write({ anonymousId: "a1", traits: {} })).toBeUndefined();
    expect(write({ userId: '"traits":{"a":1}', traits: { plan: undefined } })).toBeUndefined();
    expect(dead).toEqual([]);
    expect(write({ userId: "u1", traits: { traits: {} } })).toEqual({ ...item, userId: "u1", traits: { traits: {} } });
    expect(write({ userId: "u1", traits: "pro" as never })).toEqual({ ...item, userId: "u1", traits: "pro" }); // The server says what is wrong.
  });

  test("is shown to the hooks like an event, who may change its person and traits or drop it", () => {
    const seen: unknown[] = [];
    const change: Plugin["beforeSend"] = (event) => {
      seen.push({ ...event });
      event.traits = { ...event.traits, mail: undefined };
      event.context.more = 1;
    };
    expect(write({ userId: "u1", traits: { plan: "pro", mail: "a@b.c" } }, change)).toEqual({
      ...item,
      userId: "u1",
      traits: { plan: "pro" },
    });
    expect(seen).toMatchObject([{ eventName: "$identify", userId: "u1", traits: { mail: "a@b.c" }, context: { locale: "de" } }]);
    expect(write({ userId: "u1", traits: { mail: "a@b.c" } }, change)).toBeUndefined();
    expect(write({ userId: "u1", traits: { plan: "pro" } }, () => false)).toBeUndefined();
  });

  test("of nobody, and one beyond 128 KiB, is told", () => {
    expect(write({ traits: { plan: "pro" } })).toBeUndefined();
    expect(write({ userId: "u1", traits: { text: "x".repeat(128 << 10) } })).toBeUndefined();
    expect(dead).toEqual(["id-1 $identify: Error: neither userId nor anonymousId", "id-1 $identify: Error: too large"]);
  });
});

describe("a store in memory", () => {
  const item = (n: number, size = 1): Item => [String(n).padStart(6, "0"), "x".repeat(size)];

  test("does what a naive one does", () => {
    for (let seed = 1; seed <= 50; seed++) {
      let state = seed;
      const below = (n: number) => (state = (state * 48271) % 2147483647) % n;
      const bounds = { queueEvents: 1 + below(20), queueBytes: 10 + below(100) };
      const store = memoryStore(bounds);
      let naive: Item[] = [];
      for (let n = 0; n < 200; n++) {
        if (below(3)) {
          const items = Array.from({ length: 1 + below(4) }, (_, i) => item(n * 10 + i, 1 + below(30)));
          naive.push(...items);
          let gone = 0;
          while (naive.length > bounds.queueEvents || naive.reduce((s, i) => s + i[1].length, 0) > bounds.queueBytes) {
            naive.shift();
            gone++;
          }
          expect(store.add(items)).toBe(gone);
        } else {
          const taken = store.take(1 + below(5), 1 + below(60)) as Item[];
          expect(taken).toEqual(naive.slice(0, taken.length));
          expect(taken.length).toBeGreaterThanOrEqual(Math.min(naive.length, 1));
          store.remove(taken);
          naive = naive.slice(taken.length);
        }
      }
      expect(store.take(1000, 1e9)).toEqual(naive);
    }
  });

  test("gives at least one event, and else what fits", () => {
    const items = [item(1, 100), item(2, 10), item(3, 10)];
    expect(oldest(items, 5, 50)).toEqual([items[0]]);
    expect(oldest(items, 5, 115)).toEqual(items.slice(0, 2));
    expect(oldest(items, 1, 1000)).toEqual([items[0]]);
    expect(oldest([], 1, 1)).toEqual([]);
  });
});

describe("the queue", () => {
  beforeEach(() => {
    vi.useFakeTimers();
  });
  afterEach(() => {
    vi.useRealTimers();
  });

  const options = {
    batchEvents: 3,
    batchBytes: 1e6,
    flushEvery: 1000,
    queueEvents: 100,
    retryBase: 100,
    retryMax: 60_000,
    onDead: vi.fn(),
  };
  const json = (n: number) => JSON.stringify({ eventId: `e${n}`, eventName: "x" });

  function world(answers: (n: number, events: any[]) => { status: number; retryAfter?: string; body?: string } | undefined) {
    const sent: { at: number; ids: string[] }[] = [];
    const shared: Shared = {};
    const w: QueueWorld = {
      store: memoryStore({ queueEvents: 100, queueBytes: 1e6 }),
      now: Date.now,
      random: () => 0.5,
      async post(body) {
        const { batch } = JSON.parse(body);
        sent.push({ at: Date.now(), ids: batch.map((e: any) => e.eventId) });
        const answer = answers(sent.length - 1, batch);
        if (!answer) {
          throw new TypeError("Failed to fetch");
        }
        return { retryAfter: null, body: JSON.stringify({ accepted: batch.length, duplicates: 0, rejected: [] }), ...answer };
      },
      shared: () => shared,
      share() {},
      lock: (run) => run(),
      open: () => true,
      settled() {},
      report() {},
    };
    return { w, sent, shared };
  }

  test("goes on for days while there is no answer, ever slower up to the bound, and then sends all", async () => {
    let up = false;
    const { w, sent } = world(() => (up ? { status: 200 } : undefined));
    const queue = createQueue(options, w);
    queue.add(["a", json(1)]);
    await vi.advanceTimersByTimeAsync(5 * 86_400_000);
    const gaps = sent.slice(1).map((s, i) => s.at - (sent[i] as { at: number }).at);
    expect(gaps.slice(0, 5)).toEqual([50, 100, 200, 400, 800]);
    expect(Math.max(...gaps)).toBe(30_000);
    expect(sent.length).toBeGreaterThan(14_000);
    up = true;
    queue.hurry();
    await vi.advanceTimersByTimeAsync(1);
    expect(await queue.flush(1000)).toBe(true);
    queue.stop();
  });

  test("sends in order, in batches, each event once, and flush waits for those before it", async () => {
    const { w, sent } = world(() => ({ status: 200 }));
    const queue = createQueue(options, w);
    for (let n = 0; n < 8; n++) {
      queue.add([`k${n}`, json(n)]);
    }
    const flushed = queue.flush(1000);
    await vi.advanceTimersByTimeAsync(0);
    expect(await flushed).toBe(true);
    expect(sent.map((s) => s.ids)).toEqual([
      ["e0", "e1", "e2"],
      ["e3", "e4", "e5"],
      ["e6", "e7"],
    ]);
    queue.stop();
  });

  test("does not wait where a batch is full by its events or its bytes", async () => {
    for (const [size, full] of [
      [1, 20],
      [400, 3],
    ] as const) {
      const { w, sent } = world(() => ({ status: 200 }));
      const queue = createQueue({ ...options, batchEvents: 20, batchBytes: 1000, flushEvery: 60_000 }, w);
      const add = (n: number) => queue.add([`k${String(n).padStart(3, "0")}`, JSON.stringify({ eventId: `e${n}`, x: "x".repeat(size) })]);
      add(0);
      await vi.advanceTimersByTimeAsync(0);
      for (let n = 1; n < full; n++) {
        add(n);
      }
      await vi.advanceTimersByTimeAsync(59_000);
      expect(sent).toHaveLength(1); // The first did not wait, the others do.
      add(full);
      await vi.advanceTimersByTimeAsync(0);
      expect(sent.flatMap((s) => s.ids)).toHaveLength(full + 1);
      queue.stop();
    }
  });

  test("says false where the time of a flush ends before the events are answered for", async () => {
    const { w } = world(() => ({ status: 503 }));
    const queue = createQueue(options, w);
    queue.add(["a", json(1)]);
    const flushed = queue.flush(5000);
    await vi.advanceTimersByTimeAsync(5000);
    expect(await flushed).toBe(false);
    queue.stop();
  });

  test("waits as the server says, whatever happens, but for no clock that was wrong", async () => {
    const { w, sent, shared } = world((n) => (n ? { status: 200 } : { status: 429, retryAfter: "30" }));
    const queue = createQueue(options, w);
    queue.add(["a", json(1)]);
    await vi.advanceTimersByTimeAsync(1);
    queue.hurry();
    queue.add(["b", json(2)]);
    await vi.advanceTimersByTimeAsync(29_000);
    expect(sent).toHaveLength(1);
    await vi.advanceTimersByTimeAsync(2000);
    expect(sent).toHaveLength(2);
    shared.retry = [Date.now() + 365 * 86_400_000, 3, false];
    queue.add(["c", json(3)]);
    await vi.advanceTimersByTimeAsync(2000);
    expect(sent).toHaveLength(3);
    queue.stop();
  });

  test("reports an event that is refused for good once, and goes on when the callback fails", async () => {
    const dead: string[] = [];
    const { w, sent } = world((n) =>
      n === 0
        ? { status: 400, body: "" }
        : { status: 200, body: '{"accepted":0,"duplicates":0,"rejected":[{"index":0,"code":"bad","message":"m"}]}' },
    );
    const queue = createQueue(
      {
        ...options,
        batchEvents: 1,
        onDead: (d) => {
          dead.push(`${d.eventId} ${d.code}`);
          throw new Error("callback");
        },
      },
      w,
    );
    queue.add(["a", json(1)]);
    queue.add(["b", json(2)]);
    await vi.advanceTimersByTimeAsync(10_000);
    expect(dead).toEqual(["e1 http_400", "e2 bad"]);
    expect(sent).toHaveLength(2);
    queue.stop();
  });
});
