import {
  close,
  closeSync,
  fsync,
  fsyncSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  unlinkSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import { type Bounds, type Item, memoryStore, type Store } from "../core/store.js";
import { lockDirectory } from "./lock.js";

/** Size at which a file is full and the next one begins, in bytes. */
const FILE_BYTES = 4 << 20;

/** A file that is answered for as a whole goes from this size on, in bytes; before, it is written on. */
const MIN_FILE_BYTES = 64 << 10;

const LINE = /^([0-9a-f]{8}) (\d{16}) (.*)$/;

/** What a spool needs to be told. */
export interface SpoolOptions extends Bounds {
  dir: string;
  /** Milliseconds between fsyncs; 0: each event is on the disk when its call returns. */
  sync: number;
  /** Told of lines that do not have their checksum, and of a disk that fails. */
  problem(message: string): void;
}

/** A queue in files. */
export interface Spool extends Store {
  /** The key of the next event: a number of 16 digits that goes on where the directory's last one was. */
  nextKey(): string;
  close(): void;
}

/**
 * Opens a queue in files, which survives kill -9. The directory has
 *
 *   lock       who uses it
 *   N.events   a line for each event: CRC-32 of the rest in hex, key, JSON
 *   done       the key up to which all events are answered for, or gave way
 *
 * Events are in memory too: files are read at the start alone. A file goes when all of it is
 * answered for. A last line without its end was cut off by a crash: its call did not return.
 */
export function openSpool(o: SpoolOptions): Spool {
  mkdirSync(o.dir, { recursive: true });
  const release = lockDirectory(join(o.dir, "lock"));
  const file = (n: number) => join(o.dir, `${String(n).padStart(10, "0")}.events`);
  const donePath = join(o.dir, "done");
  let closed: { n: number; last: number }[] = []; // files that are not written to, with their last keys
  let fd = -1;
  let number = 0; // of the open file
  let size = 0;
  let dirty = false;
  let broken = false;

  const items: Item[] = [];
  const done = readDone(donePath);
  let last = done; // the last key that was given out
  for (const name of readdirSync(o.dir).sort()) {
    if (/^\d{10}\.events$/.test(name)) {
      number = Number(name.slice(0, 10));
      const read = readLines(join(o.dir, name));
      if (read.damaged) {
        o.problem(`${read.damaged} damaged lines of ${name} are left out`);
      }
      const left = read.items.filter((item) => Number(item[0]) > done);
      items.push(...left);
      if (left.length) {
        last = Math.max(last, Number((left[left.length - 1] as Item)[0]));
        closed.push({ n: number, last });
      } else {
        unlinkSync(join(o.dir, name));
      }
    }
  }
  const memory = memoryStore(o, items);
  const timer = o.sync
    ? setInterval(() => {
        if (dirty && fd >= 0) {
          dirty = false;
          fsync(fd, (e) => e && fail(e));
        }
      }, o.sync)
    : undefined;
  timer?.unref();

  function fail(e: unknown) {
    broken = true;
    o.problem(`the spool failed, further events are kept in memory alone: ${(e as Error).message}`);
  }

  /** What cannot be written is in memory alone from then on. */
  function onDisk(run: () => void) {
    if (!broken) {
      try {
        run();
      } catch (e) {
        fail(e);
      }
    }
  }

  /** Ends the open file, without waiting for the disk. */
  function roll() {
    if (fd >= 0) {
      const ended = fd;
      fd = -1;
      closed.push({ n: number, last });
      fsync(ended, () => close(ended, () => {}));
    }
  }

  /** Notes that all events up to a key are answered for, or gave way. */
  function settle(key: number, all: boolean) {
    onDisk(() => {
      writeFileSync(`${donePath}.new`, String(key));
      renameSync(`${donePath}.new`, donePath);
      if (key >= last && (all || size > MIN_FILE_BYTES)) {
        roll();
      }
      for (const f of closed.filter((c) => c.last <= key)) {
        unlinkSync(file(f.n));
      }
      closed = closed.filter((c) => c.last > key);
    });
  }

  return {
    nextKey: () => String(++last).padStart(16, "0"),
    add(more) {
      onDisk(() => {
        let text = "";
        for (const [key, json] of more) {
          const rest = `${key} ${json}`;
          text += `${crc32(rest).toString(16).padStart(8, "0")} ${rest}\n`;
        }
        if (fd < 0) {
          fd = openSync(file(++number), "ax");
          size = 0;
        }
        size += writeAll(fd, text);
        if (o.sync) {
          dirty = true;
        } else {
          fsyncSync(fd);
        }
        if (size > FILE_BYTES) {
          roll();
        }
      });
      const gone = memory.add(more) as number;
      if (gone) {
        const head = (memory.take(1, 1) as Item[])[0];
        settle(head ? Number(head[0]) - 1 : last, false);
      }
      return gone;
    },
    take: memory.take,
    remove(gone) {
      memory.remove(gone);
      const key = gone[gone.length - 1]?.[0];
      if (key) {
        settle(Number(key), false);
      }
    },
    clear() {
      memory.clear();
      settle(last, true);
    },
    close() {
      clearInterval(timer);
      if (!(memory.take(1, 1) as Item[]).length) {
        settle(last, true);
      }
      onDisk(() => {
        if (fd >= 0) {
          fsyncSync(fd);
          closeSync(fd);
          fd = -1;
        }
      });
      broken = true; // Nothing is written any more.
      release();
    },
  };
}

function readDone(path: string): number {
  try {
    return Number(readFileSync(path, "utf8")) || 0;
  } catch {
    return 0;
  }
}

/** Reads the whole lines of a file whose checksums are right. */
function readLines(path: string): { items: Item[]; damaged: number } {
  const lines = readFileSync(path, "utf8").split("\n");
  lines.pop(); // What comes behind the last line's end.
  const items: Item[] = [];
  for (const line of lines) {
    const [, sum, key, json] = LINE.exec(line) || [];
    if (sum && key && json && crc32(`${key} ${json}`) === Number.parseInt(sum, 16)) {
      items.push([key, json]);
    }
  }
  return { items, damaged: lines.length - items.length };
}

/** Writes all of a text, for a write may take less, and says how many bytes it has. */
function writeAll(fd: number, text: string): number {
  const bytes = Buffer.from(text);
  for (let at = 0; at < bytes.length; ) {
    at += writeSync(fd, bytes, at);
  }
  return bytes.length;
}

const table = Array.from({ length: 256 }, (_, n) => {
  for (let k = 0; k < 8; k++) {
    n = n & 1 ? 0xedb88320 ^ (n >>> 1) : n >>> 1;
  }
  return n >>> 0;
});

/** The CRC-32 of zip and gzip. zlib.crc32 is younger than the oldest Node that is served. */
export function crc32(text: string): number {
  let c = -1;
  for (const byte of Buffer.from(text)) {
    c = (table[(c ^ byte) & 255] as number) ^ (c >>> 8);
  }
  return (c ^ -1) >>> 0;
}
