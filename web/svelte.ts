import type { Plugin } from 'vite'

// What Svelte has and this page does not use, taken out while the page is built: taking over
// what a server has rendered, promises in templates with their boundaries, forks, and what components of
// version 4 need. Files are replaced as a whole, or by the texts of the version that package.json names; a build
// over another one fails here.
type Cut = [from: string | RegExp, to: string, times?: number]

// boundaryCode is the boundary around the page: what goes wrong in it is nobody's to handle.
const boundaryCode = `
import { block } from '../../reactivity/effects.js'
export function boundary(node, props, children) { block(() => children(node)) }
export const Boundary = undefined, get_boundary = undefined, pending = undefined
`
const flagsCode = `
export const async_mode_flag = false, legacy_mode_flag = false, tracing_mode_flag = false
export const enable_async_mode_flag = undefined, disable_async_mode_flag = undefined, enable_legacy_mode_flag = undefined, enable_tracing_mode_flag = undefined
`
const asyncCode = `
import { derived } from './deriveds.js'
export function flatten(blockers, sync, async, fn) { fn(sync.map(derived)) }
export function run_after_blockers(blockers, fn) { fn([]) }
export const capture = undefined, save = undefined, track_reactivity_loss = undefined, for_await_track_reactivity_loss = undefined, unset_context = undefined, run = undefined
`
const files: [file: string, change: string | Cut[]][] = [
  ['internal/flags/index.js', flagsCode],
  ['internal/client/dom/blocks/boundary.js', boundaryCode],
  ['internal/client/reactivity/async.js', asyncCode],
  ['internal/client/dom/hydration.js', [
    ['export let hydrating = false;', 'export const hydrating = false;'],
    ['\thydrating = value;\n', ''],
  ]],
  // A batch of changes waits for nothing, so it is the only one.
  ['internal/client/reactivity/batch.js', [
    [/\n\tis_fork = false;\n\n\tis_deferred\(\) \{[^]*?\n\t\}\n/, '\n'],
    ['if (!this.is_fork) {\n', '{\n'],
    [/\t\tif \(this\.is_deferred\(\)\) \{[^]*?\} else \{/, '{'],
    ['this.#deferred?.resolve();', ''],
    ['if (this.#blocking_pending === 0) {', '{'],
    ['\t\tif (this.#pending === 0) {\n\t\t\tthis.#commit();', '\t\t{\n\t\t\tthis.#commit();'],
    ['} else if (this.#pending === 0) {', '} else {'],
    [/\t\tif \(batches\.size > 1\) \{[^]*?\n\t\t\}\n(?=\n\t\tthis\.committed)/, ''],
    [/\t#(?:pending|blocking_pending|deferred|discard_callbacks|maybe_dirty_effects|dirty_effects) = [^;]*;\n/g, '', 6],
    [/\t(?:discard|increment|decrement|revive|ondiscard|settled|#defer_effects)\([a-z_]*\) \{[^]*?\n\t\}\n/g, '', 7],
    ['if ((flags & BLOCK_EFFECT) !== 0) this.#dirty_effects.add(effect);', ''],
    [/\t\t\t\t\} else if \(\n\t\t\t\t\tpending_boundary !== null &&[^]*?defer_effect\(effect\);\n/, ''],
    [/\n\t\t\t\tif \(parent === pending_boundary\) \{[^]*?\n\t\t\t\t\}\n/, '\n'],
    [/export function fork\(fn\) \{[^]*?\n\}\n/, 'export const fork = undefined\n'],
  ]],
  ['internal/client/reactivity/deriveds.js', [
    [/current_batch\?\.is_fork/g, 'false', 2],
    [/export function async_derived\([^]*?\n\}\n/, 'export const async_derived = undefined\n'],
  ]],
  ['internal/client/reactivity/sources.js', [['!batch.is_fork &&', 'true &&']]],
  // Nothing moves by animation; a style is written by directives or as a text, never by both; no attributes are spread.
  ['internal/client/dom/blocks/each.js', [['var is_animated = (flags & EACH_IS_ANIMATED) !== 0;', 'const is_animated = false;']]],
  ['internal/shared/attributes.js', [['\t\tif (value) {\n\t\t\tvalue = String(value)', '\t\tif (false) {\n\t\t\tvalue = String(value)']]],
  ['utils.js', [[/const DOM_BOOLEAN_ATTRIBUTES = \[[^]*?\];/, 'const DOM_BOOLEAN_ATTRIBUTES = [];']]],
  ['internal/client/error-handling.js', [
    ["/** @type {Boundary} */ (effect.b).error(error);\n\t} else {", 'throw error;\n\t} else {'],
    [/\twhile \(effect !== null\) \{[^]*?\n\t\}\n/, ''],
  ]],
]

export function smallSvelte(): Plugin {
  return {
    name: 'small-svelte',
    apply: 'build',
    enforce: 'pre',
    transform(code, id) {
      const found = files.find(([file]) => id.endsWith('/node_modules/svelte/src/' + file))
      if (!found) return
      const [file, change] = found
      if (typeof change === 'string') return { code: change, map: null }
      for (const [from, to, times = 1] of change) {
        const found = typeof from === 'string' ? code.split(from).length - 1 : (code.match(new RegExp(from, 'g')) ?? []).length
        if (found !== times) this.error(`Svelte has changed: ${from} is ${found} times in ${file}, not ${times}; look at web/svelte.ts`)
        code = code.replace(from, () => to)
      }
      return { code, map: null }
    },
  }
}
