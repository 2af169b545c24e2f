import type { Weighted } from "./variant.js";

export type { Weighted };

/** JSON values by name. */
export type Members = Record<string, unknown>;

/**
 * An event on its way, as it goes over the wire. Identify and alias are no events there but calls: beforeSend
 * sees them with the name $identify, and ids, timestamp and traits are what is sent of them, as a type "identify".
 */
export interface SpoorEvent {
  eventId: string;
  eventName: string;
  userId?: string | undefined;
  anonymousId?: string | undefined;
  /** RFC 3339, of the call. */
  timestamp: string;
  properties?: Members | undefined;
  /** Of the person, where the name is $identify. */
  traits?: Members | undefined;
  context: Members;
}

/** An event that will never be stored, and why. */
export interface Dead {
  eventId: string;
  /** As it would be sent; undefined where it could not be written as JSON. */
  event: Partial<SpoorEvent> | undefined;
  /** The server's code, such as bad_timestamp or unauthorized; invalid_event where the SDK refused it. */
  code: string;
  message: string;
}

/** What differs from the usual for one event. */
export interface EventOptions {
  userId?: string | undefined;
  anonymousId?: string | undefined;
  /** Identifies the event for ever: the server stores one of an id. A UUIDv7 otherwise. */
  eventId?: string;
  /** When it happened; the time of the call otherwise. */
  timestamp?: Date | number;
  /** Wins over the context that the SDK knows. */
  context?: Members;
}

/** A part of its own that changes events or makes some. */
export interface Plugin<C = unknown> {
  /** Sees each event before it is queued, may change it; false drops it. */
  beforeSend?(event: SpoorEvent): SpoorEvent | boolean | undefined | void;
  /** Called once with the client; what it returns is called by close. */
  start?(client: C): (() => void) | void;
}

/** Options of both the page's and the program's client. */
export interface CommonOptions<C> {
  /** URL of the Spoor server, such as https://events.example.com. */
  host: string;
  /** A key of the kind write; none for a server without keys. */
  writeKey?: string;
  /** Events of one request at most. */
  batchEvents?: number;
  /** Characters of one request at most, before compression. */
  batchBytes?: number;
  /** Milliseconds that an event waits for others at most. The first one after a pause does not wait. */
  flushEvery?: number;
  /** Bounds of the queue. Beyond them the oldest events give way and are counted in an event $events_dropped. */
  queueEvents?: number;
  queueBytes?: number;
  /** Milliseconds that a request may take. */
  timeout?: number;
  /** The wait behind try n is random between 0 and min(retryBase * 2^n, retryMax), in milliseconds. */
  retryBase?: number;
  retryMax?: number;
  /** Events per second, and at once, that are taken; 0: any number. Beyond, they are counted in $events_dropped. */
  ratePerSecond?: number;
  rateBurst?: number;
  /** Goes into the context of every event. */
  context?: Members;
  /** Becomes context.app. */
  app?: { name?: string; version?: string };
  /** Variants by experiment, for variant(). */
  experiments?: Record<string, readonly Weighted[]>;
  /** Sees each event before it is queued, may change it; false drops it. */
  beforeSend?: Plugin["beforeSend"];
  plugins?: Plugin<C>[];
  /** Told of each event that will never be stored. */
  onDead?(dead: Dead): void;
}

/** Names of the events that calls other than track make. */
export const PAGE = "page_viewed";
/** Only beforeSend, onDead and consent know this name: it is no event on the server. */
export const IDENTIFY = "$identify";
export const GROUP = "$group";
export const EXPOSURE = "experiment_viewed";
export const DROPPED = "$events_dropped";

export const VERSION = "0.1.0";
