import type { Plugin } from "../core/api.js";
import type { Client } from "./core.js";

/** Tracks the page that is open, and each further one of a single-page application: when the path or the query of the address changes. */
export function pageViews(): Plugin<Client> {
  return {
    start(client) {
      let last: string | undefined;
      const look = () => {
        const address = location.pathname + location.search;
        if (address !== last) {
          last = address;
          // The title follows the address: an application sets it right after. The view is what comes before what is in it.
          const timestamp = Date.now();
          Promise.resolve().then(() => client.page(undefined, { timestamp }));
        }
      };
      const put: (() => void)[] = [];
      for (const name of ["pushState", "replaceState"] as const) {
        const own = history[name];
        const wrapped: typeof own = function (this: History, ...args) {
          own.apply(this, args);
          look();
        };
        history[name] = wrapped;
        put.push(() => {
          if (history[name] === wrapped) {
            history[name] = own;
          }
        });
      }
      addEventListener("popstate", look);
      look();
      return () => {
        removeEventListener("popstate", look);
        for (const back of put) {
          back();
        }
        last = location.pathname + location.search;
      };
    },
  };
}
