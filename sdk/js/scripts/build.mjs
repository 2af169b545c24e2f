// Builds dist: what is imported, readable; what a page loads, small; types.
// The same source gives the same bytes. With --out DIR elsewhere, without types.
import { execFileSync } from "node:child_process";
import { existsSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const at = process.argv.indexOf("--out");
const out = at < 0 ? join(root, "dist") : process.argv[at + 1];

const common = { bundle: true, target: "es2020", legalComments: "none", charset: "utf8", absWorkingDir: root, logLevel: "warning" };
const entries = { browser: "browser/index", core: "browser/core", autocapture: "browser/autocapture", node: "node/index" };

for (const [name, entry] of Object.entries(entries)) {
  await build({
    ...common,
    entryPoints: [`src/${entry}.ts`],
    outfile: join(out, `${name}.js`),
    format: "esm",
    platform: name === "node" ? "node" : "browser",
    ...(name === "node" ? { target: "node18" } : {}),
  });
}
for (const name of ["spoor", "spoor.core"]) {
  await build({
    ...common,
    entryPoints: [`src/browser/${name === "spoor" ? "iife" : "core"}.ts`],
    outfile: join(out, name === "spoor" ? "spoor.iife.min.js" : "spoor.core.min.js"),
    format: name === "spoor" ? "iife" : "esm",
    minify: true,
  });
}
if (at < 0) {
  const tsc = join(root, "node_modules/typescript/bin/tsc");
  if (existsSync(tsc)) {
    execFileSync(process.execPath, [tsc, "-p", "tsconfig.types.json"], { cwd: root, stdio: "inherit" });
  }
}
