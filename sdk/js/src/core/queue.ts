import { MAX_RETRY_AFTER, type Reply, readAnswer } from "./answer.js";
import type { CommonOptions, Dead } from "./api.js";
import type { Item, Store } from "./store.js";

/** What all senders of one store know of each other: tabs keep it where all can read it. */
export interface Shared {
  /** Not before this time, in milliseconds since 1970, after so many failed tries; free where the server has not asked for it. */
  retry?: [at: number, tries: number, free: boolean] | undefined;
  /** Events that gave way, by reason, and are not reported yet. */
  dropped?: Record<string, number> | undefined;
}

/** What a queue needs of the world around it. */
export interface QueueWorld {
  store: Store;
  now(): number;
  /** In [0, 1). */
  random(): number;
  /** Sends a batch; fails where there is no answer. */
  post(body: string): Promise<Reply>;
  shared(): Shared;
  /** Keeps what was changed in shared(). */
  share(): void;
  /** Runs one after the other what all tabs give it. */
  lock(run: () => Promise<number>): Promise<number>;
  /** Tells whether it may send. */
  open(): boolean;
  /** Told of events that are no longer in the queue since the server has answered for them. */
  settled(items: Item[]): void;
  /** Makes an event of the drops. */
  report(dropped: Record<string, number>): void;
}

export type QueueOptions = Required<
  Pick<CommonOptions<never>, "batchEvents" | "batchBytes" | "flushEvery" | "queueEvents" | "retryBase" | "retryMax">
> &
  Pick<CommonOptions<never>, "onDead">;

export interface Queue {
  add(item: Item): void;
  /** Counts an event that was not taken. */
  drop(reason: string, events: number): void;
  /** Sends as soon as it may, in so many milliseconds at the latest. */
  wake(milliseconds: number): void;
  /** Sends now, unless the server has asked to wait: something has changed. */
  hurry(): void;
  /** Waits until all that was added before has been answered for, or gave way; false where the time was over before. */
  flush(milliseconds: number): Promise<boolean>;
  /** What the store does not have for sure. */
  unsaved(): Item[];
  /** Forgets everything. */
  clear(): Promise<void>;
  /** Ends the timers; what is queued stays in the store. */
  stop(): void;
}

/** Milliseconds between events that tell of drops: a page that tracks in a loop makes few of them. */
export const REPORT_EVERY = 60_000;

/** The wait behind a try from 0 on: a random part of a bound that doubles. What the server asked for comes on top. */
export function backoff(o: Pick<QueueOptions, "retryBase" | "retryMax">, tries: number, asked: number, random: number): number {
  return asked + random * (asked ? o.retryBase : Math.min(o.retryBase * 2 ** tries, o.retryMax));
}

/** The queue of one tab or program before a store, and its sender: one request at a time, each event until its fate is known. */
export function createQueue(o: QueueOptions, w: QueueWorld): Queue {
  const { store } = w;
  let waiting: Item[] = []; // for the store
  let saving: Item[] = [];
  let saved: Promise<void> | undefined; // while the store is at work
  let running = false;
  let again = false; // something came while it ran
  let stopped = false;
  let timer: ReturnType<typeof setTimeout> | undefined;
  let due = Infinity; // when timer goes off
  let fresh = 0; // how full a batch is of what came since the last run: 1 is full
  let lastSend = -Infinity;
  let lastReport = -Infinity;
  let limit = o.batchEvents;
  let lastKey = "";
  const waiters = new Map<(settled: boolean) => void, string>(); // and the key up to which they wait

  function drop(reason: string, events: number) {
    if (events) {
      const dropped = (w.shared().dropped ||= {});
      dropped[reason] = (dropped[reason] || 0) + events;
      w.share();
    }
  }

  function save(): Promise<void> | undefined {
    if (!saved && waiting.length) {
      const result = store.add((saving = waiting));
      waiting = [];
      const end = (gone: number) => {
        saving = [];
        saved = undefined;
        drop("queue_full", gone);
      };
      if (typeof result === "number") {
        end(result);
      } else {
        saved = result.then(end).then(save);
      }
    }
    return saved;
  }

  function add(item: Item) {
    lastKey = item[0];
    waiting.push(item);
    if (waiting.length > o.queueEvents) {
      waiting.shift(); // The store hangs.
      drop("queue_full", 1);
    }
    save();
    fresh += Math.max(1 / o.batchEvents, item[1].length / o.batchBytes);
    wake(w.now() - lastSend > o.flushEvery ? 0 : patience());
  }

  /** How long what came may wait for more. Sums of fractions are not exact. */
  const patience = () => (fresh > 0.999 ? 0 : o.flushEvery);

  function wake(milliseconds: number) {
    const at = w.now() + milliseconds;
    if (at < due && !stopped) {
      clearTimeout(timer);
      due = at;
      timer = setTimeout(run, milliseconds);
      (timer as { unref?: () => void }).unref?.(); // A queue keeps no program alive.
    }
  }

  /** Milliseconds until the next try is allowed. A time beyond all waits was written by a clock that was wrong. */
  function pause(): number {
    const retry = w.shared().retry;
    const left = retry ? retry[0] - w.now() : 0;
    return left > MAX_RETRY_AFTER + o.retryMax ? 0 : Math.max(left, 0);
  }

  async function run(): Promise<void> {
    due = Infinity;
    clearTimeout(timer);
    if (running) {
      again = true;
      return;
    }
    running = true;
    again = false;
    fresh = 0;
    let wait = pause();
    if (wait) {
      await save();
    } else {
      wait = await w.lock(send).catch(() => o.retryMax);
    }
    if (waiters.size) {
      const head = (await store.take(1, 1))[0];
      for (const [done, key] of waiters) {
        if (!head || head[0] > key) {
          done(true);
        }
      }
    }
    running = false;
    if (again) {
      wake(patience());
    }
    if (wait) {
      wake(wait);
    }
  }

  /** Sends what is in the store; how long to wait before the next try, 0 where it is empty. */
  async function send(): Promise<number> {
    for (;;) {
      await save();
      const wait = pause();
      if (wait || !w.open() || stopped) {
        return wait;
      }
      const items = await store.take(limit, o.batchBytes);
      if (!items.length) {
        return 0;
      }
      lastSend = w.now();
      const answer = await w
        .post(batchBody(items, w.now()))
        .then((reply) => readAnswer(reply, items.length, w.now()))
        .catch(() => undefined);
      if (!w.open()) {
        return 0; // Consent was withdrawn: what was the store's is gone, and stays so.
      }
      const shared = w.shared();
      if (!answer || answer.verdict === "again") {
        const tries = shared.retry?.[1] || 0;
        shared.retry = [w.now() + backoff(o, tries, answer?.wait || 0, w.random()), tries + 1, !answer?.wait];
        w.share();
        continue;
      }
      if (shared.retry) {
        shared.retry = undefined;
        w.share();
      }
      if (answer.verdict === "divide" && items.length > 1) {
        limit = items.length >> 1;
        continue;
      }
      limit = Math.min(o.batchEvents, limit * 2);
      const refused = answer.verdict === "stored" ? answer.rejected : items.map((_, index) => ({ ...answer, index }));
      for (const { index, code, message } of refused) {
        dead(o, (items[index] as Item)[1], code, message);
      }
      await store.remove(items);
      w.settled(items);
      if (shared.dropped && w.now() - lastReport > REPORT_EVERY) {
        lastReport = w.now();
        const dropped = shared.dropped;
        shared.dropped = undefined;
        w.share();
        w.report(dropped);
      }
    }
  }

  return {
    add,
    drop,
    wake,
    hurry() {
      const shared = w.shared();
      if (shared.retry?.[2]) {
        shared.retry = [0, 0, true];
      }
      run();
    },
    flush(milliseconds) {
      return new Promise((resolve) => {
        const done = (settled: boolean) => {
          clearTimeout(limitTimer);
          waiters.delete(done);
          resolve(settled);
        };
        const limitTimer = setTimeout(done, milliseconds, false); // Keeps a program alive: somebody waits.
        waiters.set(done, lastKey || "~"); // Without one of its own it waits for all that earlier ones have left.
        fresh = 1; // Where it runs it is to run again, at once.
        run();
      });
    },
    unsaved: () => saving.concat(waiting),
    async clear() {
      waiting = [];
      await saved;
      await store.clear();
      for (const done of waiters.keys()) {
        done(true);
      }
    },
    stop() {
      stopped = true;
      clearTimeout(timer);
    },
  };
}

/** Where requests go. */
export const BATCH = "/api/events/batch";

/** The body of a request. */
export function batchBody(items: Item[], now: number): string {
  return `{"sentAt":"${new Date(now).toISOString()}","batch":[${items.map((item) => item[1]).join()}]}`;
}

function dead(o: QueueOptions, json: string, code: string, message: string) {
  try {
    const event = JSON.parse(json);
    o.onDead?.({ eventId: event.eventId, event, code, message } satisfies Dead);
  } catch {
    // A callback that fails must not stop the other events.
  }
}
