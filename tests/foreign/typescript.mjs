// Calls servers with the official TypeScript clients, several at once; says what each call gave.
//
// On standard input: [{key, client: "v1" | "v2", transport: "http" | "sse" | "stdio", target}].
// On standard output: {key: {step: what it gave}}, where a step that failed is the last one.

import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";
import { join } from "node:path";

const [modules, seconds, width] = process.argv.slice(2);
const load = (path) => import(pathToFileURL(join(modules, "@modelcontextprotocol", path)));
const v1 = {
  ...(await load("sdk/dist/esm/client/index.js")),
  ...(await load("sdk/dist/esm/client/streamableHttp.js")),
  ...(await load("sdk/dist/esm/client/sse.js")),
  ...(await load("sdk/dist/esm/client/stdio.js")),
};
const v2 = { ...(await load("client/dist/index.mjs")), ...(await load("client/dist/stdio.mjs")) };
// Some failures end no call: they are over for us when the time is.
const LATE = { late: true };
const options = { timeout: 1000 * Number(seconds) };

function transportOf(sdk, { transport, target }) {
  if (transport === "stdio") {
    const [command, ...args] = target;
    return new sdk.StdioClientTransport({ command, args, env: process.env, stderr: "ignore" });
  }
  const url = new URL(target);
  return transport === "sse"
    ? new sdk.SSEClientTransport(url)
    : new sdk.StreamableHTTPClientTransport(url);
}

const text = (reply) => reply.content.map((part) => part.text ?? part.type).join("");
const steps = {
  connect: (client, transport) => client.connect(transport, options),
  tools: async (client) => (await client.listTools({}, options)).tools.map((tool) => tool.name),
  call: async (client, sdk) => {
    const call = { name: "act", arguments: {} };
    const reply = sdk === v1
      ? await client.callTool(call, undefined, options)
      : await client.callTool(call, options);
    return { length: text(reply).length, begin: text(reply).slice(0, 20) };
  },
  ping: (client) => client.ping(options),
};

async function talk(task) {
  const sdk = task.client === "v1" ? v1 : v2;
  const client = new sdk.Client({ name: `typescript-${task.client}`, version: "1.0.0" });
  const said = {};
  let step;
  try {
    const transport = transportOf(sdk, task);
    step = "connect";
    await steps.connect(client, transport);
    said.connect = client.getServerVersion()?.name;
    for (step of ["tools", "call", "ping"]) {
      said[step] = (await steps[step](client, sdk)) ?? {};
    }
  } catch (error) {
    said[step] = { failed: `${error?.code ?? ""} ${error?.message ?? error}`.trim() };
  }
  await client.close().catch(() => {});
  return said;
}

const tasks = JSON.parse(readFileSync(0, "utf8"));
const verdicts = {};
async function work() {
  for (let task = tasks.shift(); task; task = tasks.shift()) {
    const late = new Promise((done) => setTimeout(done, options.timeout, LATE));
    verdicts[task.key] = await Promise.race([talk(task), late]);
  }
}
await Promise.all(Array.from({ length: Number(width) }, work));
process.stdout.write(JSON.stringify(verdicts), () => process.exit(0));
