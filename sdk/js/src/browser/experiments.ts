import { assign } from "../core/variant.js";
import type { Parts } from "./core.js";

/** How many exposures a session remembers; further ones are not recorded. */
const MAX_SEEN = 100;

/** The part for the option experiments. */
export const variant: NonNullable<Parts["variant"]> = (experiment, unit, o, session, expose) => {
  const name = assign(experiment, unit, o.experiments?.[experiment] || []);
  const exposure = `${experiment}:${name}`;
  session.seen ||= [];
  if (name && !session.seen.includes(exposure) && session.seen.length < MAX_SEEN && expose({ experiment, variant: name })) {
    session.seen.push(exposure);
  }
  return name;
};
