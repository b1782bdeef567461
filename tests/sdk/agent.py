"""A support agent on the unmodified Stripe SDK for Python, whose base URL is Tollhouse.

Runs every scenario against a running Tollhouse with localstripe behind it, and judges each by
localstripe's own state, which ignores idempotency keys and has no refund limit: whatever was let
through twice shows there.

Environment: TOLLHOUSE (base URL), VENDOR (localstripe itself), FAULTS (control URL of the fault proxy
between the two), BIN (the tollhouse command), STATE (its quick-mode state folder).
"""

import concurrent.futures
import json
import os
import socket
import subprocess
import time
import urllib.parse
import urllib.request

import httpx
import requests
import stripe

BASE, VENDOR = os.environ["TOLLHOUSE"], os.environ["VENDOR"]
FAULTS, BIN, STATE = os.environ["FAULTS"], os.environ["BIN"], os.environ["STATE"]
stripe.api_base = BASE
stripe.max_network_retries = 0


def cli(*words):
    done = subprocess.run([BIN, *words], capture_output=True, text=True)
    assert done.returncode == 0, (words, done.stdout, done.stderr)
    return done.stdout.strip()


def token(customer, account=None, agent="support-bot"):
    account = ["--account", account] if account else []
    return cli("token", "--agent", agent, "--customer", customer, *account, "--state", STATE)


def vendor(path, form=None):
    """Asks localstripe directly, past Tollhouse: the judge."""
    body = urllib.parse.urlencode(form).encode() if form else None
    head = {"Authorization": "Bearer sk_test_judge"}
    with urllib.request.urlopen(urllib.request.Request(VENDOR + path, body, head)) as answer:
        return json.load(answer)


def refunds_of(charge):
    return vendor(f"/v1/refunds?charge={charge}&limit=100")["data"]


def arm(fault):
    """Arms the fault proxy for the next POST."""
    urllib.request.urlopen(urllib.request.Request(f"{FAULTS}/{fault}", b"x")).read()


def held():
    return json.loads(cli("holds", "--state", STATE, "list", "--json"))


def refused(call):
    """The typed error that the SDK raises."""
    try:
        answer = call()
    except stripe.StripeError as error:
        return error
    raise AssertionError(f"not refused: {answer}")


class Customer:
    """A verified customer with a card, and an agent that acts for them."""

    def __init__(self, name):
        self.token = token(name)
        card = {"card[number]": "4242424242424242", "card[exp_month]": 12, "card[exp_year]": 2040, "card[cvc]": 123}
        source = vendor("/v1/tokens", card)["id"]
        made = stripe.Customer.create(email=f"{name}@shop.example", source=source, api_key=self.token)
        self.id = made.id
        self.token = token(name, self.id)

    def charge(self, amount, currency="usd"):
        return stripe.Charge.create(amount=amount, currency=currency, customer=self.id, api_key=self.token).id

    def refund(self, charge, amount=None, key=None, **more):
        amount = {} if amount is None else {"amount": amount}
        return stripe.Refund.create(charge=charge, api_key=self.token, idempotency_key=key, **amount, **more)


def reads_own_data():
    one, other = Customer("reader"), Customer("stranger")
    mine, theirs = one.charge(5000), other.charge(5000)
    assert stripe.Charge.retrieve(mine, api_key=one.token).amount == 5000
    listed = stripe.Charge.list(customer=one.id, created={"gt": 1600000000}, limit=3, api_key=one.token)
    assert [c.id for c in listed.data] == [mine], listed
    for id in (theirs, "ch_doesnotexist"):
        error = refused(lambda: stripe.Charge.retrieve(id, api_key=one.token))
        assert isinstance(error, stripe.InvalidRequestError) and error.http_status == 404, error
        assert error.code == "resource_missing" and "Do not try other ids" in str(error), str(error)
    error = refused(lambda: stripe.Charge.list(customer=other.id, api_key=one.token))
    assert error.http_status in (403, 404), error
    error = refused(lambda: one.refund(theirs, 100))
    assert error.http_status == 404 and refunds_of(theirs) == [], error


def refunds_within_the_contract_once():
    one = Customer("within")
    charge = one.charge(9000)
    first = one.refund(charge, 2500)
    assert first.amount == 2500 and first.status == "succeeded"
    again = one.refund(charge, 2500)
    assert again.id == first.id, "the same again is answered, not repeated"
    assert again.last_response.headers["Idempotent-Replayed"] == "true"
    assert again.last_response.headers["Tollhouse-Dedup"] == "same"
    assert len(refunds_of(charge)) == 1
    keyed = one.refund(charge, 1000, key="k-1")
    assert one.refund(charge, 1000, key="k-1").id == keyed.id
    error = refused(lambda: one.refund(charge, 1200, key="k-1"))
    assert error.http_status == 422 and "Use a new key" in str(error), repr(error)
    assert sorted(r["amount"] for r in refunds_of(charge)) == [1000, 2500]


def over_the_cap_waits_for_a_person():
    one = Customer("overcap")
    charge = one.charge(60000)
    seen = set()
    for _ in range(3):  # polled with fresh keys it stays one hold
        error = refused(lambda: one.refund(charge, 40000))
        assert isinstance(error, stripe.PermissionError) and error.http_status == 403, repr(error)
        assert "Held for approval" in str(error) and "Nothing was sent" in str(error), str(error)
        seen.add(error.headers["Tollhouse-Operation"])
    assert len(seen) == 1, seen
    op = seen.pop()
    assert op in str(error)
    mine = [h for h in held() if h["id"] == op]
    assert len(mine) == 1 and mine[0]["amount"] == {"minor": 40000, "currency": "USD"}, mine
    assert refunds_of(charge) == []
    cli("holds", "--state", STATE, "approve", op, "--yes", "--digest", mine[0]["digest"], "--reason", "seen")
    deadline = time.time() + 10
    while True:
        try:
            done = one.refund(charge, 40000)
            break
        except stripe.StripeError as error:
            assert time.time() < deadline, error
            time.sleep(0.2)
    assert done.amount == 40000 and done.status == "succeeded"
    assert [r["amount"] for r in refunds_of(charge)] == [40000]
    error = refused(lambda: one.refund(charge, 20000, key="n-1"))  # over the cap again: held again
    assert error.http_status == 403
    op = error.headers["Tollhouse-Operation"]
    cli("holds", "--state", STATE, "deny", op, "--reason", "not twice")
    error = refused(lambda: one.refund(charge, 20000, key="n-1"))
    assert "denied this" in str(error) and "not twice" in str(error), str(error)
    assert len(refunds_of(charge)) == 1


def an_answer_lost_on_the_agents_side_is_replayed():
    one = Customer("lostagent")
    charge = one.charge(5000)
    body = f"charge={charge}&amount=700"
    host = urllib.parse.urlparse(BASE)
    with socket.create_connection((host.hostname, host.port)) as wire:
        wire.sendall(
            (
                f"POST /v1/refunds HTTP/1.1\r\nHost: {host.netloc}\r\nAuthorization: Bearer {one.token}\r\n"
                "Content-Type: application/x-www-form-urlencoded\r\nIdempotency-Key: lost-1\r\n"
                f"Content-Length: {len(body)}\r\n\r\n{body}"
            ).encode()
        )
        time.sleep(0.02)  # and the agent is gone
    deadline = time.time() + 10
    while not refunds_of(charge):
        assert time.time() < deadline, "the call of an agent that went away was cut"
        time.sleep(0.05)
    again = one.refund(charge, 700, key="lost-1")
    assert [r["id"] for r in refunds_of(charge)] == [again.id]


def an_answer_lost_on_the_vendors_side_is_found_and_never_resent():
    one = Customer("lostvendor")
    charge = one.charge(5000)
    arm("drop-answer")
    error = refused(lambda: one.refund(charge, 800, key="lost-2"))
    assert error.http_status == 504 and "not known whether" in str(error), repr(error)
    assert len(refunds_of(charge)) == 1
    # Until it is looked up nobody sends it again, and another one on the same charge waits for it.
    deadline, said = time.time() + 30, ""
    while "done before" not in said:
        assert time.time() < deadline, f"it is not found: {said}"
        for key in ("lost-2", None):
            error = refused(lambda: one.refund(charge, 800, key=key))
            said = str(error)
            assert error.http_status == 409, repr(error)
            assert "Do not send it again" in said or "done before" in said, said
        time.sleep(0.1)
    assert len(refunds_of(charge)) == 1
    assert one.refund(charge, 300).amount == 300
    assert len(refunds_of(charge)) == 2


def twenty_at_once_are_one():
    one = Customer("twenty")
    for keys in (["same"] * 20, [f"fresh-{n}" for n in range(20)]):
        charge = one.charge(5000)

        def ask(key):
            try:
                return one.refund(charge, 900, key=f"{charge}-{key}").id
            except stripe.StripeError as error:
                assert error.http_status == 409, repr(error)
                return None

        with concurrent.futures.ThreadPoolExecutor(20) as pool:
            answers = {a for a in pool.map(ask, keys) if a}
        made = refunds_of(charge)
        assert len(made) == 1 and answers <= {made[0]["id"]}, (answers, made)


def two_partial_refunds_never_exceed_the_charge():
    one = Customer("partial")
    charge = one.charge(10000)

    def ask(amount):
        try:
            return one.refund(charge, amount).amount
        except stripe.StripeError as error:
            assert error.http_status in (403, 409), repr(error)
            return None

    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        done = [a for a in pool.map(ask, (6000, 5000)) if a]
    made = [r["amount"] for r in refunds_of(charge)]
    assert len(made) == 1 and made == done, (made, done)


def the_budget_bounds_the_day():
    one = Customer("budget")
    charge = one.charge(200000)
    outcomes = []
    for n in range(12):
        try:
            outcomes.append(one.refund(charge, 6000 + 700 * n).amount)
        except stripe.PermissionError:
            outcomes.append(None)
    spent = sum(r["amount"] for r in refunds_of(charge))
    assert spent == sum(a for a in outcomes if a) and spent <= 50000, (spent, outcomes)
    assert None in outcomes and spent > 30000, outcomes


def the_unknown_is_refused_and_told_why():
    one = Customer("unknown")
    error = refused(lambda: stripe.Payout.create(amount=100, currency="usd", api_key=one.token))
    assert error.http_status in (403, 404), repr(error)
    head = {"Authorization": f"Bearer {one.token}"}
    answer = requests.post(f"{BASE}/v1/no_such_thing", headers=head, data={"a": 1}, timeout=10)
    assert answer.status_code == 403 and answer.json()["code"] == "unknown_action"
    try:
        answer.raise_for_status()
    except requests.HTTPError as error:
        assert "Not an allowed action" in str(error), str(error)
    else:
        raise AssertionError("raise_for_status() said nothing")
    error = refused(lambda: stripe.Charge.retrieve("ch_1", api_key="sk_not_a_token"))
    assert isinstance(error, stripe.AuthenticationError) and "set-up fault" in str(error), repr(error)
    answer = httpx.get(f"{BASE}/v1/charges/ch_1", auth=(one.token, ""), timeout=10)  # either half of Basic
    assert answer.status_code == 404, answer.text


for scenario in (
    reads_own_data,
    refunds_within_the_contract_once,
    over_the_cap_waits_for_a_person,
    an_answer_lost_on_the_agents_side_is_replayed,
    an_answer_lost_on_the_vendors_side_is_found_and_never_resent,
    twenty_at_once_are_one,
    two_partial_refunds_never_exceed_the_charge,
    the_budget_bounds_the_day,
    the_unknown_is_refused_and_told_why,
):
    scenario()
    print(f"ok {scenario.__name__}", flush=True)
