import type { Members, Plugin } from "../core/api.js";
import type { Client } from "./core.js";

/** What is captured; all of it unless said otherwise. */
export interface AutocaptureOptions {
  /** link_clicked: links to other sites, with properties.url and .host. */
  outbound?: boolean;
  /** form_submitted: properties.id, .name, .action. Never what was typed. */
  forms?: boolean;
  /** Elements with data-track="event_name": that event, with the other data-track-* attributes as properties. */
  clicks?: boolean;
}

/** Bound of a text that is taken from the page, in characters. */
const MAX_TEXT = 256;

/**
 * Captures what people do without calls of the page. Elements with data-no-track,
 * and all within them, are left out; values of inputs are never read.
 */
export function autocapture(options: AutocaptureOptions = {}): Plugin<Client> {
  return {
    start(client) {
      const cut = (text: string | null | undefined) => (text ? text.slice(0, MAX_TEXT) : undefined);
      const bare = (address: string) => cut(address.split(/[?#]/)[0]);
      const hidden = (e: Element) => !!e.closest("[data-no-track]");
      const clicked = (event: Event) => {
        const target = event.target as Element | null;
        if (!target?.closest || hidden(target)) {
          return;
        }
        const tracked = target.closest("[data-track]") as HTMLElement | null;
        if (options.clicks !== false && tracked) {
          const properties: Members = {};
          for (const { name, value } of tracked.attributes) {
            if (name.startsWith("data-track-")) {
              properties[camel(name.slice(11))] = cut(value);
            }
          }
          client.track(tracked.getAttribute("data-track") || "clicked", properties);
        }
        const link = target.closest("a[href]") as HTMLAnchorElement | null;
        if (options.outbound !== false && link && /^https?:$/.test(link.protocol) && link.host !== location.host) {
          client.track("link_clicked", { url: bare(link.href), host: link.host });
        }
      };
      const submitted = (event: Event) => {
        const form = event.target as HTMLFormElement;
        if (options.forms !== false && !hidden(form)) {
          // By attribute: an input named "id" would stand in for form.id.
          const action = form.getAttribute("action");
          client.track("form_submitted", {
            id: cut(form.getAttribute("id")),
            name: cut(form.getAttribute("name")),
            action: action ? bare(action) : undefined,
          });
        }
      };
      const guard = (run: (e: Event) => void) => (e: Event) => {
        try {
          run(e);
        } catch {
          // An odd element is no reason to disturb the page.
        }
      };
      const onClick = guard(clicked);
      const onSubmit = guard(submitted);
      // While the event comes down: a handler of the page may stop it, and a link may take the page away.
      addEventListener("click", onClick, true);
      addEventListener("auxclick", onClick, true);
      addEventListener("submit", onSubmit, true);
      return () => {
        removeEventListener("click", onClick, true);
        removeEventListener("auxclick", onClick, true);
        removeEventListener("submit", onSubmit, true);
      };
    },
  };
}

const camel = (name: string) => name.replace(/-(\w)/g, (_, letter: string) => letter.toUpperCase());
