import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { colours } from '../src/chart/colour'
import { contrast, difference, sightNames } from './sight'

const css = readFileSync(new URL('../src/app.css', import.meta.url), 'utf8')
const themes = ['light', 'dark'] as const
function named(name: string, theme: (typeof themes)[number]): string {
  const m = new RegExp(`--${name}: light-dark\\((#[0-9a-f]{6}), (#[0-9a-f]{6})\\)`).exec(css)!
  return m[theme === 'light' ? 1 : 2]!
}
const palette = (theme: (typeof themes)[number]) => Array.from({ length: colours }, (_, i) => named('c' + i, theme))

test('the difference of colours is CIEDE2000', () => {
  expect(difference('#000000', '#ffffff')).toBeCloseTo(100, 3)
  expect(difference('#336699', '#336699')).toBe(0)
  expect(difference('#ff0000', '#00ff00')).toBeCloseTo(86.608, 2)
  expect(difference('#ff0000', '#00ff00', 'deuteranopia')).toBeLessThan(50)
})

// Neighbours lie beside each other in stacked areas and in the legend; the first four are what most charts have.
test.each(themes.flatMap((t) => sightNames.map((s) => [t, s] as const)))('%s: series can be told apart with %s sight', (theme, sight) => {
  const c = palette(theme)
  const close: string[] = []
  for (let i = 0; i < c.length; i++)
    for (let k = 0; k < i; k++) {
      const near = i - k === 1 || i - k === c.length - 1
      const least = i < 4 || near ? 15 : 9
      const d = difference(c[i]!, c[k]!, sight)
      if (d < least) close.push(`c${k} and c${i}: ${d.toFixed(1)}`)
    }
  expect(close).toEqual([])
})

test.each(themes)('%s: every series has a contrast of 3 to the card', (theme) => {
  for (const [i, c] of palette(theme).entries()) expect(contrast(c, named('card', theme)), 'c' + i).toBeGreaterThanOrEqual(3)
})
