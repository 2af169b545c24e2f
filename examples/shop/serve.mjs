// Serves the shop, and the script of the SDK beside it: node serve.mjs [PORT]. Needs nothing but Node.
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";

const port = Number(process.argv[2] || 8081);
const types = { html: "text/html; charset=utf-8", css: "text/css", js: "text/javascript" };
const files = {
  "/shop.js": "shop.js",
  "/shop.css": "shop.css",
  "/spoor.js": "../../sdk/js/dist/spoor.iife.min.js",
};

createServer(async (request, response) => {
  const { pathname } = new URL(request.url, "http://shop");
  const name = files[`/${pathname.split("/").pop()}`] || "index.html"; // All other addresses are the page's own.
  try {
    const body = await readFile(new URL(name, import.meta.url));
    response.writeHead(200, {
      "Content-Type": types[name.split(".").pop()],
      "Content-Security-Policy": "default-src 'self'; img-src data:; connect-src *",
    });
    response.end(body);
  } catch (error) {
    response.writeHead(500).end(String(error.message));
  }
}).listen(port, "127.0.0.1", () => console.log(`the shop is open at http://127.0.0.1:${port}`));
