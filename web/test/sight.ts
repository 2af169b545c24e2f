// How colours look to others: simulation of colour blindness and what remains of a difference.

type RGB = [number, number, number] // linear, 0 to 1

// Machado, Oliveira, Fernandes (2009), severity 1.0, on linear RGB.
const sights: Record<string, number[][]> = {
  all: [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
  protanopia: [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
  deuteranopia: [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]],
  tritanopia: [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.3039]],
}
export const sightNames = Object.keys(sights)

export function linear(hex: string): RGB {
  const part = (i: number) => {
    const v = parseInt(hex.slice(1 + 2 * i, 3 + 2 * i), 16) / 255
    return v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4
  }
  return [part(0), part(1), part(2)]
}

const seen = (c: RGB, sight: string): RGB => sights[sight]!.map((r) => Math.min(1, Math.max(0, r[0]! * c[0] + r[1]! * c[1] + r[2]! * c[2]))) as RGB

function lab([r, g, b]: RGB): [number, number, number] {
  const f = (t: number) => (t > 216 / 24389 ? Math.cbrt(t) : (t * 24389) / 27 / 116 + 16 / 116)
  const x = f((0.4124564 * r + 0.3575761 * g + 0.1804375 * b) / 0.95047)
  const y = f(0.2126729 * r + 0.7151522 * g + 0.072175 * b)
  const z = f((0.0193339 * r + 0.119192 * g + 0.9503041 * b) / 1.08883)
  return [116 * y - 16, 500 * (x - y), 200 * (y - z)]
}

// difference is CIEDE2000 of two colours as somebody sees them; 2 is just noticed side by side.
export function difference(p: string, q: string, sight = 'all'): number {
  const [L1, a1, b1] = lab(seen(linear(p), sight))
  const [L2, a2, b2] = lab(seen(linear(q), sight))
  const rad = Math.PI / 180
  const C7 = ((Math.hypot(a1, b1) + Math.hypot(a2, b2)) / 2) ** 7
  const G = 0.5 * (1 - Math.sqrt(C7 / (C7 + 25 ** 7)))
  const [x1, x2] = [(1 + G) * a1, (1 + G) * a2]
  const [c1, c2] = [Math.hypot(x1, b1), Math.hypot(x2, b2)]
  const hue = (b: number, a: number) => (a === 0 && b === 0 ? 0 : (Math.atan2(b, a) / rad + 360) % 360)
  const [h1, h2] = [hue(b1, x1), hue(b2, x2)]
  const turn = c1 * c2 === 0 ? 0 : ((h2 - h1 + 540) % 360) - 180
  const dH = 2 * Math.sqrt(c1 * c2) * Math.sin((turn / 2) * rad)
  const L = (L1 + L2) / 2
  const C = (c1 + c2) / 2
  const H = c1 * c2 === 0 ? h1 + h2 : (h1 + turn / 2 + 360) % 360
  const T = 1 - 0.17 * Math.cos((H - 30) * rad) + 0.24 * Math.cos(2 * H * rad) + 0.32 * Math.cos((3 * H + 6) * rad) - 0.2 * Math.cos((4 * H - 63) * rad)
  const sL = 1 + (0.015 * (L - 50) ** 2) / Math.sqrt(20 + (L - 50) ** 2)
  const sC = 1 + 0.045 * C
  const sH = 1 + 0.015 * C * T
  const rT = -Math.sin(60 * rad * Math.exp(-(((H - 275) / 25) ** 2))) * 2 * Math.sqrt(C ** 7 / (C ** 7 + 25 ** 7))
  const [l, c, h] = [(L2 - L1) / sL, (c2 - c1) / sC, dH / sH]
  return Math.sqrt(l * l + c * c + h * h + rT * c * h)
}

// contrast is that of WCAG.
export function contrast(p: string, q: string): number {
  const light = (hex: string) => {
    const [r, g, b] = linear(hex)
    return 0.2126 * r + 0.7152 * g + 0.0722 * b + 0.05
  }
  const [a, b] = [light(p), light(q)]
  return Math.max(a, b) / Math.min(a, b)
}
