import { type CommonOptions, DROPPED, type EventOptions, EXPOSURE, GROUP, IDENTIFY, type Members, PAGE, type Plugin } from "../core/api.js";
import { limiter, withDefaults, writeEvent } from "../core/event.js";
import { idMaker } from "../core/id.js";
import { createQueue, REPORT_EVERY } from "../core/queue.js";
import { type Bounds, type Item, memoryStore, type Store } from "../core/store.js";
import { type ConsentOptions, consentOf, signalled } from "./consent.js";
import { campaignOf, pageOf, surroundings } from "./context.js";
import type { Session, State, StateKeeper } from "./state.js";
import { transportOf } from "./transport.js";

export type * from "../core/api.js";
export type { ConsentOptions, Session, State, StateKeeper };

/** Options of the client of a page. */
export interface Options extends CommonOptions<Client> {
  /** Names what the browser keeps; several clients of a site need several. */
  name?: string;
  consent?: ConsentOptions;
  /** false: Global Privacy Control does not count. */
  gpc?: boolean;
  /** false: Do Not Track does not count. */
  dnt?: boolean;
  /** Keeps the anonymousId in a cookie too, which subdomains share: on the widest domain that works, or the one given. */
  cookie?: string | boolean;
  /** false: nothing is kept beyond the page. */
  persist?: boolean;
  /** Minutes without an event that end a session. */
  sessionMinutes?: number;
  /** Parameters of addresses that are kept, beside those of campaigns. */
  queryParams?: string[];
}

/** What the core does without, and pages that do not need it leave out. */
export interface Parts {
  /** Keeps ids and the session beyond the page. */
  keeper?(name: string, mayStore: () => boolean, cookie: Options["cookie"]): StateKeeper;
  /** Runs one after the other what all tabs give it. */
  lock?(name: string, run: () => Promise<number>): Promise<number>;
  /** Keeps the queue beyond the page. */
  store?(name: string, bounds: Bounds): Store;
  /** For the option experiments: the variant of a unit, whose exposure is recorded where it is new to the session. expose says whether it could be. */
  variant?(experiment: string, unit: string, o: Options, session: Session, expose: (properties: Members) => boolean): string;
}

/** The client of a page. No call waits, and none throws. */
export interface Client {
  track(name: string, properties?: Members, options?: EventOptions): void;
  page(properties?: Members, options?: EventOptions): void;
  /** Says who the person is: what was done before under the anonymousId was done by this user. Another user than before gets another anonymousId. */
  identify(userId: string, traits?: Members, options?: EventOptions): void;
  /** Says that an anonymousId was this user all along; the user and anonymousId of now where they are left out. */
  alias(userId?: string, previousId?: string): void;
  /** Says that the person belongs to a group, which becomes the trait groupId, and what is known of the group. */
  group(groupId: string, traits?: Members, options?: EventOptions): void;
  /** Forgets who the person is, as at a logout. */
  reset(): void;
  /** Waits until all that was tracked before is answered for; false where that took longer (10 s). */
  flush(milliseconds?: number): Promise<boolean>;
  /** The person's answer, for the main category or by category. A refusal deletes queue, ids and storage. */
  consent(answer: boolean | Record<string, boolean>): void;
  /** The variant of an experiment that the person sees, "" where there is none; records the exposure once a session. */
  variant(experiment: string, unit?: string): string;
  ids(): { anonymousId: string | undefined; userId: string | undefined; sessionId: string | undefined };
  /** Ends timers, listeners and plugins; what is queued waits for the next page. */
  close(): void;
}

const DAY = 86_400_000;
const MAX_HELD = 100;
const MAX_UNSETTLED = 200; // events for the beacon

/** State that ends with the page. */
function memoryKeeper(): StateKeeper {
  let state: State = {};
  return {
    get: () => state,
    save() {},
    reset(kept) {
      state = kept;
    },
  };
}

/** Starts a client with the parts that it is given. */
export function init(options: Options, parts: Parts = {}): Client {
  const o = withDefaults<Client, Options>(options, {
    batchEvents: 20,
    queueEvents: 10_000,
    queueBytes: 5 << 20,
    ratePerSecond: 10,
    rateBurst: 100,
    name: "spoor",
    sessionMinutes: 30,
    gpc: true,
    dnt: true,
    queryParams: [],
  });
  const name = o.name as string;
  const idle = (o.sessionMinutes as number) * 60_000;
  const now = Date.now;
  const newId = idMaker((bytes) => crypto.getRandomValues(bytes));
  const kept = o.persist === false ? {} : parts;
  const keeper = kept.keeper ? kept.keeper(name, () => granted(), o.cookie) : memoryKeeper();
  const refusedBySignal = signalled(o.gpc, o.dnt);
  const consent = consentOf(o.consent || {}, refusedBySignal, keeper.get);
  const granted = () => consent.verdict() === true;
  const transport = transportOf(o.host, o.writeKey, o.timeout);
  const take = limiter(o.ratePerSecond, o.rateBurst, now);
  const unsettled = new Map<string, Item>(); // this page's events that are not answered for, for the beacon
  let held: [name: string, item: Item][] = []; // until consent
  let search: string | undefined; // of the address that the campaign was read from
  let warned = 0; // when an event was last turned away with a warning

  const store = kept.store ? kept.store(name, o) : memoryStore(o);
  const queue = createQueue(o, {
    store,
    now,
    random: Math.random,
    post: transport.post,
    shared: keeper.get,
    share: keeper.save,
    lock: (run) => (kept.lock ? kept.lock(name, run) : run()),
    open: granted,
    settled: (items) => {
      for (const [key] of items) {
        unsettled.delete(key);
      }
    },
    report: (dropped) => capture(DROPPED, dropped),
  });

  /** Runs a call of the page: whatever happens, the page goes on. */
  function safe<A extends unknown[], R>(run: (...args: A) => R, otherwise?: R): (...args: A) => R {
    return (...args) => {
      try {
        return run(...args);
      } catch {
        return otherwise as R;
      }
    };
  }

  function person() {
    const state = keeper.get();
    if (!state.anonymousId) {
      state.anonymousId = newId(now());
      keeper.save();
    }
    return state;
  }

  function session(at: number) {
    const state = keeper.get();
    const s = state.session;
    const moved = search !== location.search;
    const campaign = campaignOf((search = location.search));
    if (!s || at - s.last > idle || at - s.began > DAY || (moved && campaign.key && campaign.key !== s.key)) {
      state.session = { ...campaign, id: newId(at), began: at, last: at };
      keeper.save();
    } else {
      const save = at - s.last > 5000; // Writing each event down would cost more than it tells.
      s.last = at;
      save && keeper.save();
    }
    return state.session as Session;
  }

  function capture(event: string, properties?: Members, traits?: Members, options?: EventOptions): boolean {
    const at = now();
    const verdict = consent.of(event);
    if (!verdict && (verdict === false || o.consent?.mode !== "hold")) {
      return false;
    }
    if (event !== DROPPED && !take()) {
      if (at - warned < REPORT_EVERY) {
        queue.drop("rate_limited", 1);
      } else {
        warned = at;
        capture(DROPPED, { rate_limited: 1 }); // The warning; the others are counted.
      }
      return false;
    }
    const { anonymousId, userId, consent: answers } = person();
    const s = session(at);
    const id = newId(at);
    const context = {
      ...surroundings(),
      page: pageOf(o.queryParams as string[]),
      sessionId: s.id,
      utm: s.utm,
      campaign: s.utm?.campaign,
      clickIds: s.clickIds,
      app: o.app,
      consent: answers,
      gpc: (navigator as { globalPrivacyControl?: boolean }).globalPrivacyControl || undefined,
      ...o.context,
    };
    const json = writeEvent({ name: event, properties, traits, options, userId, anonymousId, context }, id, at, o);
    if (json) {
      const item: Item = [id, json];
      if (verdict) {
        enqueue(item);
      } else if (held.push([event, item]) > MAX_HELD) {
        held.shift();
      }
    }
    return !!json;
  }

  function enqueue(item: Item) {
    if (unsettled.size < MAX_UNSETTLED) {
      unsettled.set(item[0], item);
    }
    queue.add(item);
  }

  /** Begins with what earlier pages left behind, where it may. */
  function resume() {
    if (!granted()) {
      return;
    }
    person();
    keeper.save();
    const release = held;
    held = [];
    for (const [event, item] of release) {
      if (consent.of(event)) {
        enqueue(item);
      }
    }
    queue.wake(0);
  }

  function leave() {
    if (!granted()) {
      return;
    }
    const { retry } = keeper.get();
    if (!retry || retry[0] < now()) {
      transport.beacon([...unsettled.values()], now());
    }
    store.last?.(queue.unsaved());
  }

  const stops: (() => void)[] = [];
  function on(type: string, run: () => unknown) {
    const listener = safe(run);
    addEventListener(type, listener);
    stops.push(() => removeEventListener(type, listener));
  }

  const client: Client = {
    track: (event, properties, options) => capture(event, properties, undefined, options),
    page: (properties, options) => capture(PAGE, properties, undefined, options),
    identify: (userId, traits, options) => {
      const state = keeper.get();
      if (state.userId && state.userId !== String(userId)) {
        client.reset();
      }
      keeper.get().userId = String(userId);
      keeper.save();
      capture(IDENTIFY, undefined, traits, options);
    },
    alias: (userId, previousId) => capture(IDENTIFY, undefined, undefined, { userId, anonymousId: previousId }),
    group: (groupId, traits, options) => {
      const one = { timestamp: now(), ...options };
      capture(GROUP, { groupId, traits }, undefined, one) && capture(IDENTIFY, undefined, { groupId }, { ...one, eventId: "" });
    },
    reset: () => {
      const state = keeper.get();
      state.userId = state.session = undefined;
      state.anonymousId = newId(now());
      keeper.save();
    },
    flush: async (milliseconds = 10_000) => !granted() || queue.flush(milliseconds),
    consent: (answer) => {
      const answers = { ...keeper.get().consent, ...(typeof answer === "object" ? answer : { [consent.main]: answer }) };
      keeper.get().consent = answers;
      if (consent.verdict() === false) {
        held = [];
        unsettled.clear();
        queue.clear().catch(() => {});
        // A refusal needs to be remembered only where silence would mean consent.
        keeper.reset({ consent: answers }, consent.optOut && !refusedBySignal);
      } else {
        resume();
      }
    },
    variant: (experiment, unit) => {
      const { userId, anonymousId } = person();
      const expose = (properties: Members) => capture(EXPOSURE, properties);
      const variant = parts.variant?.(experiment, unit || userId || (anonymousId as string), o, session(now()), expose);
      keeper.save();
      return variant || "";
    },
    ids: () => {
      const { anonymousId, userId, session } = keeper.get();
      return { anonymousId, userId, sessionId: session?.id };
    },
    close: () => {
      for (const stop of stops.splice(0)) {
        stop();
      }
      queue.stop();
      leave();
    },
  };
  // Whatever happens, the page goes on.
  let method: keyof Client;
  for (method in client) {
    client[method] = safe(client[method] as () => never, method === "variant" ? "" : undefined) as never;
  }

  safe(() => {
    on("pagehide", leave);
    const hurry = () => granted() && queue.hurry();
    on("online", hurry);
    on("visibilitychange", hurry); // hidden: it may be the last moment; visible: timers may have slept
    resume();
    for (const plugin of o.plugins || []) {
      safe((p: Plugin<Client>) => {
        stops.push(p.start?.(client) || (() => {}));
      })(plugin);
    }
  })();
  return client;
}
