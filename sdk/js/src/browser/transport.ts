import type { Reply } from "../core/answer.js";
import { BATCH, batchBody } from "../core/queue.js";
import type { Item } from "../core/store.js";

/** Browsers allow 64 KiB of bodies that outlive their page; part of it is left to others. */
const KEEPALIVE_BYTES = 56 << 10;

/** Smaller bodies are not compressed. */
const MIN_GZIP = 1024;

/**
 * Sends requests that need no preflight: the key is in the address and the content
 * type is none; that a body is compressed the server sees in its first bytes.
 */
export function transportOf(host: string, writeKey: string | undefined, timeout: number) {
  const address = host + BATCH + (writeKey ? `?writeKey=${encodeURIComponent(writeKey)}` : "");
  return {
    async post(text: string): Promise<Reply> {
      let body = new Blob([text]);
      if (body.size > MIN_GZIP && typeof CompressionStream === "function") {
        body = await new Response(body.stream().pipeThrough(new CompressionStream("gzip"))).blob();
      }
      const abort = new AbortController();
      const timer = setTimeout(() => abort.abort(), timeout);
      try {
        const r = await fetch(address, {
          method: "POST",
          body,
          credentials: "omit",
          redirect: "error",
          keepalive: body.size < KEEPALIVE_BYTES,
          signal: abort.signal,
        });
        return { status: r.status, retryAfter: r.headers.get("Retry-After"), body: await r.text() };
      } finally {
        clearTimeout(timer);
      }
    },
    /** Hands the oldest events to the browser, which sends them when the page is gone. Nobody learns whether they came. */
    beacon(items: Item[], now: number) {
      for (let n = items.length; n; n >>= 1) {
        const body = new Blob([batchBody(items.slice(0, n), now)]);
        if (body.size < KEEPALIVE_BYTES && navigator.sendBeacon(address, body)) {
          return;
        }
      }
    },
  };
}
