import { type CommonOptions, type EventOptions, IDENTIFY, type Members, type Plugin, type SpoorEvent } from "./api.js";

/** Longest event and identify call that a server takes, in bytes of JSON. */
const MAX_EVENT = 512 << 10;
const MAX_CALL = 128 << 10;

/** Writes JSON. Half a surrogate pair, which no server takes, becomes U+FFFD. */
export function toJSON(value: unknown): string {
  const json = JSON.stringify(value);
  return json.includes("\\ud") ? json.replace(/\\(?:ud[89a-f]..|.)/g, (m) => (m[2] ? "\\ufffd" : m)) : json;
}

/** What was said of an event by the call. */
export interface Draft {
  name: string;
  properties?: Members | undefined;
  traits?: Members | undefined;
  options?: EventOptions | undefined;
  userId?: string | undefined;
  anonymousId?: string | undefined;
  context: Members;
}

/**
 * Makes the event, shows it to the hooks and writes it as JSON; undefined where a hook
 * dropped it, where it is a call that says nothing, of one id without traits, or where it
 * can never be stored, of which onDead is told.
 */
export function writeEvent<C>(d: Draft, id: string, now: number, o: CommonOptions<C>): string | undefined {
  const options = d.options || {};
  const eventId = options.eventId || id;
  let event: SpoorEvent | undefined;
  try {
    event = {
      eventId,
      eventName: d.name,
      userId: options.userId || d.userId,
      anonymousId: options.anonymousId || d.anonymousId,
      timestamp: new Date(options.timestamp ?? now).toISOString(),
      properties: d.properties,
      traits: d.traits,
      context: { ...d.context, ...options.context },
    };
    for (const { beforeSend } of [o, ...(o.plugins || [])] as Plugin[]) {
      if (beforeSend) {
        const result = beforeSend(event);
        if (result === false) {
          return;
        }
        if (result && result !== true) {
          event = result;
        }
      }
    }
    event.eventId = eventId;
    const { eventName, userId, anonymousId, timestamp, traits } = event;
    const call = eventName === IDENTIFY;
    const json = toJSON(call ? { eventId, type: "identify", userId, anonymousId, timestamp, traits } : event);
    if (call && !userId !== !anonymousId && !/"traits":(?!{})/.test(json)) {
      return;
    }
    const problem = !eventName
      ? "no name"
      : !userId && !anonymousId
        ? "neither userId nor anonymousId"
        : json.length > (call ? MAX_CALL : MAX_EVENT)
          ? "too large"
          : "";
    if (!problem) {
      return json;
    }
    throw new Error(problem);
  } catch (e) {
    try {
      o.onDead?.({ eventId, event, code: "invalid_event", message: `${d.name}: ${e}` });
    } catch {
      // Nothing is thrown into the caller.
    }
  }
}

/** A token bucket: at most rate events a second, burst at once. 0: any number. */
export function limiter(rate: number, burst: number, now: () => number): () => boolean {
  let tokens = burst;
  let last = now();
  return () => {
    const at = now();
    tokens = Math.min(burst, tokens + (Math.max(at - last, 0) * rate) / 1000);
    last = at;
    return !rate || (tokens >= 1 && !!tokens--);
  };
}

/** Options with their defaults. */
export function withDefaults<C, O extends CommonOptions<C>>(options: O, defaults: Partial<O>) {
  const o = { ...options } as O &
    Required<
      Pick<
        CommonOptions<C>,
        | "batchEvents"
        | "batchBytes"
        | "flushEvery"
        | "queueEvents"
        | "queueBytes"
        | "timeout"
        | "retryBase"
        | "retryMax"
        | "ratePerSecond"
        | "rateBurst"
      >
    >;
  const all = { flushEvery: 2000, batchBytes: 512 << 10, timeout: 30_000, retryBase: 500, retryMax: 60_000, ...defaults } as typeof o;
  let name: keyof typeof all;
  for (name in all) {
    o[name] ??= all[name] as never;
  }
  o.host = (o.host || "").replace(/\/+$/, "");
  return o;
}
