// What people do on the page, step by step, and what must not happen: no script, many at once, changed meanwhile,
// somebody else quicker, a stop and its end, an unknown outcome, a lost connection, a session that ends.
import { launch, open, signIn, axe, assert } from "./lib.mjs";
import { OPERATOR, shop, tollhouse, refund, api, until, run } from "./world.mjs";

const state = async (house, op) => (await api(house, "GET", `/v1/operations/${op}`)).json.state;

// Forms post and links load where no script runs; loading an answer again says nothing twice.
const withoutScript = async (browser, house, ann, vendor) => {
  const { page, context } = await open(browser, house.console, { javaScriptEnabled: false });
  await signIn(page, house.console, OPERATOR);
  const { op } = await refund(house, ann, "A-1", "129.00");
  await page.reload();
  await page.click("#rows tr th a");
  assert((await page.textContent("h1")).startsWith("Refund 129.00 USD"), "the hold is open");
  await page.fill("#ok-reason", "Fine without a script.");
  await page.click("#approve button");
  await page.waitForSelector(".done-notice");
  assert(new URL(page.url()).pathname === `/holds/${op}`, "the answer is an address to be read", page.url());
  await until(async () => (await state(house, op)) === "done", "it is done");
  await page.reload();
  assert(/Refunded 129\.00 USD/.test(await page.textContent("main")), "it is told");
  assert(vendor.made.filter((one) => one.order === "A-1").length === 1, "once", vendor.made);
  const denied = await refund(house, ann, "A-2", "130.00");
  await page.goto(`${house.console}/holds/${denied.op}`);
  await page.fill("#no-reason", "Not this one.");
  await page.click("#deny button");
  assert(/Your no is on record/.test(await page.textContent("main")), "the no is told");
  assert(/Not this one/.test((await refund(house, ann, "A-2", "130.00")).body), "the agent reads the reason");
  await context.close();
};

// A large sum asks for its amount; the server asks again, whatever the browser let through.
const largeSum = async (browser, house, ann) => {
  const { page, context, faults } = await open(browser, house.console);
  await signIn(page, house.console, OPERATOR);
  const { op } = await refund(house, ann, "A-3", "520.00");
  await page.goto(`${house.console}/holds/${op}`);
  await page.fill("#ok-reason", "Large, and meant.");
  await page.fill("#ok-amount", "250.00");
  await page.click("#approve button");
  assert((await page.url()).endsWith(op) && (await page.isVisible(".mismatch")), "the browser stops it and says why");
  await page.evaluate(() => (document.getElementById("approve").noValidate = true));
  await page.click("#approve button");
  await page.waitForSelector(".error");
  assert(/not the amount of this call/.test(await page.textContent(".error")), await page.textContent(".error"));
  assert((await axe(page)).length === 0, "the answer is accessible", await axe(page));
  assert((await state(house, op)) === "held", "it still waits");
  await page.fill("#ok-reason", "Large, and meant.");
  await page.fill("#ok-amount", "520");
  await page.click("#approve button");
  await page.waitForSelector(".done-notice");
  await until(async () => (await state(house, op)) === "done", "it is done");
  assert(faults.every((fault) => fault.includes("422")), faults);
  await context.close();
};

// A form that names something else than what is there now does not count, and shows what is.
const changedMeanwhile = async (browser, house, ann) => {
  const { page, context } = await open(browser, house.console);
  await signIn(page, house.console, OPERATOR);
  const { op } = await refund(house, ann, "A-4", "140.00");
  await page.goto(`${house.console}/holds/${op}`);
  await page.evaluate(() => (document.querySelector("#approve [name=digest]").value = "sha256:" + "0".repeat(64)));
  await page.click("#approve button");
  await page.waitForSelector(".error");
  const text = await page.textContent("main");
  assert(/Changed since you read it/.test(text) && /sha256:000/.test(text), text);
  assert((await axe(page)).length === 0, "accessible", await axe(page));
  assert((await state(house, op)) === "held", "it still waits");
  // The new form has the new name.
  await page.click("#approve button");
  await page.waitForSelector(".done-notice");
  // A form without its proof, or with another one's, is nobody's.
  const other = await refund(house, ann, "A-4", "141.00");
  await page.goto(`${house.console}/holds/${other.op}`);
  await page.evaluate(() => (document.querySelector("#approve [name=csrf]").value = "forged"));
  await page.click("#approve button");
  await page.waitForLoadState();
  assert((await state(house, other.op)) === "held", "a forged form does not count");
  await context.close();
};

// New holds wait behind a button; one that somebody else answered says so where it stands.
const live = async (browser, house, ann) => {
  const { page, context, faults } = await open(browser, house.console);
  await signIn(page, house.console, OPERATOR);
  const first = await refund(house, ann, "A-5", "150.00");
  await page.reload();
  await page.waitForSelector("#live .status-live");
  await page.focus(`#row-${first.op} th a`);
  const before = await page.evaluate(() => document.getElementById("rows").innerHTML.length);
  await refund(house, ann, "A-5", "151.00");
  await refund(house, ann, "A-5", "152.00");
  await page.waitForFunction(() => document.getElementById("news-text").textContent === "2 new holds");
  assert((await page.evaluate(() => document.getElementById("rows").innerHTML.length)) === before, "no row moved");
  assert(await page.evaluate((op) => document.activeElement.closest("tr")?.id === `row-${op}`, first.op), "the focus is kept");
  assert((await axe(page)).length === 0, "accessible", await axe(page));
  await api(house, "POST", `/v1/holds/${first.op}/deny`, { reason: "Somebody was quicker." }, `second-${OPERATOR}`);
  await page.waitForSelector(`#row-${first.op}.gone`);
  await page.click("#news-show");
  await page.waitForSelector(`#row-${first.op}`, { state: "detached" });
  const rows = await page.evaluate(() => document.querySelectorAll("#rows tr[id]").length);
  assert(rows >= 2, "the new ones are shown", rows);
  assert(await page.evaluate(() => document.activeElement.closest("#rows") !== null), "the focus goes to what is new");
  // Two people on one hold: the second is told before they answer, and their answer does not count.
  const both = await refund(house, ann, "A-6", "153.00");
  await page.goto(`${house.console}/holds/${both.op}`);
  await page.waitForSelector("#live .status-live");
  await page.fill("#ok-reason", "I was about to.");
  await api(house, "POST", `/v1/holds/${both.op}/deny`, { reason: "Somebody was quicker." }, `second-${OPERATOR}`);
  await page.waitForSelector("#changed:not([hidden])");
  assert((await page.inputValue("#ok-reason")) === "I was about to.", "what was typed is kept");
  await page.click("#approve button");
  await page.waitForSelector(".error");
  assert(/does not wait any more/.test(await page.textContent(".error")), await page.textContent(".error"));
  assert(faults.every((fault) => fault.includes("409")), faults);
  await context.close();
};

// Many are denied at once, none is approved at once.
const batch = async (browser, house, ann) => {
  const { page, context, faults } = await open(browser, house.console);
  await signIn(page, house.console, OPERATOR);
  const held = [];
  for (const cents of [10, 11, 12]) held.push((await refund(house, ann, "A-7", `160.${cents}`)).op);
  await page.reload();
  await page.waitForSelector(`#row-${held[2]}`);
  assert(!(await page.isVisible(".batch")), "nothing is asked before something is selected");
  await page.focus(`#row-${held[0]} th a`);
  await page.keyboard.press("x");
  await page.check(`#row-${held[1]} .pick`);
  assert(await page.isVisible(".batch"), "the bar is there");
  assert((await axe(page)).length === 0, "accessible", await axe(page));
  await page.fill("#batch-reason", "A flood.");
  await page.click(".batch button");
  await page.waitForSelector(".done-notice");
  assert(/2 holds were denied/.test(await page.textContent(".done-notice")), await page.textContent(".done-notice"));
  assert((await state(house, held[0])) === "refused" && (await state(house, held[1])) === "refused", "both");
  assert((await state(house, held[2])) === "held", "and no other");
  assert(faults.length === 0, faults);
  await context.close();
};

// A stop needs its reason and its scope typed; it is told on every page, and ended by a form.
const stop = async (browser, house, ann) => {
  const { page, context, faults } = await open(browser, house.console);
  await signIn(page, house.console, OPERATOR);
  await page.goto(`${house.console}/controls`);
  await page.click("a[href='/controls?stop=class%2Ffinancial#stop-form']");
  await page.fill("#stop-reason", "Refunds repeat.");
  await page.fill("#stop-word", "financial");
  await page.click("#stop-form .button-stop");
  await page.waitForSelector(".status-tint.status-stopped");
  assert(/Refunds repeat/.test(await page.textContent("#notice")), "it is told on every page");
  assert(/followed by 1 of 1; 0 in flight will finish, \d+ wait/.test(await page.textContent("#controls")), "it says how far it reaches");
  assert(/0 of \d+/.test(await page.textContent("[aria-labelledby=br]")), "and how many calls are on each road");
  assert((await refund(house, ann, "A-8", "10.00")).status === 503, "it stops");
  // Another page hears of it.
  await page.click("text=Let it run again…");
  await page.click("#lift-form button");
  await page.waitForSelector("#notice[hidden]", { state: "attached" });
  assert((await refund(house, ann, "A-8", "10.00")).status === 201, "it runs again");
  // A scope by hand: what is not understood stops nothing, and says so.
  await page.goto(`${house.console}/controls?stop=other`);
  await page.fill("#stop-scope", "agents/everybody");
  await page.fill("#stop-reason", "x");
  await page.click("#stop-form .button-stop");
  await page.waitForSelector("#err");
  assert(/is no scope/.test(await page.textContent("#err")), await page.textContent("#err"));
  assert((await api(house, "GET", "/v1/freezes")).json.length === 0, "nothing is stopped");
  assert(faults.every((fault) => fault.includes("422")), faults);
  await context.close();
};

// Who has looked says what became of it.
const resolve = async (browser, house, ann) => {
  const { page, context, faults } = await open(browser, house.console);
  await signIn(page, house.console, OPERATOR);
  const { op } = await refund(house, ann, "A-92", "20.00");
  assert((await state(house, op)) === "unknown", "its outcome is unknown");
  await page.goto(`${house.console}/operations?find=${op}`);
  await page.waitForSelector("#res");
  assert(new URL(page.url()).pathname === `/operations/${op}`, "it is found by its name");
  await page.fill("#n-why", "I believe not.");
  await page.click("button:has-text('mark as Not sent')");
  await page.waitForSelector(".error");
  assert(/may still show/.test(await page.textContent(".error")), await page.textContent(".error"));
  await page.goto(`${house.console}/operations/${op}`);
  await page.fill("#d-ref", "R-77");
  await page.fill("#d-why", "It is in the shop's list.");
  await page.click("button:has-text('mark as Done')");
  await page.waitForSelector(".result-done");
  assert(/R-77/.test(await page.textContent(".result")), "with its name");
  assert(faults.every((fault) => fault.includes("409")), faults);
  await context.close();
};

// A page that is not live any more says so, and its clocks stand still.
const lost = async (browser, house) => {
  const { page, context } = await open(browser, house.console);
  await signIn(page, house.console, OPERATOR);
  await page.waitForSelector("#live .status-live");
  // Keys can be turned off, and then are.
  await page.keyboard.press("?");
  await page.waitForSelector("#keys-help[open]");
  assert((await axe(page)).length === 0, "the list of keys is accessible", await axe(page));
  await page.uncheck("#keys-on");
  await page.keyboard.press("Escape");
  await page.keyboard.press("g");
  await page.keyboard.press("c");
  await page.waitForTimeout(300);
  assert(new URL(page.url()).pathname === "/", "no key moves any more");
  // Who signs out on one page is signed out on all, and each says so.
  const other = await context.newPage();
  await other.goto(`${house.console}/controls`);
  await other.click(".bar-side button");
  await page.waitForSelector("#live .status-warn", { timeout: 20_000 });
  assert(/Signed out/.test(await page.textContent("#live")), await page.textContent("#live"));
  await signIn(page, house.console, OPERATOR);
  await page.waitForSelector("#live .status-live");
  house.child.kill("SIGKILL");
  await page.waitForSelector("#live .status-warn", { timeout: 60_000 });
  assert(/Not live since/.test(await page.textContent("#live")), await page.textContent("#live"));
  await context.close();
};

// What the operator wrote: over how much an amount is typed, and how long a session lasts, which is told before it ends.
const configured = async (browser, _house, _ann, vendor) => {
  const own = await tollhouse(vendor.url, "", "  confirm_over: [120.00 USD]\n  session: 2m\n");
  const ann = own.token("support-bot", "ann");
  const { page, context, faults } = await open(browser, own.console);
  await signIn(page, own.console, OPERATOR);
  await page.waitForSelector("#ends");
  assert(/Your session ends in 1 min|Your session ends in 2 min/.test(await page.textContent("#ends")), await page.textContent("#ends"));
  assert((await axe(page)).length === 0, "accessible", await axe(page));
  for (const [order, amount, typed] of [["A-1", "118.00", false], ["A-2", "120.00", false], ["A-3", "120.01", true]]) {
    const { op } = await refund(own, ann, order, amount);
    await page.goto(`${own.console}/holds/${op}`);
    assert((await page.isVisible("#ok-amount")) === typed, amount);
    const answer = await page.evaluate((op) => {
      const form = new URLSearchParams(new FormData(document.getElementById("approve")));
      form.delete("amount");
      return fetch(`/holds/${op}/approve`, { method: "POST", body: form }).then((answer) => answer.status);
    }, op);
    assert((answer === 422) === typed, `${amount} without its amount`, answer);
  }
  assert(faults.every((fault) => fault.includes("422")), faults);
  await context.close();
};

const main = async () => {
  const vendor = await shop();
  const house = await tollhouse(vendor.url);
  const ann = house.token("support-bot", "ann");
  const browser = await launch();
  for (const step of [withoutScript, largeSum, changedMeanwhile, live, batch, stop, resolve, configured, lost]) {
    try {
      await step(browser, house, ann, vendor);
    } catch (error) {
      error.message = `${step.name}: ${error.message}`;
      throw error;
    }
    console.log(`${step.name}: fine`);
  }
  await browser.close();
};

run(main);
