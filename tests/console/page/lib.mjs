// A real browser before a real console: signing in, and what no page may ever do.
import { chromium } from "playwright-core";
import { createRequire } from "node:module";
import { readFileSync } from "node:fs";

const require = createRequire(import.meta.url);
const AXE = readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");

export const assert = (holds, ...words) => {
  if (!holds) throw new Error(words.map((word) => (typeof word === "string" ? word : JSON.stringify(word, null, 1))).join(" "));
};

export const launch = () =>
  chromium.launch({ executablePath: process.env.CHROMIUM || "/usr/bin/chromium", args: ["--no-sandbox", "--disable-gpu"] });

// A context that remembers everything that no page may do: errors, refused resources, dialogs, other hosts.
export const open = async (browser, console_, options = {}) => {
  const context = await browser.newContext({ locale: "en-GB", timezoneId: "UTC", viewport: { width: 1280, height: 800 }, ...options });
  const faults = [];
  const page = await context.newPage();
  page.on("console", (line) => {
    if (["error", "warning"].includes(line.type())) faults.push(`console: ${line.text()} at ${line.location().url}`);
  });
  page.on("pageerror", (error) => faults.push(`script: ${error.message}`));
  page.on("dialog", (dialog) => {
    faults.push(`dialog: ${dialog.message()}`);
    dialog.dismiss();
  });
  page.on("request", (request) => {
    if (!request.url().startsWith(console_)) faults.push(`left the console: ${request.url()}`);
  });
  return { context, page, faults };
};

export const signIn = async (page, console_, token) => {
  await page.goto(console_ + "/");
  await page.waitForURL("**/sign-in**");
  await page.fill("#token", token);
  await page.keyboard.press("Enter");
  await page.waitForSelector("h1");
  assert(new URL(page.url()).pathname === "/", "not signed in:", page.url(), await page.content());
};

// WCAG 2.2 A and AA and best practice. Run in an isolated world, so that the page's own policy holds.
export const axe = async (page) => {
  const session = await page.context().newCDPSession(page);
  const { frameTree } = await session.send("Page.getFrameTree");
  const world = await session.send("Page.createIsolatedWorld", { frameId: frameTree.frame.id, worldName: "axe" });
  const run = async (expression) => {
    const answer = await session.send("Runtime.evaluate", {
      expression,
      contextId: world.executionContextId,
      awaitPromise: true,
      returnByValue: true,
    });
    if (answer.exceptionDetails) throw new Error(JSON.stringify(answer.exceptionDetails));
    return answer.result.value;
  };
  await run(AXE + ";0");
  const found = await run(
    `axe.run(document, { runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"] }).then((found) => JSON.stringify(
      found.violations.map((one) => [one.id, one.help, one.nodes.slice(0, 3).map((node) => node.html.slice(0, 160) + " :: " + node.failureSummary.slice(0, 260))])))`,
  );
  await session.detach();
  return JSON.parse(found);
};

// Nothing wider than the screen, but what scrolls by itself.
export const overflow = (page) =>
  page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
