/** An event in the queue: a key that sorts by the calls, and the event as JSON. */
export type Item = [key: string, json: string];

/**
 * Where events wait. All tabs of a site may share one. A store never fails: what
 * it cannot keep it counts as dropped.
 */
export interface Store {
  /** Keeps events and says how many, old ones first, had to give way. A number, not a promise: they are safe when it returns. */
  add(items: Item[]): number | Promise<number>;
  /** The oldest events, at least one if there is any, else as many as both bounds allow. They stay. */
  take(events: number, bytes: number): Item[] | Promise<Item[]>;
  remove(items: Item[]): void | Promise<void>;
  /** Keeps what the page has not been told to be safe, at its very end: at once, or not at all. */
  last?(items: Item[]): unknown;
  /** Forgets everything, and the place where it was. */
  clear(): void | Promise<void>;
}

/** Bounds of a queue, in events and in UTF-16 units of JSON, which are bytes where it is ASCII. */
export interface Bounds {
  queueEvents: number;
  queueBytes: number;
}

/** How many of the items, from the first on, must go for the rest to keep the bounds, and the size of the rest. */
export function excess(items: Item[], bytes: number, bounds: Bounds): [over: number, bytes: number] {
  let over = 0;
  while (over < items.length && (items.length - over > bounds.queueEvents || bytes > bounds.queueBytes)) {
    bytes -= (items[over++] as Item)[1].length;
  }
  return [over, bytes];
}

export const sizeOf = (items: Item[]) => items.reduce((sum, item) => sum + item[1].length, 0);

/** Keeps events as long as the page or the process lives. */
export function memoryStore(bounds: Bounds, items: Item[] = []): Store {
  let bytes = sizeOf(items);
  return {
    add(more) {
      items.push(...more);
      const [over, left] = excess(items, bytes + sizeOf(more), bounds);
      bytes = left;
      items.splice(0, over);
      return over;
    },
    take: (events, most) => oldest(items, events, most),
    remove(gone) {
      // The oldest, but for those that gave way meanwhile.
      const keys = new Set(gone.map((item) => item[0]));
      let n = 0;
      while (n < items.length && keys.has((items[n] as Item)[0])) {
        n++;
      }
      bytes -= sizeOf(items.splice(0, n));
    },
    clear() {
      items.length = bytes = 0;
    },
  };
}

/** The first items within both bounds, at least one. */
export function oldest(items: Item[], events: number, bytes: number): Item[] {
  let size = 0;
  let n = 0;
  while (n < events && n < items.length && ((size += (items[n] as Item)[1].length) <= bytes || !n)) {
    n++;
  }
  return items.slice(0, n);
}
