import { type Bounds, type Item, oldest, type Store } from "../core/store.js";

/** A store in IndexedDB, which tabs share. Its promises fail where the browser refuses; see persistentStore. */
export function indexedStore(name: string, bounds: Bounds): Store {
  let opened: Promise<IDBDatabase> | undefined;

  /** A request as a promise, which fails after 3 seconds: some browsers leave them without an answer. */
  function done<T>(request: {
    onerror: unknown;
    onsuccess?: unknown;
    oncomplete?: unknown;
    onabort?: unknown;
    result?: T;
    error: unknown;
  }): Promise<T> {
    return new Promise((resolve, reject) => {
      const end = () => resolve(request.result as T);
      const fail = () => reject(request.error || new Error("IndexedDB does not answer"));
      const timer = setTimeout(fail, 3000);
      request.onsuccess = request.oncomplete = () => {
        clearTimeout(timer);
        end();
      };
      request.onerror = request.onabort = () => {
        clearTimeout(timer);
        fail();
      };
    });
  }

  function open() {
    if (!opened) {
      const request = indexedDB.open(name, 1);
      request.onupgradeneeded = () => {
        request.result.createObjectStore("events");
        request.result.createObjectStore("meta");
      };
      opened = done(request).then((db) => {
        db.onversionchange = db.onclose = close;
        return db;
      });
      opened.catch(() => (opened = undefined));
    }
    return opened;
  }

  function close() {
    opened?.then(
      (db) => db.close(),
      () => {},
    );
    opened = undefined;
  }

  /** Runs work in one transaction over the events and the sum of their sizes. */
  async function inOne(work: (events: IDBObjectStore, bytes: number, setBytes: (n: number) => void) => void): Promise<void> {
    const db = await open();
    const tx = db.transaction(["events", "meta"], "readwrite");
    const meta = tx.objectStore("meta");
    const read = meta.get("bytes");
    read.onsuccess = () => work(tx.objectStore("events"), read.result || 0, (n) => meta.put(n, "bytes"));
    await done(tx);
  }

  return {
    async add(items) {
      let gone = 0;
      await inOne((events, bytes, setBytes) => {
        for (const [key, json] of items) {
          events.put(json, key);
          bytes += json.length;
        }
        const counted = events.count();
        counted.onsuccess = () => {
          let over = counted.result - bounds.queueEvents;
          setBytes(bytes);
          if (over > 0 || bytes > bounds.queueBytes) {
            const scan = events.openCursor();
            scan.onsuccess = () => {
              const cursor = scan.result;
              if (cursor && (over > 0 || bytes > bounds.queueBytes)) {
                bytes -= cursor.value.length;
                over--;
                gone++;
                cursor.delete();
                cursor.continue();
              } else {
                setBytes(cursor ? bytes : 0);
              }
            };
          }
        };
      });
      return gone;
    },
    async take(n, most) {
      const db = await open();
      const tx = db.transaction("events");
      const scan = tx.objectStore("events");
      const keys = scan.getAllKeys(null, n);
      const values = scan.getAll(null, n);
      await done(tx);
      const items = values.result.map((json, i): Item => [keys.result[i] as string, json]);
      return oldest(items, n, most);
    },
    remove: (items) =>
      inOne((events, bytes, setBytes) => {
        for (const [key, json] of items) {
          events.delete(key);
          bytes -= json.length;
        }
        const counted = events.count();
        counted.onsuccess = () => setBytes(counted.result ? Math.max(bytes, 0) : 0);
      }),
    async clear() {
      close();
      await done(indexedDB.deleteDatabase(name));
    },
  };
}
