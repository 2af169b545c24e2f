// Colours that the colour-blind can tell apart (a test simulates how they see them); lines have dashes of their own beside.
export const colours = 8
export const colour = (i: number): string => `var(--c${i % colours})`
export const dashes: (number[] | undefined)[] = [undefined, [6, 3], [2, 3], [10, 3, 2, 3], [4, 2, 1, 2]]
export const dash = (i: number): number[] | undefined => dashes[i % dashes.length]

// resolved is a colour as a canvas takes it, in the theme of now.
export function resolved(name: string, near: HTMLElement): string {
  const probe = document.createElement('i')
  probe.style.color = name
  near.append(probe)
  const out = getComputedStyle(probe).color
  probe.remove()
  return out
}
