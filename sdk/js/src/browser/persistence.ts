import { type Bounds, excess, type Item, memoryStore, oldest, type Store, sizeOf } from "../core/store.js";
import { indexedStore } from "./indexeddb.js";

/** Bounds of the queue in localStorage, which holds some 5 MB for the whole site. */
const LOCAL: Bounds = { queueEvents: 1000, queueBytes: 512 << 10 };

/** A store in localStorage: a text for each event, since tabs that write one at the same time would undo each other's changes. */
function localItems(storage: Storage, prefix: string) {
  const read = () =>
    Object.keys(storage)
      .filter((key) => key.startsWith(prefix))
      .sort()
      .map((key): Item => [key.slice(prefix.length), storage.getItem(key) || ""]);
  const remove = (items: Item[]) => {
    for (const [key] of items) {
      storage.removeItem(prefix + key);
    }
  };
  return {
    read,
    add(more: Item[]) {
      for (const [key, json] of more) {
        storage.setItem(prefix + key, json);
      }
      const items = read();
      const [over] = excess(items, sizeOf(items), LOCAL);
      remove(items.slice(0, over));
      return over;
    },
    take: (events: number, bytes: number) => oldest(read(), events, bytes),
    remove,
    clear: () => remove(read()),
  };
}

/**
 * A queue in IndexedDB, else localStorage, else memory: where one fails, the next takes its
 * place, with what was to be added. What a page could not give to IndexedDB before it
 * ended waits in localStorage for the next one.
 */
export function persistentStore(name: string, bounds: Bounds, storage: Storage | undefined): Store {
  const local = storage && localItems(storage, `${name}.queue.`);
  const stores: Store[] = [indexedStore(name, bounds), ...(local ? [local] : []), memoryStore(bounds)];
  let at = 0;

  async function attempt<T>(run: (store: Store) => T | Promise<T>): Promise<T> {
    for (;;) {
      const tried = at;
      try {
        return await run(stores[tried] as Store);
      } catch (e) {
        if (tried + 1 === stores.length) {
          throw e;
        }
        at = Math.max(at, tried + 1); // Another call may have failed at the same time.
      }
    }
  }

  return {
    add: (items) => attempt((s) => s.add(items)),
    async take(events, bytes) {
      const left = !at && local ? local.read() : [];
      if (left.length) {
        await attempt((s) => s.add(left));
        if (!at) {
          local?.remove(left);
        }
      }
      return attempt((s) => s.take(events, bytes));
    },
    remove: (items) => attempt((s) => s.remove(items)),
    last: (items) => local?.add(items),
    async clear() {
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
