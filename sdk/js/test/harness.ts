import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer, type IncomingMessage, request, type Server, type ServerResponse } from "node:http";
import { type AddressInfo, createServer as createNetServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { gunzipSync } from "node:zlib";

export const packageDir = join(fileURLToPath(import.meta.url), "../..");
const repository = join(packageDir, "../..");

let binary: string | undefined;

/** The server of the repository that this package lies in, or that of SPOOR_BINARY. */
function spoorBinary(): string {
  binary ||= process.env.SPOOR_BINARY;
  if (!binary) {
    const dir = mkdtempSync(join(tmpdir(), "spoor-js-"));
    process.once("exit", () => rmSync(dir, { recursive: true, force: true }));
    binary = join(dir, "spoor");
    execFileSync("go", ["build", "-o", binary, "./tools/spoor"], { cwd: repository, env: { ...process.env, CGO_ENABLED: "0" } });
  }
  return binary;
}

/** Waits until what is asked for holds, and fails with a message of what it was otherwise. */
export async function until<T>(what: string, ask: () => Promise<T> | T, seconds = 20): Promise<NonNullable<T>> {
  const end = Date.now() + seconds * 1000;
  for (;;) {
    let answer: T | undefined;
    let problem: unknown;
    try {
      answer = await ask();
    } catch (e) {
      problem = e;
    }
    if (answer) {
      return answer;
    }
    if (Date.now() > end) {
      throw new Error(`${what}: not within ${seconds} s`, { cause: problem });
    }
    await pause(20);
  }
}

/** Lets a poll or a fault last; no test takes it for a sign that something has happened. */
export const pause = (milliseconds: number) => new Promise((resolve) => setTimeout(resolve, milliseconds));

async function freePort(): Promise<number> {
  const server = createNetServer().listen(0, "127.0.0.1");
  await new Promise((resolve) => server.once("listening", resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

export interface StoredEvent {
  eventId: string;
  eventName: string;
  userId?: string;
  anonymousId?: string;
  timestamp: string;
  properties?: Record<string, any>;
  context: Record<string, any>;
  person: string;
  source?: string;
}

/** A Spoor server in a process of its own, which can be killed. */
export class Spoor {
  readonly dir = mkdtempSync(join(tmpdir(), "spoor-js-data-"));
  url = "";
  key = "";
  private child: ChildProcess | undefined;
  private log = "";

  async start(...args: string[]): Promise<this> {
    this.url ||= `http://127.0.0.1:${await freePort()}`;
    const child = spawn(spoorBinary(), ["serve", "--data", this.dir, "--listen", this.url.slice(7), "--log-level", "warn", ...args], {
      stdio: ["ignore", "ignore", "pipe"],
    });
    this.child = child;
    child.stderr?.on("data", (text) => (this.log += text));
    await until(`the server is ready; it said ${this.log}`, async () => (await fetch(`${this.url}/readyz`)).ok);
    return this;
  }

  /** kill -9. */
  async kill(): Promise<void> {
    const child = this.child;
    this.child = undefined;
    if (child && child.exitCode === null) {
      const gone = new Promise((resolve) => child.once("exit", resolve));
      child.kill("SIGKILL");
      await gone;
    }
  }

  async end(): Promise<void> {
    await this.kill();
    rmSync(this.dir, { recursive: true, force: true });
  }

  async call(method: string, path: string, body?: unknown, key = this.key): Promise<any> {
    const r = await fetch(this.url + path, {
      method,
      headers: key ? { Authorization: `Bearer ${key}` } : {},
      ...(body === undefined ? {} : { body: typeof body === "string" ? body : JSON.stringify(body) }),
    });
    const text = await r.text();
    if (!r.ok) {
      throw new Error(`${method} ${path}: ${r.status} ${text}`);
    }
    return JSON.parse(text);
  }

  async query(text: string): Promise<any> {
    return this.call("POST", "/api/query", text);
  }

  /** All events of a name, in the order of their times. */
  async events(name: string): Promise<StoredEvent[]> {
    return (await this.query(`events of "${name}" from 1900-01-01 to 2100-01-01 limit 10000`)).events;
  }
}

/** A request as the proxy saw it. */
export interface Seen {
  at: number;
  path: string;
  query: URLSearchParams;
  headers: IncomingMessage["headers"];
  sentAt: string;
  events: any[];
  status: number;
}

/** What becomes of a request: passed on; answered so; cut off before or, lost, behind the server. */
export type Fate = "pass" | "cut" | "lose" | { status: number; retryAfter?: string; body?: string };

/** Stands between a client and a server, and does harm as told. */
export class FaultyProxy {
  seen: Seen[] = [];
  fate: (seen: Seen) => Fate | Promise<Fate> = () => "pass";
  target: string;
  url = "";
  private server: Server;

  constructor(target: string) {
    this.target = target;
    this.server = createServer((req, res) => {
      this.serve(req, res).catch(() => res.destroy());
    });
  }

  async start(): Promise<this> {
    const port = this.url ? Number(new URL(this.url).port) : 0;
    this.server.listen(port, "127.0.0.1");
    await new Promise((resolve) => this.server.once("listening", resolve));
    this.url = `http://127.0.0.1:${(this.server.address() as AddressInfo).port}`;
    return this;
  }

  async end(): Promise<void> {
    this.server.closeAllConnections();
    await new Promise((resolve) => this.server.close(resolve));
  }

  posts(path = "/api/events/batch"): Seen[] {
    return this.seen.filter((s) => s.path === path);
  }

  private async serve(req: IncomingMessage, res: ServerResponse): Promise<void> {
    const parts: Buffer[] = [];
    for await (const part of req) {
      parts.push(part);
    }
    const body = Buffer.concat(parts);
    const url = new URL(req.url as string, this.target);
    const seen: Seen = {
      at: Date.now(),
      path: url.pathname,
      query: url.searchParams,
      headers: req.headers,
      sentAt: "",
      events: [],
      status: 0,
    };
    if (req.method === "POST") {
      const said = JSON.parse((body[0] === 0x1f ? gunzipSync(body) : body).toString());
      seen.sentAt = said.sentAt;
      seen.events = said.batch || [said];
    } else {
      seen.path = `${req.method} ${seen.path}`;
    }
    this.seen.push(seen);
    const fate = await this.fate(seen);
    if (fate === "cut") {
      res.destroy();
      return;
    }
    if (typeof fate === "object") {
      seen.status = fate.status;
      res.writeHead(fate.status, {
        "Access-Control-Allow-Origin": req.headers.origin || "*",
        "Access-Control-Expose-Headers": "Retry-After",
        ...(fate.retryAfter ? { "Retry-After": fate.retryAfter } : {}),
      });
      res.end(fate.body ?? "");
      return;
    }
    const answer = await new Promise<IncomingMessage>((resolve, reject) => {
      const forward = request(url, { method: req.method, headers: { ...req.headers, connection: "close" } }, resolve);
      forward.on("error", reject);
      forward.end(body);
    });
    const said: Buffer[] = [];
    for await (const part of answer) {
      said.push(part);
    }
    seen.status = answer.statusCode as number;
    if (fate === "lose") {
      res.destroy();
      return;
    }
    const { "transfer-encoding": _, connection: __, ...headers } = answer.headers;
    res.writeHead(seen.status, headers);
    res.end(Buffer.concat(said));
  }
}
