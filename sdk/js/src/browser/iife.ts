import { autocapture } from "./autocapture.js";
import { type FullOptions, init } from "./index.js";

/**
 * window.spoor: init, and the calls of the client once there is one. Calls that a page pushed
 * to an array of that name before, as [method, ...arguments], are made up for. A script element with
 * data-write-key (or data-key) or data-options (JSON) starts it, with page views and with the site that it came from as the host. As a page
 * that loads a script has no other way to plug it in, the option autocapture does.
 */
const scope = globalThis as { spoor?: unknown };
const early = scope.spoor;
const spoor: Record<string, (...args: never[]) => unknown> = {
  init: (options: FullOptions & { autocapture?: boolean }) =>
    Object.assign(spoor, init(options.autocapture ? { ...options, plugins: [...(options.plugins || []), autocapture()] } : options)),
  push: ([method, ...args]: [string, ...never[]]) => spoor[method]?.(...args),
};
scope.spoor = spoor;

const script = document.currentScript as HTMLScriptElement | null;
const { writeKey, key = writeKey, options } = script?.dataset || {};
if (script && (key ?? options) !== undefined) {
  try {
    const all: FullOptions = { host: new URL(script.src).origin, pageViews: true, ...JSON.parse(options || "{}") };
    if (key) {
      all.writeKey = key;
    }
    spoor.init?.(all as never);
  } catch (e) {
    console.error("spoor: data-options is not JSON", e);
  }
}
if (Array.isArray(early)) {
  for (const call of early) {
    spoor.push?.(call as never);
  }
}
