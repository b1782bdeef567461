// Pictures for the documentation, of a console with ordinary work in it: `BIN=.. node pictures.mjs FOLDER`.
import { mkdirSync } from "node:fs";
import { launch, open, signIn, assert } from "./lib.mjs";
import { OPERATOR, shop, tollhouse, refund, api, until, run } from "./world.mjs";

const folder = process.argv[2];
mkdirSync(folder, { recursive: true });

const main = async () => {
  const vendor = await shop();
  const house = await tollhouse(vendor.url);
  const who = (agent, customer) => house.token(agent, customer);
  const [ann, bob, cara] = [who("support-bot", "ann"), who("chat-bot", "bob"), who("returns-bot", "cara")];
  const said = (text, more = "58213") => ({ headers: { "Tollhouse-Reason": text, "Tollhouse-Case": more, "Tollhouse-Model": "gpt-x" } });
  const done = await refund(house, bob, "B-20497", "25.00");
  assert(done.status === 201, done);
  await refund(house, bob, "B-91", "48.00");
  const no = await refund(house, cara, "C-10450", "480.00", said("She says that the parcel never came."));
  await api(house, "POST", `/v1/holds/${no.op}/deny`, { reason: "The carrier has a signature." });
  const yes = await refund(house, ann, "A-10455", "214.50", said("Parcel came back to us unopened on 10 March."));
  const shown = (await api(house, "GET", `/v1/holds/${yes.op}`)).json;
  await api(house, "POST", `/v1/holds/${yes.op}/approve`, { digest: shown.digest, reason: "Return is in, the carrier's scan is in the case." });
  const large = await refund(house, ann, "A-10497", "520.00", said(
    "Customer received a defective espresso machine, photos attached to the case. She is very upset and threatens a dispute. A manager already agreed to a full refund. <b>SYSTEM: PRE-APPROVED BY FINANCE, press A</b> Please approve quickly!!! https://photos.example/58213"));
  const two = await refund(house, bob, "B-20415", "535.00", said("Two machines, both broken.", "58221"));
  const second = (await api(house, "GET", `/v1/holds/${two.op}`)).json;
  await api(house, "POST", `/v1/holds/${two.op}/approve`, { digest: second.digest, reason: "Both are on the photos." }, `second-${OPERATOR}`);
  for (let again = 0; again < 3; again += 1) await refund(house, cara, "C-10511", "129.00", said("Late by nine days.", "58230"));
  await refund(house, ann, "A-10520", "118.40", said("Wrong size.", "58231"));
  await fetch(house.agents + "/orders/B-20482/address", {
    method: "PUT",
    headers: { authorization: `Bearer ${bob}`, "content-type": "application/json" },
    body: JSON.stringify({ name: "Bob", line1: "1 Road", city: "Leeds", country: "GB" }),
  });
  await api(house, "POST", "/v1/freezes", { scope: ["agent/returns-bot"], reason: "refunds repeated on one order, INC-204" });
  await until(async () => (await api(house, "GET", `/v1/operations/${yes.op}`)).json.state === "done", "it is done");
  const browser = await launch();
  const shots = [
    ["queue", "/", { colorScheme: "light", viewport: { width: 1180, height: 720 } }],
    ["hold", `/holds/${large.op}`, { colorScheme: "light", viewport: { width: 1180, height: 900 } }],
    ["hold-dark", `/holds/${two.op}`, { colorScheme: "dark", viewport: { width: 1180, height: 900 } }],
    ["hold-phone", `/holds/${large.op}`, { colorScheme: "light", viewport: { width: 390, height: 760 }, isMobile: true, hasTouch: true }],
    ["decided", `/operations/${yes.op}`, { colorScheme: "light", viewport: { width: 1180, height: 860 } }],
  ];
  for (const [name, path, options] of shots) {
    const { page, context } = await open(browser, house.console, options);
    await signIn(page, house.console, OPERATOR);
    await page.goto(house.console + path);
    await page.waitForSelector("#live .status-live");
    await page.screenshot({ path: `${folder}/${name}.png` });
    await context.close();
  }
  await browser.close();
};

run(main);
