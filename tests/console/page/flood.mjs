// How quick is the first view with ten thousand holds, and what does it cost? A measurement, not a test:
// `BIN=.. node flood.mjs [10000]`.
import { readFileSync } from "node:fs";
import { launch, open, signIn } from "./lib.mjs";
import { OPERATOR, shop, tollhouse, refund, run } from "./world.mjs";

const many = Number(process.argv[2] || 10_000);
const median = (values) => values.sort((a, b) => a - b)[Math.floor(values.length / 2)];
const p99 = (values) => values.sort((a, b) => a - b)[Math.floor(values.length * 0.99)];

const main = async () => {
  const vendor = await shop();
  const house = await tollhouse(vendor.url, `holds: { per_agent: 1000000, per_customer: 1000000 }\n`);
  const rss = () => Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${house.child.pid}/status`, "utf8"))[1]) / 1024;
  const ann = house.token("support-bot", "ann");
  const get = async (path) => {
    const begin = performance.now();
    const answer = await fetch(house.console + path, { headers: { authorization: `Bearer ${OPERATOR}` } });
    const text = await answer.text();
    return [performance.now() - begin, text];
  };
  const time = async (path, times) => {
    await get(path);
    const took = [];
    let bytes = 0;
    for (let n = 0; n < times; n += 1) {
      const [ms, text] = await get(path);
      took.push(ms);
      bytes = text.length;
    }
    return `${median(took).toFixed(1)} ms median, ${p99(took).toFixed(1)} ms p99, ${(bytes / 1024).toFixed(0)} KiB`;
  };
  console.log(`none: / ${await time("/", 30)}; ${rss().toFixed(0)} MiB`);
  const begin = Date.now();
  let next = 0;
  const one = async () => {
    while (next < many) {
      const n = next++;
      const answer = await refund(house, ann, `A-${1000 + (n % 5000)}`, `${101 + Math.floor(n / 5000) * 7}.${String(n % 100).padStart(2, "0")}`);
      if (answer.status !== 403 || !answer.op) throw new Error(JSON.stringify(answer));
    }
  };
  await Promise.all(Array.from({ length: 32 }, one));
  console.log(`${many} holds in ${((Date.now() - begin) / 1000).toFixed(1)} s; ${rss().toFixed(0)} MiB`);
  const [, queue] = await get("/");
  const cursor = /after=([^"]+)"/.exec(queue)[1];
  const hold = /href="(\/holds\/op_[^"]+)"/.exec(queue)[1];
  for (const path of ["/", `/?after=${cursor}`, hold, "/operations", "/activity", "/controls"])
    console.log(`${path.slice(0, 40)} ${await time(path, 50)}`);
  console.log(`after 300 views: ${rss().toFixed(0)} MiB`);
  const browser = await launch();
  const { page } = await open(browser, house.console);
  await signIn(page, house.console, OPERATOR);
  const paints = [];
  for (let n = 0; n < 10; n += 1) {
    await page.goto(house.console + "/", { waitUntil: "load" });
    paints.push(await page.evaluate(() => performance.getEntriesByName("first-contentful-paint")[0]?.startTime || performance.getEntriesByType("navigation")[0].domComplete));
  }
  console.log(`in a browser: first contentful paint ${median(paints).toFixed(0)} ms (median of 10)`);
  await browser.close();
};

run(main);
