/** A variant of an experiment and its share. Shares are relative: 1 and 1 are halves, as are 50 and 50. */
export interface Weighted {
  name: string;
  weight: number;
}

/**
 * Places a unit (a person, an account, a device) in an experiment, in [0, 1). The
 * same for ever and in all of Spoor's SDKs: FNV-1a of 32 bits over
 * UTF-8(experiment) 00 UTF-8(unit), then the finalizer of MurmurHash3, by 2^32.
 */
export function bucket(experiment: string, unit: string): number {
  let h = 2166136261;
  for (const byte of new TextEncoder().encode(`${experiment}\0${unit}`)) {
    h = Math.imul(h ^ byte, 16777619);
  }
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return ((h ^ (h >>> 16)) >>> 0) / 2 ** 32;
}

/**
 * Chooses the variant of a unit: the first whose cumulative weight is above its
 * bucket times the sum of the weights; "" where no weight is above 0.
 */
export function assign(experiment: string, unit: string, variants: readonly Weighted[]): string {
  let total = 0;
  for (const v of variants) {
    total += Math.max(v.weight, 0);
  }
  const at = bucket(experiment, unit) * total;
  let sum = 0;
  let name = "";
  for (const v of variants) {
    if (v.weight > 0) {
      sum += v.weight;
      name = v.name;
      if (at < sum) {
        break;
      }
    }
  }
  return name;
}
