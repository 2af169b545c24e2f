import { type ChildProcess, spawn } from "node:child_process";
import { appendFileSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { type Client, type Dead, init, type Options } from "../src/node/index.js";
import { FaultyProxy, packageDir, pause, Spoor, until } from "./harness.js";

let spoor: Spoor;
let proxy: FaultyProxy;
let dir: string;
let count = 0;
const clients: Client[] = [];
const event = () => `node_${count}`;
const who = { userId: "u1" };

beforeAll(async () => {
  spoor = await new Spoor().start();
});
afterAll(() => spoor?.end());
beforeEach(async () => {
  count++;
  dir = mkdtempSync(join(tmpdir(), "spoor-js-spool-"));
  proxy = await new FaultyProxy(spoor.url).start();
});
afterEach(async () => {
  await Promise.all(clients.splice(0).map((c) => c.close(0)));
  await proxy.end();
  rmSync(dir, { recursive: true, force: true });
});

function start(options: Partial<Options> = {}): Client {
  const client = init({ host: proxy.url, flushEvery: 20, retryBase: 20, retryMax: 200, ...options });
  clients.push(client);
  return client;
}

function track(client: Client, first: number, end: number) {
  for (let n = first; n < end; n++) {
    client.track(event(), { n }, who);
  }
}

/** The numbers of the events in the server, as often as they are there. */
const found = async (at = spoor) => (await at.events(event())).map((e) => e.properties?.n as number).sort((a, b) => a - b);
const numbers = (total: number) => Array.from({ length: total }, (_, n) => n);

async function expectOnce(total: number, at = spoor) {
  await until(`${total} events`, async () => (await found(at)).length >= total);
  expect(await found(at)).toEqual(numbers(total));
}

/** A program of test/programs. */
class Program {
  said = "";
  readonly exit: Promise<number | null>;
  readonly child: ChildProcess;
  constructor(name: string, ...args: string[]) {
    this.child = spawn(process.execPath, [join(packageDir, "test/programs", name), ...args], { stdio: ["ignore", "pipe", "inherit"] });
    this.child.stdout?.on("data", (text) => (this.said += text));
    this.exit = new Promise((resolve) => this.child.once("close", resolve));
  }
  /** The number behind the last event whose call returned. */
  get next(): number {
    const lines = this.said.split("\n").filter((line) => /^\d+$/.test(line));
    return Number(lines.at(-1) ?? -1) + 1;
  }
}

describe("a program delivers every event once", () => {
  test("1,000 events with 429s, lost answers, cut connections and a server that is killed twice and comes back", async () => {
    const own = await new Spoor().start();
    try {
      proxy.target = own.url;
      let n = 0;
      proxy.fate = () => (["pass", { status: 429, retryAfter: "1" }, "lose", "cut", "pass", { status: 503 }] as const)[n++ % 6] ?? "pass";
      const client = start({ batchEvents: 40 });
      for (let round = 0; round < 10; round++) {
        track(client, round * 100, round * 100 + 100);
        if (round === 3 || round === 6) {
          await own.kill();
          await pause(150);
          await own.start();
        }
        await pause(50);
      }
      expect(await client.flush(30_000)).toBe(true);
      await expectOnce(1000, own);
      expect(proxy.posts().length).toBeGreaterThan(30);
    } finally {
      await own.end();
    }
  });

  test("with a spool also when the program is killed again and again, by what the next one finds", async () => {
    const own = await new Spoor().start();
    proxy.target = own.url;
    let first = 0;
    const returned: number[] = [];
    try {
      for (let life = 0; life < 4; life++) {
        const program = new Program("sender.mjs", proxy.url, dir, event(), String(first));
        const until_ = first + 200;
        await until("200 events", () => program.next >= until_);
        if (life === 1) {
          await own.kill(); // The next lives find no server.
        }
        program.child.kill("SIGKILL");
        await program.exit;
        for (let n = first; n < program.next; n++) {
          returned.push(n);
        }
        first = program.next + 1; // The one behind may have been taken, too, without its call having returned.
      }
      await own.start();
      const last = new Program("sender.mjs", proxy.url, dir, event(), String(first));
      await until("some events", () => last.next > first + 50);
      last.child.kill("SIGTERM");
      expect(await last.exit).toBe(0);
      expect(last.said).toContain("closed true");
      for (let n = first; n < last.next; n++) {
        returned.push(n);
      }
      const stored = await found(own);
      expect(new Set(stored).size).toBe(stored.length);
      expect(returned.filter((n) => !stored.includes(n))).toEqual([]);
      expect(stored.length).toBeLessThanOrEqual(returned.length + 4);
      expect(readdirSync(dir)).toEqual(["done"]);
    } finally {
      await own.end();
    }
  }, 90_000);

  test("and keeps its memory within bounds while it cannot, with a report of what gave way", async () => {
    proxy.fate = () => ({ status: 503 });
    const client = start({ queueEvents: 100 });
    track(client, 0, 250);
    await until("a try", () => proxy.posts().length > 0);
    proxy.fate = () => "pass";
    const report = await until("the report", async () => (await spoor.events("$events_dropped")).find((e) => e.properties?.queue_full));
    expect(report.properties).toEqual({ queue_full: 150 });
    expect(await found()).toEqual(numbers(250).slice(150));
  });
});

describe("the calls", () => {
  test("say who, and what is wrong is told, not thrown", async () => {
    const dead: Dead[] = [];
    const client = start({
      onDead: (d) => dead.push(d),
      context: { service: "shop" },
      experiments: { checkout: [{ name: "treatment", weight: 1 }] },
    });
    client.identify("n1", { plan: "pro" }, { anonymousId: "cookie-1" });
    client.track(
      event(),
      { n: 0 },
      { anonymousId: "cookie-1", timestamp: new Date("2026-01-02T03:04:05Z"), eventId: `${event()}-id`, context: { ip: "10.1.2.3" } },
    );
    client.page({ title: "Cart" }, { userId: "n1" });
    client.group("acme", { size: 3 }, { userId: "n1" });
    client.alias("n1", "cookie-0");
    client.identify("n2"); // It says nothing, and is not sent.
    expect([1, 2, 3].map(() => client.variant("checkout", { userId: "größe" }))).toEqual(["treatment", "treatment", "treatment"]);
    expect(client.variant("unknown", { userId: "n1" })).toBe("");
    client.track(event(), { n: 1 }, {} as never);
    client.track(event(), { big: 1n }, who);
    client.track(event(), {}, undefined as never);
    expect(await client.flush()).toBe(true);
    const [stored] = await spoor.events(event());
    expect(stored).toMatchObject({
      eventId: `${event()}-id`,
      person: "n1",
      properties: { n: 0 },
      context: { service: "shop", library: { name: "spoor-js" } },
    });
    expect(await spoor.events(event())).toHaveLength(1);
    expect(await spoor.call("GET", "/api/users/n1")).toMatchObject({
      traits: { plan: "pro", groupId: "acme" },
      anonymousIds: expect.arrayContaining(["cookie-0", "cookie-1"]),
    });
    expect((await spoor.events("$group")).map((e) => e.properties)).toEqual([{ groupId: "acme", traits: { size: 3 } }]);
    expect(proxy.posts().flatMap((p) => p.events.map((e) => e.eventName ?? `${e.type} ${Object.keys(e)}`))).toEqual([
      "identify eventId,type,userId,anonymousId,timestamp,traits",
      event(),
      "page_viewed",
      "$group",
      "identify eventId,type,userId,timestamp,traits",
      "identify eventId,type,userId,anonymousId,timestamp",
      "experiment_viewed",
    ]);
    expect(proxy.seen.map((s) => s.path).filter((p) => p !== "/api/events/batch")).toEqual([]);
    expect(await spoor.events("experiment_viewed")).toHaveLength(1);
    expect(dead.map((d) => d.code)).toEqual(["invalid_event", "invalid_event", "invalid_event"]);
  });

  test("give an exposure the id that the SDK for Go gives it, so that many processes count one a day", async () => {
    const real = Date.now;
    Date.now = () => 1_700_006_400_000 + 3_600_000;
    try {
      const client = start({ experiments: { checkout: [{ name: "treatment", weight: 1 }] } });
      expect(client.variant("checkout", { userId: "größe" })).toBe("treatment");
      expect(await client.flush()).toBe(true);
    } finally {
      Date.now = real;
    }
    const ids = (await spoor.events("experiment_viewed")).map((e) => e.eventId);
    expect(ids).toContain("018bd047-1000-82c4-b8ed-2898d3a589c6");
  });

  test("take little time", () => {
    proxy.fate = () => ({ status: 503 });
    for (const spoolDir of [undefined, dir]) {
      const client = start(spoolDir ? { spoolDir } : {});
      track(client, 0, 1000);
      const began = performance.now();
      track(client, 1000, 6000);
      const each = ((performance.now() - began) / 5000) * 1000;
      console.log(`${spoolDir ? "into the spool" : "in memory"}: ${each.toFixed(1)} us a call`);
      expect(each).toBeLessThan(1000);
    }
  });
});

describe("a spool", () => {
  test("is for one client at a time; another one says so and goes on in memory", async () => {
    const problems: string[] = [];
    const one = start({ spoolDir: dir });
    const two = start({ spoolDir: dir, onProblem: (m) => problems.push(m) });
    track(one, 0, 10);
    track(two, 10, 20);
    await Promise.all([one.flush(), two.flush()]);
    await expectOnce(20);
    expect(problems.join()).toContain("in use");
  });

  test("leaves out damaged and torn lines, tells of them, and gives the others", async () => {
    proxy.fate = () => ({ status: 503, retryAfter: "600" }); // No second try comes while files change.
    const one = start({ spoolDir: dir });
    track(one, 0, 10);
    await until("a refusal", () => proxy.posts().some((p) => p.status));
    await one.close(0);
    const file = join(dir, readdirSync(dir).find((name) => name.endsWith(".events")) as string);
    const lines = readFileSync(file, "utf8").split("\n");
    lines[4] = (lines[4] as string).replace('"n":4', '"n":5');
    writeFileSync(file, lines.join("\n"));
    appendFileSync(file, (lines[0] as string).slice(0, 50));
    proxy.fate = () => "pass";
    const problems: string[] = [];
    const two = start({ spoolDir: dir, onProblem: (m) => problems.push(m) });
    track(two, 10, 11);
    expect(await two.flush()).toBe(true);
    expect(await found()).toEqual(numbers(11).filter((n) => n !== 4));
    expect(problems.join()).toMatch(/1 damaged lines/);
  });

  test("goes on where it was though the clock has gone back", async () => {
    const one = start({ spoolDir: dir });
    track(one, 0, 5);
    expect(await one.close()).toBe(true);
    proxy.fate = () => ({ status: 503, retryAfter: "600" }); // No second try comes while the fate changes.
    const real = Date.now;
    Date.now = () => real() - 86_400_000;
    try {
      const two = start({ spoolDir: dir });
      track(two, 5, 10);
      await until("a refusal", () => proxy.posts().some((p) => p.status === 503));
      await two.close(0);
    } finally {
      Date.now = real;
    }
    proxy.fate = () => "pass";
    expect(await start({ spoolDir: dir }).flush()).toBe(true);
    expect(await found()).toEqual(numbers(10));
  });

  test("takes the lock of a process that is gone, also where its number is that of this one", async () => {
    for (const holder of ["999999 1", `${process.pid} 1`, ""]) {
      writeFileSync(join(dir, "lock"), holder);
      const problems: string[] = [];
      const client = start({ spoolDir: dir, onProblem: (m) => problems.push(m) });
      expect(problems).toEqual([]);
      await client.close();
    }
  });
});

describe("a process", () => {
  test("is not kept alive by events that cannot be sent, by a server that does not answer or by a spool", async () => {
    let asked = 0;
    proxy.fate = async () => {
      asked++;
      await pause(10_000);
      return "cut" as const;
    };
    const down = new FaultyProxy("");
    const refused = (await down.start()).url;
    await down.end();
    const began = Date.now();
    const programs = [new Program("idle.mjs", proxy.url), new Program("idle.mjs", proxy.url, dir), new Program("idle.mjs", refused)];
    expect(await Promise.all(programs.map((p) => p.exit))).toEqual([0, 0, 0]);
    expect(Date.now() - began).toBeLessThan(5000);
    expect(asked).toBe(2);
  });

  test("that closes waits as long as it says and no longer", async () => {
    proxy.fate = () => ({ status: 503, retryAfter: "600" });
    const client = start();
    track(client, 0, 1);
    const began = Date.now();
    expect(await client.close(300)).toBe(false);
    expect(Date.now() - began).toBeLessThan(2000);
    track(client, 1, 2);
    expect(await client.flush(10)).toBe(false);
  });
});
