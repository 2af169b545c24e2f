import { type Bounds, excess, type Item, memoryStore, oldest, type Store, sizeOf } from "../core/store.js";
import { indexedStore } from "./indexeddb.js";

/** Bounds of the queue where it is one text in localStorage, which holds some 5 MB for the whole site. */
const LOCAL: Bounds = { queueEvents: 1000, queueBytes: 512 << 10 };

/** A store in localStorage, as one text. Tabs share it. */
function localItems(storage: Storage, key: string, bounds: Bounds): Store {
  const read = (): Item[] => JSON.parse(storage.getItem(key) || "[]");
  const write = (items: Item[]) => (items.length ? storage.setItem(key, JSON.stringify(items)) : storage.removeItem(key));
  return {
    add(more) {
      const items = read().concat(more);
      const [over] = excess(items, sizeOf(items), bounds);
      write(items.slice(over));
      return over;
    },
    take: (events, bytes) => oldest(read(), events, bytes),
    remove(gone) {
      const keys = new Set(gone.map((item) => item[0]));
      write(read().filter((item) => !keys.has(item[0])));
    },
    clear: () => storage.removeItem(key),
  };
}

/**
 * A queue in IndexedDB, else localStorage, else memory: where one fails, the next takes its
 * place, with what was to be added. What a page could not give to IndexedDB before it
 * ended waits in localStorage for the next one.
 */
export function persistentStore(name: string, bounds: Bounds, storage: Storage | undefined): Store {
  const stores = [indexedStore(name, bounds), ...(storage ? [localItems(storage, `${name}.queue`, LOCAL)] : []), memoryStore(bounds)];
  const tailKey = `${name}.tail`;
  const tail = (): Item[] => JSON.parse(storage?.getItem(tailKey) || "[]");
  let at = 0;

  async function attempt<T>(run: (store: Store) => T | Promise<T>): Promise<T> {
    for (;;) {
      try {
        return await run(stores[at] as Store);
      } catch (e) {
        if (at + 1 === stores.length) {
          throw e;
        }
        at++;
      }
    }
  }

  return {
    add: (items) => attempt((s) => s.add(items)),
    async take(events, bytes) {
      const left = tail();
      if (left.length) {
        await attempt((s) => s.add(left));
        storage?.removeItem(tailKey);
      }
      return attempt((s) => s.take(events, bytes));
    },
    remove: (items) => attempt((s) => s.remove(items)),
    last(items) {
      if (items.length) {
        storage?.setItem(tailKey, JSON.stringify(tail().concat(items)));
      }
    },
    async clear() {
      storage?.removeItem(tailKey);
      for (const store of stores) {
        try {
          await store.clear();
        } catch {
          // What does not work has nothing to forget.
        }
      }
    },
  };
}
