import { createHash, webcrypto } from "node:crypto";
import {
  type CommonOptions,
  DROPPED,
  type EventOptions,
  EXPOSURE,
  GROUP,
  IDENTIFY,
  type Members,
  PAGE,
  type Plugin,
  VERSION,
} from "../core/api.js";
import { limiter, withDefaults, writeEvent } from "../core/event.js";
import { idMaker, uuid } from "../core/id.js";
import { createQueue, type Shared } from "../core/queue.js";
import { memoryStore, type Store } from "../core/store.js";
import { assign } from "../core/variant.js";
import { openSpool, type Spool } from "./spool.js";
import { transportOf } from "./transport.js";

export * from "../core/api.js";
export { assign, bucket } from "../core/variant.js";

/** Options of the client of a program. */
export interface Options extends CommonOptions<Client> {
  /** A directory that this client has for itself: events are in files in it when their call returns, and are sent by the next client that opens it. */
  spoolDir?: string;
  /** Milliseconds between fsyncs of the spool; 0: before each call returns. */
  spoolSync?: number;
  /** Told of what is wrong with the spool; console.warn otherwise. */
  onProblem?(message: string): void;
}

/** Who did something, and what differs from the usual for the event. */
export type Who = EventOptions & ({ userId: string } | { anonymousId: string });

/** The client of a program. No call waits for the network, and none throws. */
export interface Client {
  track(name: string, properties: Members | undefined, who: Who): void;
  page(properties: Members | undefined, who: Who): void;
  /** Says what is known of a user; with options.anonymousId also that that was this user all along. Without either it says nothing. */
  identify(userId: string, traits?: Members, options?: EventOptions): void;
  /** Says that an anonymousId was this user all along. */
  alias(userId: string, previousId: string): void;
  /** Says that a person belongs to a group, which becomes the trait groupId, and what is known of the group. */
  group(groupId: string, traits: Members | undefined, who: Who): void;
  /** The variant that a person sees, "" where there is none; records one exposure of a person per UTC day, whichever process asks. */
  variant(experiment: string, who: Who): string;
  /** Waits until all that was tracked before is answered for; false where that took longer (10 s). Keeps the process alive meanwhile. */
  flush(milliseconds?: number): Promise<boolean>;
  /** Takes no further events and flushes: true where all is answered for. What is left stays in the spool. */
  close(milliseconds?: number): Promise<boolean>;
}

/** How many exposures are remembered; further ones are sent again and dropped by the server. */
const MAX_EXPOSURES = 20_000;
const DAY = 86_400_000;

/** Starts a client. */
export function init(options: Options): Client {
  const o = withDefaults<Client, Options>(options, {
    batchEvents: 500,
    flushEvery: 1000,
    queueEvents: 100_000,
    queueBytes: 64 << 20,
    ratePerSecond: 0,
    rateBurst: 100,
  });
  const now = Date.now;
  const newId = idMaker((bytes) => webcrypto.getRandomValues(bytes));
  const take = limiter(o.ratePerSecond, o.rateBurst, now);
  const transport = transportOf(o.host, o.writeKey, o.timeout);
  const problem = (message: string) => {
    try {
      o.onProblem ? o.onProblem(message) : console.warn(`spoor: ${message}`);
    } catch {
      // Nothing is thrown into the program.
    }
  };
  let store: Store = memoryStore(o);
  let spool: Spool | undefined;
  if (o.spoolDir) {
    try {
      spool = openSpool({
        dir: o.spoolDir,
        sync: o.spoolSync ?? 1000,
        queueEvents: o.queueEvents,
        queueBytes: o.queueBytes,
        problem,
      });
      store = spool;
    } catch (e) {
      problem(`no spool, events are kept in memory alone: ${(e as Error).message}`);
    }
  }
  const shared: Shared = {};
  const fixed = { library: { name: "spoor-js", version: VERSION }, app: o.app, ...o.context };
  let exposed = new Set<string>();
  let exposedOn = 0;
  let closed = false;
  let awaiting = 0;
  const queue = createQueue(o, {
    store,
    now,
    random: Math.random,
    post: transport.post,
    shared: () => shared,
    share() {},
    lock: (run) => run(),
    open: () => true,
    settled() {},
    report: (dropped) => capture(DROPPED, dropped, undefined, { anonymousId: "spoor-js" }),
  });

  function capture(name: string, properties?: Members, traits?: Members, options?: EventOptions): boolean {
    try {
      if (closed && name !== DROPPED) {
        return false;
      }
      if (name !== DROPPED && !take()) {
        queue.drop("rate_limited", 1);
        return false;
      }
      const at = now();
      const id = newId(at);
      const json = writeEvent({ name, properties, traits, options, context: fixed }, id, at, o);
      if (json) {
        queue.add([spool ? spool.nextKey() : id, json]);
      }
      return !!json;
    } catch {
      return false;
    }
  }

  async function flush(milliseconds = 10_000): Promise<boolean> {
    transport.await(++awaiting > 0);
    try {
      return await queue.flush(milliseconds);
    } finally {
      transport.await(--awaiting > 0);
    }
  }

  const client: Client = {
    track: (name, properties, who) => void capture(name, properties, undefined, who),
    page: (properties, who) => void capture(PAGE, properties, undefined, who),
    identify: (userId, traits, options) => void capture(IDENTIFY, undefined, traits, { ...options, userId }),
    alias: (userId, previousId) => void capture(IDENTIFY, undefined, undefined, { userId, anonymousId: previousId }),
    group(groupId, traits, who) {
      const one = { timestamp: now(), ...who };
      capture(GROUP, { groupId, traits }, undefined, one) && capture(IDENTIFY, undefined, { groupId }, { ...one, eventId: "" });
    },
    variant(experiment, who) {
      const unit = who?.userId || who?.anonymousId;
      const variant = unit ? assign(experiment, unit, o.experiments?.[experiment] || []) : "";
      if (variant) {
        const day = Math.floor(now() / DAY) * DAY;
        const eventId = derivedId(day, "exposure", experiment, unit as string, variant);
        if (day !== exposedOn || exposed.size >= MAX_EXPOSURES) {
          exposed = new Set();
          exposedOn = day;
        }
        if (!exposed.has(eventId) && capture(EXPOSURE, { experiment, variant }, undefined, { ...who, eventId })) {
          exposed.add(eventId);
        }
      }
      return variant;
    },
    flush,
    async close(milliseconds) {
      if (closed) {
        return true;
      }
      closed = true;
      for (const stop of stops) {
        try {
          stop();
        } catch {
          // A plugin must not keep the others from ending.
        }
      }
      queue.hurry();
      const all = await flush(milliseconds);
      queue.stop();
      transport.close();
      spool?.close();
      return all;
    },
  };
  const stops: (() => void)[] = [];
  for (const plugin of (o.plugins || []) as Plugin<Client>[]) {
    try {
      const stop = plugin.start?.(client);
      stop && stops.push(stop);
    } catch (e) {
      problem(`a plugin failed: ${(e as Error)?.message}`);
    }
  }
  queue.wake(0); // What an earlier process left in the spool.
  return client;
}

/**
 * The same id for the same parts, as the SDK for Go makes it: what several processes say
 * of one thing on one day is one event. A UUIDv8 of the day and a hash of the parts.
 */
function derivedId(day: number, ...parts: string[]): string {
  const hash = createHash("sha256");
  for (const part of parts) {
    const bytes = Buffer.from(part);
    const size = Buffer.alloc(8);
    size.writeBigUInt64BE(BigInt(bytes.length));
    hash.update(size).update(bytes);
  }
  const sum = hash.digest();
  return uuid(day, 0x8000 | (sum.readUInt16BE(0) & 0xfff), sum.subarray(2, 10));
}
