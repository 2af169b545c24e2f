import { idCookie } from "./cookie.js";
import { type Client, init as initCore, type Options, type Parts } from "./core.js";
import { variant } from "./experiments.js";
import { pageViews } from "./pageviews.js";
import { persistentStore } from "./persistence.js";
import { localStore, stateKeeper } from "./state.js";

export { assign, bucket } from "../core/variant.js";
export * from "./core.js";
export { pageViews, variant };

/** The parts that keep queue, ids and session beyond the page, and one sender of all tabs. */
export function persistence(): Parts {
  const storage = localStore();
  return {
    keeper: (name, mayStore, cookie) =>
      stateKeeper(storage, name, mayStore, cookie ? idCookie(`${name}_id`, cookie as string | true) : undefined),
    store: (name, bounds) => persistentStore(name, bounds, storage),
    lock: navigator.locks && ((name, run) => navigator.locks.request(name, run) as Promise<number>),
  };
}

/** Options of the whole client. */
export interface FullOptions extends Options {
  /** Tracks page views, also those of single-page applications. */
  pageViews?: boolean;
}

/** Starts a client with all its parts. */
export function init(options: FullOptions): Client {
  const plugins = [...(options.plugins || []), ...(options.pageViews ? [pageViews()] : [])];
  return initCore({ ...options, plugins }, { ...persistence(), variant });
}
