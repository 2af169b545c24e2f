import { execFileSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { type Browser, chromium } from "playwright-core";
import { packageDir } from "./harness.js";

const places = [process.env.CHROMIUM, "/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"];

/** Starts a headless Chromium: that of CHROMIUM or of the system, which is installed where there is none and apt-get works. */
export async function launch(): Promise<Browser> {
  let path = places.find((p) => p && existsSync(p));
  if (!path) {
    const quiet = { stdio: "ignore" as const, env: { ...process.env, DEBIAN_FRONTEND: "noninteractive" } };
    execFileSync("apt-get", ["update", "-qq"], quiet);
    execFileSync("apt-get", ["install", "-y", "-qq", "--no-install-recommends", "chromium"], quiet);
    path = "/usr/bin/chromium";
  }
  return chromium.launch({
    executablePath: path,
    args: ["--no-sandbox", "--disable-dev-shm-usage", "--host-resolver-rules=MAP *.test 127.0.0.1"],
  });
}

/** A site with a page that has the script, and any page that a test writes. Its content security policy forbids all that is not its own script. */
export class Site {
  url = "";
  pages: Record<string, string> = {};
  /** Origins that pages may send to. */
  connect = "*";
  /** Where scripts may come from. */
  scripts = "'self'";
  private server: Server = createServer((req, res) => {
    const path = new URL(req.url as string, "http://site").pathname;
    if (path.endsWith(".js")) {
      res.writeHead(200, { "Content-Type": "text/javascript" });
      res.end(this.pages[path] ?? readFileSync(join(packageDir, "dist", path)));
      return;
    }
    res.writeHead(200, {
      "Content-Type": "text/html; charset=utf-8",
      "Content-Security-Policy": `default-src 'none'; script-src ${this.scripts}; connect-src ${this.connect}`,
    });
    res.end(this.pages[path] ?? `<!doctype html><title>Page ${path}</title><script src="/spoor.iife.min.js"></script><h1>Shop</h1>`);
  });

  async start(): Promise<this> {
    this.server.listen(0, "127.0.0.1");
    await new Promise((resolve) => this.server.once("listening", resolve));
    this.url = `http://localhost:${(this.server.address() as AddressInfo).port}`;
    return this;
  }

  async end(): Promise<void> {
    this.server.closeAllConnections();
    await new Promise((resolve) => this.server.close(resolve));
  }
}
