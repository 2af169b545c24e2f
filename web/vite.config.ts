import { svelte } from '@sveltejs/vite-plugin-svelte'
import { readdirSync, readFileSync } from 'node:fs'
import { minify } from 'terser'
import { defineConfig, type Plugin } from 'vite'
import { smallSvelte } from './svelte.ts'
import { smallUPlot } from './uplot.ts'

// Scoped styles get short names, which follow from the component's path alone.
const taken = new Map<string, string>()
function cssHash({ filename, css }: { filename: string; css: string }): string {
  const path = filename.replace(/^.*\/src\//, '') || css
  let h = 7
  for (const c of path) h = (h * 31 + c.charCodeAt(0)) % 46656
  const name = 'x' + h.toString(36)
  const other = taken.get(name) ?? path
  if (other !== path) throw new Error(`${path} and ${other} get the same class; rename one`)
  taken.set(name, path)
  return name
}

// What the bundler has made small gets a little smaller.
const smaller: Plugin = {
  name: 'smaller',
  apply: 'build',
  async generateBundle(_options, bundle) {
    for (const part of Object.values(bundle)) {
      if (part.type !== 'chunk') continue
      const { code } = await minify(part.code, { ecma: 2020, module: true, compress: { passes: 3, unsafe_arrows: true, pure_getters: true }, format: { comments: false } })
      part.code = code! + '\n'
    }
  },
}

// Beside the page stand the licences of what is in it.
const licences: Plugin = {
  name: 'licences',
  apply: 'build',
  generateBundle(_options, bundle) {
    const used = new Set<string>()
    for (const part of Object.values(bundle)) {
      if (part.type !== 'chunk') continue
      for (const [id, m] of Object.entries(part.modules)) {
        const at = /^.*\/node_modules\/(?:@[^/]+\/)?[^/]+/.exec(id)
        if (at && m.renderedLength > 0) used.add(at[0])
      }
    }
    let text = 'The page holds code of these, each under its own licence.\n'
    for (const dir of [...used].sort()) {
      const about = JSON.parse(readFileSync(dir + '/package.json', 'utf8')) as { name: string; version: string }
      const file = readdirSync(dir).find((f) => /^licen[cs]e/i.test(f))
      if (!file) this.error(`${about.name} has no licence beside it`)
      text += `\n== ${about.name} ${about.version}\n\n${readFileSync(`${dir}/${file}`, 'utf8').trim()}\n`
    }
    this.emitFile({ type: 'asset', fileName: 'LICENSES.txt', source: text })
  },
}

// What the binary embeds: files whose names do not change.
export default defineConfig({
  base: './',
  plugins: [smallSvelte(), smallUPlot(), svelte({ compilerOptions: { css: 'external', cssHash } }), licences, smaller],
  build: {
    target: 'es2022',
    outDir: process.env.SPOOR_WEB_OUT ?? '../server/dashboard',
    emptyOutDir: false,
    assetsInlineLimit: 0,
    cssCodeSplit: false,
    modulePreload: false,
    chunkSizeWarningLimit: 400,
    rollupOptions: {
      output: {
        entryFileNames: 'ui/app.js',
        assetFileNames: 'ui/app.[ext]',
        codeSplitting: false,
      },
    },
  },
  // A server of its own: SPOOR_SERVER names the one that has the data.
  server: { proxy: { '/api': process.env.SPOOR_SERVER ?? 'http://127.0.0.1:7480', '/metrics': process.env.SPOOR_SERVER ?? 'http://127.0.0.1:7480' } },
})
