// Tracks numbered events and says of each that its call returned: HOST SPOOL EVENT FIRST.
import { writeSync } from "node:fs";
import { init } from "../../dist/node.js";

const [host, spoolDir, event, first] = process.argv.slice(2);
const client = init({ host, spoolDir, flushEvery: 20, retryBase: 20, retryMax: 100 });
let n = Number(first);
const timer = setInterval(() => {
  for (let i = 0; i < 5; i++) {
    client.track(event, { n }, { userId: "u1" });
    writeSync(1, `${n++}\n`);
  }
}, 2);
process.on("SIGTERM", async () => {
  clearInterval(timer);
  writeSync(1, `closed ${await client.close(10_000)}\n`);
});
