import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { describe, expect, test } from "vitest";
import { call, inWorld, open, theOne, world } from "./fixture.js";
import { packageDir, until } from "./harness.js";

inWorld();

describe("page views", () => {
  test("are tracked for the first page and for each address of a single-page application, once", async () => {
    const page = await open({ pageViews: true }, { path: `/${world.event}/home` });
    await page.evaluate((base) => {
      history.pushState({}, "", `${base}/list?q=1`);
      document.title = "List";
    }, `/${world.event}`);
    await page.evaluate(() => history.replaceState({}, "", "#part")); // the same page
    await page.evaluate((base) => history.pushState({}, "", `${base}/item`), `/${world.event}`);
    await page.goBack();
    await page.waitForFunction(() => location.pathname.endsWith("list"));
    await call(page, "flush");
    const views = (await world.spoor.events("page_viewed")).filter((e) => e.context.page.path.startsWith(`/${world.event}/`));
    expect(views.map((e) => e.context.page.path.split("/").pop())).toEqual(["home", "list", "item", "list"]);
    expect(views[1]?.context.page.title).toBe("List");
    await call(page, "close");
    await page.evaluate((base) => history.pushState({}, "", `${base}/closed`), `/${world.event}`);
    expect(await page.evaluate(() => history.pushState.toString())).toContain("native code");
  });
});

describe("autocapture", () => {
  test("tracks marked clicks, links to other sites and submitted forms, never what was typed or what is to be left out", async () => {
    world.site.pages["/auto"] = `<!doctype html><script src="/spoor.iife.min.js"></script><script type="module" src="/auto.js"></script>
      <button data-track="${world.event}" data-track-product-id="7"><b id="inner">Buy</b></button>
      <a id="out" href="https://elsewhere.example/path?token=secret" target="none">out</a><a id="in" href="#x">in</a>
      <form id="login" name="signin" action="/login?key=secret"><input name="id" value="secret"><input type="password" name="action" value="secret"><button id="send">Go</button></form>
      <div data-no-track><button id="private" data-track="secret">no</button></div>`;
    world.site.pages["/auto.js"] = `import { autocapture } from "/autocapture.js";
      addEventListener("submit", (e) => e.preventDefault());
      addEventListener("click", (e) => e.target.id === "out" && e.preventDefault());
      spoor.init({ host: "${world.proxy.url}", plugins: [autocapture()] }); document.title = "ready";`;
    const page = await world.context.newPage();
    await page.goto(`${world.site.url}/auto`);
    await page.waitForFunction(() => document.title === "ready");
    for (const id of ["inner", "out", "in", "send", "private"]) {
      await page.click(`#${id}`);
    }
    expect((await theOne(world.event)).properties).toEqual({ productId: "7" });
    await call(page, "flush");
    expect((await theOne("link_clicked")).properties).toEqual({ url: "https://elsewhere.example/path", host: "elsewhere.example" });
    expect((await theOne("form_submitted")).properties).toEqual({ id: "login", name: "signin", action: "/login" });
    expect(JSON.stringify(world.proxy.seen.map((s) => s.events))).not.toContain("secret");
  });
});

describe("one line of HTML", () => {
  test("with the script of the server starts the client with page views, and makes up for calls that came before", async () => {
    world.site.pages["/line"] = `<!doctype html><script src="/early.js"></script>
      <script async src="${world.spoor.url}/s.js" data-write-key="" data-options='{"ratePerSecond":0}'></script>`;
    world.site.pages["/early.js"] = `window.spoor = [["track", "${world.event}", { early: true }]];`;
    const scriptPolicy = world.site.scripts;
    world.site.scripts = `'self' ${world.spoor.url}`;
    try {
      const page = await world.context.newPage();
      await page.goto(`${world.site.url}/line`);
      expect((await theOne(world.event)).properties).toEqual({ early: true });
      await until("the page view", async () => (await world.spoor.events("page_viewed")).some((e) => e.context.page.path === "/line"));
    } finally {
      world.site.scripts = scriptPolicy;
    }
  });
});

describe("the built files", () => {
  test("are small: 8 KB for all of the browser's, 5 KB for the core, and hold no eval", () => {
    const size = (name: string) => gzipSync(readFileSync(join(packageDir, "dist", name)), { level: 9 }).length;
    console.log(`gzip: spoor.iife.min.js ${size("spoor.iife.min.js")}, spoor.core.min.js ${size("spoor.core.min.js")} bytes`);
    expect(size("spoor.iife.min.js")).toBeLessThanOrEqual(8 * 1024);
    expect(size("spoor.core.min.js")).toBeLessThanOrEqual(5 * 1024);
    expect(readFileSync(join(packageDir, "dist/spoor.iife.min.js"), "utf8")).not.toMatch(/\beval\b|new Function|import\(/);
  });

  test("are what the source gives: the committed file is a fresh build's", () => {
    const dir = mkdtempSync(join(tmpdir(), "spoor-js-build-"));
    try {
      execFileSync(process.execPath, [join(packageDir, "scripts/build.mjs"), "--out", dir]);
      // That of git, not of dist: a build wrote dist a moment ago.
      const committed = execFileSync("git", ["show", ":./dist/spoor.iife.min.js"], { cwd: packageDir, encoding: "utf8" });
      expect(readFileSync(join(dir, "spoor.iife.min.js"), "utf8")).toBe(committed);
    } finally {
      rmSync(dir, { recursive: true });
    }
  });
});
