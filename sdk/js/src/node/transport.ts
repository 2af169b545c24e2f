import { type ClientRequest, Agent as HttpAgent, request as httpRequest, type IncomingMessage } from "node:http";
import { Agent as HttpsAgent, request as httpsRequest } from "node:https";
import type { Socket } from "node:net";
import { promisify } from "node:util";
import { gzip } from "node:zlib";
import type { Reply } from "../core/answer.js";
import { VERSION } from "../core/api.js";
import { BATCH } from "../core/queue.js";

/** Bound of an answer, in bytes. */
const MAX_ANSWER = 8 << 20;

/** Smaller bodies are not compressed, in characters. */
const MIN_GZIP = 1024;

const compress = promisify(gzip);

/** Sends requests over one connection, which does not keep the process alive. */
export function transportOf(host: string, writeKey: string | undefined, timeout: number) {
  const secure = host.startsWith("https:");
  const agent = secure ? new HttpsAgent({ keepAlive: true, maxSockets: 1 }) : new HttpAgent({ keepAlive: true, maxSockets: 1 });
  let socket: Socket | undefined;
  let awaited = false;
  const hold = (s: Socket) => (awaited ? s.ref() : s.unref());
  return {
    async post(text: string): Promise<Reply> {
      const packed = text.length > MIN_GZIP;
      const body = packed ? await compress(text) : Buffer.from(text);
      return new Promise((resolve, reject) => {
        const headers: Record<string, string | number> = {
          "Content-Type": "application/json",
          "Content-Length": body.length,
          "User-Agent": `spoor-js/${VERSION}`,
        };
        if (packed) {
          headers["Content-Encoding"] = "gzip";
        }
        if (writeKey) {
          headers.Authorization = `Bearer ${writeKey}`;
        }
        const fail = (e: Error) => {
          clearTimeout(timer);
          reject(e);
        };
        const answered = (response: IncomingMessage) => {
          const parts: Buffer[] = [];
          let size = 0;
          response.on("data", (part: Buffer) => {
            size += part.length;
            if (size > MAX_ANSWER) {
              request.destroy(new Error("the answer is too long"));
            } else {
              parts.push(part);
            }
          });
          response.on("error", fail);
          response.on("close", () => response.complete || fail(new Error("the answer was cut off")));
          response.on("end", () => {
            clearTimeout(timer);
            resolve({
              status: response.statusCode || 0,
              retryAfter: response.headers["retry-after"] ?? null,
              body: Buffer.concat(parts).toString(),
            });
          });
        };
        const request: ClientRequest = (secure ? httpsRequest : httpRequest)(host + BATCH, { method: "POST", agent, headers }, answered);
        const timer = setTimeout(() => request.destroy(new Error("no answer in time")), timeout);
        timer.unref();
        request.on("error", fail);
        request.on("socket", (s: Socket) => {
          socket = s;
          hold(s);
        });
        request.end(body);
      });
    },
    /** Says whether somebody waits for the requests. */
    await(yes: boolean) {
      awaited = yes;
      if (socket && !socket.destroyed) {
        hold(socket);
      }
    },
    close: () => agent.destroy(),
  };
}
