import type { Shared } from "../core/queue.js";
import type { Campaign } from "./context.js";
import type { IdCookie } from "./cookie.js";

/** A visit: it ends after 30 minutes without an event, after 24 hours, or when another campaign leads here. */
export interface Session extends Campaign {
  id: string;
  began: number;
  last: number;
  /** Exposures that were recorded: experiment and variant. */
  seen?: string[] | undefined;
}

/** What all tabs of a site share, small enough for localStorage. */
export interface State extends Shared {
  anonymousId?: string | undefined;
  userId?: string | undefined;
  session?: Session | undefined;
  consent?: Record<string, boolean> | undefined;
}

/** State that is read anew where another tab has written it. */
export interface StateKeeper {
  get(): State;
  /** Writes what was changed, if it may. */
  save(): void;
  /** Forgets all but what it is given, of which nothing may stand for nothing. */
  reset(kept: State, stored: boolean): void;
}

/** localStorage, or undefined where the browser refuses it. */
export function localStore(): Storage | undefined {
  try {
    const storage = localStorage;
    storage.getItem(""); // Reading tells too, and leaves nothing behind before there is consent.
    return storage;
  } catch {
    return undefined;
  }
}

/**
 * Keeps the state in storage under a key where mayStore says so, else in memory. The
 * anonymousId of the cookie wins: it is that of all subdomains.
 */
export function stateKeeper(storage: Storage | undefined, key: string, mayStore: () => boolean, cookie?: IdCookie): StateKeeper {
  let state: State = {};
  let known: string | null = null; // what storage had when state was read or written
  const write = () => {
    try {
      storage?.setItem(key, (known = JSON.stringify(state)));
    } catch {
      // It is full: the state of this page goes on in memory.
      known = storage?.getItem(key) ?? null;
    }
  };
  return {
    get() {
      try {
        const now = storage ? storage.getItem(key) : null;
        if (now !== known) {
          known = now;
          const read = now ? JSON.parse(now) : {};
          state = read && typeof read === "object" ? read : {};
        }
      } catch {
        state = {}; // Somebody else's text.
      }
      state.anonymousId = cookie?.get() || state.anonymousId;
      return state;
    },
    save() {
      const id = state.anonymousId; // mayStore reads the state, and with it the cookie.
      if (mayStore()) {
        state.anonymousId = id;
        write();
        if (id && cookie?.get() !== id) {
          cookie?.set(id);
        }
      }
    },
    reset(kept, stored) {
      state = kept;
      cookie?.remove();
      if (stored) {
        write();
      } else {
        known = null;
        storage?.removeItem(key);
      }
    },
  };
}
