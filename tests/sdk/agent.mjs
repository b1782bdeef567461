// A support agent on the unmodified Stripe SDK for Node, whose base URL is Tollhouse. Judged by
// localstripe's own state. Environment: as agent.py.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import Stripe from 'stripe';

const { TOLLHOUSE, VENDOR, BIN, STATE } = process.env;
const base = new URL(TOLLHOUSE);
const cli = (...words) => execFileSync(BIN, words, { encoding: 'utf8' }).trim();
const token = (customer, account) =>
  cli('token', '--agent', 'support-bot', '--customer', customer, ...(account ? ['--account', account] : []), '--state', STATE);
const sdk = (key) =>
  new Stripe(key, { host: base.hostname, port: base.port, protocol: 'http', maxNetworkRetries: 0, telemetry: false });
const vendor = async (path, form) => {
  const body = form && new URLSearchParams(form);
  const answer = await fetch(VENDOR + path, { method: body ? 'POST' : 'GET', headers: { authorization: 'Bearer sk_test_judge' }, body });
  return answer.json();
};
const refundsOf = async (charge) => (await vendor(`/v1/refunds?charge=${charge}&limit=100`)).data;
const refused = async (call) => {
  let answer;
  try {
    answer = await call();
  } catch (error) {
    assert(error instanceof Stripe.errors.StripeError, String(error));
    return error;
  }
  assert.fail(`not refused: ${JSON.stringify(answer)}`);
};
const sleep = (ms) => new Promise((done) => setTimeout(done, ms));

async function customer(name) {
  const card = { 'card[number]': '4242424242424242', 'card[exp_month]': '12', 'card[exp_year]': '2040', 'card[cvc]': '123' };
  const source = (await vendor('/v1/tokens', card)).id;
  const made = await sdk(token(name)).customers.create({ email: `${name}@shop.example`, source });
  return { id: made.id, sdk: sdk(token(name, made.id)) };
}
const charge = async (who, amount) => (await who.sdk.charges.create({ amount, currency: 'usd', customer: who.id })).id;

const scenarios = {
  async readsOwnData() {
    const [one, other] = [await customer('node-reader'), await customer('node-stranger')];
    const [mine, theirs] = [await charge(one, 5000), await charge(other, 5000)];
    assert.equal((await one.sdk.charges.retrieve(mine)).amount, 5000);
    const listed = await one.sdk.charges.list({ customer: one.id, created: { gt: 1600000000 }, limit: 3 });
    assert.deepEqual(listed.data.map((c) => c.id), [mine]);
    for (const id of [theirs, 'ch_doesnotexist']) {
      const error = await refused(() => one.sdk.charges.retrieve(id));
      assert.equal(error.statusCode, 404);
      assert.equal(error.code, 'resource_missing');
      assert.match(String(error), /Do not try other ids/);
    }
  },
  async refundsOnceAndReplays() {
    const one = await customer('node-within');
    const id = await charge(one, 9000);
    const first = await one.sdk.refunds.create({ charge: id, amount: 2500 });
    const again = await one.sdk.refunds.create({ charge: id, amount: 2500 });
    assert.equal(again.id, first.id);
    assert.equal((await refundsOf(id)).length, 1);
  },
  async holdsOverTheCapUntilAPersonSaysYes() {
    const one = await customer('node-overcap');
    const id = await charge(one, 60000);
    const seen = new Set();
    let error;
    for (let n = 0; n < 3; n++) {
      error = await refused(() => one.sdk.refunds.create({ charge: id, amount: 40000 }));
      assert.equal(error.statusCode, 403);
      assert(error instanceof Stripe.errors.StripePermissionError, error.constructor.name);
      assert.match(error.message, /Held for approval.*Nothing was sent/);
      seen.add(error.headers['tollhouse-operation']);
    }
    assert.equal(seen.size, 1);
    const [op] = seen;
    const hold = JSON.parse(cli('holds', '--state', STATE, 'show', op, '--json'));
    cli('holds', '--state', STATE, 'approve', op, '--yes', '--digest', hold.digest);
    for (let n = 0; ; n++) {
      try {
        const done = await one.sdk.refunds.create({ charge: id, amount: 40000 });
        assert.equal(done.amount, 40000);
        break;
      } catch (error) {
        assert(n < 50, String(error));
        await sleep(200);
      }
    }
    assert.deepEqual((await refundsOf(id)).map((r) => r.amount), [40000]);
  },
  async twentyAtOnceAreOne() {
    const one = await customer('node-twenty');
    for (const key of [() => 'node-same', (n) => `node-fresh-${n}`]) {
      const id = await charge(one, 5000);
      const ask = async (n) => {
        try {
          return (await one.sdk.refunds.create({ charge: id, amount: 900 }, { idempotencyKey: `${id}-${key(n)}` })).id;
        } catch (error) {
          assert.equal(error.statusCode, 409, String(error));
          return null;
        }
      };
      const answers = (await Promise.all([...Array(20).keys()].map(ask))).filter(Boolean);
      const made = await refundsOf(id);
      assert.equal(made.length, 1);
      assert(answers.every((a) => a === made[0].id));
    }
  },
  async theUnknownIsRefused() {
    const one = await customer('node-unknown');
    const error = await refused(() => one.sdk.rawRequest('POST', '/v1/no_such_thing', { a: 1 }));
    assert.equal(error.statusCode, 403);
    assert.match(error.message, /not an action you have/);
    const bad = await refused(() => sdk('sk_not_a_token').charges.retrieve('ch_1'));
    assert(bad instanceof Stripe.errors.StripeAuthenticationError, String(bad));
  },
};

for (const [name, scenario] of Object.entries(scenarios)) {
  await scenario();
  console.log(`ok ${name}`);
}
