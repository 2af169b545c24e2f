/** What came back of a request. */
export interface Reply {
  status: number;
  /** The header Retry-After, as it came. */
  retryAfter: string | null;
  body: string;
}

/** An event that the server refused among others that it stored. */
export interface Rejection {
  index: number;
  code: string;
  message: string;
}

/** What an answer means. */
export interface Answer {
  /** stored: each event is stored or refused by name; refused: none is and none will be; divide: too large for one request; again: send it again. */
  verdict: "stored" | "refused" | "divide" | "again";
  /** The server's, or http_ and the status. */
  code: string;
  message: string;
  /** Milliseconds that the server asks to wait; 0 where it says nothing. */
  wait: number;
  rejected: Rejection[];
}

/** Longest wait that a server is believed, in milliseconds. */
export const MAX_RETRY_AFTER = 3_600_000;

/** Bound of what is kept of an answer that is not Spoor's, in characters. */
const MAX_MESSAGE = 500;

/** Judges the answer to a request with a number of events. */
export function readAnswer(reply: Reply, events: number, now: number): Answer {
  const { status, body } = reply;
  let said: Record<string, any> = {};
  try {
    said = JSON.parse(body) || said;
  } catch {
    // An answer that is no JSON is none of Spoor's.
  }
  const rejected: Rejection[] = said.rejected || [];
  const named = new Set(rejected.map((r) => r.index).filter((index) => index >= 0 && index < events)).size;
  const verdict =
    status === 200
      ? // Each event is accounted for once: it is not by a proxy's page of status 200.
        named === rejected.length && said.accepted + said.duplicates + named === events
        ? "stored"
        : "again"
      : status === 413
        ? "divide"
        : status < 400 || status > 499 || [408, 425, 429].includes(status)
          ? "again"
          : "refused";
  return {
    verdict,
    code: said.error?.code || `http_${status}`,
    message: said.error?.message || body.slice(0, MAX_MESSAGE),
    wait: readRetryAfter(reply.retryAfter, now),
    rejected,
  };
}

/** Reads seconds or a date, in milliseconds from now. */
function readRetryAfter(text: string | null, now: number): number {
  const wait = Number(text) >= 0 ? Number(text) * 1000 : Date.parse(text as string) - now; // null is 0
  return wait > 0 ? Math.min(wait, MAX_RETRY_AFTER) : 0;
}
