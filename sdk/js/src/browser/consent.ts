import type { State } from "./state.js";

/** How a page asks. */
export interface ConsentOptions {
  /**
   * opt-out: collect until the person refuses; opt-in: neither make, store nor send
   * anything until the person agrees; hold: keep the last 100 events in memory until then.
   */
  mode?: "opt-out" | "opt-in" | "hold";
  /** The category that every event needs. */
  category?: string;
  /** The category of events by name, where it is another one. */
  events?: Record<string, string>;
}

/**
 * What a person agreed to: true, false, or undefined while nobody has answered. An answer of
 * the person wins; without one, Global Privacy Control and Do Not Track are a refusal, then the mode counts.
 */
export function consentOf(options: ConsentOptions, refusedBySignal: boolean | undefined, state: () => State) {
  const optOut = (options.mode || "opt-out") === "opt-out";
  const main = options.category || "analytics";
  const verdict = (category = main): boolean | undefined => state().consent?.[category] ?? (refusedBySignal ? false : optOut || undefined);
  return {
    main,
    optOut,
    verdict,
    /** That of an event, which needs its own category and the main one. */
    of(name: string): boolean | undefined {
      const own = verdict(options.events?.[name]);
      return verdict() === false ? false : own && verdict();
    },
  };
}

/** Tells whether the browser says that its person does not want to be followed. */
export function signalled(gpc: boolean | undefined, dnt: boolean | undefined): boolean | undefined {
  const n = navigator as Navigator & { globalPrivacyControl?: boolean };
  return (gpc && !!n.globalPrivacyControl) || (dnt && n.doNotTrack === "1");
}
