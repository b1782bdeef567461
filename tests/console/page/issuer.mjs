// A real browser signs in at a real issuer: what only a browser knows is whether a Strict cookie that came with
// an answer to another site's navigation goes along with the page that is loaded next.
// node issuer.mjs CONSOLE OP
import { assert, launch, open } from "./lib.mjs";

const [console_, op] = process.argv.slice(2);
const browser = await launch();
try {
  const { context, page, faults } = await open(browser, console_);
  // The issuer's own page asks for a font of somebody else's: nothing leaves this machine.
  await context.route((url) => !["127.0.0.1", "localhost"].includes(url.hostname), (route) => route.abort());
  await page.goto(`${console_}/holds/${op}`);
  await page.waitForURL("**/sign-in?next=**");
  await page.click("text=Continue with");
  await page.fill('input[name="login"]', "dana");
  await page.fill('input[name="password"]', "x");
  await page.click('button[type="submit"]');
  await page.waitForSelector('form input[value="consent"]', { state: "attached" });
  await page.click('button[type="submit"]');
  await page.waitForURL(`**/holds/${op}`);
  await page.waitForSelector("h1");
  assert((await page.content()).includes("dana@shop.example"), "nobody is signed in:", await page.content());
  const cookies = (await context.cookies(console_)).filter((one) => one.name.startsWith("tollhouse"));
  assert(cookies.length === 1 && cookies[0].httpOnly && cookies[0].sameSite === "Strict", "cookies:", cookies);

  // A link in a chat: another site's page leads to a hold, and the person is signed in there.
  const elsewhere = await context.newPage();
  await elsewhere.route("https://chat.example/", (route) =>
    route.fulfill({ contentType: "text/html", body: `<a href="${console_}/holds/${op}">a hold waits</a>` }));
  await elsewhere.goto("https://chat.example/");
  await elsewhere.click("a");
  await elsewhere.waitForURL(`**/holds/${op}`);
  await elsewhere.waitForSelector("h1");
  assert((await elsewhere.content()).includes("dana@shop.example"), "a link from elsewhere:", await elsewhere.content());

  // The same site's form does nothing, whatever it knows: the cookie stays away, and so does the page.
  const evil = await context.newPage();
  await evil.route("https://evil.example/", (route) =>
    route.fulfill({ contentType: "text/html", body: `<form method="post" action="${console_}/sign-out"><input name="csrf" value="x"></form>` }));
  await evil.goto("https://evil.example/");
  await evil.evaluate(() => document.forms[0].submit());
  await evil.waitForURL(`${console_}/**`);
  await page.reload();
  assert((await page.content()).includes("dana@shop.example"), "signed out by another site");

  await page.click('form[action="/sign-out"] button');
  await page.waitForURL("**/sign-in");
  await page.goto(`${console_}/holds/${op}`);
  await page.waitForURL("**/sign-in?next=**");
  // What the issuer's own pages do wrong is the issuer's.
  const own = faults.filter((fault) => fault.includes(console_) || fault.startsWith("script") || fault.startsWith("dialog"));
  assert(own.length === 0, "faults:", own);
  console.log("well");
} finally {
  await browser.close();
}
