/** Fills bytes with random bits of a cryptographic source. */
export type Random = (bytes: Uint8Array<ArrayBuffer>) => Uint8Array;

/**
 * Makes UUIDv7s that sort by their calls: 48 bits of milliseconds, 12 bits that
 * count within one, 62 random bits. A clock that goes back holds them at the last millisecond.
 */
export function idMaker(random: Random): (now: number) => string {
  let last = 0;
  let count = 0;
  return (now) => {
    const bits = random(new Uint8Array(10));
    if (now > last) {
      last = now;
      count = ((bits[8] as number) << 3) | ((bits[9] as number) & 7); // below 2048: half the range is left to count
    } else if (++count > 4095) {
      count = 0;
      last++;
    }
    return uuid(last, 0x7000 | count, bits);
  };
}

/** Writes a UUID of 48 bits, 16 bits that hold the version, and 8 bytes. */
export function uuid(high: number, middle: number, low: Uint8Array): string {
  const hex = (n: number, digits: number) => n.toString(16).padStart(digits, "0");
  let text = hex(high, 12) + hex(middle, 4);
  for (let i = 0; i < 8; i++) {
    const byte = low[i] as number;
    text += hex(i ? byte : (byte & 0x3f) | 0x80, 2);
  }
  return text.replace(/(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-");
}
