"""A support agent on the Stripe SDK for Python that works while replicas are restarted under it.

It retries as the SDK does, and no further: `max_network_retries`. Each refund has a charge and a key of its own; at
the end the vendor's own state is the judge.

Environment: TOLLHOUSE (base URL of the balancer), VENDOR (localstripe itself), BIN, STATE (where the issuer's key
is), STOP (a file: the work ends when it is there).
"""

import concurrent.futures
import json
import os
import subprocess
import time
import urllib.parse
import urllib.request

import stripe

stripe.api_base = os.environ["TOLLHOUSE"]
stripe.max_network_retries = 5
VENDOR, STOP = os.environ["VENDOR"], os.environ["STOP"]


def vendor(path, form=None):
    body = urllib.parse.urlencode(form).encode() if form else None
    head = {"Authorization": "Bearer sk_test_judge"}
    with urllib.request.urlopen(urllib.request.Request(VENDOR + path, body, head)) as answer:
        return json.load(answer)


def customer(name):
    """A customer with a card at the vendor, and the token of an agent that works for them."""
    card = {"card[number]": "4242424242424242", "card[exp_month]": 12, "card[exp_year]": 2040, "card[cvc]": 123}
    source = vendor("/v1/tokens", card)["id"]
    made = vendor("/v1/customers", {"email": f"{name}@shop.example", "source": source})["id"]
    words = ["token", "--agent", "support-bot", "--customer", name, "--account", made, "--state", os.environ["STATE"]]
    return made, subprocess.run([os.environ["BIN"], *words], capture_output=True, text=True, check=True).stdout.strip()


def work(name):
    own, token = customer(name)
    told = []
    while not os.path.exists(STOP):
        charge = vendor("/v1/charges", {"customer": own, "amount": 5000, "currency": "usd"})["id"]
        key = f"{name}-{charge}"
        assert stripe.Charge.retrieve(charge, api_key=token).id == charge
        refund = stripe.Refund.create(charge=charge, amount=100, idempotency_key=key, api_key=token)
        told.append((charge, refund.id))
    return told


began = time.monotonic()
with concurrent.futures.ThreadPoolExecutor(3) as pool:
    told = [one for some in pool.map(work, ["ann", "bob", "eve"]) for one in some]
for charge, refund in told:
    made = vendor(f"/v1/refunds?charge={charge}&limit=100")["data"]
    assert [one["id"] for one in made] == [refund], (charge, refund, made)
assert len(told) > 10, told
print(f"{len(told)} reads and refunds in {time.monotonic() - began:.1f} s, each refund made once")
