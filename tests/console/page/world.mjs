// A real Tollhouse with a vendor behind it, each on a port of its own, all gone with the test.
import { spawn, execFileSync } from "node:child_process";
import { createServer } from "node:http";
import { mkdtempSync, writeFileSync, rmSync, readFileSync, openSync, existsSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const BIN = process.env.BIN;
const SECRET = "shop-secret-no-agent-sees";
export const OPERATOR = "an-operator-token-of-some-length";

// What nobody may ever make an element of. Every place that is the agent's or an upstream's carries it.
export const HOSTILE = `"'><img src=x onerror=alert(1)><xss-probe onclick=alert(2)></xss-probe><script>alert(3)</script>{{7*7}}`;

const ends = [];
export const over = () => {
  for (const end of ends.splice(0).reverse()) end();
};

// Runs a play to its end; whatever was started ends with it.
export const run = (main) =>
  main()
    .catch((error) => {
      console.error(error.stack);
      process.exitCode = 1;
    })
    .finally(() => {
      over();
      process.exit();
    });

// A process that dies with the test, and the words that follow each of `marks` in what it says.
export const start = (command, words, marks, options = {}) =>
  new Promise((resolve, reject) => {
    const child = spawn(command, words, { stdio: ["ignore", "pipe", options.log ? openSync(options.log, "a") : "ignore"], ...options });
    ends.push(() => child.kill("SIGKILL"));
    const said = {};
    let text = "";
    child.stdout.on("data", (data) => {
      text += data;
      for (const line of text.split("\n")) for (const mark of marks) if (line.startsWith(mark)) said[mark] = line.slice(mark.length).trim();
      if (marks.every((mark) => said[mark] !== undefined)) resolve({ said, child });
    });
    child.on("error", reject);
    child.on("exit", (code) => {
      const log = options.log && existsSync(options.log) ? readFileSync(options.log, "utf8") : "";
      reject(new Error(`${command} ended with ${code}: ${text} ${log}`));
    });
  });

// A shop as the pack `orders` has it, whose every word is hostile. Orders `A-..` are Ann's, `B-..` Bob's, `C-..` Cara's.
export const shop = (words = {}) =>
  new Promise((resolve) => {
    const made = [];
    const server = createServer((request, response) => {
      let body = "";
      request.on("data", (data) => (body += data));
      request.on("end", () => {
        const order = /^\/orders\/([^/?]+)$/.exec(request.url);
        const answer = (status, value) => {
          response.writeHead(status, { "content-type": "application/json" });
          response.end(JSON.stringify(value));
        };
        if (request.method === "GET" && order) {
          const id = decodeURIComponent(order[1]);
          return answer(200, {
            id,
            customer_ref: { A: "ann", B: "bob", C: "cara" }[id[0]] || "ann",
            email: words.text || "ann@shop.example",
            total: { value: "600.00", currency: "USD" },
            refunded: { value: id.endsWith("5") ? "60.00" : "0.00" },
            placed_at: new Date(Date.now() - 12 * 86400e3).toISOString(),
            status: words.status || "paid",
            disputed: false,
          });
        }
        if (request.method === "POST" && request.url === "/refunds") {
          const asked = JSON.parse(body);
          made.push(asked);
          if (asked.order.startsWith("A-9")) return request.socket.destroy();
          return answer(201, { id: words.id || "R-" + made.length, ...asked, status: "succeeded", created_at: new Date().toISOString() });
        }
        answer(404, { ok: false });
      });
    });
    server.listen(0, "127.0.0.1", () => {
      ends.push(() => server.close());
      resolve({ url: `http://127.0.0.1:${server.address().port}`, made });
    });
  });

const CONTRACTS = `contracts:
  orders.refund.create:
    team: payments
    cap: { auto: 100.00 USD, hard: 5000.00 USD }
    budget: [ { per: customer, within: 24h, amount: 90000.00 USD, over: hold } ]
    window: { since: purchased_at, max: 30d, after: hold }
    approval: { queue: finance, expires: 1h, tiers: [ { above: 530.00 USD, approvers: 2 } ] }
    duplicates: { alike: allow }
  orders.order.address.update: { outcome: hold, approval: { queue: support } }
`;

// Tollhouse from a configuration, in a folder of its own.
export const tollhouse = async (upstream, more = "", operator = "") => {
  const home = mkdtempSync(join(tmpdir(), "tollhouse-page-"));
  ends.push(() => rmSync(home, { recursive: true, force: true }));
  cli(["token", "--agent", "nobody", "--customer", "nobody", "--state", join(home, "state")]);
  writeFileSync(join(home, "shop-key"), SECRET);
  writeFileSync(join(home, "ops-token"), OPERATOR);
  for (const name of ["viewer", "second"]) writeFileSync(join(home, `${name}-token`), `${name}-${OPERATOR}`);
  writeFileSync(
    join(home, "tollhouse.yaml"),
    `version: 1
listen: 127.0.0.1:0
operator:
  listen: 127.0.0.1:0
${operator}  tokens:
    - { name: maya, roles: [finance, operator], token: file:ops-token, approves: true }
    - { name: tomas, roles: [finance], token: file:second-token, approves: true }
    - { name: viewer, roles: [support], token: file:viewer-token, approves: true }
store: embedded:data/store
audit: { dir: data/audit }
development: true
identity:
  issuers: [ { issuer: tollhouse-dev, audience: tollhouse, jwks: file:state/jwks.json, algorithms: [EdDSA] } ]
upstreams:
  shop: { url: "${upstream}", pack: orders, route: /, credentials: file:shop-key }
queues: { finance: { roles: [finance] }, support: { roles: [support] } }
telemetry: { log: text }
${more}${CONTRACTS}`,
  );
  const { said, child } = await start(BIN, ["run", "--config", "tollhouse.yaml"], ["agents", "console"], { cwd: home, log: join(home, "log") });
  const token = (agent, customer) =>
    cli(["token", "--agent", agent, "--customer", customer, "--state", join(home, "state")]).trim();
  return { home, agents: said.agents, console: said.console, child, token, log: () => readFileSync(join(home, "log"), "utf8") };
};

export const cli = (words, options = {}) => execFileSync(BIN, words, { encoding: "utf8", ...options });

// A refund as an agent asks for it; the operation, and how it was answered.
export const refund = async (house, token, order, amount, more = {}) => {
  const answer = await fetch(house.agents + "/refunds", {
    method: "POST",
    headers: { authorization: `Bearer ${token}`, "content-type": "application/json", ...(more.headers || {}) },
    body: JSON.stringify({ order, amount, currency: "USD", ...(more.body || {}) }),
  });
  return { status: answer.status, op: answer.headers.get("tollhouse-operation"), body: await answer.text() };
};

// The console's API, as a machine asks it.
export const api = async (house, method, path, body, token = OPERATOR) => {
  const answer = await fetch(house.console + path, {
    method,
    headers: { authorization: `Bearer ${token}`, ...(body ? { "content-type": "application/json" } : {}) },
    body: body && JSON.stringify(body),
  });
  return { status: answer.status, json: await answer.json().catch(() => null) };
};

export const until = async (what, says, seconds = 15) => {
  const end = Date.now() + seconds * 1000;
  for (;;) {
    const found = await what();
    if (found) return found;
    if (Date.now() > end) throw new Error("never so: " + says);
    await new Promise((again) => setTimeout(again, 50));
  }
};
