"""Runs the load generator against one server and reads what both spent."""

import json
import pathlib
import subprocess
import sys
import tempfile
import threading
import time

from . import need
from .process import OTHER_CORES

BASIS = "Host: {host}\r\nUser-Agent: Stripe/v1 PythonBindings/12.0.0\r\nAccept: */*\r\nAuthorization: Bearer {t}\r\n"


def get(path):
    return f"GET {path} HTTP/1.1\r\n{BASIS}\r\n"


def post(path, form, key=None):
    # Holes have a fixed width: {n} ten digits, {c} seven.
    length = len(form.replace("{n}", "0" * 10).replace("{c}", "0" * 7))
    named = f"Idempotency-Key: {key}\r\n" if key else ""
    head = f"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {length}\r\n{named}"
    return f"POST {path} HTTP/1.1\r\n{BASIS}{head}\r\n{form}"


# What is sent, by name. Every refund and every hold is of a charge of its own.
KINDS = {
    "public read": (get("/shop/products/p_1"), 200),
    "owned read": (get("/v1/charges/ch_{c}_1"), 200),
    "owned read 30 KiB": (get("/v1/charges/ch30_{c}_1"), 200),
    "list": (get("/v1/charges?customer=cus_{c}"), 200),
    "write": (post("/v1/customers/cus_{c}", "description=note+{n}"), 200),
    "refund": (post("/v1/refunds", "charge=ch_{c}_{n}&amount=500"), 200),
    "replay": (post("/v1/refunds", "charge=ch_{c}_1&amount=500", key="the-same-{c}"), 200),
    "refusal": (get("/v1/nothing/here"), 403),
    "hold": (post("/v1/refunds", "charge=ch_{c}_{n}&amount=50000"), 403),
}


class Loader:
    """The load generator beside one upstream, and numbers that never come twice."""

    def __init__(self, tokens):
        self.tokens = str(tokens)
        # Every run begins above the last: what was done once is not done again by chance.
        self.next = int(time.time()) * 100 % 9_000_000_000
        self.faults = []

    def run(self, to, kinds, server=None, seconds=1.0, warm=0.2, rate=0, connections=32, callers=1, at_most=0, others=(), watch=None):
        """One run; `kinds` are names of KINDS, or (name, request, status, weight)."""
        job = {
            "to": to, "connections": connections, "seconds": seconds, "warm": warm, "rate": rate, "first": self.next,
            "tokens": self.tokens, "callers": callers, "at_most": at_most, "plan": [planned(kind, to) for kind in kinds],
        }
        watched = [one for one in (server, *others) if one]
        with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
            json.dump(job, file)
            file.flush()
            words = ["taskset", "-c", ",".join(map(str, OTHER_CORES)), str(need.example("traffic")), "load", file.name]
            before = [one.cpu_ns() for one in watched]
            with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as child:
                if watch:
                    watcher = threading.Thread(target=watch, args=(child,), daemon=True)
                    watcher.start()
                out = child.stdout.read()
            spent = [one.cpu_ns() - was for one, was in zip(watched, before)]
            if child.returncode:
                sys.exit(f"the load generator failed ({child.returncode})")
        found = json.loads(out)
        self.next = found["next"] + 1
        found["per_second"] = found["in_time"] / found["seconds"]
        sent = max(found["sent"], 1)
        if server:
            found["cpu_us"] = spent[0] / 1000 / sent
            found["memory"] = server.memory_mib()
        for one, cpu in zip(others, spent[1:] if server else spent):
            found[f"cpu_us_{one.name}"] = cpu / 1000 / sent
        if rate:
            found["rate"] = rate
        self.note(found, to, job)
        return found

    def note(self, found, to, job):
        """Errors are never averaged away: each run that had any is listed with the result."""
        # What is left of a rate that was not kept is told as that, not as an error.
        lost = found["unanswered"] if not found["unsent"] else 0
        found["unanswered"] = lost
        if found["wrong"] or found["broken"] or lost:
            names = ", ".join(kind["name"] for kind in job["plan"])
            wrong = {kind["name"]: kind["wrong"] for kind in found["kinds"] if kind["wrong"]}
            fault = f"{names} at {job['rate'] or 'full'} a second: wrong {wrong}, broken {found['broken']}, unanswered {lost}"
            self.faults.append(fault)
            need.say(f"   FAULT {fault}")


def planned(kind, to):
    if isinstance(kind, str):
        kind = (kind, *KINDS[kind], 1)
    name, request, expect, weight = kind
    return {"name": name, "weight": weight, "request": request.replace("{host}", to), "expect": expect}


def median(values):
    values = sorted(values)
    middle = len(values) // 2
    return values[middle] if len(values) % 2 else (values[middle - 1] + values[middle]) / 2


def summary(runs):
    """Medians over rounds of one thing, with the lowest and highest of each."""
    told = {"rounds": len(runs)}
    for name in ("per_second", "cpu_us"):
        if all(name in run for run in runs):
            told[name] = spread([run[name] for run in runs])
    for name in runs[0]:
        if name.startswith("cpu_us_"):
            told[name] = spread([run[name] for run in runs])
    for name in ("p50", "p90", "p99", "p999"):
        told[name] = spread([run["us"][name] for run in runs])
    told["late_p99_us"] = median([run["late_us"]["p99"] for run in runs])
    if "memory" in runs[0]:
        told["resident_mib"] = spread([run["memory"]["resident"] for run in runs])
    told["wrong"] = sum(run["wrong"] for run in runs)
    told["broken"] = sum(run["broken"] for run in runs)
    told["unanswered"] = sum(run["unanswered"] for run in runs)
    told["generator_busy"] = max(run["generator_cpu"] / run["elapsed"] for run in runs)
    if "rate" in runs[0]:
        told["rate"] = runs[0]["rate"]
        told["kept_up"] = min(run["per_second"] for run in runs) >= 0.97 * runs[0]["rate"]
    return told


def spread(values):
    return {"median": round(median(values), 3), "lowest": round(min(values), 3), "highest": round(max(values), 3)}


def save(name, found):
    need.RESULTS.mkdir(exist_ok=True)
    path = need.RESULTS / f"{name}.json"
    path.write_text(json.dumps(found, indent=1) + "\n")
    need.say(f"   results/{pathlib.Path(path).name}")
