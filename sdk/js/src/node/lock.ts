import { readFileSync, unlinkSync, writeFileSync } from "node:fs";

/** Files that this thread has locked. */
const held = new Set<string>();

/**
 * Takes a directory for this process alone, or throws. The lock names a process and when it
 * began, where the system tells; it counts as long as that process lives.
 */
export function lockDirectory(path: string): () => void {
  if (held.has(path)) {
    throw new Error(`${path} is in use by another client of this program`);
  }
  const mine = `${process.pid} ${began(process.pid)}`;
  for (let tries = 0; ; tries++) {
    try {
      writeFileSync(path, mine, { flag: "wx" });
      break;
    } catch (e) {
      if ((e as NodeJS.ErrnoException).code !== "EEXIST" || tries > 2) {
        throw e;
      }
    }
    const [pid, start] = readFileSync(path, "utf8").split(" ");
    const other = Number(pid);
    // Without its beginning, the own number may be that of an earlier process, as in containers.
    if (other && (other !== process.pid || start) && lives(other) && began(other) === (start || "")) {
      throw new Error(`${path} is in use by process ${other}; each client needs a directory of its own`);
    }
    unlinkSync(path);
  }
  held.add(path);
  return () => {
    held.delete(path);
    try {
      unlinkSync(path);
    } catch {
      // The directory is gone.
    }
  };
}

function lives(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (e) {
    return (e as NodeJS.ErrnoException).code === "EPERM";
  }
}

/** When a process began, in ticks of the system; "" where it does not tell. */
function began(pid: number): string {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    return stat.slice(stat.lastIndexOf(")") + 2).split(" ")[19] || "";
  } catch {
    return "";
  }
}
