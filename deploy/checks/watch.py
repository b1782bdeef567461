#!/usr/bin/env python3
"""Do rules, dashboard and runbook speak of what there is? Each alert has its paragraph and its tests, each metric and label is one of the
real binary's, each command of the runbook and of docs/deploy.md is one that it knows. `watch.py BINARY`, run by deploy/check."""
import json
import pathlib
import re
import shlex
import subprocess
import sys
import tempfile

import yaml

from running import Tollhouse

here = pathlib.Path(__file__).resolve().parent
root = here.parent.parent
faults = []


def fault(text):
    faults.append(text)
    print(f"watch: {text}", file=sys.stderr)


def promtool(*args):
    done = subprocess.run(["promtool", *map(str, args)], capture_output=True, text=True)
    if done.returncode:
        fault(f"promtool {' '.join(map(str, args))}:\n{done.stdout}{done.stderr}")


rules_file = root / "deploy/prometheus/rules.yaml"
promtool("check", "rules", rules_file)
promtool("test", "rules", root / "deploy/prometheus/rules_test.yaml")
rules = [rule for group in yaml.safe_load(rules_file.read_text())["groups"] for rule in group["rules"]]
made = subprocess.run([root / "deploy/prometheus/operator"], capture_output=True, text=True, check=True).stdout
if yaml.safe_load(made)["spec"]["groups"] != yaml.safe_load(rules_file.read_text())["groups"]:
    fault("deploy/prometheus/operator prints other rules than rules.yaml")
tests = yaml.safe_load((root / "deploy/prometheus/rules_test.yaml").read_text())["tests"]

# Each alert: severity, how long, words, a paragraph; a test that fires it and one that does not.
runbook = (root / "docs/runbook.md").read_text()
paragraphs = dict(re.findall(r"^### (\w+)\n(.*?)(?=^##|\Z)", runbook, re.M | re.S))
for rule in rules:
    name = rule["alert"]
    if rule["labels"].get("severity") not in ("critical", "warning") or "for" not in rule or not rule["annotations"].get("summary"):
        fault(f"{name}: needs severity critical or warning, `for` and a summary")
    if not rule["annotations"]["runbook_url"].endswith(f"/docs/runbook.md#{name.lower()}"):
        fault(f"{name}: runbook_url names no paragraph of docs/runbook.md")
    text = paragraphs.get(name, "")
    if "```" not in text or not re.search(r"\bDo\s+not\b", text):
        fault(f"{name}: docs/runbook.md needs a paragraph `### {name}` with what to look at and what not to do")
    own = [one for test in tests for one in test["alert_rule_test"] if one["alertname"] == name]
    if not any(one["exp_alerts"] for one in own) or not any(not one["exp_alerts"] for one in own):
        fault(f"{name}: needs a test that fires it and one that does not, in rules_test.yaml")
for name in paragraphs.keys() - {rule["alert"] for rule in rules}:
    fault(f"docs/runbook.md: `{name}` is no alert")

# The dashboard: JSON, panels that do not lie upon each other, every expression one that Prometheus parses.
dashboard = json.loads((root / "deploy/grafana/tollhouse.json").read_text())
expressions, places, ids = [], set(), set()
for panel in dashboard["panels"]:
    at = panel["gridPos"]
    cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
    if cells & places or at["x"] + at["w"] > 24 or panel["id"] in ids:
        fault(f"dashboard: `{panel['title']}` lies on another, or outside")
    places |= cells
    ids.add(panel["id"])
    expressions += [target["expr"].replace("$job", "tollhouse") for target in panel.get("targets", [])]
with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
    yaml.safe_dump({"groups": [{"name": "panels", "rules": [{"record": f"panel:{n}", "expr": e} for n, e in enumerate(expressions)]}]}, file)
    file.flush()
    promtool("check", "rules", file.name)

# Each metric and label is the binary's. Most show after a few calls; for the rest the source that registers them is read.
with Tollhouse(sys.argv[1], root / "config/packs/orders.yaml") as house:
    seen = [house.call("GET", "/orders/A-17"), house.call("POST", "/refunds", {"order": "A-17", "amount": "25.00", "currency": "USD"}, "one"),
            house.call("POST", "/refunds", {"order": "A-17", "amount": "25.00", "currency": "USD"}, "one"),
            house.call("POST", "/refunds", {"order": "A-17", "amount": "450.00", "currency": "USD"}, "two"), house.call("DELETE", "/orders/A-17")]
    if seen != [200, 200, 200, 403, 403]:
        fault(f"the calls before the scrape were answered {seen}, not as expected")
    house.command("freeze", "upstream/orders", "--reason", "a check")
    text = house.metrics()
    labels = {}
    for name, inner in re.findall(r"^(tollhouse_\w+)(?:\{(.*?)\})? ", text, re.M):
        labels.setdefault(name, set()).update(re.findall(r"(\w+)=\"", inner))
    registered = {}
    for source in (root / "src/telemetry").glob("*.rs"):
        # BOUND: a registration is one statement; name first, then the labels.
        for name, inner in re.findall(r"\"(tollhouse_\w+)\",\s*&\[(.*?)\]", source.read_text(), re.S):
            registered[name] = set(re.findall(r"\"(\w+)\"", inner))
    scraped = {"job", "instance", "pod", "le"}

    def known(where, expression, shown=""):
        every = set()
        for name, inner in re.findall(r"(tollhouse_[a-z_]+)(?:\{([^}]*)\})?", expression):
            family = re.sub(r"_(bucket|sum|count)$", "", name)
            has = labels.get(name) or labels.get(family) or registered.get(name) or registered.get(family)
            every |= (has or set()) | scraped
            if name not in labels and family not in registered:
                fault(f"{where}: the binary has no metric `{name}`")
            elif unknown := set(re.findall(r"(\w+)\s*[=!]", inner)) - (has or set()) - scraped:
                fault(f"{where}: `{name}` has no label {sorted(unknown)}")

        grouped = {word for inner in re.findall(r"\b(?:by|without) \(([\w, ]+)\)", expression) for word in inner.split(", ")}
        grouped |= set(re.findall(r"\{\{ ?(?:\$labels\.)?(\w+) ?\}\}", shown))
        if unknown := grouped - every:
            fault(f"{where}: `{expression}` has no label {sorted(unknown)}")

    for rule in rules:
        known(rule["alert"], rule["expr"], rule["annotations"]["summary"].replace("$value", "$value."))
    for panel in dashboard["panels"]:
        for target in panel.get("targets", []):
            known(f"dashboard, {panel['title']}", target["expr"], target["legendFormat"])
    only = [name for name in registered if name in " ".join([rule["expr"] for rule in rules] + expressions)
            and not any(name == one or one.startswith(f"{name}_") for one in labels)]
    print(f"watch: {len(rules)} alerts, {len(expressions)} expressions; {len(labels)} series scraped; by their registration only: {', '.join(sorted(only)) or 'none'}")

    # Each command of the runbook, against the running one.
    operation = json.loads(house.command("holds", "list", "--json").stdout)[0]["id"]
    freeze = json.loads(house.command("freezes", "--json").stdout)[0]["id"]
    config = house.home / "tollhouse.yaml"
    commands = 0
    for name in ("runbook.md", "deploy.md"):
        for block in re.findall(r"^```(?:sh)?\n(.*?)^```", (root / "docs" / name).read_text(), re.M | re.S):
            for line in re.sub(r"\\\n", " ", block).splitlines():
                if not (found := re.search(r"(?:^|-- |then )(tollhouse .*)", line.split(" #")[0])):
                    continue
                words = shlex.split(found[1])[1:]
                if words[0] in ("run", "check", "policy", "audit", "pack", "explain") and "tail" not in words:
                    words = [*words, "--help"]     # it names a configuration or a folder that is not here
                words = [operation if w == "op_.." else freeze if w in ("fz_..", "br_..") else w for w in words]
                words = [w for n, w in enumerate(words) if w != "--operator-token" and (n == 0 or words[n - 1] != "--operator-token")]
                done = house.command(*words)
                commands += 1
                if done.returncode not in (0, 1) or "Usage:" in done.stderr:
                    fault(f"docs/{name}: `{found[1]}` ended {done.returncode}: {done.stderr.strip()[:300]}")
    for name in ("runbook.md", "deploy.md"):
        text = (root / "docs" / name).read_text()
        for path in sorted(set(re.findall(r"\bdeploy/[\w/.-]*\w", text)) | {f"deploy/kubernetes/{p}" for p in re.findall(r"`((?:overlays|components)/[\w-]+)`", text)}):
            if not (root / path).exists():
                fault(f"docs/{name}: there is no {path}")
    print(f"watch: {commands} commands of docs/runbook.md and docs/deploy.md ran")
sys.exit(1 if faults else 0)
