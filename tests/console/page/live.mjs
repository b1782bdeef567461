// One refund, from the unmodified Stripe SDK to the vendor's books, answered by a person with a keyboard.
// localstripe is the vendor; PYTHON and LOCALSTRIPE name the tests' environment.
import { spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, dirname } from "node:path";
import { fileURLToPath } from "node:url";
import { launch, open, assert } from "./lib.mjs";
import { start, cli, until, over } from "./world.mjs";

const here = dirname(fileURLToPath(import.meta.url));
const home = mkdtempSync(join(tmpdir(), "tollhouse-live-"));

// What an agent does: a customer, a charge, a refund over the cap. Prints the charge; the refund is refused.
const AGENT = `
import os, sys, json, urllib.parse, urllib.request, stripe
stripe.api_base, stripe.max_network_retries = os.environ["TOLLHOUSE"], 0
def vendor(path, form):
    call = urllib.request.Request(os.environ["VENDOR"] + path, urllib.parse.urlencode(form).encode(), {"Authorization": "Bearer sk_test_judge"})
    return json.load(urllib.request.urlopen(call))
card = {"card[number]": "4242424242424242", "card[exp_month]": 12, "card[exp_year]": 2040, "card[cvc]": 123}
source = vendor("/v1/tokens", card)["id"]
customer = vendor("/v1/customers", {"email": "ann@shop.example", "source": source})["id"]
charge = vendor("/v1/charges", {"amount": 60000, "currency": "usd", "customer": customer})["id"]
print("charge " + charge, flush=True)
print("customer " + customer, flush=True)
token = sys.stdin.readline().strip()
try:
    stripe.Refund.create(charge=charge, amount=45000, api_key=token)
    print("answer done", flush=True)
except stripe.StripeError as error:
    print("answer " + str(error.http_status) + " " + str(error.json_body.get("code")), flush=True)
sys.stdin.readline()
refund = stripe.Refund.create(charge=charge, amount=45000, api_key=token)
print("again " + refund.status + " " + str(refund.amount), flush=True)
`;

const agent = (env) => {
  const child = spawn(process.env.PYTHON, ["-c", AGENT], { env: { ...process.env, ...env }, stdio: ["pipe", "pipe", "inherit"] });
  process.on("exit", () => child.kill("SIGKILL"));
  let text = "";
  child.stdout.on("data", (data) => (text += data));
  const word = (mark) => until(() => text.split("\n").find((line) => line.startsWith(mark)), "the agent says " + mark, 30);
  return { say: (line) => child.stdin.write(line + "\n"), word, end: () => child.kill("SIGKILL") };
};

const port = () =>
  new Promise((resolve) => {
    import("node:net").then(({ createServer }) => {
      const server = createServer().listen(0, "127.0.0.1", () => {
        const { port } = server.address();
        server.close(() => resolve(port));
      });
    });
  });

const main = async () => {
  const at = await port();
  const vendor = `http://[::1]:${at}`;
  spawnVendor(at);
  const books = (path) => fetch(vendor + path, { headers: { authorization: "Bearer sk_test_judge" } }).then((answer) => answer.json());
  await until(() => books("/v1/customers").catch(() => null), "localstripe listens", 30);
  const { said } = await start(
    process.env.BIN,
    ["run", "--pack", "stripe", "--upstream", vendor, "--secret", "env:VENDOR_KEY", "--contracts", join(here, "../../sdk/contracts.yaml"),
      "--listen", "127.0.0.1:0", "--operator", "127.0.0.1:0", "--state", join(home, "state")],
    ["agents", "console", "sign in"],
    { env: { ...process.env, VENDOR_KEY: "sk_test_tollhouse" }, log: join(home, "log") },
  );
  const browser = await launch();
  const { page, faults } = await open(browser, said.console);
  // The one-time code of the link is filled in; a person sends it.
  await page.goto(said["sign in"]);
  await page.waitForFunction(() => document.activeElement?.textContent === "Sign in");
  await page.keyboard.press("Enter");
  await page.waitForSelector("#live .status-live");
  assert(/Nothing waits for you/.test(await page.textContent("main")), "the queue is empty");
  await page.evaluate(() => (window.sameLoad = true));

  const python = agent({ TOLLHOUSE: said.agents, VENDOR: vendor });
  const charge = (await python.word("charge ")).slice(7);
  const customer = (await python.word("customer ")).slice(9);
  python.say(cli(["token", "--agent", "support-bot", "--customer", "ann", "--account", customer, "--state", join(home, "state")]).trim());
  assert((await python.word("answer ")) === "answer 403 approval_required", await python.word("answer "));

  // It appears by itself.
  const row = page.locator("#rows tr[id^=row-] th a");
  await row.waitFor({ timeout: 10_000 });
  const words = await row.textContent();
  assert(words.startsWith("Refund 450.00 USD of charge "), words);
  assert(await page.evaluate(() => window.sameLoad === true), "the page was loaded again");
  assert((await page.textContent("#nav")).includes("1"), "the count is live");
  assert((await books(`/v1/refunds?charge=${charge}`)).data.length === 0, "nothing was sent");

  // By keyboard only, from here to the end.
  await page.keyboard.press("j");
  assert(await row.evaluate((link) => link === document.activeElement), "J goes to the row");
  await page.keyboard.press("Enter");
  await page.waitForSelector("h1.sentence");
  assert(await page.evaluate(() => document.activeElement === document.body), "nothing is focused on load");
  await page.keyboard.press("d");
  assert((await page.evaluate(() => document.activeElement.id)) === "no-reason", "D goes to the no");
  await page.keyboard.press("Escape");
  await page.keyboard.press("a");
  assert((await page.evaluate(() => document.activeElement.id)) === "ok-reason", "A goes to the yes");
  await page.keyboard.type("Return is in.");
  await page.keyboard.press("Tab");
  if ((await page.evaluate(() => document.activeElement.id)) === "ok-amount") {
    await page.keyboard.type("450.00");
    await page.keyboard.press("Tab");
  }
  assert(/^Approve and refund 450\.00 USD$/.test(await page.evaluate(() => document.activeElement.textContent.trim())), "then the button");
  await page.keyboard.press("Enter");
  // It is seen to be done, without loading the page again.
  await page.waitForSelector(".done-notice");
  await page.waitForSelector(".result-done", { timeout: 15_000 });
  const done = await page.textContent("main");
  assert(/Refunded 450\.00 USD/.test(done) && /did it, once/.test(done) && /Return is in\./.test(done), done);

  const refunds = (await books(`/v1/refunds?charge=${charge}&limit=100`)).data;
  assert(refunds.length === 1 && refunds[0].amount === 45000, "one refund in the vendor's books", refunds);
  // The SDK gets the real answer when it asks again.
  python.say("again");
  assert((await python.word("again ")) === "again succeeded 45000", await python.word("again "));
  assert((await books(`/v1/refunds?charge=${charge}&limit=100`)).data.length === 1, "still one");
  assert(faults.length === 0, "faults:", faults);
  python.end();
  await browser.close();
  console.log("one refund, seen live, approved by keyboard, in the vendor's books once");
};

const spawnVendor = (at) => {
  const child = spawn(process.env.LOCALSTRIPE, ["--from-scratch", "--port", String(at)], { env: { ...process.env, TMPDIR: home }, stdio: "ignore" });
  process.on("exit", () => child.kill("SIGKILL"));
};

const end = () => {
  over();
  rmSync(home, { recursive: true, force: true });
};
main().then(
  () => {
    end();
    process.exit(0);
  },
  (error) => {
    end();
    console.error(error.stack);
    process.exit(1);
  },
);
