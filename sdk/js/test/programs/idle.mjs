// Tracks an event and does nothing more: HOST [SPOOL].
import { init } from "../../dist/node.js";

const [host, spoolDir] = process.argv.slice(2);
const client = init({ host, spoolDir });
client.track("idle", {}, { userId: "u1" });
setTimeout(() => {}, 300); // The request is on its way, or waits to be repeated.
