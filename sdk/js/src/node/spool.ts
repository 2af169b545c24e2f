import {
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

const LINE = /^([0-9a-f]{8}) ([^ \n]+) (.*)$/;

/** What a spool needs to be told. */
export interface SpoolOptions extends Bounds {
  dir: string;
  /** Milliseconds between fsyncs; 0: each event is on the disk when its call returns. */
  sync: number;
  /** Told of lines that do not have their checksum, and of a disk that fails. */
  problem(message: string): void;
}

/**
 * A queue in files, which survives kill -9. The directory has
 *
 *   lock       who uses it
 *   N.events   a line for each event: CRC-32 of the rest, key, JSON
 *   done       the key up to which all events are answered for
 *
 * Keys sort by their calls, so one key says what is left. Events are in memory too: the
 * files are read at the start alone. A file goes when all of it is answered for.
 */
export function openSpool(o: SpoolOptions): Store & { close(): void } {
  mkdirSync(o.dir, { recursive: true });
  const release = lockDirectory(join(o.dir, "lock"));
  const file = (n: number) => join(o.dir, `${String(n).padStart(10, "0")}.events`);
  const donePath = join(o.dir, "done");
  let files: { n: number; last: string }[] = []; // closed ones, with the key of their last event
  let fd = -1;
  let number = 0;
  let size = 0;
  let last = ""; // key in the open file
  let dirty = false;

  const items: Item[] = [];
  const done = readDone();
  for (const name of readdirSync(o.dir).sort()) {
    if (/^\d{10}\.events$/.test(name)) {
      number = Number.parseInt(name, 10);
      const lines = readFileSync(join(o.dir, name), "utf8").split("\n");
      let key = "";
      const torn = lines.pop(); // "" where the last line is whole
      let damaged = 0;
      for (const line of lines) {
        const parts = LINE.exec(line);
        if (parts && crc32(`${parts[2]} ${parts[3]}`) === Number.parseInt(parts[1] as string, 16)) {
          key = parts[2] as string;
          if (key > done) {
            items.push([key, parts[3] as string]);
          }
        } else {
          damaged++;
        }
      }
      if (damaged) {
        o.problem(`${damaged} damaged lines in ${name} are left out`);
      }
      if (torn) {
        // The write that a crash cut off: its call never returned.
      }
      if (key > done) {
        files.push({ n: number, last: key });
      } else {
        unlinkSync(join(o.dir, name));
      }
    }
  }
  const memory = memoryStore(o, items);
  let broken = false;
  const timer = o.sync
    ? setInterval(() => {
        if (dirty && fd >= 0) {
          dirty = false;
          fsync(fd, () => {});
        }
      }, o.sync)
    : undefined;
  timer?.unref();

  function readDone(): string {
    try {
      return readFileSync(donePath, "utf8").trim();
    } catch {
      return "";
    }
  }

  function roll() {
    if (fd >= 0) {
      fsyncSync(fd);
      closeSync(fd);
      fd = -1;
      files.push({ n: number, last });
    }
  }

  /** What cannot be written is in memory alone from then on. */
  function onDisk(run: () => void) {
    if (!broken) {
      try {
        run();
      } catch (e) {
        broken = true;
        o.problem(`the spool failed, events are kept in memory alone: ${(e as Error).message}`);
      }
    }
  }

  /** Notes that all events up to a key are answered for, or gave way. */
  function settle(key: string) {
    onDisk(() => {
      writeFileSync(`${donePath}.new`, key);
      renameSync(`${donePath}.new`, donePath);
      if (key >= last) {
        roll();
      }
      files = files.filter((f) => {
        if (f.last <= key) {
          unlinkSync(file(f.n));
        }
        return f.last > key;
      });
    });
  }

  return {
    add(more) {
      onDisk(() => {
        let text = "";
        for (const [key, json] of more) {
          const rest = `${key} ${json}`;
          text += `${crc32(rest).toString(16).padStart(8, "0")} ${rest}\n`;
          last = key;
        }
        if (fd < 0) {
          fd = openSync(file(++number), "ax");
          size = 0;
        }
        writeAll(fd, text);
        size += text.length;
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
        // All before the head gave way: the largest key below it.
        settle(head ? before(head[0]) : last);
      }
      return gone;
    },
    take: memory.take,
    remove(gone) {
      memory.remove(gone);
      const key = gone[gone.length - 1]?.[0];
      if (key) {
        settle(key);
      }
    },
    clear() {
      memory.clear();
      settle(last);
    },
    close() {
      clearInterval(timer);
      onDisk(() => {
        if (fd >= 0) {
          fsyncSync(fd);
          closeSync(fd);
          fd = -1;
        }
      });
      release();
    },
  };
}

/** A text that sorts right before a key. */
const before = (key: string) => `${key.slice(0, -1)}${String.fromCharCode(key.charCodeAt(key.length - 1) - 1)}~`;

/** Writes all of it: a write may take less. */
function writeAll(fd: number, text: string) {
  const bytes = Buffer.from(text);
  for (let at = 0; at < bytes.length; ) {
    at += writeSync(fd, bytes, at);
  }
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
