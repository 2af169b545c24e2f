import { type Members, VERSION } from "../core/api.js";

/** Where a visit comes from. */
export interface Campaign {
  /** As text to compare; "" where the address says nothing. */
  key: string;
  utm?: Members | undefined;
  clickIds?: Members | undefined;
}

/** What an address says of where the visit comes from. */
export function campaignOf(search: string): Campaign {
  const c: Campaign = { key: "" };
  for (const [name, value] of new URLSearchParams(search)) {
    const [, utm, click] = /^utm_(.+)|^((?:g|fb|tt|tw)clid|msclkid|li_fat_id)$/.exec(name) || [];
    if (value && (utm || click)) {
      const text = value.slice(0, 1024);
      if (utm) {
        (c.utm ||= {})[utm] = text;
      } else {
        (c.clickIds ||= {})[name] = text;
      }
      c.key += name + text;
    }
  }
  return c;
}

/** An address without the parameters that are not kept: they may hold secrets. */
export function pageOf(kept: readonly string[]): Members {
  const { origin, host, pathname, search } = location;
  const params = new URLSearchParams(search);
  for (const name of [...params.keys()]) {
    if (!name.startsWith("utm_") && !kept.includes(name)) {
      params.delete(name);
    }
  }
  const query = params.toString();
  const rest = query && `?${query}`;
  return { url: origin + pathname + rest, host, path: pathname, search: rest || undefined, title: document.title };
}

let timezone: string | undefined; // It takes long to ask.

/** What the browser says of itself. */
export function surroundings(): Members {
  return {
    library: { name: "spoor-js", version: VERSION },
    referrer: document.referrer.split(/[?#]/)[0] || undefined,
    locale: navigator.language,
    timezone: (timezone ||= Intl.DateTimeFormat().resolvedOptions().timeZone),
    screen: { width: screen.width, height: screen.height, density: devicePixelRatio },
    viewport: { width: innerWidth, height: innerHeight },
  };
}
